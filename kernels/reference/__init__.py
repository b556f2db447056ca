"""The reference backend: pure NumPy, one module for each part of the derivation."""
