"""Text for a terminal: lines that fit it, colours where they are wanted, and characters that it can show."""

from __future__ import annotations

import os
import sys
import textwrap
from typing import TextIO

COLUMNS = 80
COLOURS = {"red": 31, "green": 32, "magenta": 35, "cyan": 36}  # of ECMA-48: they can be read on black and on white


def is_terminal(stream: TextIO | None) -> bool:
    """Whether what is written to `stream` is shown by a terminal that can go back to the begin of a line."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def columns(stream: TextIO | None = None) -> int:
    """Of the terminal that `stream`, by default standard output, is, at most 80; 80 where it is none."""
    try:
        width = os.get_terminal_size((stream or sys.stdout).fileno()).columns
    except (OSError, ValueError, AttributeError):  # no terminal; no file at all; no stream
        return COLUMNS
    return min(width or COLUMNS, COLUMNS)


def wants_colour(stream: TextIO | None = None) -> bool:
    """Whether `stream`, by default standard output, does: a terminal, unless NO_COLOR is set; any other, where FORCE_COLOR is.

    Either counts if it is not empty.
    """
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_terminal(stream or sys.stdout)


def painted(text: str, colour: str, stream: TextIO | None = None) -> str:
    """`text` in one of `COLOURS`, where `stream`, by default standard output, is to have colours."""
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if wants_colour(stream) else text


def can_show(text: str, stream: TextIO | None = None) -> bool:
    """Whether the encoding of `stream`, by default standard output, has the characters of `text`."""
    try:
        text.encode(getattr(stream or sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def wrapped(text: str, first: str = "", rest: str = "  ", stream: TextIO | None = None) -> str:
    """`text` in lines that begin with `first` and `rest`, and are shorter than `columns`. Words, paths and URLs stay whole."""
    wrapper = textwrap.TextWrapper(columns(stream) - 1, first, rest, break_on_hyphens=False, break_long_words=False)
    return wrapper.fill(text)


def counted(n: int, what: str) -> str:
    """'1 epoch', '2 epochs'"""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def announce(notice: str) -> None:
    """Say what a Dataset has to say, if anything, on standard error."""
    if notice:
        print(wrapped(f"fastfc: {notice}", stream=sys.stderr), file=sys.stderr)
