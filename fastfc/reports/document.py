"""One HTML file that loads nothing, in the style of the pages that `fastfc.export` writes."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # nothing from elsewhere, and no scripts


def document(title: str, intro: Iterable[str], body: Iterable[str], made_by: str) -> str:
    """The whole page. title, made_by: text; intro, body: HTML."""
    base, own = files("fastfc.export") / "page" / "base.css", files("fastfc.reports") / "report.css"
    style = base.read_text(encoding="utf-8") + own.read_text(encoding="utf-8")
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>",
            f"<header>\n<h1>{escape(title)}</h1>",
            *intro,
            "</header>\n<main>",
            *body,
            f"</main>\n<footer>Made by <span>{escape(made_by)}</span>.</footer>\n</body>\n</html>\n",
        ]
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """heads, rows: HTML; kind: the class of the table."""
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    first = f"<tr>{head}</tr>\n" if any(heads) else ""
    return f'<div class="wide"><table class="{kind}">\n{first}{body}\n</table></div>'


def image(png: bytes, alt: str) -> str:
    return f'<img alt="{escape(alt, quote=True)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
