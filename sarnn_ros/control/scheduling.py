# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which cores a thread may use and how urgent it is, as the operating system offers it. No ROS."""

from __future__ import annotations

import os
from collections.abc import Sequence


def schedule_this_thread(cpus: Sequence[int], priority: int) -> list[str]:
    """Ask for cores and a real-time priority for the calling thread (Linux).

    :param cpus: numbers of cores; empty: as it is.
    :param priority: of SCHED_FIFO, 1 to 99; 0: as it is.
    :returns: what was refused, each with a remedy. The thread then goes on as it was.
    """
    refused = []
    if not hasattr(os, "sched_setaffinity"):
        return ["cpu_affinity and realtime_priority need Linux"] if cpus or priority else []
    if cpus:
        # Zero is the calling thread, not its process.
        try:
            os.sched_setaffinity(0, cpus)
        except (OSError, ValueError, OverflowError) as error:
            there = ", ".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0)))
            refused.append(
                f"cpu_affinity {list(cpus)} is refused ({error}): this process may use {there}"
            )
    if priority:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        except OSError as error:
            refused.append(
                f"realtime_priority {priority} is refused ({error}): allow it with a line "
                f"'<user> - rtprio {priority}' in /etc/security/limits.conf and a new login, or "
                "in a container with --ulimit rtprio and --cap-add SYS_NICE"
            )
    return refused
