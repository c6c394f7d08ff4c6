# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""For those who call another node's services: does it know its clients yet?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import GetParameters

#: Pause before a server that has not answered is asked again, s.
RETRY_SECONDS = 0.25


def knows_clients(client: Any) -> Callable[[], bool]:
    """A condition: a node has discovered every client that was made up to this one.

    A server that does not know a client yet waits 100 ms for it, and then drops the answer
    ("client will not receive response"): on a busy machine that happens. Clients are discovered in
    the order in which they were made, so the answer to the last one tells of all. It may itself be
    dropped, so it is asked for again and again.

    :param client: the last one made, of the node's `GetParameters`.
    """
    asked: list[Any] = []
    begun = time.monotonic()

    def answered() -> bool:
        if time.monotonic() > begun + RETRY_SECONDS * len(asked):
            asked.append(client.call_async(GetParameters.Request()))
        return any(future.done() for future in asked)

    return answered
