# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The rooms of the package, which may import which, and the picture of them.

test/unit/test_architecture.py enforces the table, and compares the picture with it;
`python test/support/rooms.py` draws it anew.
"""

from __future__ import annotations

from pathlib import Path

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "rooms.svg"

#: What each room imports of the others, and so may. A room is a folder, or a module beside them.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "signals": set(),
    "processes": {"errors"},
    "share": {"errors"},
    "spec": {"errors", "validation", "yaml_file"},
    "validation": set(),
    "yaml_file": {"errors"},
    "geometry": {"spec"},
    "model": {"errors", "geometry"},
    "streams": {"errors", "spec"},
    "data": {"errors", "files", "yaml_file", "spec", "streams"},
    "policy": {"errors", "files", "validation", "spec", "streams", "model"},
    "viz": {"files"},
    "training": {
        *("errors", "files", "validation", "yaml_file", "spec", "geometry", "streams"),
        *("data", "model", "policy", "interop", "viz"),
    },
    "interop": {"errors", "validation", "files", "spec", "streams", "data", "model", "policy"},
    "control": {"errors", "validation", "spec", "streams", "policy"},
    "ros": {
        *("errors", "processes", "signals", "validation", "yaml_file", "spec", "geometry"),
        *("data", "policy", "control", "viz"),
    },
    # Drives the rest from outside, and writes bags; only its quick trials look inside. Of `ros` it
    # takes how messages are made and how a node is run.
    "sim": {
        *("errors", "files", "processes", "share", "signals", "spec", "streams", "data", "viz"),
        "ros",
    },
}
#: The command line is thin and may reach for any room, when a command runs.
ARROWS["cli"] = set(ARROWS)

#: Modules that import next to nothing and that most rooms use: left out of the picture.
HELPERS = {"errors", "files", "processes", "share", "signals", "validation", "yaml_file"}
#: The picture: column and row of each room, and what it says of it.
BOXES = {
    "cli": (1.5, 0, "the sarnn command"),
    "sim": (0, 1, "the arm, the demo"),
    "training": (2.2, 1.3, "losses, loop, recipes"),
    "ros": (0, 2, "the nodes · rclpy"),
    "interop": (1.6, 2.3, "LeRobot, HDF5, EIPL"),
    "control": (0, 3, "prediction → command"),
    "policy": (0.5, 4, "directory, one step"),
    "data": (1.6, 4, "bags, episodes, report"),
    "viz": (3, 4, "overlays, films"),
    "model": (0.5, 5, "SARNN · torch"),
    "streams": (2.3, 5, "message → observation"),
    "geometry": (0.5, 6, "pixels and points"),
    "spec": (1.4, 7, "what is observed"),
}


def reachable(room: str) -> frozenset[str]:
    """All rooms that a room may reach, through others as well."""
    return frozenset(ARROWS[room]).union(*(reachable(other) for other in ARROWS[room]))


def direct(room: str) -> list[str]:
    """The rooms it may import that none of its others may reach: enough for the picture."""
    others = ARROWS[room] - HELPERS
    return sorted(
        other for other in others if not any(other in reachable(via) for via in others - {other})
    )


WIDTH, TALL, GAP = 880, 44, 40
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"
 width="{width}" height="{height}" font-family="sans-serif" text-anchor="middle">
<title>The rooms of sarnn_ros; an arrow leads from a room to one it may import</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
 orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#7a8699"/></marker></defs>
<rect width="{width}" height="{height}" fill="#ffffff"/>
"""
ARROW = """\
<path d="M{x:.0f} {y:.0f} C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y:.0f}"
 fill="none" stroke="#7a8699" stroke-width="1.3" marker-end="url(#tip)"/>
"""
ROOM = """\
<g transform="translate({x:.0f} {y:.0f})">
<rect x="-75" y="-22" width="150" height="44" rx="6" fill="#eef3fb" stroke="#3b6ea5"/>
<text y="-3" font-size="14" font-weight="bold" fill="#1c2b3a">{room}</text>
<text y="14" font-size="11" fill="#44546a">{purpose}</text>
</g>
"""


def picture() -> str:
    """The rooms as SVG: an arrow leads from a room to one that it may import."""
    height = (1 + max(row for _, row, _ in BOXES.values())) * (TALL + GAP)
    at = {
        room: (WIDTH * (column + 0.5) / 4, (row + 0.5) * (TALL + GAP))
        for room, (column, row, _) in BOXES.items()
    }
    parts = [HEAD.format(width=WIDTH, height=height)]
    for room, (x, centre) in at.items():
        for other in direct(room):
            y, to_x, to_y = centre + TALL / 2, at[other][0], at[other][1] - TALL / 2 - 2
            parts.append(ARROW.format(x=x, y=y, middle=(y + to_y) / 2, to_x=to_x, to_y=to_y))
    parts += [
        ROOM.format(x=x, y=y, room=room, purpose=BOXES[room][2]) for room, (x, y) in at.items()
    ]
    return "".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
