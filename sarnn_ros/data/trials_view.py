# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The result of trials for people: on the terminal, and as one HTML page without other files."""

from __future__ import annotations

import html
import math
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import product
from statistics import median

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sarnn_ros.data.page import Rows, table, write_html
from sarnn_ros.data.scores import Score, comparison, percents
from sarnn_ros.data.trials import LABELS, Outcome, Record

PAGE = "report.html"
#: Of fewer misses it is not said where they lie; nor, of fewer than the second, that they lie
#: anywhere.
MIN_MISSES, MIN_MISSES_TO_SAY_EVEN = 4, 8
#: They lie at some places more than at others if chance does that so rarely, of so many tries.
UNEVEN_BY_CHANCE, PERMUTED = 0.05, 2000
HEADS = (
    "policy",
    "object",
    "succeeded",
    "rate",
    "95 % interval",
    "discarded",
    "ended by the node",
)


def score(outcomes: Iterable[Outcome]) -> Score:
    """Of those that count."""
    labels = [one.label for one in outcomes if one.counts]
    return Score(labels.count("success"), len(labels))


def _of(outcomes: Sequence[Outcome], policy: int, hidden: bool) -> list[Outcome]:
    return [one for one in outcomes if (one.trial.policy, one.trial.hidden) == (policy, hidden)]


def rows(record: Record) -> Rows:
    """A row for each policy with the object seen, and one with it hidden."""
    found = []
    for policy, name in enumerate(record.plan.names):
        for hidden in (False, True)[: 1 + (record.plan.hidden > 0)]:
            labels = [one.label for one in _of(record.outcomes, policy, hidden)]
            found.append(
                (name, "hidden" if hidden else "seen",
                 *score(_of(record.counted, policy, hidden)).cells,
                 str(labels.count("discarded")), str(labels.count("ended")))
            )  # fmt: skip
    return found


def claims(record: Record) -> Iterator[str]:
    """What may be said, a sentence each."""
    plan, counted = record.plan, record.counted
    for policy, name in enumerate(plan.names):
        seen, hidden = (score(_of(counted, policy, one)) for one in (False, True))
        yield f"{name}: {seen.claim}."
        if not hidden.trials:
            yield "No trial was with the object hidden: that it needs to see it is not shown."
        elif hidden.interval[1] < seen.interval[0]:
            yield f"With the object hidden, {hidden.successes} of {hidden.trials}: it must see it."
        else:
            yield (
                f"With the object hidden, {hidden.successes} of {hidden.trials} "
                f"({percents(hidden.interval)}): this does not show that it needs to see it."
            )
        ended = [one.label for one in _of(record.outcomes, policy, False)].count("ended")
        if ended:
            worst = Score(seen.successes, seen.trials + ended)
            yield (
                f"The node ended {ended} more, which are not counted. If that was the policy's "
                f"doing, it succeeded in {worst.successes} of {worst.trials} "
                f"({percents(worst.interval)})."
            )
        yield from _where_next(record, policy)
    if plan.blind:
        yield _compared(record)
    if left := len(record.todo):
        yield f"{left} of {len(record.trials)} trials are left: this is not the plan's result."
    shown = record.names_shown_after
    if shown is not None and shown < len(record.outcomes):
        yield (
            f"A report had named the policies after {shown} runs: from then "
            "on, the trials were not blind."
        )


def _where_next(record: Record, policy: int) -> Iterator[str]:
    """Whether misses lie at some places more than at others: where to demonstrate next."""
    seen = _of(record.counted, policy, False)
    missed = np.array([one.label == "failure" for one in seen])
    names = {place: index for index, place in enumerate(record.plan.places)}
    at = np.array([names[one.trial.place] for one in seen], np.intp)
    if missed.sum() < MIN_MISSES or len({*at.tolist()}) < 2:
        return
    tried = np.bincount(at, minlength=len(names))
    expected = tried * missed.mean()

    def uneven(order: NDArray[np.bool_]) -> float:
        misses = np.bincount(at, order, len(names))
        return float(((misses - expected) ** 2 / np.maximum(expected, 1e-9)).sum())

    rng = np.random.default_rng(0)
    as_uneven = sum(uneven(rng.permutation(missed)) >= uneven(missed) for _ in range(PERMUTED))
    chance = (1 + as_uneven) / (1 + PERMUTED)
    misses = np.bincount(at, missed, len(names))
    if chance < UNEVEN_BY_CHANCE:
        worst = int((misses / np.maximum(tried, 1)).argmax())
        yield (
            f"It missed {misses[worst]:.0f} of {tried[worst]} at '{record.plan.places[worst]}', "
            f"more than elsewhere (p = {chance:.2g}): demonstrate there next."
        )
    elif missed.sum() >= MIN_MISSES_TO_SAY_EVEN:
        yield (
            f"Its {missed.sum()} misses are no more at one place than at another (p = "
            f"{chance:.2g}): more demonstrations at some places need not help."
        )


