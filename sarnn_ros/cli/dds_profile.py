# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn dds-profile`: where the Fast DDS profile for camera images is."""

from __future__ import annotations

import typer


def dds_profile() -> None:
    """Print the path of the Fast DDS profile with which camera images pass between processes.

    For the camera's driver: export FASTRTPS_DEFAULT_PROFILES_FILE=$(sarnn dds-profile) and, of
    Kilted and later, FASTDDS_DEFAULT_PROFILES_FILE likewise. Our own commands set it themselves.
    """
    from sarnn_ros import share

    typer.echo(share.dds_profile())
