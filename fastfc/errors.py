"""Errors of fastfc. Every one is a `FastFCError` and also the built-in error that fits it, so either can be caught."""

from __future__ import annotations


class FastFCError(Exception):
    """Base of every error that fastfc raises on purpose."""


class InvalidArgument(FastFCError, ValueError):
    """An argument has a value that cannot be used."""


class InvalidType(FastFCError, TypeError):
    """An argument has a type that cannot be used."""


class DataError(FastFCError, ValueError):
    """A data set is missing, malformed, or not what its checksum says."""


class DownloadError(DataError):
    """A data set could not be downloaded."""


class ModelFileError(FastFCError, ValueError):
    """A model file is missing, malformed, or not a fastfc model."""


class DivergenceError(FastFCError, ArithmeticError):
    """Training produced a loss that is not finite."""


class DistributedError(FastFCError, RuntimeError):
    """The ranks of a training have come apart."""


class CompilationWarning(RuntimeWarning):
    """Kernels compile as they should, but not as fast as they could: for long, or anew in every process."""


def invalid(what: str, given: object, expected: str) -> InvalidArgument:
    """The one form of message that every bad argument gets."""
    return InvalidArgument(f"{what}: given {given}, expected {expected}")
