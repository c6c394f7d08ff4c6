# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a policy grasps as often on every backend: the same trials in simulated time on each.

python benchmark/success.py POLICY [--trials 4] [--random 18]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from common import arguments, finish, machine

from sarnn_ros.policy.backends import BACKENDS
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.sim.trials import closed_loop


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("policy", type=Path, help="of the simulated arm, as the demo trains it")
    parser.add_argument("--trials", type=int, default=4, help="per taught or untaught position")
    parser.add_argument("--random", type=int, default=18, help="at positions anywhere between")
    options = parser.parse_args()
    success = {
        backend: closed_loop(
            partial(Policy.load, options.policy, backend),
            trials=options.trials,
            random=options.random,
        )
        for backend in BACKENDS
    }
    finish({"machine": machine(), "success": success}, options.json)


if __name__ == "__main__":
    main()
