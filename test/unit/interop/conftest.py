# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The fixtures are shared with other folders, so they live in test/support."""

from training_fixtures import _one_thread, make_task, reference_sarnn  # noqa: F401
