# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the documents say about data is what the code does."""

from __future__ import annotations

from pathlib import Path

import yaml

from sarnn_ros.spec import CameraSpec, CommandSource, JointSource, Spec, dump_spec, load_spec

ROOT = Path(__file__).resolve().parents[3]


def test_the_example_is_valid_and_names_every_key():
    file = ROOT / "config" / "spec_example.yaml"
    spec = load_spec(file)
    text = file.read_text(encoding="utf-8")
    for model in (Spec, CameraSpec, JointSource, CommandSource):
        for key in set(model.model_fields) - {"names"}:
            assert f"{key}:" in text, f"{key} of {model.__name__}"
    # The values shown for optional keys of the spec itself are the defaults.
    shown = yaml.safe_load(text)
    for key in ("rate", "clock", "target", "image_range"):
        default = Spec.model_fields[key].default
        assert shown[key] == (list(default) if isinstance(default, tuple) else default)
    assert len(spec.joint_labels) == 12


def test_dump_and_load(tmp_path):
    spec = load_spec(ROOT / "config" / "spec_example.yaml")
    (tmp_path / "spec.yaml").write_text(dump_spec(spec), encoding="utf-8")
    assert load_spec(tmp_path / "spec.yaml") == spec
