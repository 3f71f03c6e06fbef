"""Task distributions, one file each: the file name is the name on the command line, and its class has ``sample``."""
