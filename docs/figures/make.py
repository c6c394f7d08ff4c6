# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of docs/explanation/training.md: python docs/figures/make.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt

from sarnn_ros.model.layers import InverseSpatialSoftmax, SpatialSoftmax
from sarnn_ros.training.schedule import CURVES, loss_weight

HERE = Path(__file__).parent
SIDE = 64


def feature_map() -> torch.Tensor:
    """Two noisy blobs, the left one a little stronger, (1, 1, 64, 64)."""
    y, x = np.mgrid[:SIDE, :SIDE]
    blobs = np.exp(-((x - 18) ** 2 + (y - 24) ** 2) / 30) + 0.8 * np.exp(
        -((x - 45) ** 2 + (y - 42) ** 2) / 40
    )
    noise = np.random.default_rng(0).normal(0, 0.05, blobs.shape)
    return torch.from_numpy((blobs + noise).astype(np.float32))[None, None]


def spatial_softmax() -> None:
    """The softer the softmax, the further the point drifts from the peak to the mean."""
    features = feature_map()
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
    axes[0].imshow(features[0, 0], cmap="gray")
    axes[0].set_title("feature map")
    for panel, temperature in zip(axes[1:], (1.0, 0.1, 1e-4), strict=True):
        keys, attention = SpatialSoftmax(SIDE, SIDE, temperature)(features)
        panel.imshow(attention[0, 0], cmap="gray")
        panel.plot(*(keys[0, 0] * (SIDE - 1)).tolist(), "ro")
        panel.set_title(f"temperature {temperature:g}")
    for panel in axes:
        panel.set_axis_off()
    figure.savefig(HERE / "spatial_softmax.png", dpi=90)


def heatmap() -> None:
    """A small heat map cuts out the surroundings of the point, a large one keeps them."""
    key = torch.tensor([[[0.3, 0.4]]])
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
    for panel, size in zip(axes, (0.01, 0.05, 0.1, 0.5), strict=True):
        panel.imshow(InverseSpatialSoftmax(SIDE, SIDE, size)(key)[0, 0], cmap="inferno")
        panel.plot(*(key[0, 0] * (SIDE - 1)).tolist(), "ro")
        panel.set_title(f"heatmap_size {size:g}")
        panel.set_axis_off()
    figure.savefig(HERE / "heatmap.png", dpi=90)


def loss_scheduler() -> None:
    """The five curves, up to a weight of 0.1 at epoch 100."""
    figure, axes = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
    for curve in CURVES:
        axes.plot([loss_weight(epoch, 0.1, 100, curve) for epoch in range(130)], label=curve)
    axes.axvline(100, color="0.7", linewidth=1)
    axes.set_xlabel("epoch (decay_end = 100)")
    axes.set_ylabel("weight of the point loss")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(HERE / "loss_scheduler.png", dpi=90)


if __name__ == "__main__":
    plt.switch_backend("Agg")
    spatial_softmax()
    heatmap()
    loss_scheduler()
