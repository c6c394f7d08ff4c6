# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading rosbags with `rosbags`, without ROS: which bags there are, and their messages in order.

What the messages mean is not known here; see `decode.py` and `episodes.py`.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from sarnn_ros.errors import BagError

_SUFFIXES = {".mcap", ".db3", ".bag"}


def find_bags(paths: Iterable[str | Path]) -> list[Path]:
    """Every bag at or below the given paths, sorted: bag folders, files, folders of bags, globs.

    :raises BagError: a path does not exist or holds no bag.
    """
    found: dict[Path, None] = {}
    for given in paths:
        matches = sorted(glob.glob(str(given))) or [str(given)]
        for match in matches:
            path = Path(match)
            bags = _bags_below(path)
            if not bags:
                what = "holds no rosbag" if path.exists() else "does not exist"
                raise BagError(
                    f"{what} (looked for metadata.yaml, *.mcap, *.db3, *.bag)",
                    where=path,
                    remedy="give a bag, a folder of bags or a quoted pattern",
                )
            found.update(dict.fromkeys(bags))
    if not found:
        raise BagError("no bag was given", remedy="give at least one bag or folder of bags")
    return list(found)


def _bags_below(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in _SUFFIXES else []
    if not path.is_dir():
        return []
    if (path / "metadata.yaml").exists():
        return [path]
    inner = [
        bag for child in sorted(path.iterdir()) if child.is_dir() for bag in _bags_below(child)
    ]
    return inner + sorted(child for child in path.iterdir() if child.suffix in _SUFFIXES)


class Bag:
    """One open bag, as a context manager.

    :raises BagError: on opening or reading, whatever the damage.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._exit = ExitStack()

    def __enter__(self) -> Bag:
        try:
            typestore = get_typestore(Stores.ROS2_JAZZY)
            reader = AnyReader([self.path], default_typestore=typestore)
            self._reader = self._exit.enter_context(reader)
        except Exception as error:  # corruption surfaces as anything, from struct to sqlite errors
            raise self._damaged(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    @property
    def topics(self) -> dict[str, str]:
        """Type by topic."""
        return {topic: str(info.msgtype) for topic, info in self._reader.topics.items()}

    def messages(self, topics: Iterable[str]) -> Iterator[tuple[str, Any, int]]:
        """(topic, message, receive time in ns) of the given topics, in receive order."""
        wanted = set(topics)
        connections = [one for one in self._reader.connections if one.topic in wanted]
        if not connections:
            return
        try:
            for connection, received, raw in self._reader.messages(connections):
                message = self._reader.deserialize(raw, connection.msgtype)
                yield connection.topic, message, received
        except Exception as error:  # as above
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> BagError:
        return BagError(
            f"cannot be read ({type(error).__name__}: {error})",
            where=self.path,
            remedy="the bag is damaged or incomplete: leave it out, or try 'ros2 bag reindex'",
        )
