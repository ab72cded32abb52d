"""Sphinx configuration. What the code knows better is written into the pages by `generate.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

import petalkit

sys.path.insert(0, str(Path(__file__).parent))
import generate

project = "petalkit"
author = "the petalkit maintainers"
project_copyright = "2026, the petalkit maintainers"
release = version = petalkit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
# A prompt is not copied, nor is what a command prints.
copybutton_prompt_text = r"\$ |# |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
html_title = f"petalkit {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # our docstrings write `name` for code, as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# -- what stands in the pages for GitHub, and what is for the site only: see generate.py


def _for_site(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = generate.for_site(source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _for_site)
