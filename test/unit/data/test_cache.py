# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The cache gives what decoding gives, notices every change, and survives interruption."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import bag_making as make
import numpy as np
import pytest

from sarnn_ros.data import cache as module
from sarnn_ros.data.dataset import Dataset
from sarnn_ros.data.report import examine
from sarnn_ros.errors import ConfigError
from sarnn_ros.interop.loading import load_dataset


@pytest.fixture
def bags(tmp_path: Path) -> Path:
    for number in range(2):
        start = make.START + number * make.SECOND
        made = make.recording(1.0, start=start)
        if number:  # one with commands, which the spec does not learn
            stamp = start + make.SECOND // 4
            made.add("/joint_command", make.JOINTS, stamp, make.joint_state(stamp, [0.5, 0.0]))
        made.write(tmp_path / "bags" / f"take{number}")
    return tmp_path / "bags"


def load(bags: Path, root: Path, **changes) -> Dataset:
    return load_dataset([bags], make.spec(**changes), cache=root)


def entries(root: Path) -> list[Path]:
    return sorted(root.iterdir())


def test_a_hit_is_the_same_and_does_not_read_the_bag(bags, tmp_path, monkeypatch):
    plain = load_dataset([bags], make.spec())
    first = load(bags, tmp_path / "cache")
    monkeypatch.setattr(module, "read_bag", lambda *_, **__: pytest.fail("read again"))
    hit = load(bags, tmp_path / "cache")
    for dataset in (first, hit):
        assert dataset.fingerprint == plain.fingerprint
        assert dataset.bags == plain.bags
        for one, other in zip(dataset.episodes, plain.episodes):
            assert np.array_equal(one.images["front"], other.images["front"])
            assert np.array_equal(one.ticks, other.ticks) and one.digest == other.digest
            assert one.source_sizes == other.source_sizes
            assert one.lead == other.lead
    assert isinstance(hit.episodes[0].images["front"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        hit.episodes[0].images["front"][0] = 0
    assert len(entries(tmp_path / "cache")) == 2


def test_a_bag_that_was_moved_is_told_where_it_is(bags, tmp_path):
    file = next((bags / "take0").glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:-200])
    assert load(bags, tmp_path / "cache").bags[0].problems
    moved = bags.rename(tmp_path / "monday")
    hit = load(moved, tmp_path / "cache")
    assert all(Path(bag.path).is_dir() for bag in hit.bags)
    assert all("monday" in one.where for bag in hit.bags for one in bag.problems)
    assert len(entries(tmp_path / "cache")) == 2, "not read anew"


@pytest.mark.parametrize("change", ["content", "one byte", "spec", "added file"])
def test_a_change_is_noticed(change: str, bags, tmp_path, monkeypatch):
    first = load(bags, tmp_path / "cache")
    if change == "content":
        file = next((bags / "take0").glob("*.mcap"))
        about = file.stat()
        (bags / "take0" / "metadata.yaml").touch()
        make.recording(1.0, joint_rate=50.0).write(tmp_path / "other")
        file.write_bytes(next((tmp_path / "other").glob("*.mcap")).read_bytes())
        os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
        second = load(bags, tmp_path / "cache")
    elif change == "one byte":  # in the middle of a large file, which is not looked at
        monkeypatch.setattr(module, "_END_BYTES", 16)
        first = load(bags, tmp_path / "cache")
        file = next((bags / "take0").glob("*.mcap"))
        data = bytearray(file.read_bytes())
        data[data.index(make.colour(20).tobytes()[:48]) + 1] ^= 0xFF
        file.write_bytes(data)
        second = load(bags, tmp_path / "cache")
    elif change == "spec":
        second = load(bags, tmp_path / "cache", width=8)
    else:
        make.recording(1.0, start=make.START + 60 * make.SECOND).write(bags / "take2")
        second = load(bags, tmp_path / "cache")
    assert second.fingerprint != first.fingerprint
    assert len(entries(tmp_path / "cache")) > 2


@pytest.mark.parametrize("damage", ["cut array", "no array", "bad json", "no json"])
def test_a_damaged_entry_is_decoded_again(damage: str, bags, tmp_path):
    first = load(bags, tmp_path / "cache")
    del first.episodes[0].images["front"]  # the map must not keep the file
    entry = entries(tmp_path / "cache")[0]
    array, about = next(entry.glob("*.image.front.npy")), entry / "about.json"
    if damage == "cut array":
        array.write_bytes(array.read_bytes()[:-100])
    elif damage == "no array":
        array.unlink()
    elif damage == "bad json":
        about.write_text(about.read_text()[:-10])
    else:
        about.unlink()
    again = load(bags, tmp_path / "cache")
    assert again.fingerprint == first.fingerprint
    assert all(isinstance(one.images["front"], np.memmap) for one in again.episodes)
    assert len(entries(tmp_path / "cache")) == 2


def test_bags_left_out_are_looked_at_again(bags, tmp_path):
    make.recording(drop_images=range(20, 31)).write(bags / "hole")
    for _ in range(2):
        dataset = load(bags, tmp_path / "cache")
        assert any("hole" in problem.found for problem in dataset.problems)
    assert len(entries(tmp_path / "cache")) == 2


def fingerprint(bags: Path, root: Path) -> str:
    return load(bags, root).fingerprint


def test_trainings_at_once(bags, tmp_path):
    with ProcessPoolExecutor(4) as pool:
        jobs = [pool.submit(fingerprint, bags, tmp_path / "cache") for _ in range(8)]
        assert len({job.result(timeout=60) for job in jobs}) == 1
    assert len(entries(tmp_path / "cache")) == 2


def test_killed_while_decoding(bags, tmp_path):
    code = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
import bag_making as make
from sarnn_ros.data import cache
from pathlib import Path
store = cache._store
def half(folder, episodes, report):
    store(folder, episodes, report)
    os.kill(os.getpid(), signal.SIGKILL)
cache._store = half
cache.read_bag_cached(Path(sys.argv[1]), make.spec(), "take0", Path(sys.argv[2]))
"""
    root = tmp_path / "cache"
    arguments = [str(bags / "take0"), str(root), str(Path(make.__file__).parent)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], timeout=60)
    assert done.returncode == -9
    (left,) = entries(root)
    assert left.name.startswith(".partial-")
    assert load(bags, root).fingerprint == load_dataset([bags], make.spec()).fingerprint
    os.utime(left, (0, 0))
    load(bags, root, width=8)
    assert not left.exists()


def test_an_unwritable_cache_is_named(bags, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cache cannot be written") as error:
        load(bags, tmp_path / "file" / "cache")
    assert "--no-cache" in str(error.value)


def test_more_episodes_than_files_may_be_open(bags, tmp_path, monkeypatch):
    """A camera of an episode is one. The entry is sound, and stays."""
    load(bags, tmp_path / "cache")

    def refuse(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(np, "load", refuse)
        with pytest.raises(ConfigError, match="more files are open") as error:
            load(bags, tmp_path / "cache")
    assert "ulimit -n" in error.value.remedy
    assert len([one for one in entries(tmp_path / "cache") if any(one.iterdir())]) == 2


def test_as_many_files_as_may_be(bags, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 200
    assert before[1] > few
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
        load(bags, tmp_path / "cache")
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > few
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_default_place(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert module.default_cache() == tmp_path / "sarnn_ros" / "episodes"


def test_memory_does_not_grow_with_the_bag(tmp_path):
    """Images are in files, and of 100 joint states a second those stay that a tick sees."""
    peaks = []
    for seconds in (4, 24):
        path = make.recording(seconds).write(tmp_path / f"bag{seconds}")
        tracemalloc.start()
        dataset = load_dataset([path], make.spec(width=64, height=64), cache=tmp_path / "cache")
        examine(dataset)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    images = 10 * 20 * 64 * 64 * 3
    assert peaks[1] - peaks[0] < images / 4, peaks


@pytest.mark.parametrize("damage", ["unreadable", "a link to nothing"])
def test_a_bag_that_cannot_be_opened_leaves_the_others(bags, tmp_path, monkeypatch, damage):
    (file,) = (bags / "take0").glob("*.mcap")
    file.rename(tmp_path / file.name)
    if damage == "a link to nothing":
        file.symlink_to(tmp_path / "gone.mcap")
    else:
        (bags / "take0" / file.name).symlink_to(file)  # to itself: opening it fails, for root too
    dataset = load(bags, tmp_path / "cache")
    assert [one.name for one in dataset.episodes] == ["take1"]


def test_an_entry_that_was_emptied_is_made_again(bags, tmp_path):
    first = load(bags, tmp_path / "cache")
    for entry in entries(tmp_path / "cache"):
        (entry / "0.npz").write_bytes(b"")
    assert load(bags, tmp_path / "cache").fingerprint == first.fingerprint
