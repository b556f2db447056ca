"""Animations of the examples as GIF files, which need no player and load nothing. sphinx-gallery finds this by `image_scrapers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.animation import Animation, PillowWriter
from sphinx_gallery.scrapers import figure_rst


def _scrape(block: Any, variables: dict[str, Any], configuration: dict[str, Any]) -> str:
    code = block[1]
    paths = []
    for name, value in variables["example_globals"].items():
        if isinstance(value, Animation) and f"{name} = " in code:
            path = Path(next(variables["image_path_iterator"])).with_suffix(".gif")
            value.save(path, writer=PillowWriter(fps=7), dpi=80)
            plt.close(value._fig)
            paths.append(str(path))
    return figure_rst(paths, configuration["src_dir"])


def _get_sg_image_scraper() -> Any:
    return _scrape
