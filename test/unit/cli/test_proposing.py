# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `sarnn spec` and `sarnn inspect --write-spec` write, and refuse."""

from __future__ import annotations

from pathlib import Path

import bag_making as make
import pytest

from sarnn_ros.cli.spec import spec
from sarnn_ros.data.proposal import propose_spec
from sarnn_ros.errors import ConfigError
from sarnn_ros.spec import load_spec

LISTENING = {"seconds": 1.0, "timeout": 1.0}


def test_a_spec_from_a_bag_is_written_once(tmp_path: Path) -> None:
    bag, out = make.recording().write(tmp_path / "bag"), tmp_path / "spec.yaml"
    spec([bag], live=False, out=out, **LISTENING)
    assert load_spec(out) == propose_spec(bag).spec
    for live in (False, True):
        with pytest.raises(ConfigError, match="exists already"):
            spec([] if live else [bag], live=live, out=out, **LISTENING)


@pytest.mark.parametrize(("bags", "live"), [(["bag"], True), ([], False), (None, False)])
def test_either_bags_or_what_is_published(bags: list[Path] | None, live: bool) -> None:
    with pytest.raises(ConfigError, match=r"both|nothing"):
        spec(bags, live=live, **LISTENING)
