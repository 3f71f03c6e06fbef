"""How one meta-step becomes fast: recorded once, rewritten, and run on kernels of our own.

The engine takes the functions of core apart. Core never imports it.
"""
