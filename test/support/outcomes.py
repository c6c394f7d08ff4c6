# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Collects what each fault led to, and keeps docs/reference/faults.md true."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "faults.md"


class Outcomes:
    """The table of one test module, between its two markers in the document."""

    def __init__(self, section: str, interfaces: Sequence[str]) -> None:
        self._section = section
        self._interfaces = tuple(interfaces)
        self._rows: dict[str, dict[str, str]] = {}
        self._codes: dict[str, str] = {}

    def enter(self, fault: str, interface: str, outcome: str, code: str = "") -> None:
        self._rows.setdefault(fault, {})[interface] = outcome
        self._codes[fault] = code if outcome != "goes on" else ""

    def table(self) -> str:
        heads = ["fault", *self._interfaces, "reported as"]
        lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        for fault, row in self._rows.items():
            code = f"`{self._codes[fault]}`" if self._codes[fault] else ""
            cells = [fault, *(row.get(name, "") for name in self._interfaces), code]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def compare(self, faults: int) -> None:
        """The document holds this very table; SARNN_WRITE_DOCS=1 writes it.

        :param faults: number of rows of the whole table; a partial run has fewer, and compares
            those.
        """
        begin, end = f"<!-- begin {self._section} -->\n", f"<!-- end {self._section} -->"
        text = DOCUMENT.read_text(encoding="utf-8")
        head, rest = text.split(begin)
        old, tail = rest.split(end)
        if len(self._rows) < faults:
            assert set(self.table().splitlines()) <= set(old.splitlines())
            return
        new = f"\n{self.table()}\n\n"
        if os.environ.get("SARNN_WRITE_DOCS"):
            DOCUMENT.write_text(head + begin + new + end + tail, encoding="utf-8")
            return
        assert old == new, "docs/reference/faults.md is out of date: run with SARNN_WRITE_DOCS=1"
