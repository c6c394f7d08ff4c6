# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a proposed spec is shown and written, by `sarnn spec` and `sarnn inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sarnn_ros.cli.options import writing
from sarnn_ros.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


def refuse_existing(file: Path | None) -> None:
    """:raises ConfigError: it is there already: a spec may have been corrected by hand."""
    if file is not None and file.exists():
        raise ConfigError("exists already", where=file, remedy="give another path")


def show_proposal(text: str, console: Console, file: Path | None) -> None:
    """Print the YAML, and write it to the file if one is given.

    :raises ConfigError: it cannot be written.
    """
    from sarnn_ros.files import write_text

    console.print("proposed spec (correct it, then pass it with --spec):", style="bold")
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if file is not None:
        with writing(file):
            write_text(file, text)
        console.print(f"written: {file}", markup=False, highlight=False, soft_wrap=True)
