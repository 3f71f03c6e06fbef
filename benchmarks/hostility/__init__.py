"""The parts of ``benchmarks/hostile.py``: inputs made by rule, how a command is called with them, and kills."""
