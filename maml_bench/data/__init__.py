"""Image data sets stored once as memory-mapped arrays, the sources they come from, and their pinned class splits."""
