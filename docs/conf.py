"""How Sphinx makes the site: `make docs`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import fastfc

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE / "drawings")]

project = "fastfc"
copyright = "the authors of fastfc"
version = release = fastfc.__version__
extensions = [
    "sphinx.ext.autodoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "plain",
    "generated",
    "mathml",
    "outside",
]
exclude_patterns = ["examples/**", "extensions/**", "drawings/**"]

html_theme = "furo"
html_title = "fastfc"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
pygments_style, pygments_dark_style = "tango", "github-dark"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # pages of tables begin where they like

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
autodoc_type_aliases = {"npt.ArrayLike": "ArrayLike"}
# Types in signatures that are others', or say no more than their name.
nitpick_ignore_regex = [("py:class", r"(?!fastfc\b).*"), ("py:class", r"fastfc\.settings\.SettingsDict")]

sphinx_gallery_conf: dict[str, Any] = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "image_scrapers": ("animations", "matplotlib"),
    "write_computation_times": False,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
}


def setup(app: Any) -> None:
    for script in sorted((HERE / "drawings").glob("[!_]*.py")):
        runpy.run_path(str(script), run_name="__main__")
