# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The unit tests run without ROS: neither they nor their child processes can import it.

Only where unit tests run alone, as in `make test`: beside the ROS tests, this process has imported
ROS already.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

UNIT = Path(__file__).parent
WITHOUT_ROS = UNIT.parent / "support" / "without_ros"


def _alone(config: pytest.Config) -> bool:
    folders = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    return all(folder.is_relative_to(UNIT) for folder in folders)


def pytest_configure(config: pytest.Config) -> None:
    if _alone(config):
        inherited = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(WITHOUT_ROS), inherited)))
        runpy.run_path(str(WITHOUT_ROS / "sitecustomize.py"))


@pytest.fixture
def quick_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and export without their slowest parts; for tests that are about something else."""
    import quick_export  # needs torch, which most tests do not

    quick_export.install(monkeypatch)


@pytest.fixture
def quick_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for attention in less detail; for tests that are about something else."""
    import quick_search

    quick_search.install(monkeypatch)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The test of the above says nothing where it is not in force."""
    return True if collection_path.name == "test_without_ros.py" and not _alone(config) else None
