# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `sarnn evaluate --html` shows of a policy on recorded episodes: where it looks, what it
predicts of joints and images, its recurrent state, its losses. One page; without torch."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.dataset import Dataset, Episode
from sarnn_ros.data.page import data_url, image_url, table, write_html
from sarnn_ros.data.report_view import places
from sarnn_ros.geometry import points_to_model_pixels
from sarnn_ros.policy.health import replay
from sarnn_ros.policy.runtime import Policy, Prediction
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.training.evaluate import free_run
from sarnn_ros.viz.curves import MAX_NAMED, PARTS, plot_joints, plot_losses, plot_states, to_png
from sarnn_ros.viz.overlay import TRAIL, beside, draw_overlay

#: Shown in full: the episodes of the smallest, the middle and the largest joint error.
SHOWN_EPISODES = 3
#: Pictures of an episode; of a longer one, every second or third tick is shown. With 12 kB each,
#: a camera's film of an episode has 3 MB at most.
MAX_FRAMES = 240


@dataclass(frozen=True)
class Trace:
    """What a policy made of a recorded episode of T ticks.

    :param actions: (T, D), rad or m, of the recorded states.
    :param hidden: (T, R), the LSTM's h after each tick.
    :param losses: mean squared errors of each tick that has a next one, (T - 1,) by `PARTS`, as in
        training: of normalised joints; of points in [0, 1]; of pixels in [0, 1].
    """

    episode: Episode
    actions: NDArray[np.float64]
    hidden: NDArray[np.float64]
    losses: dict[str, NDArray[np.float64]]

    @property
    def error(self) -> NDArray[np.float64]:
        """(T - 1, D), rad or m: the last target is not known. Of what a person did alone."""
        difference: NDArray[np.float64] = (self.actions - self.episode.targets)[:-1]
        return difference if self.episode.led is None else difference[self.episode.led[:-1]]


def write_page(policy: Policy, dataset: Dataset, result: dict[str, Any], path: Path) -> None:
    """Write one HTML file without other files.

    :param result: what `open_loop` and `free_running` found.
    :raises OSError: it cannot be written.
    """
    traces = [_trace(policy, episode) for episode in dataset.episodes]
    spec = dataset.spec
    ranked = _by_error(traces, policy.normaliser)
    rows = np.unique(np.linspace(0, len(ranked) - 1, SHOWN_EPISODES).round().astype(int))
    parts = [
        f"<p>{len(traces)} episodes, {spec.rate:g} Hz. {_ABOUT}</p>",
        *(f"<p>{html.escape(one)}.</p>" for one in result.get("cameras", ())),
        "<h2>Joints</h2>", _joint_table(traces, dataset, result),
        "<h2>Does it see?</h2>", _summary(result),
        "<h2>Where it looks</h2>", f"<p>{_ABOUT_FILMS}</p>",
        *(_episode(policy, dataset, ranked[row], row, len(ranked)) for row in rows.tolist()),
        *places(dataset),
        "<h2>Recurrent state</h2>", f"<p>{_ABOUT_STATES}</p>",
        _png(plot_states([one.hidden for one in traces])), _numbered(traces),
        "<h2>Loss per tick</h2>", f"<p>{_ABOUT_LOSSES}</p>",
        _png(plot_losses([one.losses for one in traces], 1.0 / spec.rate)),
        _PLAYER,
    ]  # fmt: skip
    write_html(path, "Policy on recorded episodes", parts)


def _by_error(traces: Sequence[Trace], by: JointNormaliser) -> list[Trace]:
    """The smallest joint error first, each joint by its range."""
    ranges = by.maximum - by.minimum
    return sorted(traces, key=lambda one: float(np.square(one.error / ranges).mean()))


def _numbered(traces: Sequence[Trace]) -> str:
    """The episodes' names, by their numbers in a plot."""
    if len(traces) > MAX_NAMED:
        return ""
    names = ", ".join(
        f"{row} {html.escape(one.episode.name)}" for row, one in enumerate(traces, 1)
    )
    return f"<p>{names}</p>"


