# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn export-eipl`: a policy directory to the files that EIPL's scripts read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_eipl(
    policy: Annotated[Path, typer.Argument(help="Policy directory.")],
    out: Annotated[Path, typer.Option(help="Folder for SARNN.pth and its companions.")],
) -> None:
    """Write a policy as EIPL's SARNN.pth, args.json and joint_bounds.npy."""
    from sarnn_ros.interop.eipl_checkpoint import export_eipl as run_export

    for path in run_export(policy, out):
        typer.echo(str(path))
