#!/usr/bin/env python3
# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What filters answer to in the first images of some demonstrations: those of a new network, and
those that the search chose. The pictures of docs/explanation/attention.md (the first one of a
policy that was trained with --no-crop):

    make benchmark-tasks
    python benchmark/attention_picture.py benchmark_tasks_output/transfer_cube/seed_0/policy \\
        benchmark_tasks_output/transfer_cube/bags docs/images/attention_search.png
    python benchmark/attention_picture.py benchmark_tasks_output/fetch_push/seed_0/policy \\
        benchmark_tasks_output/fetch_push/bags docs/images/attention_hidden.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.model.sarnn import SARNN, VisionBranch
from sarnn_ros.policy.backends import load_model
from sarnn_ros.policy.directory import load_config
from sarnn_ros.streams.preprocess import scale_images
from sarnn_ros.training.evaluate import first_states
from sarnn_ros.training.explained import Starts, left_out_explained, trajectories


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("policy", type=Path)
    parser.add_argument("bags", type=Path)
    parser.add_argument("out", type=Path, help="PNG to write")
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--filters", type=int, default=2, help="of each network, the best")
    options = parser.parse_args()
    config = load_config(options.policy)
    dataset = load_dataset([options.bags], config.spec)
    camera = config.spec.cameras[0].name
    frames = np.stack([np.asarray(one.images[camera][0]) for one in dataset.episodes])
    images = torch.from_numpy(scale_images(frames, config.spec.image_range))
    targets = trajectories([dataset.normaliser.normalise(one.targets) for one in dataset.episodes])
    states = first_states(dataset.spec, dataset.normaliser, dataset.episodes)
    starts = Starts(states)(states)
    torch.manual_seed(0)
    network = load_model(options.policy, config)
    fresh = SARNN(**config.model.model_dump(exclude={"kind"})).branches[0]
    draw(
        frames,
        {
            "untrained": answers(fresh, images, targets, starts, options.filters),
            "searched": answers(network.branches[0], images, targets, starts, options.filters),
        },
        options.episodes,
        options.out,
    )


def answers(
    branch: VisionBranch,
    images: torch.Tensor,
    targets: np.ndarray,
    starts: np.ndarray,
    count: int,
) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Heat maps (E, h, w), points (E, 2) and how much they explain alone, of the filters that
    explain most."""
    with torch.no_grad():
        heat = branch.pos_encoder[:-1](images).numpy()
        points = branch.extract(images).reshape(len(images), -1, 2).numpy().astype(float)
    found = [
        (heat[:, row], points[:, row], left_out_explained(points[:, row], targets, starts)[0])
        for row in range(points.shape[1])
    ]
    return sorted(found, key=lambda one: -one[2])[:count]


def draw(
    frames: np.ndarray,
    networks: dict[str, list[tuple[np.ndarray, np.ndarray, float]]],
    episodes: int,
    out: Path,
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = np.linspace(0, len(frames) - 1, episodes).round().astype(int)
    lines = [(name, *one) for name, found in networks.items() for one in found]
    height, width = frames.shape[1:3]
    size = 1.8 * episodes, 0.5 + 1.85 * len(lines) * height / width
    figure, axes = pyplot.subplots(
        len(lines), episodes, figsize=size, squeeze=False, layout="constrained"
    )
    for line, (name, heat, points, share) in zip(axes, lines, strict=True):
        line[0].set_ylabel(f"{name}\nexplains {share:.2f}", fontsize=9)
        for axis, episode in zip(line, shown, strict=True):
            map_ = heat[episode]
            strength = (map_ - map_.min()) / max(float(np.ptp(map_)), 1e-9)
            axis.imshow(frames[episode])
            border = (width - map_.shape[1]) / 2
            extent = (border - 0.5, width - border - 0.5, height - border - 0.5, border - 0.5)
            axis.imshow(strength, cmap="inferno", alpha=0.65, extent=extent)
            x, y = border + points[episode] * (np.array(map_.shape[::-1]) - 1)
            axis.plot(x, y, "o", ms=7, mfc="none", mec="cyan", mew=1.5)
            axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    figure.suptitle(
        "What a filter answers to in the first images (circle: its point)", fontsize=10
    )
    figure.savefig(out, dpi=90)


if __name__ == "__main__":
    main()
