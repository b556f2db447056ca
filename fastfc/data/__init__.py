"""Data sets: what `data=` of `fastfc.train` accepts, brought into one form."""

from fastfc.data.dataset import Dataset, load_data

__all__ = ["Dataset", "load_data"]
