# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The policy's card: a README.md for whoever finds the directory. `config.json` is what counts.

Its SHA-256 is in no list: a lab may write its own notes in its place, which are then left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sarnn_ros.errors import PolicyError
from sarnn_ros.files import write_bytes
from sarnn_ros.policy.directory import PolicyConfig
from sarnn_ros.spec import CameraSpec

CARD = "README.md"
#: How a card of ours begins; any other text is somebody's own.
TITLE = "# SARNN policy"
EXPLAINED = """\
How much of what differs between held-out episodes is explained: 1 is all, 0 no more than by the
mean demonstration, and by first states where these differ; below 0.5 the policy may not see what
it needs. High figures do not prove success: hide the object, and the policy must fail."""


def write_card(directory: Path, config: PolicyConfig) -> None:
    """Write the card, unless somebody's own README.md is there.

    :raises PolicyError: it cannot be written; the policy itself is complete.
    """
    path = directory / CARD
    try:
        if path.exists() and not path.read_bytes().startswith(TITLE.encode()):
            return
        write_bytes(path, card(config).encode())
    except OSError as error:
        raise PolicyError(
            f"the policy is complete, but its card cannot be written ({error})",
            where=path,
            remedy="free some space; the policy runs without it",
        ) from error


def card(config: PolicyConfig) -> str:
    """What the policy sees and does, what it was trained on and how well, as Markdown."""
    spec, training, unit = config.spec, config.training, config.spec.common_unit
    does = "at each image" if spec.tick == "image" else f"{spec.rate:g} times per second"
    does += ", and predicts the "
    does += "recorded command" if spec.target == "command" else "state one tick later"
    parts = [
        TITLE,
        f"Made by sarnn_ros {config.code_version} on {config.created}. It acts {does}.",
        "    ros2 launch sarnn_ros inference.launch.py policy:=/path/to/this/directory",
        "## What it sees",
        _table(
            ("camera", "topic", "camera's image", "crop (x, y, w, h)", "network's image"),
            [_camera(config, camera) for camera in spec.cameras],
        ),
        "## What it moves",
        "As demonstrated: the command limits of the node start from here."
        + (f" All in {unit}." if unit else ""),
        _table(
            ("joint", *(() if unit else ("unit",)), "least", "most", "largest step in a tick"),
            [
                (name, *(() if unit else (own,)), f"{low:.4g}", f"{high:.4g}", f"{step:.3g}")
                for name, own, low, high, step in zip(
                    spec.joint_labels,
                    spec.joint_units,
                    config.envelope.position_min,
                    config.envelope.position_max,
                    config.envelope.max_step,
                    strict=True,
                )
            ],
        ),
        "## How it was trained",
        *_training(training, "curves.png" in config.files),
    ]
    return "\n\n".join(parts) + "\n"


def _camera(config: PolicyConfig, camera: CameraSpec) -> Sequence[str]:
    seen, crop = config.envelope.cameras[camera.name], "none"
    if camera.crop is not None:
        crop = "{x}, {y}, {width}, {height}".format(**camera.crop.model_dump())
    source = "unknown" if seen.width is None else f"{seen.width}x{seen.height}"
    model = f"{camera.width}x{camera.height}"
    return camera.name, f"`{camera.topic}`", source, crop, model


def _training(training: dict[str, Any], curves: bool) -> list[str]:
    if "imported_from" in training:
        notes = [f"- {note}" for note in training.get("notes", ())]
        said = f"Not by sarnn_ros: imported from {training['imported_from']}."
        return [said, "\n".join(notes)] if notes else [said]
    told = []
    explained = training.get("explained") or {}
    if episodes := training.get("episodes"):
        told.append("{training} episodes, and {validation} kept for validation".format(**episodes))
    if aligned := training.get("aligned"):
        told.append(f"a camera was moved meanwhile, which was undone: {'; '.join(aligned)}")
    if "epochs" in training:
        told.append(f"{training['epochs']} epochs")
    if recipe := training.get("config", {}).get("recipe"):
        told.append(f"recipe `{recipe}`")
    if "seconds" in training:
        told.append(f"{training['seconds']:.0f} s, of CPU {training['cpu_seconds']:.0f} s")
    by_policy = "the policy, running on its own predictions"
    if explained.get("episodes") == "training":
        by_policy += " (on training episodes: none were held out)"
    shares = {
        "the attention points of the first images": explained.get("points"),
        "the same with episodes exchanged, which is chance": explained.get("permuted"),
        by_policy: explained.get("free_run"),
    }
    rows = [(what, f"{share:.2f}") for what, share in shares.items() if share is not None]
    parts = ["\n".join(f"- {one}" for one in told) or "Nothing is known."]
    if rows:
        parts += [EXPLAINED, _table(("by", "share"), rows)]
    if rmse := explained.get("rmse"):
        told_errors = ", ".join(f"{name} {error:.2g}" for name, error in rmse.items())
        parts.append(
            "Its error when it runs so, root mean square at the pace that fits best, in the units "
            f"above: {told_errors}. Compare it with what the task allows."
        )
    if curves:
        parts.append("![Losses over the epochs](curves.png)")
    return parts


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
