# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets that name files outside of them, that declare more than anybody has, and that are
broken beside sound ones: a clear refusal of each, in bounded memory, and the others are read."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bag_making as make
import cv2
import h5py
import numpy as np
import pyarrow as pa
import pytest
from damaged_formats import COUNT, SPEC, act, lerobot_set, npz
from fuzzing import limits
from pyarrow import parquet

from sarnn_ros.data import bounds
from sarnn_ros.data.bounds import unpack_bz2, unpack_lz4
from sarnn_ros.errors import BagError
from sarnn_ros.interop.lerobot import _filled
from sarnn_ros.interop.loading import load_dataset, propose
from sarnn_ros.interop.npz import takes
from sarnn_ros.interop.tables import read_table

#: For tests that would have to make files of hundreds of megabytes, bytes.
SMALL_BOUND = 1 << 24
#: Memory that a refusal may take beside what the process has, bytes.
FOR_A_REFUSAL = 1 << 29


@pytest.fixture
def bounded() -> Iterator[None]:
    with limits(FOR_A_REFUSAL):
        yield


def refused(path: Path) -> str:
    """What is said of it, by the reader and where a spec is proposed."""
    for work in (lambda: load_dataset([path], SPEC), lambda: propose([path])):
        with pytest.raises(BagError) as error:
            work()
        assert error.value.remedy
    return str(error.value)


# -- other files ---------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_bytes(bytes(range(256)) * 256)
    return file


def test_hdf5_with_external_storage(secret: Path, tmp_path: Path):
    path = act(tmp_path / "take")
    shape = (COUNT, 12, 16, 3)
    with h5py.File(path, "a") as file:
        del file["observations/images/top"]
        file.create_dataset(
            "observations/images/top", shape, "u1", external=[(str(secret), 0, 99999)]
        )
    assert "is an external storage: its data are in other files" in refused(path)


def test_hdf5_with_a_virtual_dataset(tmp_path: Path):
    other = act(tmp_path / "other")
    path = act(tmp_path / "sub" / "take")
    layout = h5py.VirtualLayout((COUNT, 2), "f8")
    layout[:] = h5py.VirtualSource(str(other), "action", shape=(COUNT, 2))
    with h5py.File(path, "a") as file:
        del file["observations/qpos"]
        file.create_virtual_dataset("observations/qpos", layout)
    assert "is a virtual dataset" in refused(path)


@pytest.mark.parametrize("link", [h5py.ExternalLink("other.hdf5", "action"),
                                  h5py.SoftLink("/elsewhere")])  # fmt: skip
def test_links_of_hdf5_are_not_followed(link: Any, tmp_path: Path):
    act(tmp_path / "other")
    path = act(tmp_path / "take")
    with h5py.File(path, "a") as file:
        file["elsewhere"] = file["observations/qpos"]
        del file["observations/qpos"]
        file["observations/qpos"] = link
        del file["elsewhere"]
    assert "no state" in refused(path)


def test_films_of_a_folder_are_in_it(tmp_path: Path):
    folder = tmp_path / "take.rmb"
    folder.mkdir()
    act(tmp_path / "take").rename(folder / "main.rmb.hdf5")
    with h5py.File(folder / "main.rmb.hdf5", "a") as file:
        file["measured_joint_pos"] = np.zeros((COUNT, 2))
    (folder / "top_rgb_image.rmb.mp4").symlink_to(tmp_path / "film.mp4")
    assert "not in the data set's folder" in refused(folder)


@pytest.mark.parametrize("key", ["data_path", "video_path"])
@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("/etc/passwd", "not in the data set's folder"),
        ("../outside/{chunk_index:03d}", "not in the data set's folder"),
        ("{chunk_index.__class__}", "no other braces"),
        ("{chunk_index:>3000000000}", "no other braces"),
        ("{chunk_index!r}", "no other braces"),
        ("{file_index:999999999d}", "no other braces"),
        ("{0}", "no other braces"),
        ("{chunk_index[0]}", "no other braces"),
        ("{}", "no other braces"),
        ("{{chunk_index}}", "no other braces"),
        ("a{", "no other braces"),
        ("\0", "cannot be found"),
    ],
)
@pytest.mark.usefixtures("bounded")
def test_paths_of_lerobot_stay_inside(key: str, pattern: str, says: str, tmp_path: Path):
    path = lerobot_set(tmp_path / "set")
    edit(path, **{key: pattern})
    assert says in refused(path)


