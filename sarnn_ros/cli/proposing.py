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

_CROP_PROPOSED = (
    "Or '{name}' cropped to where the episodes differ: about {then:.0f} pixels there instead of "
    "{now:.0f} (--crop). Look at it with --html, and let it hold all places of the object."
)
_CROP_MADE = (
    "'{name}' is cropped to where the episodes differ: about {then:.0f} pixels there instead of "
    "{now:.0f}. Look at it with --html, and let it hold all places of the object. As it was:"
)
_NO_CROP = (
    "no crop: there is one episode only, or the first images do not differ, or in too large a part"
)


def refuse_existing(file: Path | None) -> None:
    """Before the work: what cannot be written later.

    :raises ConfigError: it is there already: a spec may have been corrected by hand; or its folder
        is not.
    """
    if file is None:
        return
    if file.exists():
        raise ConfigError("exists already", where=file, remedy="give another path")
    if not file.absolute().parent.is_dir():
        raise ConfigError("is in a folder that does not exist", where=file, remedy="make it first")


def show_proposal(
    spec: Spec,
    console: Console,
    file: Path | None,
    differences: Sequence[Difference | None] = (),
    crop: bool = False,
    notes: Sequence[str] = (),
) -> None:
    """Print it as YAML, and write it to the file if one is given.

    :param differences: of its cameras. The crop that they suggest becomes a comment, and not the
        camera: the first demonstrations do not show all places where an object will lie.
    :param crop: it becomes the camera all the same, and what was before it the comment.
    :param notes: what a person should know of it; they become comments, too.
    :raises ConfigError: it cannot be written.
    """
    from sarnn_ros.data.differences import cropped
    from sarnn_ros.files import write_text
    from sarnn_ros.spec import dump_spec

    cameras, alternatives = list(spec.cameras), []
    for row, (camera, found) in enumerate(zip(spec.cameras, differences)):
        if found is None or (larger := cropped(camera, found)) is None:
            continue
        reason = _CROP_MADE if crop else _CROP_PROPOSED
        text = reason.format(name=camera.name, now=found.pixels, then=found.cropped_pixels)
        alternatives.append((camera if crop else larger, text))
        if crop:
            cameras[row] = larger
    if crop:
        spec = spec.model_copy(update={"cameras": tuple(cameras)})
        if not alternatives:
            console.print(_NO_CROP, style="bold", highlight=False)
    text = dump_spec(spec, alternatives, notes)
    console.print("proposed spec (correct it, then pass it with --spec):", style="bold")
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if file is not None:
        with writing(file):
            write_text(file, text)
        console.print(f"written: {file}", markup=False, highlight=False, soft_wrap=True)
