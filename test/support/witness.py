# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A process beside the tests over DDS that notices when the machine had no core for it.

It does what a node of the tests does: it sleeps, and every now and then computes for some
milliseconds. What it waits for beyond that, the nodes of the tests may have waited for, too. There
is one for each core: a virtual one may stand still for a second while the others go on. Only the
standard library: it is started in milliseconds.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import subprocess
import sys
import time
from typing import NamedTuple

#: Of a round: sleep, s, and in one of WORK_EVERY rounds computing, s of CPU. The other rounds cost
#: next to nothing, and see it when nobody gets a core. Who only sleeps, or computes for less than
#: a slice of the scheduler, gets a core at once where a node that computes a tick waits for its
#: turn: beside six busy processes on two cores 2 ms waited for 75 ms at most, 5 ms for 125 ms.
#: Each takes 3.1 % of a core (utime + stime of /proc/PID/stat over 20 s).
SLEEP_S, WORK_S, WORK_EVERY = 0.02, 0.005, 8
#: Longer waits are kept. Joint states older than this are no observation (`max_age`), and the
#: nodes of the tests hold: what a test waits for may then never come.
MAX_WAIT_S = 0.1


class Gap(NamedTuple):
    """A round that took longer than it should. Monotonic clock, s."""

    start: float
    end: float
    waited: float  # of that time, for a core


class Witness:
    """The processes, from their parent's side."""

    def __init__(self) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(core)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            )
            for core in sorted(os.sched_getaffinity(0))
        ]  # fmt: skip

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def gaps(self, since: float) -> list[Gap]:
        """Those that had not ended at `since`, up to now: the one that lasts is waited for."""
        gaps: list[Gap] = []
        for process in self._processes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            gaps += [Gap(*values) for values in json.loads(process.stdout.readline())]
        return sorted(gap for gap in gaps if gap.end > since)

    def close(self) -> None:
        for process in self._processes:
            process.communicate()  # closes its input, and so it ends


def watch(core: int) -> None:
    """Keep gaps, and write all of them for each line that comes, until the input is closed."""
    os.sched_setaffinity(0, {core})
    gaps: list[Gap] = []
    end = time.monotonic()
    for number in itertools.count():
        start = end  # nothing is between two rounds
        asked, _, _ = select.select([sys.stdin], [], [], SLEEP_S)
        slept = min(time.monotonic() - start, SLEEP_S)  # less if asked
        work = 0.0 if number % WORK_EVERY else WORK_S
        computed = time.thread_time()
        while time.thread_time() < computed + work:
            pass
        end = time.monotonic()
        waited = end - start - slept - work
        if waited > MAX_WAIT_S:
            gaps.append(Gap(start, end, waited))
        if asked:
            if not sys.stdin.readline():
                return
            print(json.dumps(gaps), flush=True)


if __name__ == "__main__":
    watch(int(sys.argv[1]))
