# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged data sets of every format: a clear refusal or a result, in bounded time and memory, and
the sound one beside them is read.

`python test/unit/interop/test_fuzz_formats.py SECONDS [SEED]` is the long run, in a child for each
share of the inputs, so that a crash of a library is found as well.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bag_making as make
import h5py
import numpy as np
import pyarrow as pa
from damaged_formats import SPEC, act, lerobot_set, npz
from fuzzing import LIMIT_SECONDS, limits, mutate
from pyarrow import parquet
from rosbags.rosbag2 import StoragePlugin

from sarnn_ros.errors import SarnnError
from sarnn_ros.interop.loading import load_dataset, propose

MEMORY = 1 << 30
STRANGE: list[Any] = [
    None, 0, -1, 1 << 62, 1e308, float("nan"), "", "../x", "/etc/passwd", "{}", [], {}, [[]],
    {"a": 1}, True, "v3.9",
]  # fmt: skip


def hdf5_structure(path: Path, rng: np.random.Generator) -> None:
    """A dataset of another shape, type or layout, an attribute, or none."""
    with h5py.File(path, "a") as file:
        names: list[str] = []
        file.visit(names.append)
        name = names[int(rng.integers(len(names)))]
        kind = int(rng.integers(6))
        del file[name]
        shape = tuple(
            int(rng.choice([0, 1, 2, 3, 12, 1000, 1 << 33])) for _ in range(rng.integers(5))
        )
        dtype = str(rng.choice(["u1", "f8", "i8", "f2", "S7", "b1", "c16"]))
        if kind == 0:
            file.create_dataset(name, shape, dtype)
        elif kind == 1:
            file.create_dataset(
                name, shape, dtype, chunks=True if 0 not in shape and shape else None
            )
        elif kind == 2:
            file.create_dataset(name, (12,), h5py.vlen_dtype(np.uint8))
        elif kind == 3:
            file.create_group(name)
        elif kind == 4:
            file[name] = h5py.Empty(dtype)


def table_structure(path: Path, rng: np.random.Generator) -> None:
    """A column that is missing, strange, or shorter than the others were."""
    table = parquet.read_table(path)
    place = int(rng.integers(table.num_columns))
    name, count = table.column_names[place], table.num_rows
    kind = int(rng.integers(5))
    if kind == 0:
        table = table.drop_columns([name])
    elif kind == 1:
        table = table.slice(0, int(rng.integers(count + 1)))
    elif kind == 2:
        table = table.rename_columns([table.column_names[0]] * table.num_columns)
    else:
        strange = [
            [None, 0, -1, 1 << 62], [1e308, float("nan")], ["", "x"], [[1.0], [1.0, 2.0], None],
            [{"bytes": b"x"}, None], [b""], [[[1.0]]],
        ]  # fmt: skip
        values = strange[int(rng.integers(len(strange)))]
        column = pa.array([values[int(rng.integers(len(values)))] for _ in range(count)])
        table = table.set_column(place, name, column)
    parquet.write_table(table, path)


def json_structure(path: Path, rng: np.random.Generator) -> None:
    values = json.loads(path.read_text())
    place: Any = values
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = keys[int(rng.integers(len(keys)))]
        if isinstance(place[key], (dict, list)) and rng.random() < 0.6:
            place = place[key]
            continue
        if isinstance(place, dict) and rng.random() < 0.3:
            del place[key]
        else:
            place[key] = STRANGE[int(rng.integers(len(STRANGE)))]
        break
    path.write_text(json.dumps(values))


def array_structure(path: Path, rng: np.random.Generator) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    name = str(rng.choice(list(arrays)))
    kind = int(rng.integers(4))
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name] = arrays[name][: int(rng.integers(13))]
    elif kind == 2:
        arrays[name] = arrays[name].astype(str(rng.choice(["f4", "u1", "i8", "U5", "c16"])))
    else:
        arrays[str(rng.choice(["time", "stamps_ns", "joints", "images"]))] = rng.normal(size=12)
    np.savez(path, **arrays)


