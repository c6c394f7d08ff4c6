# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What pydantic finds wrong with a value, in our words: for the spec, the settings of the node,
those of a training, and a policy's config."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from pydantic import BaseModel
from pydantic_core import ErrorDetails

_WORDS = {
    "missing": "is missing",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "finite_number": "must be finite",
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    "string_type": "must be text",
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be a mapping"),
    "too_short": "must have at least {min_length}",
    "string_pattern_mismatch": "must be letters, digits and _, a letter first",
}


def describe(item: ErrorDetails) -> str:
    """What is wrong, and the value unless it is missing or large."""
    text = _WORDS.get(item["type"], "").format(**item.get("ctx", {}))
    text = text or item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing" or isinstance(item["input"], (dict, BaseModel)):
        return text
    return f"{text} (found {repr(item['input'])[:80]})"


def without_consequences(items: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Those whose cause is not another one: pydantic also says of a list with a wrong item that it
    is too short, and of a misspelt key that the right one is missing."""
    places = [item["loc"] for item in items]
    unknown = [item["loc"] for item in items if item["type"] == "extra_forbidden"]

    def has_cause(item: ErrorDetails) -> bool:
        place = item["loc"]
        if item["type"] == "missing":
            beside = [str(one[-1]) for one in unknown if one[:-1] == place[:-1]]
            return bool(difflib.get_close_matches(str(place[-1]), beside))
        return any(len(one) > len(place) and one[: len(place)] == place for one in places)

    return [item for item in items if not has_cause(item)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'policy'?` if one of the known names is close, else nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
