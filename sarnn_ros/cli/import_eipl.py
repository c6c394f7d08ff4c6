# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn import-eipl`: EIPL's weights to a policy directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_eipl(
    weights: Annotated[
        Path,
        typer.Argument(
            help="EIPL's SARNN.pth, beside its args.json, or RoboManipBaselines' .ckpt."
        ),
    ],
    spec: Annotated[Path, typer.Option(help="What is observed and commanded (YAML).")],
    out: Annotated[Path, typer.Option(help="Policy directory to write.")],
    joint_bounds: Annotated[
        Path | None, typer.Option(help="EIPL's joint_bounds.npy; default: beside the weights.")
    ] = None,
    bgr: Annotated[
        bool, typer.Option("--bgr", help="The network was trained on BGR images.")
    ] = False,
    slope: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Slope of the LeakyReLUs: 0.3, or 0.01 before December 2023; default: by "
            "the weights.",
        ),
    ] = None,
) -> None:
    """Make a policy from EIPL's files, or RoboManipBaselines' SARNN. Nothing is executed."""
    from sarnn_ros.interop.eipl_checkpoint import import_eipl as run_import
    from sarnn_ros.spec import load_spec

    bounds = joint_bounds or weights.with_name("joint_bounds.npy")
    notes = run_import(weights, load_spec(spec), bounds, out, bgr=bgr, slope=slope)
    typer.echo(str(out))
    for note in notes:
        typer.echo(f"  {note}")
