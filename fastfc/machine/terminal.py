"""Text for a terminal: lines of less than 80 columns."""

from __future__ import annotations

import sys
import textwrap

COLUMNS = 80


def wrapped(text: str, first: str = "", rest: str = "  ") -> str:
    """`text` in lines of less than 80 columns that begin with `first` and `rest`. Words, paths and URLs stay whole."""
    wrapper = textwrap.TextWrapper(COLUMNS - 1, first, rest, break_on_hyphens=False, break_long_words=False)
    return wrapper.fill(text)


def counted(n: int, what: str) -> str:
    """'1 epoch', '2 epochs'"""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def announce(notice: str) -> None:
    """Say what a Dataset has to say, if anything, on standard error."""
    if notice:
        print(wrapped(f"fastfc: {notice}"), file=sys.stderr)
