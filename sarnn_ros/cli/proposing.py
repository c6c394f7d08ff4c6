# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a proposed spec is shown and written, by `sarnn spec` and `sarnn inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sarnn_ros.cli.options import writing
from sarnn_ros.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from sarnn_ros.data.differences import Difference
    from sarnn_ros.spec import Spec

_REASON = (
    "Or '{name}' cropped to where the episodes differ: about {then:.0f} pixels there instead of "
    "{now:.0f}. Look at it with --html, and let it hold all places of the object."
)


def refuse_existing(file: Path | None) -> None:
    """:raises ConfigError: it is there already: a spec may have been corrected by hand."""
    if file is not None and file.exists():
        raise ConfigError("exists already", where=file, remedy="give another path")


def show_proposal(
    spec: Spec,
    console: Console,
    file: Path | None,
    differences: Sequence[Difference | None] = (),
) -> None:
    """Print it as YAML, and write it to the file if one is given.

    :param differences: of its cameras. The crop that they suggest becomes a comment, and not the
        camera: the first demonstrations do not show all places where an object will lie.
    :raises ConfigError: it cannot be written.
    """
    from sarnn_ros.data.differences import cropped
    from sarnn_ros.files import write_text
    from sarnn_ros.spec import dump_spec

    alternatives = [
        (larger, _REASON.format(name=camera.name, now=found.pixels, then=found.cropped_pixels))
        for camera, found in zip(spec.cameras, differences)
        if found is not None and (larger := cropped(camera, found)) is not None
    ]
    text = dump_spec(spec, alternatives)
    console.print("proposed spec (correct it, then pass it with --spec):", style="bold")
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if file is not None:
        with writing(file):
            write_text(file, text)
        console.print(f"written: {file}", markup=False, highlight=False, soft_wrap=True)
