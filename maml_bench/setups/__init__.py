"""Setups, one file each: the file name is the name on the command line, the class in it derives from Setup."""
