# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The network. Importing this needs no torch, its modules do."""

#: The strength of an attention point that was not seen yet: its share of any mean is 0.
UNSEEN_STRENGTH = -1e30
