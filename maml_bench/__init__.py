"""maml-bench: meta-learning setups on one MAML core, accuracy and wall-clock time side by side."""

__version__ = "0.1.0"
