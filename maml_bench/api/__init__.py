"""The Python interface of the package: what the command line does, as functions. ``import maml_bench`` offers them."""