def test_links_of_lerobot_stay_inside(tmp_path: Path):
    path = lerobot_set(tmp_path / "set")
    film = next(path.glob("videos/*/*/*.mp4"))
    film.rename(tmp_path / "film.mp4")
    film.symlink_to(tmp_path / "film.mp4")
    assert "not in the data set's folder" in refused(path)
    film.unlink()
    (tmp_path / "film.mp4").rename(path / "film.mp4")
    film.symlink_to(path / "film.mp4")
    assert load_dataset([path], SPEC).episodes, "inside of it links are followed"


def cached(path: Path, blobs: Path) -> Path:
    """As the cache of Hugging Face has a data set: links to its files, which are in `blobs`."""
    root = path / "snapshots" / "0123abcd"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(lerobot_set(root).rglob("*.*"))):
        if file.is_file():
            file.rename(blobs / str(number))
            up = "../" * len(file.relative_to(path).parent.parts)
            file.symlink_to(f"{up}blobs/{number}")
    return root


def test_links_in_the_cache_of_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = cached(tmp_path / "set", tmp_path / "set" / "blobs")
    assert load_dataset([root], SPEC).episodes and propose([root])
    monkeypatch.chdir(root)
    assert load_dataset(["."], SPEC).episodes
    (tmp_path / "set" / "snapshots").rename(tmp_path / "set" / "other")
    assert "not in the data set's folder" in refused(tmp_path / "set" / "other" / root.name)


def test_blobs_that_are_a_link_themselves(tmp_path: Path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "blobs").symlink_to(tmp_path / "elsewhere")
    root = cached(tmp_path / "set", tmp_path / "elsewhere")
    assert "not in the data set's folder" in refused(root)
    film = next(root.glob("videos/*/*/*.mp4"))
    (tmp_path / "set" / "blobs").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "set" / "blobs")
    blob = film.resolve()
    blob.rename(tmp_path / "film.mp4")
    blob.symlink_to(tmp_path / "film.mp4")
    assert "not in the data set's folder" in refused(root), "where the links end counts"


def test_what_a_path_may_say():
    values: dict[str, str | int] = {"video_key": "observation.images.top", "chunk_index": 7}
    assert _filled("v/{video_key}/c-{chunk_index:03d}/{chunk_index}", values, "") == (
        "v/observation.images.top/c-007/7"
    )


def test_a_film_is_no_playlist(tmp_path: Path):
    path = lerobot_set(tmp_path / "set")
    film = next(path.glob("videos/*/*/*.mp4"))
    film.rename(tmp_path / "film.mp4")
    film.write_text(f"ffconcat version 1.0\nfile {tmp_path / 'film.mp4'}\n")
    assert "cannot be read as a film" in refused(path)


# -- sizes ---------------------------------------------------------------------------------------


def huge_hdf5(path: Path, **options: Any) -> Path:
    with h5py.File(act(path), "a") as file:
        del file["observations/images/top"]
        file.create_dataset("observations/images/top", dtype="u1", **options)
    return path.with_suffix(".hdf5")


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shape": (COUNT, 30_000, 30_000, 3)}, "unpacks to more than"),
        ({"shape": (COUNT, 9_000, 9_000, 3), "chunks": (1, 9_000, 9_000, 3)}, "unpacks to more"),
        ({"shape": (1, 9_000, 9_000, 3)}, "9000 x 9000 pixels"),
        ({"shape": (1, 2, 2, 3), "maxshape": (None, 2, 2, 3), "chunks": (30_000_000, 2, 2, 3)},
         "a chunk of 'observations/images/top' unpacks to more"),
        ({"shape": (1 << 40, 1, 1, 3)}, "unpacks to more than"),
    ],
)  # fmt: skip
def test_hdf5_that_declares_too_much(options: dict[str, Any], says: str, tmp_path: Path):
    path = huge_hdf5(tmp_path / "take", **options)
    assert path.stat().st_size < 100_000
    assert says in refused(path)


