# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""First weights with which some LSTM units remember what the first tick showed.

Where an object lies is seen best at the start: later the arm hides it, or carries it along. To
keep a number for a whole episode is hard to learn: a unit forgets half of it per tick at first.
So some units start out as latches. One more unit, the clock, rises at the first tick and stays up;
it closes the input gates of the latches, whose forget gates keep what they hold. These are weights
like any others: training goes on from there.
"""

from __future__ import annotations

import torch
from torch import nn

#: Biases of open and of lasting gates: logistic(4) = 0.98, logistic(8) = 0.9997.
OPEN, LASTING = 4.0, 8.0
#: Of the clock's cell input: it is above 0.7 from the first tick on.
RISE = 3.0
#: From the clock to the input gates of the latches: they are shut from the second tick on.
SHUT = -14.0


@torch.no_grad()
def make_latches(rec: nn.LSTMCell, count: int) -> None:
    """Let the first `count + 1` units be the clock and latches of the first `count` inputs.

    :param rec: its state at the start of an episode is 0. Inputs should be at most about 1.
    """
    if count == 0:
        return
    size = rec.hidden_size
    for weight in (rec.weight_ih, rec.weight_hh):
        weight.view(4, size, -1)[:, : count + 1] = 0
    clock, latches = 0, range(1, count + 1)
    into, forget, cell, out = rec.bias_ih.view(4, size)  # torch's order of the gates
    into[: count + 1] = OPEN
    forget[clock], cell[clock], out[clock] = OPEN, RISE, OPEN
    for number, unit in enumerate(latches):
        forget[unit], cell[unit], out[unit] = LASTING, 0, OPEN / 2
        rec.weight_hh[unit, clock] = SHUT  # of the input gate
        rec.weight_ih[2 * size + unit, number] = 1
