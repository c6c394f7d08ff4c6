# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes, overrides, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sarnn_ros.errors import ConfigError
from sarnn_ros.training.augment import IMAGE_NOISE
from sarnn_ros.training.config import (
    RECIPES,
    TrainConfig,
    load_config,
    make_config,
    parse_settings,
)
from sarnn_ros.training.trainer import ADAM_EPS


def test_eipl_recipe_is_the_tutorials() -> None:
    config = make_config({"recipe": "eipl"})
    assert (config.image_loss, config.joint_loss, config.point_loss) == (0.1, 1.0, 0.1)
    assert (config.curve, config.decay_end) == ("s", 1000)
    assert (ADAM_EPS, config.learning_rate, config.batch_size) == (1e-7, 1e-3, 5)
    assert (config.rec_dim, config.k_dim) == (50, 5)
    assert (config.temperature, config.heatmap_size) == (1e-4, 0.1)
    # What `eipl/data/dataset.py` does to its inputs (commit 1b62ca5).
    assert (config.brightness, config.contrast, config.saturation) == (0.4, 0.4, 0.4)
    assert (config.hue, config.erase) == (0.04, 0.5)
    assert (IMAGE_NOISE, config.joint_noise) == (0.02, 0.1)
    # Nothing of the faster recipe: every frame, every step, constant learning rate.
    assert config.image_frames is config.encoder_frames is config.clip_norm is None
    assert (config.inner_steps, config.learning_rate_end) == (0, 1.0)


def test_default_is_fast_and_the_users_values_win(tmp_path: Path) -> None:
    assert load_config().recipe == "fast"
    file = tmp_path / "train.yaml"
    file.write_text("inner_steps: 3\nseed: 4\n")
    config = load_config(file, {"seed": 7})
    assert (config.inner_steps, config.seed) == (3, 7)
    assert config.image_frames == RECIPES["fast"]["image_frames"]


def test_empty_file_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("# nothing\n")
    assert load_config(tmp_path / "train.yaml") == load_config()


def test_a_setting_that_is_wrong_is_not_blamed_on_the_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("seed: 4\n")
    with pytest.raises(ConfigError, match=r"train\.yaml and command line: "):
        load_config(file, {"epochz": 3})


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        make_config({"epochz": 3, "learning_rate": -1, "curve": "cubic", "seed": "one"})
    for word in ("epochz", "learning_rate", "-1", "curve", "cubic", "seed", "one"):
        assert word in str(error.value)
    assert "did you mean 'epochs'?" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("temperature", 0),
        ("stride", 3),
        ("hue", 0.6),
        ("erase", 1.5),
        ("inner_steps", -1),
        ("seed", 2**64),
    ],
)
def test_values_out_of_range_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        make_config({key: value})


@pytest.mark.parametrize(
    ("recipe", "shown"),
    [("slow", "'slow'"), (["fast"], r"\['fast'\]"), ({"fast": 1}, "{'fast': 1}"), (None, "None")],
)
def test_unknown_recipe_is_refused(recipe: object, shown: str) -> None:
    with pytest.raises(ConfigError, match=rf"{shown} is unknown(.|\n)*one of eipl, fast"):
        make_config({"recipe": recipe})


@pytest.mark.parametrize("key", ["epochs", "seed", "learning_rate", "patience", "stride", "curve"])
def test_true_is_no_number(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}: (.|\n)*found True"):
        make_config({key: True})
    assert make_config({"motion": True}).motion


@pytest.mark.parametrize("text", ["- a\n- b\n", "{", "just words"])
def test_files_that_are_no_mapping_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"train\.yaml"):
        load_config(file)
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        load_config(tmp_path / "missing.yaml")


def test_settings_are_read_as_yaml() -> None:
    assert parse_settings(["epochs=3", "temperature=null", "curve=s", "learning_rate=1.0e-8"]) == {
        "epochs": 3,
        "temperature": None,
        "curve": "s",
        "learning_rate": 1e-8,
    }


@pytest.mark.parametrize("setting", ["epochs", "epochs={"])
def test_settings_that_set_nothing_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="epochs"):
        parse_settings([setting])


def test_the_resolved_settings_give_the_same_training_again() -> None:
    config = make_config({"epochs": 3, "temperature": None})
    assert make_config(config.model_dump(mode="json")) == config


def test_the_example_holds_the_defaults() -> None:
    example = load_config(Path(__file__).resolve().parents[3] / "config" / "train.yaml")
    assert example == load_config()


def test_every_setting_has_a_description() -> None:
    fields = TrainConfig.model_fields.items()
    assert [name for name, field in fields if name != "recipe" and not field.description] == []