@pytest.mark.usefixtures("bounded")
def test_numbers_of_hdf5(tmp_path: Path):
    path = act(tmp_path / "take")
    with h5py.File(path, "a") as file:
        file.create_dataset("more", (1 << 33,), "f8", chunks=(1000,), compression="gzip")
    assert "unpacks to more than" in refused(path)


def member(name: str, shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    ("shape", "size", "says"),
    [
        ((COUNT, 1000, 1000, 3), 36_000_000, "it unpacks to more than"),
        ((1 << 40, 3000, 3000, 3), 1000, "and has 1000"),
        ((15 << 20,), 15 << 20, "the arrays that are no images unpacks to more"),
        ((1, 1, 5_000_000, 3), 15_000_000, "5000000 x 1 pixels"),
    ],
)
def test_npz_that_declares_too_much(
    shape: Any, size: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bounds, "MAX_RECORD_BYTES", SMALL_BOUND)
    monkeypatch.setattr(bounds, "MAX_PIXELS", 1 << 22)
    path = npz(tmp_path / "take")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file, file.open("x.npy", "w") as one:
        one.write(member("x", shape))
        for _ in range(size >> 20):
            one.write(bytes(1 << 20))
        one.write(bytes(size & ((1 << 20) - 1)))
    assert says in refused(path)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_npz_of_another_method(method: int, tmp_path: Path):
    path = npz(tmp_path / "take")
    with zipfile.ZipFile(path, "a", method) as file:
        file.writestr("x.npy", member("x", (10,)) + bytes(10))
    assert "is compressed by the method" in refused(path)


def test_images_of_an_npz_that_are_skipped_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def seek(*_: object) -> None:
        pytest.fail("Python 3.13 does not check the checksum after it")

    monkeypatch.setattr(zipfile.ZipExtFile, "seek", seek)
    images = np.stack([make.colour(row * 7) for row in range(COUNT)])
    path = tmp_path / "take.npz"
    np.savez(path, images=images, joints=np.zeros((COUNT, 2)))
    rows = [2, 5, COUNT - 1]

    def read() -> list[np.ndarray]:
        (take,) = takes(path, "take", False)
        with take.open() as recording:
            return list(recording.cameras["images"].read(rows))

    assert np.array_equal(read(), images[rows])
    content = bytearray(path.read_bytes())
    content[content.index(images[7].tobytes()) + 10] ^= 0x01
    path.write_bytes(content)
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        read()


def png(width: int, height: int) -> bytes:
    """Which declares that size, with all of its black rows."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes((3 * width + 1) * 8), 9)
    parts = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


@pytest.mark.usefixtures("bounded")
def test_images_that_declare_too_much(tmp_path: Path):
    raw = np.frombuffer(png(30_000, 30_000), np.uint8)
    path = act(tmp_path / "take")
    with h5py.File(path, "a") as file:
        del file["observations/images/top"]
        file["observations/images/top"] = np.tile(raw, (COUNT, 1))
    assert "30000 x 30000 pixels" in refused(path)
    folder = lerobot_set(tmp_path / "set", films=False)
    with_pictures(folder, [raw.tobytes()] * COUNT)
    assert "30000 x 30000 pixels" in refused(folder)


@pytest.mark.usefixtures("bounded")
def test_a_table_that_repeats_one_large_value(tmp_path: Path):
    """Stored once, in the dictionary of the column: 1 MB of zeros, as often as there are rows."""
    folder = lerobot_set(tmp_path / "set", films=False, rows=4096)
    file = next(folder.glob("data/*/*"))
    table = parquet.read_table(file)
    one = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(4096, np.int32)), pa.array([bytes(1 << 20)])
    )
    column = pa.StructArray.from_arrays([one], ["bytes"])
    place = table.column_names.index("observation.images.top")
    parquet.write_table(table.set_column(place, "observation.images.top", column), file)
    assert next(folder.glob("data/*/*")).stat().st_size < 1_000_000
    assert "cannot be decoded" in refused(folder)


@pytest.mark.usefixtures("bounded")
def test_a_table_of_equal_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bounds, "MAX_RECORD_BYTES", SMALL_BOUND)
    folder = lerobot_set(tmp_path / "set")
    file = next(folder.glob("data/*/*"))
    whole = parquet.read_table(file)
    more = pa.DictionaryArray.from_arrays(pa.array(np.zeros(3_000_000, np.int32)), pa.array([0.5]))
    parquet.write_table(
        pa.table({"episode_index": more.cast(pa.float64()), "observation.state": more}), file
    )
    assert file.stat().st_size < 1_000_000 and whole.num_rows
    assert "unpacks to more than" in refused(folder)


@pytest.mark.usefixtures("bounded")
def test_more_images_than_the_file_can_hold(tmp_path: Path):
    """1 x 1 pixels of which the model's would be 12 kB each: more than any file may unpack to."""
    rows = 30_000
    path = tmp_path / "take.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", member("images", (rows, 1, 1, 3)) + bytes(3 * rows))
        file.writestr("joints.npy", member("joints", (rows, 2)) + bytes(2 * rows))
    spec = make.spec(width=64, height=64)
    with pytest.raises(BagError, match="the model's images of it unpacks to more than"):
        load_dataset([path], spec)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("unpack", [unpack_lz4, unpack_bz2])
