"""Kernels of our own for convolution blocks on CPUs: built on first use, differentiable twice, aware of vmap."""
