# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the documentation: `make docs`, or rosdoc2 (rosdoc2.yaml)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# rosdoc2 executes this file from another folder, with the package on its path.
if (Path(__file__).resolve().parents[1] / "sarnn_ros").is_dir():
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sarnn_ros import __version__

project = "sarnn_ros"
author = "The sarnn_ros authors"
copyright = f"2026, {author}"  # noqa: A001  Sphinx's name
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinxcontrib.mermaid",  # drawn in the browser, by a script from its usual place
]
myst_fence_as_directive = ["mermaid"]  # as GitHub has it
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 4
exclude_patterns = ["_build", "_generated"]  # _generated: included by other pages

smartquotes = False  # they would join the dashes of options

# Docstrings use single backticks for code.
default_role = "code"
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature shows them
autodoc_default_options = {"members": True, "show-inheritance": True}

html_theme = "furo"
html_title = f"sarnn_ros {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False

rosdoc2_settings = {"override_theme": False, "enable_intersphinx": False,
                    "automatically_extend_intersphinx_mapping": False}  # fmt: skip


def setup(app: Any) -> None:
    """Make the generated pages before Sphinx looks for its sources."""
    sys.path.insert(0, str(app.srcdir))
    import generate

    generate.write_all(Path(app.srcdir) / "_generated")