def test_chunks_of_other_methods(unpack: Any, monkeypatch: pytest.MonkeyPatch):
    import bz2

    import lz4.frame

    compress = lz4.frame.compress if unpack is unpack_lz4 else bz2.compress
    assert unpack(compress(b"plain")) == b"plain"
    packed = compress(bytes(SMALL_BOUND + 1))
    if unpack is unpack_lz4:  # which may declare a size: as much as nobody has, and no end
        packer = lz4.frame.LZ4FrameCompressor()
        packed = packer.begin(1 << 40) + packer.compress(bytes(SMALL_BOUND + 1))
    monkeypatch.setattr(bounds, "MAX_RECORD_BYTES", SMALL_BOUND - (1 << 20))
    with pytest.raises(BagError, match="unpacks to more than"):
        unpack(packed)
    with pytest.raises(ValueError, match="cut off"):
        unpack(compress(bytes(1000))[:-8])


def test_a_large_recording_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Static scenes compress well: a hundredfold is no reason to refuse."""
    monkeypatch.setattr(bounds, "MAX_RECORD_BYTES", SMALL_BOUND)
    images = np.zeros((250, 96, 128, 3), np.uint8)
    images[:, ::16] = np.arange(250, dtype=np.uint8)[:, None, None, None]
    states = np.stack([np.arange(250) / 100.0, np.zeros(250)], axis=1)
    depth = np.zeros((30, 300, 300), np.float32)  # more than may be in memory, and not looked at
    np.savez_compressed(tmp_path / "take.npz", images=images, joints=states, depth=depth)
    del depth
    with h5py.File(tmp_path / "take2.hdf5", "w") as file:
        file.create_dataset("observations/images/top", data=images, compression="gzip")
        file["observations/qpos"] = states + 1
    dataset = load_dataset([tmp_path], SPEC)
    assert len(dataset.episodes) == 2
    for episode in dataset.episodes:
        assert (np.diff(episode.images["front"][:, 0, 0, 0].astype(int)) >= 0).all()


# -- broken beside sound ones --------------------------------------------------------------------


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "meta/info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def with_pictures(folder: Path, pictures: list[bytes]) -> None:
    file = next(folder.glob("data/*/*"))
    table = parquet.read_table(file)
    column = pa.array([{"bytes": raw, "path": None} for raw in pictures])
    place = table.column_names.index("observation.images.top")
    parquet.write_table(table.set_column(place, "observation.images.top", column), file)


def without_column(folder: Path) -> None:
    file = next(folder.glob("meta/episodes/*/*"))
    parquet.write_table(parquet.read_table(file).drop_columns(["data/chunk_index"]), file)


BROKEN = {
    "no chunk_index": (without_column, "'data/chunk_index'"),
    "features is a list": (lambda path: edit(path, features=[]), "features: "),
    "a feature is a list": (lambda path: edit(path, features={"action": []}), "features.action"),
    "fps is 0": (lambda path: edit(path, fps=0), "fps: must be more than 0"),
    "fps is not finite": (lambda path: edit(path, fps=float("nan")), "fps"),
    "info is a list": (lambda path: (path / "meta/info.json").write_text("[]"), "info.json"),
    "info is deep": (
        lambda path: (path / "meta/info.json").write_text("[" * 100_000), "info.json"
    ),
    "info is long": (
        lambda path: (path / "meta/info.json").write_text(" " * (1 << 23)), "info.json"
    ),
    "another version": (lambda path: edit(path, codebase_version="v2.1"), "version v2.1"),
    "no video_path": (lambda path: edit(path, video_path=None), "video_path"),
    "no shape": (
        lambda path: edit(path, features={"action": {"dtype": "float32"}}), "features.action.shape"
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_set_takes_no_sound_one_down(damage: str, tmp_path: Path):
    work, says = BROKEN[damage]
    lerobot_set(tmp_path / "a")
    work(lerobot_set(tmp_path / "a_broken"))
    npz(tmp_path / "z")
    dataset = load_dataset([tmp_path], SPEC)
    assert [one.name for one in dataset.episodes] == ["a#0", "z"]
    assert [one.verdict for one in dataset.bags] == ["sound", "left out", "sound"]
    assert says in dataset.bags[1].problems[0].found and dataset.bags[1].problems[0].remedy
    cached = load_dataset([tmp_path], SPEC, cache=tmp_path / "cache")
    assert len(cached.episodes) == 2
    (tmp_path / "0.mcap").write_bytes(b"\x89MCAP0\r\n cut off")
    assert propose([tmp_path]).spec.joint_dim == 2, "from one that can be read"


def test_a_set_without_episodes(tmp_path: Path):
    path = lerobot_set(tmp_path / "set")
    edit(path, total_episodes=0)
    file = path / "meta/episodes/chunk-000/file-000.parquet"
    described = parquet.read_table(file)
    parquet.write_table(described.slice(0, 0), file)
    assert "has no episodes" in refused(path)
    # As a writer leaves it that was closed before the first one.
    with parquet.ParquetWriter(file, described.schema):
        pass
    assert "has no episodes" in refused(path)
    npz(tmp_path / "sound")
    dataset = load_dataset([path, tmp_path / "sound.npz"], SPEC)
    assert len(dataset.episodes) == 1 and "has no episodes" in dataset.problems[0].found


def test_a_table_without_row_groups(tmp_path: Path):
    with parquet.ParquetWriter(tmp_path / "file", pa.schema([("a", pa.int64())])):
        pass
    table = read_table(tmp_path / "file", ["a", "b"])
    assert table.column_names == ["a"] and table.num_rows == 0


def test_files_that_are_none(tmp_path: Path):
    path = act(tmp_path / "take")
    path.write_bytes(path.read_bytes()[:3000])
    assert "cannot be read" in refused(path)
    path = tmp_path / "take.npz"
    path.write_bytes(pickle.dumps(np.zeros(3)))
    assert "cannot be read" in refused(path)
    np.savez(path, images=np.zeros((3, 4, 4, 3), np.uint8), joints=np.array([object()]))
    assert "a pickle" in refused(path)


@pytest.mark.parametrize("keys", [("time", np.arange(COUNT - 1)), ("stamps_ns", [5] * COUNT),
                                  ("time", np.full(COUNT, np.nan))])  # fmt: skip
def test_time_that_is_none(keys: tuple[str, Any], tmp_path: Path):
    images = np.stack([make.colour(row) for row in range(COUNT)])
    states = np.zeros((COUNT, 2))
    np.savez(tmp_path / "take.npz", images=images, joints=states, **{keys[0]: np.array(keys[1])})
    with pytest.raises(BagError, match="time"):
        load_dataset([tmp_path / "take.npz"], SPEC)


def test_images_that_are_padded_to_the_longest(tmp_path: Path):
    files = [cv2.imencode(".jpg", make.colour(row))[1].reshape(-1) for row in range(COUNT)]
    path = act(tmp_path / "take")
    with h5py.File(path, "a") as file:
        del file["observations/images/top"]
        longest = max(map(len, files)) + 100
        file["observations/images/top"] = np.stack(
            [np.pad(raw, (0, longest - len(raw))) for raw in files]
        )
    assert load_dataset([path], SPEC).episodes
