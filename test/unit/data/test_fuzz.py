# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged bytes into decoder and reader: a clear error or a result, in bounded time and memory.

`python test/unit/data/test_fuzz.py 100000 [SEED]` is the long run; the suite does a share of it.
"""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import bag_making as make
import cv2
import numpy as np
import pytest
from encodings_table import CASES, message_of
from fuzzing import LIMIT_SECONDS, limits, mutate
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from sarnn_ros.data.bags import Bag, RawMessage, Topic, find_bags
from sarnn_ros.data.reading import read_bag
from sarnn_ros.errors import BagError, DecodeError
from sarnn_ros.streams.decode import decode_image, decode_joints

#: Of so many inputs, one is a whole bag.
BAG_EVERY = 40


def messages() -> list[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    made = [(make.IMAGE, message_of(case, "padded", rng)[0]) for case in CASES]
    pixels = make.colour(3, 32, 24)
    for extension in (".jpg", ".png"):
        data = cv2.imencode(extension, pixels)[1].tobytes()
        made.append((make.COMPRESSED, make.compressed(make.START, data, extension[1:])))
    made.append((make.JOINTS, make.joint_state(make.START, [1.0, 2.0])))
    return [(kind, bytes(make.STORE.serialize_cdr(message, kind))) for kind, message in made]


def bag_files(folder: Path) -> list[tuple[str, bytes]]:
    found = []
    for storage in (StoragePlugin.MCAP, StoragePlugin.SQLITE3):
        for mode in (CompressionMode.NONE, CompressionMode.FILE):
            name = f"{storage.name}{mode.name}"
            path = make.recording(0.5).write(folder / name, storage, mode)
            file = next(one for one in path.iterdir() if one.suffix != ".yaml")
            suffix = file.name[len(name) :]
            found.append((suffix, file.read_bytes()))
    return found


def decode_one(kind: str, raw: bytes) -> str:
    bag = Bag("nowhere")
    bag.topics = {"/t": Topic("/t", kind, 1)}
    try:
        message = bag.decode(RawMessage("/t", 0, raw))
        if kind == make.JOINTS:
            assert np.isfinite(decode_joints(message, make.NAMES)).all()
        else:
            image = decode_image(message, value_range=(0.0, 9.0))
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    except DecodeError:
        return "refused"
    return "decoded"


def read_one(suffix: str, data: bytes, folder: Path) -> str:
    file = folder / f"fuzzed{suffix}"
    file.write_bytes(data)
    try:
        (path,) = find_bags([file])
        episodes, report = read_bag(path, make.spec())
    except BagError:
        return "no bag"
    assert report.verdict == "sound" or report.problems
    return f"bag {report.verdict}" + (f", {len(episodes)} episode" if episodes else "")


def fuzz(count: int, seed: int, tell: Callable[[str], None] = lambda _: None) -> Counter[str]:
    """:raises Exception: whatever is not a clear refusal; the note says which input did it."""
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder_name, limits():
        folder = Path(folder_name)
        whole, parts = bag_files(folder), messages()
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            signal.alarm(LIMIT_SECONDS)
            try:
                if number % BAG_EVERY == 0:
                    suffix, data = whole[int(rng.integers(len(whole)))]
                    outcomes[read_one(suffix, mutate(data, rng), folder)] += 1
                else:
                    kind, raw = parts[int(rng.integers(len(parts)))]
                    outcomes[decode_one(kind, mutate(raw, rng))] += 1
            except Exception as error:
                error.add_note(f"input {number} of seed {seed}")
                raise
            if number % 10_000 == 9_999:
                tell(f"{number + 1}: {dict(outcomes)}")
    return outcomes


@pytest.mark.parametrize("seed", [1, 2])
def test_a_share_of_the_long_run(seed: int):
    outcomes = fuzz(2_000, seed)
    assert outcomes["decoded"] > 100 and outcomes["refused"] > 100  # or it would test nothing


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x89MCAP0\r\n", bytes(1000)])
@pytest.mark.parametrize("suffix", [".mcap", ".db3", ".bag", ".mcap.zstd"])
def test_the_smallest_files(suffix: str, data: bytes, tmp_path: Path):
    assert read_one(suffix, data, tmp_path).endswith(("left out", "damaged", "no bag"))


if __name__ == "__main__":
    started = time.monotonic()
    amount = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with contextlib.redirect_stderr(io.StringIO()):
        total = fuzz(amount, int(sys.argv[2]) if len(sys.argv) > 2 else 0, print)
    print(f"{amount} inputs in {time.monotonic() - started:.0f} s: {dict(total)}")
