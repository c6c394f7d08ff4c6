# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Foxglove's layout for a policy with several cameras, made from the one for a single camera."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

#: The panels that show a camera, in the file for one.
PANELS = ("Image!attention", "Image!predicted")
#: The panel of prediction health, and there the line of a camera's points.
HEALTH, POINTS = "Plot!health", "/sarnn/health.data[2]"


def layout(one: dict[str, Any], cameras: Sequence[str]) -> dict[str, Any]:
    """:param one: config/foxglove_layout.json.
    :param cameras: names.
    :returns: the same with pictures of each camera, one row below the other, and the health of
        each camera's points.
    """
    made = copy.deepcopy(one)
    if len(cameras) < 2:
        return made
    panels = made["configById"]
    templates = {panel: panels.pop(panel) for panel in PANELS}
    rows: list[Any] = []
    for camera in cameras:
        names = [f"{panel}_{camera}" for panel in PANELS]
        for name, template in zip(names, templates.values()):
            panel = panels[name] = copy.deepcopy(template)
            mode = panel["imageMode"]
            mode["imageTopic"] = mode["imageTopic"].replace("/sarnn/", f"/sarnn/{camera}/")
            for key in ("foxglovePanelTitle", "lichtblickPanelTitle"):
                panel[key] += f": {camera}"
        rows.append(
            {"direction": "row", "splitPercentage": 60, "first": names[0], "second": names[1]}
        )
    lines = panels[HEALTH]["paths"]
    place = next(row for row, line in enumerate(lines) if line["value"] == POINTS)
    lines[place : place + 1] = [
        lines[place] | {"value": f"/sarnn/health.data[{2 + row}]", "label": f"points: {camera}"}
        for row, camera in enumerate(cameras)
    ]
    made["layout"] = _replaced(made["layout"], _below(rows))
    return made


def _below(rows: Sequence[Any]) -> Any:
    first, *others = rows
    if not others:
        return first
    ends = {"first": first, "second": _below(others)}
    return {"direction": "column", "splitPercentage": 100 / len(rows), **ends}


def _replaced(node: Any, pictures: Any) -> Any:
    """The tree of panels with the pictures in place of the row of `PANELS`."""
    if isinstance(node, str):
        return node
    if (node["first"], node["second"]) == PANELS:
        return pictures
    return node | {side: _replaced(node[side], pictures) for side in ("first", "second")}
