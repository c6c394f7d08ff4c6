# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The dataset report for people: on the terminal, and as one HTML page without other files."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sarnn_ros.data.dataset import Dataset, Episode
from sarnn_ros.data.page import Rows, enlarged, figure, folded, picture, table, write_html
from sarnn_ros.data.places import MAP_LEGEND, place_map
from sarnn_ros.data.preview import GREEN, blended, cut_out, framed, outlined
from sarnn_ros.data.problems import gathered
from sarnn_ros.data.report import DatasetReport
from sarnn_ros.spec import NANOSECONDS, Spec

_SEVERITY_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
#: One colour per joint in the plots; they repeat after this many.
_JOINT_COLOURS = (
    "#1b6ca8",
    "#c8553d",
    "#4a7c59",
    "#8a5a9e",
    "#b08900",
    "#3b8ea5",
    "#7d4f50",
    "#555555",
)
#: The pictures of further episodes are folded away until asked for.
MAX_OPEN_EPISODES = 6


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
    unit = report.spec.common_unit
    return {
        "Bags": (
            ("bag", "verdict", "episodes", "ticks trimmed", "learnt"),
            [
                (
                    bag.path,
                    bag.verdict,
                    str(len(bag.episodes)),
                    f"{bag.trimmed[0]} + {bag.trimmed[1]}",
                    bag.learnt if bag.episodes else "nothing: see below",
                )
                for bag in report.bags
            ],
        ),
        "Streams (times in ms; age at tick: median / largest)": (
            ("bag", "topic", "messages", "void", "Hz", "jitter", "gap", "latency", "age"),
            streams,
        ),
        f"Joints ({f'{unit}; ' if unit else ''}steps are from tick to tick)": (
            (
                *("joint", *(() if unit else ("unit",))),
                *("lowest", "highest", "still", "at an end", "largest step", "effort"),
            ),
            [
                (
                    joint.name,
                    *(() if unit else (own,)),
                    f"{joint.minimum:.4f}",
                    f"{joint.maximum:.4f}",
                    f"{joint.still:.0%}",
                    f"{joint.saturated:.0%}",
                    f"{joint.largest_step:.4f}",
                    "none" if joint.effort is None else "{:.4g} … {:.4g}".format(*joint.effort),
                )
                for joint, own in zip(report.joints, report.spec.joint_units)
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
    """Tables, then the problems: the worst first, each with what it does and what to do."""
    for title, (heads, rows) in tables(report).items():
        console.print(_for_terminal(title, heads, rows))
    order = list(_SEVERITY_COLOURS)
    found = sorted(gathered(report.problems), key=lambda one: order.index(one.severity))
    for problem in found:
        text = Text(f"{problem.severity}: ", style=f"bold {_SEVERITY_COLOURS[problem.severity]}")
        text.append(f"{problem.where}: {problem.found}\n", style="default not bold")
        text.append(
            f"  effect: {problem.effect}\n  remedy: {problem.remedy}", style="dim not bold"
        )
        console.print(text, soft_wrap=True)
    if not found:
        console.print(Text("no problems found", style="green"))


def _for_terminal(title: str, heads: Sequence[str], rows: Rows) -> Table:
    """Names are broken over lines, not cut, and numbers keep their width. To leave names room in
    80 columns, empty ones are left out, and a bag that has several rows stands above them."""
    grouped = heads[:2] == ("bag", "topic")
    kept = [
        column
        for column in range(int(grouped), len(heads))
        if not rows or any(row[column] for row in rows)
    ]
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in kept:
        cells = [row[column] for row in rows]
        numbers = not any(letter.isalpha() for cell in cells for letter in cell)
        longest = max(map(len, [*cells, *heads[column].split()]), default=0)
        shown.add_column(heads[column], overflow="fold", min_width=longest if numbers else None)
    bag = ""
    for row in rows:
        if grouped and row[0] != bag:
            bag = row[0]
            shown.add_row(Text(f"{bag}:", style="bold"))
        shown.add_row(*(Text(row[column]) for column in kept))
    return shown


def write_page(report: DatasetReport, dataset: Dataset, path: Path) -> None:
    """One self-contained HTML page: problems, per episode its images and joints, and tables."""
    parts = [
        f'<p class="{problem.severity}"><b>{problem.severity}</b> '
        f"{html.escape(problem.where)}: {html.escape(problem.found)}<br>"
        f"effect: {html.escape(problem.effect)}<br>remedy: {html.escape(problem.remedy)}</p>"
        for problem in gathered(report.problems)
    ]
    parts += _displacements(dataset)
    parts += _differences(report, dataset)
    parts += places(dataset)
    parts.append(
        "<h2>First, middle and last tick: the camera's image with the crop drawn, and beside it "
        "what the network sees; joints over time, each from its lowest to its highest value</h2>"
    )
    episodes = []
    crops = {camera.name: camera.crop for camera in dataset.spec.cameras}
    for episode in dataset.episodes:
        shown = ""
        for name, previews in episode.previews.items():
            images, source = episode.images[name], episode.source_sizes[name]
            ticks = (0, len(images) // 2, len(images) - 1)
            pairs = (
                picture(framed(image, source, crops[name])) + enlarged(np.array(images[tick]))
                for image, tick in zip(previews, ticks)
            )
            shown += figure("".join(pairs), html.escape(name))
        name = html.escape(episode.name)
        episodes.append(f"<h3>{name}</h3>{shown}{_plot(episode, dataset.spec)}")
    parts += episodes[:MAX_OPEN_EPISODES]
    if more := episodes[MAX_OPEN_EPISODES:]:
        parts.append(folded(f"{len(more)} more episodes", "".join(more)))
    for title, (heads, rows) in tables(report).items():
        parts.append(f"<h2>{html.escape(title)}</h2>{table(heads, rows)}")
    write_html(path, f"Dataset report: {report.worst}", parts)


def _displacements(dataset: Dataset) -> Iterator[str]:
    """What a displaced camera showed in most episodes, what in these, and both at once."""
    for one in dataset.displacements:
        usual, image = one.pictures
        captions = (f"in {one.others} episodes", f"in {one.text}", "both at once")
        yield f"<h2>Camera '{html.escape(one.camera)}' was moved</h2>" + "".join(
            figure(picture(shown), html.escape(caption))
            for shown, caption in zip(
                (usual, outlined(image, one.found), blended(usual, image)), captions, strict=True
            )
        )


def write_differences(report: DatasetReport, dataset: Dataset, path: Path) -> None:
    """The page's part on where the object lies, by itself.

    :raises OSError: it cannot be written.
    """
    write_html(path, "Where the first images differ", list(_differences(report, dataset)))


def _differences(report: DatasetReport, dataset: Dataset) -> Iterator[str]:
    """What the first images tell of where the object lies, and the crop that this suggests."""
    yield "<h2>Where the first images of the episodes differ, as the network sees it</h2>"
    first = dataset.episodes[0]
    for camera, found in zip(dataset.spec.cameras, report.differences):
        if found is None:
            continue
        grey = np.repeat(found.strength[..., None], 3, axis=2)
        shown = figure(enlarged(grey), html.escape(camera.name))
        previews = first.previews.get(camera.name, ())  # an array, from the cache
        if found.crop is not None and len(previews):
            source, (width, height) = first.source_sizes[camera.name], found.size
            frame = framed(previews[0], source, found.crop, GREEN)
            cut = cut_out(previews[0], source, found.crop, found.size)
            shown += figure(picture(frame), "the proposed crop")
            shown += figure(enlarged(cut), f"about what the network would see, {width} x {height}")
        elif found.whole and camera.crop is None:
            shown += f"<p>No crop is proposed: {found.whole}.</p>"
        yield shown


def places(dataset: Dataset) -> Iterator[str]:
    """Where the objects lay, and where one should lie next; nothing if that is not known."""
    found = place_map(dataset)
    if found is not None:
        yield (
            "<h2>Where the objects lay, and where to put them next</h2>"
            f"<p>Camera '{html.escape(found.camera)}'. {html.escape(found.text)}</p>"
            f"{figure(picture(found.picture), MAP_LEGEND)}"
        )


def _plot(episode: Episode, spec: Spec) -> str:
    """Each joint in its own range, as one SVG; the legend has its range, and its unit unless that
    is the same for all, which the table says."""
    low, high = episode.joints.min(axis=0), episode.joints.max(axis=0)
    unit = (episode.joints - low) / np.maximum(high - low, 1e-9)
    seconds = (episode.ticks - episode.ticks[0]) / NANOSECONDS
    x = 30 + 370 * seconds / seconds[-1]
    parts, legend = [], []
    for column, (name, of) in enumerate(zip(spec.joint_labels, spec.joint_units)):
        points = " ".join(f"{a:.1f},{135 - 130 * b:.1f}" for a, b in zip(x, unit[:, column]))
        colour = _JOINT_COLOURS[column % len(_JOINT_COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        span = f"{low[column]:.3g} … {high[column]:.3g} {'' if spec.common_unit else of}".rstrip()
        legend.append(f'<span style="color:{colour}">■ {html.escape(name)}: {span}</span>')
    parts.append('<path d="M30 5V135H400" fill="none" stroke="#888"/>')
    texts = (
        (2, 14, "highest"), (2, 132, "lowest"), (30, 150, "0"), (200, 150, "time (s)"),
        (370, 150, f"{seconds[-1]:.1f}"),
    )  # fmt: skip
    parts += [f'<text x="{a}" y="{b}" font-size="9">{text}</text>' for a, b, text in texts]
    return figure(f'<svg width="405" height="155">{"".join(parts)}</svg>', "<br>".join(legend))
