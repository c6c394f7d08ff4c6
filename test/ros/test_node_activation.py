# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What of the node needs no graph. The rest is tested over DDS, in test/ros."""

from __future__ import annotations

from types import SimpleNamespace

from sarnn_ros.control.faults import FaultBook
from sarnn_ros.ros.inference_node import InferenceNode


def test_a_tick_that_fails_is_told_at_once_and_ends_no_other_fault():
    book = FaultBook()
    book.update(1, {"late": "by 0.2 s"})
    told: list[str] = []
    node = SimpleNamespace(
        controller=SimpleNamespace(faults=book),
        now_ns=lambda: 2,
        _news=SimpleNamespace(trigger=lambda: told.append(book.active[0].code)),
        _log_once=lambda level, code, text: told.append(text),
    )
    InferenceNode._tick_failed(node, RuntimeError("no such thing"))
    assert told[0] == "internal", "the news, when the fault is there to be seen"
    assert "no such thing" in told[1] and "Traceback" not in told[1].splitlines()[0]
    assert [fault.code for fault in book.active] == ["internal", "late"]
    assert book.update(3, {"late": "by 0.2 s"}).appeared == ()
