"""Sphinx settings; ``make -C docs html`` builds into ``docs/_build``."""

from __future__ import annotations

import dllm_audio

project = "dllm-audio"
author = "The dllm-audio developers"
copyright = author
release = version = dllm_audio.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "results"]  # tables that pages include
html_theme = "furo"
html_title = f"dllm-audio {release}"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
napoleon_use_ivar = True  # attributes of a dataclass are listed once, inside its own entry
