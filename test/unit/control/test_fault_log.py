# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the log says about faults that come and go faster than it repeats itself."""

from __future__ import annotations

from sarnn_ros.control.faults import ActiveFaults
from sarnn_ros.control.log import ControlLog, of_faults

INTERVAL = 5.0


class Log:
    """A log that says the like once in five seconds, as the node's, and the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[tuple[float, str, str]] = []
        self.faults = ActiveFaults()
        self._times: dict[str, float] = {}
        self._log = ControlLog(self._say)

    def _say(self, level: str, code: str, text: str) -> bool:
        if self.now - self._times.get(code, -INTERVAL) < INTERVAL:
            return False
        self._times[code] = self.now
        self.lines.append((self.now, level, text))
        return True

    def see(self, soft: dict[str, str], hard: dict[str, str] | None = None) -> None:
        self.faults.update(round(self.now * 1e9), soft, hard or {})
        self._log.see(of_faults("holding", self.faults.active))

    def tick(self, until: float, *codes: str, hard: bool = False) -> None:
        """Ten ticks a second, the faults found at each."""
        found = {code: f"it is {code}" for code in codes}
        while self.now < until - 1e-6:
            self.see(*(({}, found) if hard else (found, {})))
            self.now = round(self.now + 0.1, 3)


def test_the_last_word_is_true():
    log = Log()
    log.tick(1.0, "late")
    log.tick(2.0)
    log.tick(20.0, "late")
    said = [(0.0, "warning", "holding: it is late"), (1.0, "info", "resolved: it is late")]
    assert log.lines == [*said, (5.0, "warning", "holding: it is late")]
    log.tick(21.0)
    assert log.lines[-1] == (20.0, "info", "resolved: it is late")


def test_an_end_that_comes_too_soon_is_said_later():
    log = Log()
    log.tick(4.0, "late")
    log.tick(4.5)
    log.tick(5.5, "late")
    log.tick(20.0)
    assert [line[::2] for line in log.lines] == [
        (0.0, "holding: it is late"),
        (4.0, "resolved: it is late"),
        (5.0, "holding: it is late"),
        (9.0, "resolved: it is late"),
    ]
    log = Log()
    for now in range(3):  # once more in between, and never said
        log.tick(now + 0.5, "late")
        log.tick(now + 1.0)
    log.tick(20.0)
    assert [at for at, _, _ in log.lines] == [0.0, 0.5]


def test_a_latched_fault_is_said_again_when_it_is_latched_again():
    log = Log()
    log.tick(6.0, "jump", hard=True)
    assert log.lines == [(0.0, "error", "holding: call ~/reset, then ~/start: it is jump")]
    log.faults.reset()
    log.tick(7.0, "jump", hard=True)
    log.faults.reset()
    log.tick(20.0)
    assert [line[0] for line in log.lines] == [0.0, 6.0], "the reset says itself that it is over"


def test_soft_and_hard_of_one_code_are_two():
    log = Log()
    log.see({"guard": "refused"})
    log.see({"guard": "refused"}, {"guard": "refused (5 ticks in a row)"})
    assert [level for _, level, _ in log.lines] == ["warning", "error"]


def test_the_text_of_a_fault_is_bounded():
    log = Log()
    log.see({"late": "x" * 3_000_000})
    ((_, _, text),) = log.lines
    assert len(text) < 1100
