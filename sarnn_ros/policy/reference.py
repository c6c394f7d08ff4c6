# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What each camera showed when the demonstrations began, kept with the policy, so that a camera
that was moved since can be told and corrected for. NumPy and OpenCV only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np

from sarnn_ros.errors import DecodeError, PolicyError
from sarnn_ros.policy.directory import CameraReference, PolicyConfig, read_file
from sarnn_ros.streams.decode import check_image
from sarnn_ros.streams.light import (
    Factors,
    compare_colours,
    measure_light,
    measure_lights,
    measure_offset,
    relight,
    tells_light,
)
from sarnn_ros.streams.registration import (
    MAX_UNCERTAINTY,
    Image,
    Matrix,
    Reference,
    Registration,
    make_reference,
    register,
    shrunk_size,
)

if TYPE_CHECKING:
    from sarnn_ros.data.dataset import Dataset, Episode
    from sarnn_ros.data.displacements import Displacement
    from sarnn_ros.spec import CameraSpec

#: Demonstrations that a reference is made of, at most: each takes some 2 MB meanwhile.
MAX_DEMONSTRATIONS = 100
#: Demonstrations that are registered, at most: each takes up to 0.3 s.
MAX_REGISTERED = 16
#: The picture tells the camera's place if such a share of the demonstrations find it again, to
#: such a share of the width; and if they look alike in such a share of it.
MIN_FOUND_SHARE, MAX_OWN_DISPLACEMENT, MIN_MASK_SHARE = 0.9, 0.02, 0.2

#: So few demonstrations with the camera elsewhere are a mishap: if all together tell no place, the
#: others do. Of more than these the policy knows both places.
MAX_MISHAPS = 0.25
#: The picture must not look the same from elsewhere; see `Reference.repeats`. With two other
#: things on a perforated plate it is 0.93 to 0.95, without any 0.997 to 0.999.
MAX_REPEATS = 0.97
#: A camera counts as in its place if no corner of its image is off by more than this share of the
#: width. It is not corrected then: the registration itself is not much more exact.
MAX_DISPLACEMENT_IN_PLACE = 0.005
#: The scene is recognised if the images correlate by this share of what the demonstrations' do,
#: and where things are is no less certain than this share of the width.
RECOGNISED_SHARE, RECOGNISED_UNCERTAINTY = 0.6, 0.005
#: A camera is not corrected for if more than this share of where the demonstrations differ is out
#: of its view. By a move of a tenth of the width 0 of the views of our tasks from above and in
#: front, 0.1 of one from the side that was turned up.
MAX_OUT_OF_VIEW = 0.1

#: A picture that is less than so many times as bright as one of the demonstrations, or as dark,
#: stays as it is: training varies brightness by 0.6 to 1.4. Of one that is darker by more than the
#: latter, noise would be left.
MIN_LIGHT, MAX_LIGHT = 1.25, 6.0
#: The demonstrations' lights that are within this factor of each other are kept once, at most so
#: many.
ALIKE_LIGHT, MAX_LIGHTS = 1.1, 32
#: Distances that are off by more than so many of 255 levels are those of a camera that was moved
#: along its axis. Noise of 3 mm in 150 is off by 1 to 3.
MAX_OFFSET = 8.0
#: Why no run begins with such colours, see `compare_colours`.
OTHER_COLOURS = {
    "swapped": "red and blue are swapped: does its driver say the right encoding?",
    "grey": "it is grey, and was not while demonstrating: another mode, or an infrared light?",
}


#: Where a camera stands: "elsewhere" can be undone, and "cut off" does not show where objects may
#: lie.
Place = Literal[
    "not recognised", "not told exactly", "in place", "elsewhere", "too far off", "cut off"
]


class Lighting(NamedTuple):
    """In which light a camera shows its picture, compared with the demonstrations.

    :ivar text: for a person, a part of a sentence; empty if there is nothing to say.
    :ivar undo: what is to be undone; None: nothing.
    :ivar refused: the policy must not see such a picture.
    """

    text: str = ""
    undo: Factors | None = None
    refused: bool = False


