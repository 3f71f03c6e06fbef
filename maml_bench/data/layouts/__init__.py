"""The layouts in which copies of image data sets go round, each read as classes of photographs, none trusted."""
