"""Links to files beside docs, such as SECURITY.md, which are no pages of the site: the site has them for download."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\]\(((?:\.\./)+[^)#:]+\.md)(?:#[^)]*)?\)")


def _process(app: Any, page: str, source: list[str]) -> None:
    docs = Path(app.srcdir)
    folder = (docs / page).parent

    def linked(match: re.Match[str]) -> str:
        target = (folder / match[1]).resolve()
        is_outside = target.is_file() and not target.is_relative_to(docs)
        return f"](path:{match[1]})" if is_outside else match[0]

    source[0] = LINK.sub(linked, source[0])


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", _process)
    return {"parallel_read_safe": True}
