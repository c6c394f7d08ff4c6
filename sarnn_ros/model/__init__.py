# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The network. Importing this needs no torch, its modules do."""

#: The reach of a point that may be anywhere, in shares of the image.
ANYWHERE = 1e9
#: Of the points, that may be gated at one tick.
MAX_GATED_SHARE = 0.5
