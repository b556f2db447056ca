"""The fused backend: Numba kernels with the names and signatures of `fastfc.kernels.reference`."""
