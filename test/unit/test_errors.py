# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every user-facing error says what, where and what to do, and survives a process boundary."""

import pickle

import pytest

from sarnn_ros import errors

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.SarnnError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_text_names_value_place_and_remedy(kind):
    error = kind("rate -3 must be positive", where="spec.yaml:4", remedy="give a rate in Hz")
    assert str(error) == "spec.yaml:4: rate -3 must be positive\n  remedy: give a rate in Hz"


def test_place_and_remedy_may_be_absent():
    assert str(errors.SarnnError("no")) == "no"


@pytest.mark.parametrize("kind", KINDS)
def test_survives_pickling_between_workers(kind):
    error = kind("bad", where="a.mcap", remedy="record again")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.problem, copy.where, copy.remedy) == ("bad", "a.mcap", "record again")


def test_problems_are_listed_one_a_line():
    assert errors.join_problems(["one", "two"]) == "\n  - one\n  - two"


def test_what_is_too_long_is_shortened_to_its_ends():
    assert errors.shorten("x" * 1000) == "x" * 1000
    text = errors.shorten("a" + "x" * 3_000_000 + "b")
    assert len(text) < 1050 and text.startswith("ax") and text.endswith("xb")
    assert "(2999002 characters)" in text
