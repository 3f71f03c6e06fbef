"""Task distributions, one file each: the file name is the name on the command line, the class in it has ``sample``."""
