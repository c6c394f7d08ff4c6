# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of a training: values and their validation. What they do is in `trainer.py`.

A recipe is a set of defaults: `recipe: eipl` is the training of EIPL's tutorial, `recipe: fast`
takes minutes on a CPU (docs/explanation/training.md). The user's values override the recipe's.
What is decided by the number of episodes is in `recipe.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from sarnn_ros.errors import ConfigError, join_problems
from sarnn_ros.training.schedule import Curve
from sarnn_ros.validation import describe, did_you_mean
from sarnn_ros.yaml_file import read_yaml

__all__ = ["RECIPES", "TrainConfig", "load_config", "make_config"]

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class TrainConfig(BaseModel):
    """All settings of one training. The defaults here are EIPL's tutorial's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Literal["fast", "eipl"] = "eipl"
    seed: int = Field(default=0, ge=0, lt=2**64, description="of everything random")

    # The network.
    rec_dim: Count = Field(default=50, description="size of the LSTM's state")
    k_dim: Count = Field(default=5, le=300, description="attention points per camera")
    temperature: Positive | None = Field(default=1e-4, description="of the softmax; null: learnt")
    heatmap_size: Positive = Field(default=0.1, description="of the heat around each point")
    stride: Literal[1, 2] = Field(default=1, description="2: faster, not EIPL-compatible")

    # The loss.
    image_loss: Weight = Field(default=0.1, description="weight of predicted images")
    joint_loss: Weight = Field(default=1.0, description="weight of predicted joints")
    point_loss: Weight = Field(default=0.1, description="weight of attention points, in the end")
    curve: Curve = Field(default="s", description="how point_loss grows from 0")
    decay_end: int = Field(default=1000, ge=0, description="epoch at which point_loss is whole")

    # The optimiser.
    epochs: Count = Field(default=10000, description="times through all episodes")
    batch_size: Count = Field(default=5, description="episodes per update")
    learning_rate: Positive = Field(default=1e-3, description="Adam's, the first")
    learning_rate_end: Fraction = Field(
        default=1.0, description="the last one, as a share of the first; half a cosine"
    )
    clip_norm: Positive | None = Field(default=None, description="largest norm of a gradient")

    # Doing less per update (see `trainer.py`). None: everything, as EIPL does.
    image_frames: Count | None = Field(
        default=None, description="frames per update whose next image is predicted"
    )
    encoder_frames: Count | None = Field(
        default=None, description="frames per update whose points are computed anew"
    )
    inner_steps: int = Field(default=0, ge=0, description="recurrent updates after each full one")

    align_cameras: bool = Field(
        default=False,
        description="where a camera stood elsewhere in some episodes than in most, warp its "
        "images as the node does; false: tell it, and learn from both places",
    )

    attention: Literal["train", "search"] = Field(
        default="train",
        description="train: learn it with the rest; search: before training, choose filters whose "
        "points tell the episodes apart, and freeze them",
    )
    motion: bool | None = Field(
        default=False,
        description="beside the points, give the recurrent part numbers that tell the motion, if "
        "all points of first images together tell them exactly; with attention: search; null: "
        "not of 17 to 34 demonstrations to train on, or of fewer than 9; EIPL has no such input",
    )

    # Augmentation. Inputs only; targets stay clean.
    joint_noise: Weight = Field(default=0.1, description="deviation, as a share of the range")
    brightness: Fraction = Field(default=0.4, description="factor 1 ± this, per sequence")
    contrast: Fraction = Field(default=0.4, description="factor 1 ± this, per sequence")
    saturation: Fraction = Field(default=0.4, description="factor 1 ± this, per sequence")
    hue: float = Field(default=0.04, ge=0, le=0.5, description="turns at most, either way")
    erase: Fraction = Field(default=0.5, description="chance of a black rectangle, per sequence")

    mixup: Fraction = Field(
        default=0.0,
        description="chance that a sequence is a mixture of two similar episodes, tick by tick; "
        "with fewer than 35 training episodes, of any four, and 0.6 times as often; recurrent "
        "updates only",
    )
    pad_after: Fraction = Field(
        default=0.0,
        description="how long a sequence stands still after its end, as a share of the longest, "
        "so that the policy holds what it has reached; recurrent updates only",
    )

    # When to stop, and what to keep.
    validate_every: Count = Field(default=1, description="epochs between validations")
    patience: Count | None = Field(
        default=1000,
        description="stop after so many epochs without a better validation loss, with either keep",
    )
    keep: Literal["best", "last"] = Field(
        default="best", description="weights of the lowest validation loss, or the final ones"
    )

    # The machine.
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    threads: Count | None = Field(default=None, description="CPU threads at most; null: all cores")

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts True as 1: `epochs=true` would be one epoch."""
        if isinstance(value, bool) and info.field_name not in ("motion", "align_cameras"):
            raise ValueError("true and false are no numbers")
        return value

    @model_validator(mode="after")
    def _motion_by_searched_points(self) -> TrainConfig:
        if self.motion and self.attention != "search":
            raise ValueError(
                "motion: true needs attention: search: points that are still trained change what "
                "they tell with every update"
            )
        return self


#: Differences from the class's own defaults.
RECIPES: dict[str, dict[str, Any]] = {
    "eipl": {},
    "fast": {
        "attention": "search",
        "k_dim": 12,
        "motion": None,
        "epochs": 100,
        "batch_size": 64,
        "learning_rate": 4e-3,
        "clip_norm": 1.0,
        "learning_rate_end": 0.02,
        "decay_end": 60,
        "inner_steps": 120,
        "encoder_frames": 240,
        "image_frames": 32,
        "joint_noise": 0.05,
        "brightness": 0.3,
        "contrast": 0.3,
        "saturation": 0.1,
        "hue": 0.0,
        "erase": 0.0,
        "mixup": 0.5,
        "pad_after": 0.25,
        "validate_every": 10,
        "patience": None,
        "keep": "last",
    },
}
DEFAULT_RECIPE = "fast"


def make_config(values: Mapping[str, Any], *, where: object = "training config") -> TrainConfig:
    """A recipe's settings, overridden by `values`.

    :raises ConfigError: lists every unknown key and bad value at once.
    """
    recipe = values.get("recipe", DEFAULT_RECIPE)
    if not isinstance(recipe, str) or recipe not in RECIPES:  # a list is not hashable
        raise ConfigError(
            f"recipe {recipe!r} is unknown", where=where, remedy=f"one of {', '.join(RECIPES)}"
        )
    try:
        return TrainConfig.model_validate({**RECIPES[recipe], **values, "recipe": recipe})
    except ValidationError as error:
        raise ConfigError(
            join_problems(_describe(item) for item in error.errors()),
            where=where,
            remedy="every setting and its range: 'All settings' in the documentation of training",
        ) from error


def _describe(error: ErrorDetails) -> str:
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{name}: no such setting{did_you_mean(name, TrainConfig.model_fields)}"
    return f"{name}: {describe(error)}" if name else describe(error)


def load_config(
    path: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Read a YAML file, if any; `overrides` override it.

    :raises ConfigError: the file is missing or not a mapping, or a setting is wrong.
    """
    values: Any = {}
    if path is not None:
        values = read_yaml(path, ConfigError, "see config/train.yaml").values or {}
        if not isinstance(values, dict):
            raise ConfigError(
                f"a mapping is expected, found {type(values).__name__}",
                where=path,
                remedy="see config/train.yaml",
            )
    where = f"{path} and command line" if path and overrides else path or "command line"
    return make_config({**values, **(overrides or {})}, where=where)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`key=value` strings to settings; values are read as YAML.

    :raises ConfigError: a string without `=`, or a value that is no YAML.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"{value!r} is no value ({error})", where=setting) from error
        if not equals:
            raise ConfigError(
                f"{setting!r} sets nothing", where="--set", remedy="write --set KEY=VALUE"
            )
    return values
