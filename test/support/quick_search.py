# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A search for attention with a sixth of the filters, and of patches; for tests that are about
something else than what it finds."""

from __future__ import annotations

import pytest


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the whole one, for the rest of the test."""
    search = "sarnn_ros.training.attention_search"
    monkeypatch.setattr(f"{search}.EXEMPLARS", 16)
    monkeypatch.setattr(f"{search}.DRAWN_PATCHES", 500)
    monkeypatch.setattr(f"{search}.TOLD_PATCHES", 96)
    monkeypatch.setattr(f"{search}.BACKGROUND_PATCHES", 4000)
