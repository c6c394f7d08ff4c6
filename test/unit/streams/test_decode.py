# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every encoding, both routes, and what must be refused."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

import bag_making as make
import cv2
import numpy as np
import pytest
from encodings_table import CASES, Case, expected_rgb, message_of

from sarnn_ros.errors import DecodeError
from sarnn_ros.streams import decode
from sarnn_ros.streams.decode import (
    check_image,
    decode_image,
    decode_joints,
    needs_range,
    stamp_ns,
)

RNG = np.random.default_rng(5)


def test_the_table_is_complete():
    assert {case.encoding for case in CASES} == set(decode.ENCODINGS)


@pytest.mark.parametrize("layout", ["tight", "padded", "big-endian"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.encoding)
def test_pixels_follow_an_independent_computation(case: Case, layout: str):
    message, values = message_of(case, layout, RNG)
    got = decode_image(message, value_range=case.value_range)
    want = expected_rgb(case, values)
    assert got.dtype == np.uint8 and got.flags["C_CONTIGUOUS"] and got.shape == want.shape
    inside = (slice(case.border, -case.border or None),) * 2
    difference = np.abs(got[inside].astype(int) - want[inside].astype(int))
    assert difference.max() <= case.tolerance
    assert check_image(message) == (want.shape[1], want.shape[0])


@pytest.mark.parametrize("wrong", ["pixels", "exception", "shape"])
def test_a_cv_bridge_that_differs_is_not_used(wrong: str, monkeypatch):
    def convert(message, desired):
        if wrong == "exception":
            raise RuntimeError("built against another NumPy")
        pixels = np.zeros((message.height, message.width, 3), np.uint8)
        return pixels[1:] if wrong == "shape" else pixels

    bridge = SimpleNamespace(imgmsg_to_cv2=convert)
    monkeypatch.setattr(decode, "_cv_bridge", lambda: bridge)
    decode._bridge.cache_clear()
    try:
        pixels = make.colour(3)
        assert np.array_equal(decode_image(make.image(1, pixels)), pixels)
    finally:
        decode._bridge.cache_clear()


def test_decodes_where_no_ros_message_can_be_imported():
    code = """
import sys
import time
for name in ("sensor_msgs", "rclpy", "cv_bridge"):
    sys.modules[name] = None
import numpy as np
from types import SimpleNamespace
from sarnn_ros.streams.decode import decode_image
message = SimpleNamespace(width=1, height=1, step=3, encoding="bgr8", is_bigendian=0,
                          data=bytes([1, 2, 3]))
assert decode_image(message).tolist() == [[[3, 2, 1]]]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_result_never_shares_memory_with_the_message():
    message = make.image(1, make.colour(0))
    message.data = message.data.copy()
    got = decode_image(message)
    message.data[:] = 0
    assert np.array_equal(got, make.colour(0))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"encoding": "nv21"}, "nv21"),
        ({"encoding": ""}, "''"),
        ({"encoding": "8UC3"}, "8UC3"),
        ({"width": 0}, "0 x 12"),
        ({"height": 0, "data": np.zeros(0, np.uint8)}, "16 x 0"),
        ({"step": 47}, "rows of 47"),
        ({"step": 0}, "rows of 0"),
        ({"step": 49}, "rows of 49"),
        ({"data": np.zeros(575, np.uint8)}, "575 bytes"),
        ({"data": np.zeros(577, np.uint8)}, "577 bytes"),
        ({"data": np.zeros(0, np.uint8)}, "0 bytes"),
        ({"width": 1 << 30, "height": 1 << 30}, "larger"),
    ],
)
def test_malformed_images_are_refused_at_arrival(fields: dict, says: str):
    message = make.image(1, make.colour(0), **fields)
    with pytest.raises(DecodeError, match=says):
        check_image(message)
    with pytest.raises(DecodeError, match=says):
        decode_image(message)


def test_depth_without_a_range_names_the_remedy():
    message = make.image(1, np.ones((4, 4), np.uint16), "16UC1")
    with pytest.raises(DecodeError, match="value_range"):
        decode_image(message)


def test_not_a_number_in_depth_is_black():
    depth = np.array([[np.nan, 0.0, np.inf, -np.inf]], np.float32)
    got = decode_image(make.image(1, depth, "32FC1"), value_range=(-1.0, 1.0))
    assert got[0, :, 0].tolist() == [0, 128, 255, 0]


def test_odd_width_of_yuv_is_refused():
    with pytest.raises(DecodeError, match="even width"):
        check_image(make.image(1, np.zeros((4, 5, 2), np.uint8), "uyvy"))


class TestCompressed:
    PIXELS = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), (9, 9), 0
    )

    def encode(self, extension: str, pixels: np.ndarray | None = None) -> bytes:
        bgr = cv2.cvtColor(self.PIXELS, cv2.COLOR_RGB2BGR) if pixels is None else pixels
        return cv2.imencode(extension, bgr)[1].tobytes()

    @pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
    def test_a_jpeg_of_what_has_more_than_8_bits_is_refused(self, encoding: str):
        """By the node at arrival, and when a bag is read."""
        data = self.encode(".jpg", np.zeros((48, 64), np.uint8))
        message = make.compressed(1, data, f"{encoding}; jpeg compressed ")
        for work in (check_image, decode_image):
            with pytest.raises(DecodeError, match="is not supported") as error:
                work(message)
            assert error.value.remedy == "record the raw depth image"

    def test_a_jpeg_of_grey_with_16_bits_is_grey(self):
        """image_transport scales it."""
        grey = np.full((48, 64), 90, np.uint8)
        message = make.compressed(1, self.encode(".jpg", grey), "mono16; jpeg compressed ")
        assert not needs_range(message)
        assert np.abs(decode_image(message).astype(int) - 90).max() <= 2

    @pytest.mark.parametrize("form", ["png", "rgb8; png compressed bgr8", ""])
    def test_png_is_exact(self, form: str):
        message = make.compressed(1, self.encode(".png"), form)
        assert check_image(message) == (64, 48)
        assert np.array_equal(decode_image(message), self.PIXELS)

    def test_jpeg_is_close_and_the_right_colour(self):
        message = make.compressed(1, self.encode(".jpg"), "bgr8; jpeg compressed bgr8")
        assert check_image(message) == (64, 48)
        assert np.abs(decode_image(message).astype(int) - self.PIXELS).max() < 32

    def test_a_file_that_says_it_holds_rgb(self):
        data = self.encode(".png", self.PIXELS)  # written unswapped, as old image_transports did
        message = make.compressed(1, data, "rgb8; png compressed rgb8")
        assert np.array_equal(decode_image(message), self.PIXELS)

    def test_grey_jpeg_and_png(self):
        for extension in (".png", ".jpg"):
            data = self.encode(extension, np.full((10, 12), 77, np.uint8))
            assert (decode_image(make.compressed(1, data)) == 77).all()

    def test_png_with_alpha(self):
        bgra = np.dstack([self.PIXELS[..., ::-1], np.zeros((48, 64), np.uint8)])
        assert np.array_equal(
            decode_image(make.compressed(1, self.encode(".png", bgra))), self.PIXELS
        )

    def test_16_bit_png_needs_a_range_if_it_is_depth(self):
        depth = (np.arange(120, dtype=np.uint16) * 100).reshape(10, 12)
        message = make.compressed(1, self.encode(".png", depth), "16UC1; png compressed ")
        with pytest.raises(DecodeError, match="value_range"):
            decode_image(message)
        got = decode_image(message, value_range=(0.0, 11900.0))
        want = np.rint(np.arange(120) * 100 * 255 / 11900)
        assert np.array_equal(got[..., 0].reshape(-1), want)

    def test_orientation_tags_do_not_turn_the_image(self):
        """What the camera's own tools would call upright is no business of a policy."""
        jpeg = self.encode(".jpg")
        tag = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06"
        tag += b"\x00\x00\x00\x00\x00\x00\x00"
        exif = b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag
        turned = make.compressed(1, jpeg[:2] + exif + jpeg[2:])
        assert np.array_equal(decode_image(turned), decode_image(make.compressed(1, jpeg)))

    @pytest.mark.parametrize("padding", [1, 255, 512, 70_000])
    def test_zeros_after_its_end(self, padding: int):
        jpeg = self.encode(".jpg")
        padded = decode_image(make.compressed(1, jpeg + bytes(padding)))
        assert np.array_equal(padded, decode_image(make.compressed(1, jpeg)))
        with pytest.raises(DecodeError, match="cut off"):
            decode_image(make.compressed(1, jpeg[:-20] + bytes(padding)))

    @pytest.mark.parametrize("extension", [".jpg", ".png"])
    @pytest.mark.parametrize("keep", [0.02, 0.3, 0.5, 0.9, 0.999])
    def test_cut_off(self, extension: str, keep: float):
        data = self.encode(extension)
        with pytest.raises(DecodeError):
            decode_image(make.compressed(1, data[: int(len(data) * keep)]))

    @pytest.mark.parametrize(
        ("data", "form", "says"),
        [
            (b"", "jpeg", "empty"),
            (b"GIF89a" + bytes(50), "gif", "neither"),
            (bytes(100), "jpeg", "neither"),
            (b"\xff\xd8\xff" + bytes(100), "jpeg", "frame header"),
            (b"\x89PNG\r\n\x1a\n", "png", "neither"),
            (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + b"\xff" * 20, "png", "x"),
            (b"\x89PNG", "16UC1; compressedDepth png", "compressedDepth"),
        ],
    )
    def test_garbage_is_refused_at_arrival(self, data: bytes, form: str, says: str):
        with pytest.raises(DecodeError, match=says):
            check_image(make.compressed(1, data, form))

    def test_a_header_that_claims_a_giant_image_costs_no_memory(self):
        data = bytearray(self.encode(".jpg"))
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
        with pytest.raises(DecodeError, match="65535 x 65535"):
            decode_image(make.compressed(1, bytes(data)))


class TestJoints:
    def test_by_name_whatever_the_order(self):
        message = make.joint_state(1, [1.0, 2.0, 3.0], ["b", "extra", "a"])
        assert decode_joints(message, ["a", "b"]).tolist() == [3.0, 1.0]

    def test_another_field(self):
        message = make.joint_state(1, [1.0, 2.0], ["a", "b"], velocity=[5.0, 6.0])
        assert decode_joints(message, ["b"], "velocity").tolist() == [6.0]

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_non_finite_voids_only_if_it_is_asked_for(self, value: float):
        message = make.joint_state(1, [1.0, value], ["a", "b"])
        assert decode_joints(message, ["a"]).tolist() == [1.0]
        with pytest.raises(DecodeError, match="b = "):
            decode_joints(message, ["a", "b"])

    @pytest.mark.parametrize(
        ("names", "values", "says"),
        [
            (["a"], [1.0], "'b' is missing; found a"),
            ([], [], "missing"),
            (["a", "b", "b"], [1.0, 2.0, 3.0], "twice"),
            (["a", "b"], [1.0], "1 values in 'position' for 2 joints"),
            (["a", "b"], [1.0, 2.0, 3.0], "3 values"),
            (["a", "b"], [], "0 values"),
        ],
    )
    def test_what_would_have_to_be_guessed_is_refused(self, names, values, says: str):
        with pytest.raises(DecodeError, match=says):
            decode_joints(make.joint_state(1, values, names), ["a", "b"])

    @pytest.mark.parametrize(
        ("names", "says"),
        [
            ([f"joint_{row}" for row in range(300_000)], "300000 joints in one message, at most"),
            (["b" * 3_000_000], "'a' is missing; found bbbb"),
        ],
    )
    def test_what_is_said_of_a_huge_message_is_short(self, names, says):
        message = make.joint_state(1, [0.0] * len(names), names)
        began = time.thread_time()
        with pytest.raises(DecodeError, match=says) as caught:
            decode_joints(message, ["a"])
        assert len(str(caught.value)) < 600 and time.thread_time() - began < 0.1

    def test_a_duplicate_that_is_not_asked_for_does_no_harm(self):
        message = make.joint_state(1, [1.0, 2.0, 3.0], ["a", "x", "x"])
        assert decode_joints(message, ["a"]).tolist() == [1.0]


class TestStamp:
    def test_exact(self):
        stamp = 1_700_000_000_123_456_789
        assert stamp_ns(make.joint_state(stamp, [])) == stamp

    @pytest.mark.parametrize(("seconds", "nanoseconds"), [(0, 0), (-1, 5), (1, 2_000_000_000)])
    def test_unset_or_impossible(self, seconds: int, nanoseconds: int):
        stamp = SimpleNamespace(sec=seconds, nanosec=nanoseconds)
        with pytest.raises(DecodeError, match="stamp"):
            stamp_ns(SimpleNamespace(header=SimpleNamespace(stamp=stamp)))

    def test_no_header(self):
        with pytest.raises(DecodeError, match="no header"):
            stamp_ns(SimpleNamespace(data=1.0))


def _fill_bytes() -> bytes:
    return b"\xff\xd8" + b"\xff" * 6_000_000


def _many_segments() -> bytes:
    return b"\xff\xd8" + b"\xff\xe1\x00\x02" * 1_500_000


def _small_file_huge_image() -> bytes:
    return cv2.imencode(".png", np.zeros((8192, 8192), np.uint8))[1].tobytes()


def _progressive(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated: each costs a decoding."""
    whole = cv2.imencode(
        ".jpg", np.zeros((480, 640, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    )[1].tobytes()
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * scans + whole[-2:]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_fill_bytes(), "without a frame header"),
        (_many_segments(), "without a frame header"),
        (_small_file_huge_image(), "8192 x 8192 pixels"),
        (_progressive(1000), r"progressive JPEG image of 10\d\d scans"),
        (_progressive(1) + bytes(20_000_000), "bytes for an image of 640 x 480"),
    ],
    ids=["fill", "segments", "bomb", "scans", "padding"],
)
@pytest.mark.parametrize("trained", [None, (640, 480)])
def test_an_image_that_would_block_is_refused_at_once(
    data: bytes, said: str, trained: tuple[int, int] | None
) -> None:
    message = make.compressed(1, data)
    spent = []
    for _ in range(5):
        started = time.thread_time()  # other processes may hold the core
        with pytest.raises(DecodeError, match=said):
            check_image(message, trained)
        spent.append(time.thread_time() - started)
    assert min(spent) < 5e-3


def test_a_larger_image_than_in_training_is_refused_before_it_is_decoded() -> None:
    message = make.compressed(
        1, cv2.imencode(".png", np.zeros((960, 1280), np.uint8))[1].tobytes()
    )
    assert check_image(message, (640, 480)) == (1280, 960)  # four times the pixels, just
    with pytest.raises(DecodeError, match="1280 x 960 pixels; in training it had 640 x 479"):
        check_image(message, (640, 479))


def test_a_usual_progressive_image_is_read() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for options in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]):
        data = cv2.imencode(".jpg", pixels, options)[1].tobytes()
        assert check_image(make.compressed(1, data)) == (64, 48)
        padded = b"\xff\xd8" + b"\xff" * 100 + data[2:]  # fill bytes are allowed
        assert check_image(make.compressed(1, padded)) == (64, 48)
