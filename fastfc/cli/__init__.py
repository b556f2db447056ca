"""The command line: `parser` reads it, `commands` does it."""

from fastfc.cli.parser import main

__all__ = ["main"]
