# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn foxglove`: a layout that shows every camera of a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sarnn_ros.cli.options import writing


def foxglove(
    policy: Annotated[Path, typer.Argument(help="Policy directory.")],
    out: Annotated[Path, typer.Argument(help="JSON file, to be imported by Foxglove.")],
) -> None:
    """Write a Foxglove layout with the pictures of each camera of a policy."""
    import json

    from sarnn_ros.files import write_text
    from sarnn_ros.policy.directory import load_config
    from sarnn_ros.share import share_directory
    from sarnn_ros.viz.foxglove import layout

    cameras = [camera.name for camera in load_config(policy).spec.cameras]
    file = share_directory() / "config" / "foxglove_layout.json"
    made = layout(json.loads(file.read_text(encoding="utf-8")), cameras)
    with writing(out):
        write_text(out, json.dumps(made, indent=2) + "\n")
    typer.echo(f"{out}: {', '.join(cameras)}")
