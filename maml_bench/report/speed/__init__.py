"""Records of speed: races against other libraries, how the cost of a step grows, and their tables."""
