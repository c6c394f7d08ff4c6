# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The dataset report for people: on the terminal, and as one HTML page without other files."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sarnn_ros.data.dataset import Dataset, Episode
from sarnn_ros.data.differences import difference
from sarnn_ros.data.problems import Problem
from sarnn_ros.data.report import DatasetReport
from sarnn_ros.files import write_text

Rows = Sequence[Sequence[str]]
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
#: One colour per joint in the plots; they repeat after this many.
_LINES = ("#1b6ca8", "#c8553d", "#4a7c59", "#8a5a9e", "#b08900", "#3b8ea5", "#7d4f50", "#555555")


def tables(report: DatasetReport) -> dict[str, tuple[Sequence[str], Rows]]:
    """Title to (column heads, rows): the same for terminal and page."""
    streams = [
        (
            Path(bag.path).name,
            stream.topic,
            str(stream.messages),
            str(stream.void or ""),
            f"{stream.rate:.1f}",
            f"{stream.jitter * 1e3:.1f}",
            f"{stream.longest_gap * 1e3:.0f}",
            f"{stream.latency * 1e3:.1f}",
            f"{stream.age[0] * 1e3:.0f} / {stream.age[1] * 1e3:.0f}" if stream.age else "",
        )
        for bag in report.bags
        for stream in bag.streams
    ]
    return {
        "Bags": (
            ("bag", "verdict", "episodes", "ticks trimmed"),
            [
                (
                    bag.path,
                    bag.verdict,
                    str(len(bag.episodes)),
                    f"{bag.trimmed[0]} + {bag.trimmed[1]}",
                )
                for bag in report.bags
            ],
        ),
        "Streams (times in ms; age at tick: median / largest)": (
            ("bag", "topic", "messages", "void", "Hz", "jitter", "gap", "latency", "age"),
            streams,
        ),
        "Joints (their unit; steps per tick)": (
            ("joint", "lowest", "highest", "still", "at an end", "largest step"),
            [
                (
                    joint.name,
                    f"{joint.minimum:.4f}",
                    f"{joint.maximum:.4f}",
                    f"{joint.still:.0%}",
                    f"{joint.saturated:.0%}",
                    f"{joint.largest_step:.4f}",
                )
                for joint in report.joints
            ],
        ),
        "Cameras (0 … 255)": (
            (
                "camera",
                "source",
                "brightness",
                "red, green, blue",
                "contrast",
                "repeated",
                "pixels that differ",
            ),
            [
                (
                    camera.name,
                    ", ".join(f"{width} x {height}" for width, height in camera.source_sizes),
                    f"{camera.brightness:.0f}",
                    ", ".join(f"{value:.0f}" for value in camera.color),
                    f"{camera.contrast:.0f}",
                    f"{camera.repeated:.0%}",
                    "" if camera.differing is None else f"{camera.differing:.0f}",
                )
                for camera in report.cameras
            ],
        ),
        "Episodes": (
            ("episode", "ticks", "s", "for"),
            [
                (one.name, str(one.ticks), f"{one.seconds:.1f}", one.part)
                for one in report.episodes
            ],
        ),
    }


def print_report(report: DatasetReport, console: Console) -> None:
    """Tables, then the problems."""
    for title, (heads, rows) in tables(report).items():
        table = Table(*heads, title=title, title_justify="left")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
    print_problems(report.problems, console)


def print_problems(problems: Iterable[Problem], console: Console) -> None:
    """The worst first; each with what it does and what to do."""
    order = list(_COLOURS)
    found = sorted(problems, key=lambda problem: order.index(problem.severity))
    for problem in found:
        text = Text(f"{problem.severity}: ", style=f"bold {_COLOURS[problem.severity]}")
        text.append(f"{problem.where}: {problem.found}\n", style="default not bold")
        text.append(
            f"  effect: {problem.effect}\n  remedy: {problem.remedy}", style="dim not bold"
        )
        console.print(text, soft_wrap=True)
    if not found:
        console.print(Text("no problems found", style="green"))


def write_page(report: DatasetReport, dataset: Dataset, path: Path) -> None:
    """One self-contained HTML page: problems, tables, and per episode its images and joints."""
    parts = [f"<h1>Dataset: {html.escape(report.worst)}</h1>"]
    for problem in report.problems:
        parts.append(
            f'<p class="{problem.severity}"><b>{problem.severity}</b> '
            f"{html.escape(problem.where)}: {html.escape(problem.found)}<br>"
            f"effect: {html.escape(problem.effect)}<br>remedy: {html.escape(problem.remedy)}</p>"
        )
    for title, (heads, rows) in tables(report).items():
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        head = "".join(f"<th>{html.escape(one)}</th>" for one in heads)
        parts.append(f"<h2>{html.escape(title)}</h2><table><tr>{head}</tr>{body}</table>")
    parts.append("<h2>Where the first images of the episodes differ, as the network sees it</h2>")
    for camera in dataset.spec.cameras:
        found = difference(camera, dataset.episodes)
        if found is not None:
            grey = np.repeat(found.strength[..., None], 3, axis=2)
            parts.append(f"<p>{html.escape(camera.name)}<br>{_enlarged(grey)}</p>")
    parts.append(
        "<h2>First, middle and last tick: the camera's image with the crop drawn, and beside it "
        "what the network sees; joints over time</h2>"
    )
    labels = dataset.spec.joint_labels
    legend = " ".join(
        f'<span style="color:{_LINES[column % len(_LINES)]}">■ {html.escape(name)}</span>'
        for column, name in enumerate(labels)
    )
    parts.append(f"<p>{legend}</p>")
    for episode in dataset.episodes:
        shown = ""
        for camera_name, previews in episode.previews.items():
            images = episode.images[camera_name]
            for image, row in zip(previews, (0, len(images) // 2, len(images) - 1)):
                model = np.array(images[row])
                shown += f'<img src="{_data_url(image)}">{_enlarged(model)}'
        parts.append(f"<h3>{html.escape(episode.name)}</h3>{shown}{_plot(episode)}")
    write_text(path, _PAGE.replace("CONTENT", "\n".join(parts)))


def _data_url(image: NDArray[np.uint8]) -> str:
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(encoded).decode()


def _enlarged(image: NDArray[np.uint8]) -> str:
    """A model image with its pixels visible."""
    height, width = image.shape[:2]
    side = max(1, round(150 / height))
    png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    size = f'width="{width * side}" height="{height * side}"'
    return f'<img class="model" {size} src="{url}" title="{width} x {height}">'


def _plot(episode: Episode) -> str:
    """Each joint in its own range, as one SVG."""
    low, high = episode.joints.min(axis=0), episode.joints.max(axis=0)
    unit = (episode.joints - low) / np.maximum(high - low, 1e-9)
    x = np.linspace(0, 400, len(unit))
    lines = []
    for column in range(unit.shape[1]):
        points = " ".join(f"{a:.1f},{145 - 140 * b:.1f}" for a, b in zip(x, unit[:, column]))
        colour = _LINES[column % len(_LINES)]
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
    return f'<svg width="400" height="150">{"".join(lines)}</svg>'


_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>sarnn dataset report</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em }
table { border-collapse: collapse; margin-bottom: 1em }
td, th { border: 1px solid #ccc; padding: .2em .6em; text-align: left }
p.error, p.warning, p.note { border-left: .4em solid; padding-left: .8em }
p.error { border-color: #c0392b }
p.warning { border-color: #d4a017 }
p.note { border-color: #2980b9 }
img.model { image-rendering: pixelated }
img, svg { margin: 0 .4em .4em 0; border: 1px solid #ccc; vertical-align: top }
</style>
CONTENT
"""
