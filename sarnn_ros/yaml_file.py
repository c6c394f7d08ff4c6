# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""YAML files that users write: read with bounds, and with the line of every value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sarnn_ros.errors import SarnnError

#: What a person writes is far below these.
MAX_BYTES, MAX_DEPTH = 1 << 18, 20
#: libyaml, where PyYAML has it, is ten times as fast. Errors are Python's, which show the line.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class YamlFile:
    """:param values: dicts, lists and scalars."""

    values: Any
    _root: yaml.Node | None

    def line(self, place: Sequence[int | str]) -> int | None:
        """The line, from 1, of the value at this path of keys and indices; if it is not there, of
        the last part of the path that is."""
        node, line = self._root, None
        for key in place:
            found = None
            if isinstance(node, yaml.SequenceNode) and isinstance(key, int):
                found = dict(enumerate(zip(node.value, node.value))).get(key)
            elif isinstance(node, yaml.MappingNode):
                found = {name.value: (name, value) for name, value in node.value}.get(key)
            if found is None:
                continue  # pydantic names the alternatives of a union, which the file does not
            line, node = found[0].start_mark.line + 1, found[1]
        return line


def read_yaml(path: Path, error: type[SarnnError], remedy: str, most: int = MAX_BYTES) -> YamlFile:
    """Read a file of at most `most` bytes without aliases, nested at most `MAX_DEPTH` deep.

    :raises SarnnError: of the type `error`: it cannot be read, or is not such a file.
    """
    try:
        if path.exists() and not path.is_file():  # a FIFO would wait for ever
            raise OSError("not a file")
        with path.open("rb") as stream:
            content = stream.read(most + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise error(f"cannot be read ({cause})", where=path, remedy=remedy) from cause
    try:
        problem = f"more than {most} bytes" if len(content) > most else _problem(text)
        if not problem:
            root = yaml.compose(text, Loader=_LOADER)
            problem = next(_given_twice(root), "")
        if not problem:
            return YamlFile(yaml.load(text, Loader=_LOADER), root)
    except (yaml.YAMLError, ValueError) as cause:
        problem = f"not valid YAML: {cause}"
    raise error(problem, where=path, remedy=remedy)


def _given_twice(node: yaml.Node | None) -> Iterator[str]:
    """Keys of which the parser would keep the last one only, without a word."""
    parts = list(node.value) if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, _ in parts:
            line = key.start_mark.line + 1
            name = str(key.value)  # whatever else a key may be, is no dictionary's
            if name in first:
                yield f"line {line}: '{name}' is given in line {first[name]} already"
            first.setdefault(name, line)
        parts = [value for _, value in parts]
    for part in parts:
        yield from _given_twice(part)


def _problem(text: str) -> str:
    """What must not reach the parts of the parser that recurse and expand."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        assert event.start_mark is not None
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            return f"line {line}: the alias *{event.anchor}: write the value out instead"
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            return f"line {line}: nested more than {MAX_DEPTH} deep"
    return ""
