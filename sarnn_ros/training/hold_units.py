# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""First weights with which some LSTM units are a sample-and-hold of what the first tick shows.

Where an object lies is seen best at the start: later the arm hides it, or carries it along. A
fresh LSTM unit forgets half of what it holds per tick, and hardly learns to keep a number for a
whole episode. So some units start out as hold units: each takes one input at the first tick, and
keeps it. One more unit, the clock, rises at the first tick and stays up; it closes the input gates
of the hold units, whose forget gates are open. These are weights like any others: training goes on
from there.
"""

from __future__ import annotations

import torch
from torch import nn

#: So many units, if there are as many telling inputs; at most half of the LSTM's. With forget
#: gates open, and telling directions large: 40 of 50 in pick-and-place for 30.
MAX_HOLD_UNITS = 12
#: Bias of every forget gate before training, but for EIPL's recipe, whose is 0.
FORGET_BIAS = 2.0
#: Bias of a gate that is open: logistic(4) = 0.98.
OPEN_BIAS = 4.0
#: Bias of a forget gate that stays open for an episode: logistic(8) = 0.9997.
KEEPING_BIAS = 8.0
#: Bias of the clock's cell input: the clock is above 0.7 from the first tick on.
CLOCK_BIAS = 3.0
#: Weight from the clock to a hold unit's input gate, which is shut from the second tick on.
CLOCK_TO_INPUT_GATE = -14.0


@torch.no_grad()
def make_hold_units(rec: nn.LSTMCell, count: int) -> None:
    """Let the first `count + 1` units be the clock and hold units of the first `count` inputs.

    :param rec: its state at the start of an episode is 0. Inputs should be at most about 1.
    """
    if count == 0:
        return
    size = rec.hidden_size
    for weight in (rec.weight_ih, rec.weight_hh):
        weight.view(4, size, -1)[:, : count + 1] = 0
    clock, holding = 0, range(1, count + 1)
    into, forget, cell, out = rec.bias_ih.view(4, size)  # torch's order of the gates
    into[: count + 1] = OPEN_BIAS
    forget[clock], cell[clock], out[clock] = OPEN_BIAS, CLOCK_BIAS, OPEN_BIAS
    for number, unit in enumerate(holding):
        forget[unit], cell[unit], out[unit] = KEEPING_BIAS, 0, OPEN_BIAS / 2
        rec.weight_hh[unit, clock] = CLOCK_TO_INPUT_GATE  # rows of the input gates come first
        rec.weight_ih[2 * size + unit, number] = 1
