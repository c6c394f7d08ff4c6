# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The README.md of a policy directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sarnn_ros.policy.card import CARD, TITLE, card
from sarnn_ros.policy.directory import load_config
from sarnn_ros.spec import Crop
from sarnn_ros.training.recipe import RECIPE


def test_the_card_tells_what_the_policy_sees_and_moves(policy_dir: Path) -> None:
    text = (policy_dir / CARD).read_text()
    assert text.startswith(TITLE)
    assert "| camera0 | `image_raw` | 640x480 | none | 32x24 |" in text
    assert "| gripper | 0 | 0.045 | 0.01 |" in text
    assert text.count("rad or m") == 1
    assert "- 3 epochs" in text


def test_the_card_tells_how_the_policy_was_trained(policy_dir: Path) -> None:
    config = load_config(policy_dir)
    camera = config.spec.cameras[0].model_copy(update={"crop": Crop(x=1, y=2, width=3, height=4)})
    training = {
        "config": {"recipe": "fast"}, "episodes": {"training": 45, "validation": 5}, "epochs": 100,
        "seconds": 192.5, "cpu_seconds": 157.8,
        "explained": {"points": 0.874, "permuted": -1.5, "free_run": None},
    }  # fmt: skip
    text = card(
        config.model_copy(
            update={
                "training": training,
                "spec": config.spec.model_copy(update={"cameras": (camera,)}),
                "files": {"curves.png": ""},
            }
        )
    )
    for told in ("| 1, 2, 3, 4 |", "- 45 episodes, and 5 kept", "- recipe `fast`", "of CPU 158 s",
                 "first images | 0.87 |", "chance | -1.50 |", "(curves.png)"):  # fmt: skip
        assert told in text
    assert "own predictions" not in text  # not known
    training["explained"] = {"free_run": 0.9, "episodes": "training"}
    text = card(config.model_copy(update={"training": training}))
    assert f"below {RECIPE.min_explained:g} the policy may not see" in text  # as training warns
    assert "own predictions (on training episodes: none were held out) | 0.90 |" in text


def test_a_card_is_made_anew_and_somebody_s_own_is_left_alone(
    make_parts: Callable[..., Any], tmp_path: Path
) -> None:
    parts = make_parts()
    out = parts.export(tmp_path / "policy")
    (out / CARD).write_text(f"{TITLE}\n\nof an earlier policy")
    parts.export(out)
    assert "- 3 epochs" in (out / CARD).read_text()
    (out / CARD).write_text("Our notes\n")
    parts.export(out)
    assert (out / CARD).read_text() == "Our notes\n"
    load_config(out)


@pytest.mark.parametrize("notes", [[], ["colours are BGR"]])
def test_the_card_of_an_imported_policy(policy_dir: Path, notes: list[str]) -> None:
    config = load_config(policy_dir)
    training = {"imported_from": "EIPL", "weights": "SARNN.pth", "notes": notes}
    text = card(config.model_copy(update={"training": training}))
    assert "imported from EIPL." in text
    assert all(f"- {note}" in text for note in notes)