def judge_light(
    image: Image, reference: Reference, about: CameraReference, matrix: Matrix, camera: CameraSpec
) -> Lighting:
    """
    :param image: uint8 (h, w, 3) RGB, by `registration.shrink`, of a scene that is recognised.
    :param matrix: where it lies, `Registration.matrix`.
    """
    if camera.value_range is not None:  # distances: another light does not multiply them
        black, white = camera.value_range
        off = measure_offset(image, reference, matrix)
        if abs(off) <= MAX_OFFSET:
            return Lighting()
        text = (
            f"but its values are off by {off / 255 * (white - black):.3g} (of {black:g} to "
            f"{white:g}): move it back along its axis, or set its exposure as it was"
        )
        return Lighting(text, refused=True)
    colours = compare_colours(image, reference, matrix)
    if colours in OTHER_COLOURS:
        return Lighting(f"but {OTHER_COLOURS[colours]}", refused=True)
    factors = measure_light(image, reference, matrix)
    if factors is None:
        if not tells_light(reference):
            return Lighting()
        text = (
            "but its picture is too dark or too bright to tell its light: set its exposure, or "
            "the light, as they were"
        )
        return Lighting(text, refused=True)
    # The policy knows each light that was demonstrated as it is.
    known = factors / np.array(about.lights)
    factors = known[np.abs(np.log(known)).max(1).argmin()]
    if 1 / MIN_LIGHT <= factors.min() <= factors.max() <= MIN_LIGHT:
        return Lighting()
    if colours == "unlike":
        return Lighting(
            "something large in it has another colour, so that its light is not told, and stays "
            "as it is"
        )
    text = f"its picture is {as_bright(factors):.2g} times as bright as while demonstrating"
    if 1 / MAX_LIGHT <= factors.min() <= factors.max() <= MAX_LIGHT:
        return Lighting(f"{text}, which is undone, too", factors)
    return Lighting(f"but {text}: set its exposure, or the light, as they were", refused=True)


def as_bright(factors: Factors) -> float:
    """How many times as bright as while demonstrating, in the channel that is furthest off."""
    return float(1 / factors[np.argmax(np.abs(np.log(factors)))])


def judge_place(
    found: Registration | None, reference: Reference, about: CameraReference, most: float
) -> Place:
    """
    :param found: by `registration.register`.
    :param most: what a policy may be spared, as a share of the width at a corner.
    """
    if found is None or found.correlation < RECOGNISED_SHARE * about.correlation:
        return "not recognised"
    if found.uncertainty > RECOGNISED_UNCERTAINTY:
        return "not told exactly"
    # Of an arm that stands elsewhere, or things that lie about, the map is less exact.
    exact = min(found.correlation / about.correlation, 1.0) if about.correlation > 0.0 else 1.0
    if found.displacement * exact <= max(MAX_DISPLACEMENT_IN_PLACE, about.displacement):
        return "in place"
    if not found.overall <= most:  # also NaN
        return "too far off"
    return "elsewhere" if reference.out_of_view(found.matrix) <= MAX_OUT_OF_VIEW else "cut off"


def file_name(camera: str) -> str:
    """Of the reference in the policy directory: PNG, its mask is the alpha channel."""
    return f"reference_{camera}.png"


def references_from_dataset(
    dataset: Dataset, warn: Callable[[str], None] = lambda text: None
) -> dict[str, tuple[Reference, CameraReference]]:
    """Per camera that does not move with the robot, its reference and how exactly it can be
    registered.

    :param warn: called with a text for each camera whose place the pictures do not tell; it has no
        entry then.
    """
    found = {}
    for camera in dataset.spec.cameras:
        if dataset.moves(camera):
            continue  # it stands elsewhere wherever the arm does
        moved = [one for one in dataset.displacements if one.camera == camera.name]
        # Warped, they still differ by parallax: the strongest edges would be masked. What is not
        # undone the policy knows as it is.
        usual = _without(dataset.episodes, [one for one in moved if one.undone])
        made = _reference(camera, usual)
        settled = _without(usual, moved)
        if isinstance(made, str) and len(usual) * (1 - MAX_MISHAPS) <= len(settled) < len(usual):
            made = _reference(camera, settled)
        if isinstance(made, str):
            warn(
                f"camera '{camera.name}' has no reference: {made}. The robot will not notice if "
                "it is moved"
            )
        else:
            found[camera.name] = made
    return found