def _compared(record: Record) -> str:
    first, second = record.plan.names
    rates = [score(_of(record.counted, policy, False)).rate for policy in (0, 1)]
    difference = rates[0] - rates[1]
    begin = "" if math.isnan(difference) else f"{100 * difference:+.0f} points for {first}: "
    wins, losses, count = _pairs(record, set())
    text = f"{begin}{comparison(first, second, wins, losses, count)}."
    if ended := {one.trial.number for one in record.outcomes if one.label == "ended"}:
        # Who faults more often has more tries.
        wins, losses, count = _pairs(record, ended)
        text += (
            " If what the node ended first was a failure: "
            f"{comparison(first, second, wins, losses, count)}."
        )
    return text


def _pairs(record: Record, failed: Container[int]) -> tuple[int, int, int]:
    """In how many pairs only the first policy succeeded, only the second, and of how many.

    :param failed: numbers of trials that count as failures, whatever their label.
    """
    pairs: dict[int, dict[int, bool]] = {}
    for one in record.counted:
        trial = one.trial
        if not trial.hidden:
            well = one.label == "success" and trial.number not in failed
            pairs.setdefault(trial.pair, {})[trial.policy] = well
    whole = [(pair[0], pair[1]) for pair in pairs.values() if len(pair) == 2]
    return whole.count((True, False)), whole.count((False, True)), len(whole)


def print_report(record: Record, console: Console) -> None:
    """Table and sentences."""
    shown = Table(box=box.SIMPLE)
    for head in HEADS:
        shown.add_column(head, overflow="fold")
    for row in rows(record):
        shown.add_row(*map(Text, row))
    console.print(shown)
    for claim in claims(record):
        console.print(claim, markup=False, highlight=False)


def write_page(record: Record) -> None:
    """`report.html` in the record's folder.

    :raises OSError: it cannot be written.
    """
    parts = [f"<p>{html.escape(claim)}</p>" for claim in claims(record)]
    parts += [table(HEADS, rows(record)), "<h2>By place</h2>", _ABOUT_MAP]
    for policy, about in enumerate(record.plan.policies):
        parts.append(f"<h3>{html.escape(about.path)}</h3>{_map(record, policy)}")
    parts += [
        "<h2>Prediction health and time</h2>", _ABOUT_HEALTH,
        table(("policy", "object", "label", "runs", "health", "seconds"), list(_figures(record))),
        "<h2>Runs, in their order</h2>",
        table(
            ("trial", "policy", "place", "object", "label", "s", "health", "at", "why it ended"),
            [_row(record, one) for one in record.outcomes],
        ),
    ]  # fmt: skip
    write_html(record.folder / PAGE, "Trials", parts)


def _figures(record: Record) -> Iterator[tuple[str, ...]]:
    """Of the runs of each policy and label: health and seconds, the median and the largest."""

    def told(values: Sequence[float]) -> str:
        return f"{median(values):.2f}, at most {max(values):.2f}" if values else ""

    for policy, hidden, label in product(
        range(len(record.plan.policies)), (False, True), (*LABELS.values(), "ended")
    ):
        runs = [one for one in _of(record.outcomes, policy, hidden) if one.label == label]
        if runs:
            yield (
                record.plan.names[policy], "hidden" if hidden else "seen", label,
                str(len(runs)), told([one.health for one in runs if one.health is not None]),
                told([one.seconds for one in runs]),
            )  # fmt: skip


def _row(record: Record, one: Outcome) -> tuple[str, ...]:
    trial = one.trial
    return (
        str(trial.number + 1), record.plan.names[trial.policy], trial.place,
        "hidden" if trial.hidden else "seen", one.label, f"{one.seconds:g}",
        "" if one.health is None else f"{one.health:.2f}", one.at, one.why,
    )  # fmt: skip


def _map(record: Record, policy: int) -> str:
    """The places in their order, in rows as of a square grid if they are numbers."""
    places = record.plan.places
    columns = len(places)
    if all(place.isdigit() for place in places):
        columns = math.ceil(math.sqrt(len(places)))
    cells = []
    for index, place in enumerate(places):
        here = [one for one in _of(record.counted, policy, False) if one.trial.place == place]
        found = score(here)
        colour = f"hsl({120 * found.rate:.0f} 60% 80%)" if found.trials else "#eee"
        begin = "<tr>" if index % columns == 0 else ""
        cells.append(
            f'{begin}<td style="background: {colour}">{html.escape(place)}<br>'
            f"<b>{found.successes} of {found.trials}</b></td>"
        )
    return f"<table>{''.join(cells)}</table>"


_ABOUT_MAP = """<p>Successes at each place with the object seen. Places by number are drawn row by
row. Of two or three trials at a place little can be said.</p>"""
_ABOUT_HEALTH = """<p>1 means errors of the predictions as large as the largest hundredth where all
was well, in validation. Of each run the largest score, here their median and their largest.</p>"""
