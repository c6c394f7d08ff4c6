# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What reaches the policy of the node's parameters."""

from __future__ import annotations

from sarnn_ros.control.resolve import load_policy
from sarnn_ros.control.settings import build_parameters
from sarnn_ros.policy.runtime import Policy


def test_the_backend_gets_its_threads_and_its_device(monkeypatch, tmp_path):
    monkeypatch.setattr(Policy, "load", lambda path, **options: (path, options))
    options = {"backend": "torch", "threads": 2, "device": "cuda"}
    parameters = build_parameters({"policy": str(tmp_path), **options})
    assert load_policy(parameters) == (tmp_path, options | {"compiled": False})
    compiled = build_parameters({"policy": "/p", "backend": "torch", "compile": True})
    assert load_policy(compiled)[1]["compiled"]
    assert load_policy(build_parameters({"policy": "/p"}))[1]["device"] == "auto"