def _without(
    episodes: Sequence[Episode], displacements: Sequence[Displacement]
) -> Sequence[Episode]:
    """Those of the episodes in which a camera was not moved."""
    elsewhere = {name for one in displacements for name in one.episodes}
    return [episode for episode in episodes if episode.name not in elsewhere]


def _reference(
    camera: CameraSpec, episodes: Sequence[Episode]
) -> tuple[Reference, CameraReference] | str:
    sizes = {episode.source_sizes[camera.name] for episode in episodes}
    # The membership is known without reading, and a copy does not keep the other previews.
    shown = [episode for episode in episodes if camera.name in episode.previews]
    first = [
        np.array(shown[row].previews[camera.name][0])
        for row in _spread(len(shown), MAX_DEMONSTRATIONS)
    ]
    if len(sizes) != 1 or len({image.shape for image in first}) != 1:
        return "its images differ in size between demonstrations, or are not known"
    if len(first) < 2:
        return "one demonstration does not tell the scene from what moves in it"
    # A camera that sets its exposure by itself shows the same scene brighter or darker.
    lights = np.ones((len(first), 3)) if camera.value_range is not None else measure_lights(first)
    first = [relight(*one) for one in zip(first, lights, strict=True)]
    reference = make_reference(first, sizes.pop())
    if reference.mask.mean() < MIN_MASK_SHARE:
        return "its first images have too little in common"
    if reference.repeats > MAX_REPEATS:
        return (
            "its scene repeats itself, as a perforated plate does: something else that is fixed "
            "beside the objects would tell its place"
        )
    rows = _spread(len(first), MAX_REGISTERED)
    found = [one for row in rows if (one := register(first[row], reference)) is not None]
    good = [
        one
        for one in found
        if one.uncertainty <= MAX_UNCERTAINTY and one.displacement <= MAX_OWN_DISPLACEMENT
    ]
    if len(good) < MIN_FOUND_SHARE * len(rows):
        return (
            f"only {len(good)} of {len(rows)} demonstrations are found again on it: too little "
            "texture, or was it moved between them?"
        )
    return reference, CameraReference(
        displacement=max(one.displacement for one in good),
        correlation=float(np.median([one.correlation for one in good])),
        source=reference.source,
        lights=_unlike(lights),
    )


def _unlike(lights: Factors) -> tuple[tuple[float, float, float], ...]:
    """Of the lights (n, 3) those that differ from all before, see `ALIKE_LIGHT`."""
    kept: list[Factors] = []
    for one in lights:
        apart = [np.abs(np.log(one / other)).max() for other in kept]
        if min(apart, default=np.inf) > np.log(ALIKE_LIGHT) and len(kept) < MAX_LIGHTS:
            kept.append(one.round(3))
    return tuple((float(red), float(green), float(blue)) for red, green, blue in kept)


def _spread(count: int, most: int) -> list[int]:
    """At most so many of `count` rows, evenly, with the first and the last."""
    return [int(row) for row in np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))]


def encode(reference: Reference) -> bytes:
    """The content of its file."""
    alpha = np.where(reference.mask, 255, 0).astype(np.uint8)
    pixels = np.dstack([reference.image[..., ::-1], alpha])
    return cv2.imencode(".png", pixels)[1].tobytes()


def load_references(directory: Path, config: PolicyConfig) -> Mapping[str, Reference]:
    """The references of a policy by camera.

    :raises PolicyError: a file is missing, damaged, or no picture of the size that it should be.
    """
    found = {}
    for camera, about in config.references.items():
        name = file_name(camera)
        content = read_file(directory, config, name)
        wanted = shrunk_size(*about.source)
        pixels = None
        with suppress(DecodeError, cv2.error):
            # Before it takes memory.
            if check_image(SimpleNamespace(format="png", data=content)) == wanted:
                pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.shape != (wanted[1], wanted[0], 4):
            raise PolicyError(
                f"is no PNG of {wanted[0]} x {wanted[1]} pixels with four channels",
                where=directory / name,
                remedy="export the policy again",
            )
        image = np.ascontiguousarray(pixels[..., 2::-1], np.uint8)
        found[camera] = Reference(image, pixels[..., 3] > 0, about.source)
    return found