_STRUCTURES: dict[str, Callable[[Path, np.random.Generator], None]] = {
    ".hdf5": hdf5_structure,
    ".parquet": table_structure,
    ".json": json_structure,
    ".npz": array_structure,
}


def sources(folder: Path) -> list[Path]:
    """One sound recording of each format."""
    made = make.recording(1.0)
    return [
        npz(folder / "array" / "one"),
        act(folder / "hdf5" / "one"),
        lerobot_set(folder / "films"),
        lerobot_set(folder / "pictures", films=False),
        made.write(folder / "mcap", StoragePlugin.MCAP),
        made.write(folder / "sqlite", StoragePlugin.SQLITE3),
    ]


def damage(path: Path, rng: np.random.Generator) -> None:
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    file = files[int(rng.integers(len(files)))]
    structure = _STRUCTURES.get(file.suffix)
    if structure is not None and rng.random() < 0.5:
        structure(file, rng)
    else:
        file.write_bytes(mutate(file.read_bytes(), rng))


def read_damaged(source: Path, folder: Path, rng: np.random.Generator) -> str:
    """What becomes of it beside a sound bag, in the folder `folder`, which is emptied."""
    copy = folder / source.name
    if source.is_dir():
        shutil.copytree(source, copy)
    else:
        shutil.copyfile(source, copy)
    damage(copy, rng)
    with contextlib.suppress(SarnnError):
        propose([copy])
    dataset = load_dataset([folder], SPEC)
    assert "sound" in [episode.name for episode in dataset.episodes], "it took the sound one down"
    report = next((one for one in dataset.bags if "sound" not in one.episodes), None)
    for problem in report.problems if report else ():
        assert problem.remedy and problem.found
    shutil.rmtree(copy) if copy.is_dir() else copy.unlink()
    return f"{source.name} {report.verdict if report else 'no recording'}"


def fuzz(first: int, count: int, seed: int) -> Counter[str]:
    """:raises Exception: whatever is not a clear refusal; the note says which input did it."""
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name, limits(MEMORY):
        folder = Path(name)
        kinds = sources(folder / "sources")
        (folder / "work").mkdir()
        make.recording(1.0, start=make.START + 60 * make.SECOND).write(folder / "work" / "sound")
        for number in range(first, first + count):
            rng = np.random.default_rng([seed, number])
            signal.alarm(LIMIT_SECONDS)
            try:
                outcomes[read_damaged(kinds[number % len(kinds)], folder / "work", rng)] += 1
            except Exception as error:
                error.add_note(f"input {number} of seed {seed}")
                raise
    return outcomes


def _child(first: int, count: int, seed: int, answers: Any) -> None:
    import traceback

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            answers.put(fuzz(first, count, seed))
    except BaseException:
        answers.put(traceback.format_exc())


def in_child(first: int, count: int, seed: int) -> Counter[str] | str:
    """As `fuzz`, or what it raised. This process has more memory mapped than it uses."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_child, args=(first, count, seed, queue))
    child.start()
    try:
        answer: Counter[str] | str = queue.get(timeout=250)
    except Exception:
        answer = f"no answer, exit code {child.exitcode}: inputs {first} to {first + count - 1}"
        child.kill()
    child.join()
    return answer


def test_a_share_of_the_long_run():
    outcomes = in_child(0, 60, seed=1)
    assert isinstance(outcomes, Counter), outcomes
    assert sum(outcomes.values()) == 60
    assert len([name for name in outcomes if name.endswith("left out")]) >= 5


if __name__ == "__main__":
    share, began, done = 60, time.monotonic(), 0
    total: Counter[str] = Counter()
    seed_given = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    while time.monotonic() - began < float(sys.argv[1]):
        found = in_child(done, share, seed_given)
        done += share
        if isinstance(found, Counter):
            total += found
            print(f"{done} inputs", flush=True)
        else:
            print(found, flush=True)
    print(f"{done} inputs: {dict(total)}")