def _trace(policy: Policy, episode: Episode) -> Trace:
    normalise = policy.normaliser.normalise
    actions, hidden = [], []
    losses: dict[str, list[float]] = {part: [] for part in PARTS}
    last: Prediction | None = None
    for row, (seen, now) in enumerate(replay(policy, episode, want_image=True)):
        if last is not None:
            wanted = normalise(episode.targets[row - 1])
            losses["joint"].append(float(((normalise(last.action) - wanted) ** 2).mean()))
            losses["point"].append(_mse(last.decoder_points, now.encoder_points))
            losses["image"].append(_mse(last.images or {}, seen.images, 255.0))
        actions.append(now.action)
        hidden.append(policy.recurrent[0][0])
        last = now
    return Trace(
        episode, np.array(actions), np.array(hidden),
        {part: np.array(values) for part, values in losses.items()},
    )  # fmt: skip


def _mse(
    one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]], scale: float = 1.0
) -> float:
    """Of each camera's values divided by the scale, the mean."""
    return float(np.mean([((one[key] / scale - other[key] / scale) ** 2).mean() for key in one]))


def _joint_table(traces: Sequence[Trace], dataset: Dataset, result: dict[str, Any]) -> str:
    spec = dataset.spec
    largest = np.max([np.abs(one.error).max(axis=0) for one in traces], axis=0)
    columns = (
        result["open_loop"]["rmse"], dict(zip(spec.joint_labels, largest)),
        result["open_loop"]["still"], result["free_running"]["rmse"],
    )  # fmt: skip
    unit = spec.common_unit
    heads = (
        *((f"joint ({unit})",) if unit else ("joint", "unit")), "RMS error", "largest error",
        "RMS error of standing still", "RMS error running free, at its best pace",
    )  # fmt: skip
    return table(
        heads,
        [
            (name, *(() if unit else (own,)), *(_number(column.get(name)) for column in columns))
            for name, own in zip(spec.joint_labels, spec.joint_units)
        ],
    )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _summary(result: dict[str, Any]) -> str:
    open_loop, free = result["open_loop"], result["free_running"]
    shares = {
        "explained by the attention points of the first images": open_loop["points_explain"],
        "the same with the episodes exchanged, which is what chance gives": open_loop[
            "with_episodes_exchanged"
        ],
        "explained by the policy running free": free["explained_variance"],
    }
    unknown = "unknown: too few episodes"
    return table(
        ("of how the episodes differ (1: all)", ""),
        [(what, unknown if one is None else f"{one:.2f}") for what, one in shares.items()],
    )


