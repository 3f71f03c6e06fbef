"""The setups, one file each: the file name is the name on the command line, and its class derives from Setup."""
