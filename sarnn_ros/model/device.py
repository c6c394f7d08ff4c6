# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a network computes: the name that a user gave to a device that works. Torch only."""

from __future__ import annotations

import torch

from sarnn_ros.errors import ConfigError


def find_device(name: str) -> torch.device:
    """The device of this name: `auto` is a GPU where there is one, else the CPU.

    :raises ConfigError: no such device, or it does not work.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device {name!r} cannot be used ({str(error).splitlines()[0]})",
            where="device",
            remedy="use auto, cpu, cuda or cuda:N",
        ) from error
    return device