def _episode(policy: Policy, dataset: Dataset, trace: Trace, rank: int, count: int) -> str:
    """A film of each camera with a slider, and the joints beside it."""
    spec, episode = dataset.spec, trace.episode
    which = {0: "smallest joint error", count - 1: "largest joint error"}.get(rank, "middle")
    rms = np.sqrt((trace.error**2).mean(axis=0))
    # One that all share is in the table of joints.
    units = ("",) * len(rms) if spec.common_unit else spec.joint_units
    figure = plot_joints(
        {
            "recorded": episode.targets[:-1],
            "predicted": trace.actions[:-1],
            # Of a takeover the images are of where the policy had gone.
            **({} if episode.led is not None else {"running free": free_run(policy, episode)}),
        },
        [
            f"{name}\n({unit})\nRMS {error:.3g}" if unit else f"{name}\nRMS {error:.3g}"
            for name, unit, error in zip(spec.joint_labels, units, rms)
        ],
        np.arange(len(episode.ticks)) / spec.rate,
        "Joints for the next tick",
    )
    plot = to_png(figure)  # lays the figure out
    box, (first, last) = figure.axes[0].get_position(), figure.axes[0].get_xlim()
    ticks = np.arange(0, len(episode.ticks), -(-len(episode.ticks) // MAX_FRAMES))
    films = _films(policy, dataset, episode, frozenset(ticks.tolist()))
    across = (ticks / spec.rate - first) / (last - first) * box.width + box.x0
    about = {
        "frames": list(films.values()),
        "seconds": (ticks / spec.rate).round(3).tolist(),
        "left": (100 * across).round(2).tolist(),
        "rate": spec.rate / (ticks[1] - ticks[0]) if len(ticks) > 1 else spec.rate,
    }
    cameras = "".join(
        f"<figure><img class=frame><figcaption>{html.escape(name)}</figcaption></figure>"
        for name in films
    )
    return (
        f"<h3>{html.escape(episode.name)}: {which}</h3><div class=player>"
        "<p><button>play</button> <input type=range min=0 value=0> <output></output></p>"
        f"<div class=side>{cameras}</div><div class=plot><img src='{data_url(plot, 'png')}'>"
        f"<i></i></div><script type='application/json'>{json.dumps(about)}</script></div>"
    )


def _films(
    policy: Policy, dataset: Dataset, episode: Episode, ticks: frozenset[int]
) -> dict[str, list[str]]:
    """Per camera, pictures of those ticks: what was seen beside what was expected."""
    films: dict[str, list[str]] = {camera.name: [] for camera in dataset.spec.cameras}
    points: dict[str, list[NDArray[np.float64]]] = {name: [] for name in films}
    last: Prediction | None = None
    for row, (seen, now) in enumerate(replay(policy, episode, want_image=True)):
        for camera in dataset.spec.cameras:
            name = camera.name
            place = partial(
                points_to_model_pixels,
                width=camera.width,
                height=camera.height,
                stride=policy.config.model.stride,
            )
            points[name].append(place(now.encoder_points[name]))
            if row not in ticks:
                continue
            left = draw_overlay(
                seen.images[name],
                points[name][-1],
                place(now.decoder_points[name]),
                trails=np.array(points[name][-TRAIL:]),
            )
            right, caption = np.full_like(left, 128), "nothing expected yet"
            if last is not None and last.images is not None:
                right = draw_overlay(last.images[name], place(last.decoder_points[name]))
                caption = "expected"
            films[name].append(image_url(beside(left, right, ("seen", caption)), "webp"))
        last = now
    return films


def _png(figure: Any) -> str:
    return f"<img src='{data_url(to_png(figure), 'png')}'>"


_ABOUT = """The policy was given the recorded images and states tick by tick;
<i>running free</i> it got its own states in their place."""
_ABOUT_FILMS = """A disc is where the network looks, with its trail; a ring is where it expects to
look next. Right: the image that it expected for this tick. Move the slider to see a moment; the
line in the plot follows."""
_ABOUT_STATES = """Episodes of one task should make orderly, similar curves, and those of different
object positions should lie apart. Curves that all lie upon each other do not tell them apart."""
_ABOUT_LOSSES = """One grey line per episode. A peak in the joint loss is where the motion is hard
to predict, as when a gripper closes."""

_PLAYER = """<style>
.player { position: relative }
.player input { width: 40em; max-width: 70% }
.side { display: inline-block; vertical-align: top; max-width: 40% }
.plot { display: inline-block; position: relative; max-width: 58% }
.plot i { position: absolute; top: 0; bottom: 1em; width: 1px; background: #c62828 }
</style>
<script>
for (const player of document.querySelectorAll(".player")) {
  const about = JSON.parse(player.querySelector("script").textContent);
  const images = player.querySelectorAll(".frame"), line = player.querySelector(".plot i");
  const slider = player.querySelector("input"), button = player.querySelector("button");
  let timer = null;
  slider.max = about.seconds.length - 1;
  function show() {
    const row = Number(slider.value);
    images.forEach((image, camera) => { image.src = about.frames[camera][row]; });
    line.style.left = about.left[row] + "%";
    player.querySelector("output").textContent = about.seconds[row].toFixed(2) + " s";
  }
  function stop() { clearInterval(timer); timer = null; button.textContent = "play"; }
  slider.oninput = show;
  button.onclick = () => {
    if (timer !== null) return stop();
    button.textContent = "pause";
    if (slider.value === slider.max) slider.value = 0;
    timer = setInterval(() => {
      if (slider.value === slider.max) return stop();
      slider.value = Number(slider.value) + 1;
      show();
    }, 1000 / about.rate);
  };
  show();
}
</script>
"""
