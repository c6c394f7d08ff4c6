# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How `sarnn inspect`, `train` and `evaluate` read recordings: with cache and progress."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from sarnn_ros.data.dataset import Dataset
    from sarnn_ros.spec import Spec


def read_recordings(
    bags: Iterable[Path], spec: Spec, console: Console, *, no_cache: bool, **options: Any
) -> Dataset:
    """:param options: of `load_dataset`.
    :raises BagError: no episode is usable.
    """
    from rich.text import Text

    from sarnn_ros.data.cache import default_cache
    from sarnn_ros.interop.loading import load_dataset

    with console.status("reading bags") as status:
        return load_dataset(
            bags,
            spec,
            cache=None if no_cache else default_cache(),
            progress=lambda done, total, name: status.update(
                Text(f"reading bags: {done}/{total} {name}")  # a str's [/x] would be markup
            ),
            **options,
        )
