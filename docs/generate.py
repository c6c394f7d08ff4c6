# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the reference has from the code: `python docs/generate.py` writes it, in seconds.

Tables of keys, settings, parameters and commands stand in the pages of docs/reference themselves,
between two comments, so that a reader of a clone or a forge sees them; a test compares them. What
only the site can show, or the repository has elsewhere, goes to docs/_generated, which git
ignores: docs/conf.py makes it at each build, and pages include it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import sarnn_ros

HERE = Path(__file__).resolve().parent
PACKAGE = Path(sarnn_ros.__file__).resolve().parent
ROOT = PACKAGE.parent
#: Pages of the benchmarks, which live beside their figures.
RESULTS = (
    *("README", "training_recipes", "latency_tried", "stop_latency", "health", "bags"),
    *("long_data", "robustness", "rounds"),
)
#: Rooms of the Python API; the nodes, the simulator and the command line are used from outside.
ROOMS = (
    *("errors", "spec", "geometry", "streams", "data", "model"),
    *("training", "policy", "control", "interop", "viz"),
)


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table; a `|` in a cell is escaped."""
    heads = list(head)
    lines = [heads, ["---"] * len(heads), *(list(row) for row in rows)]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def spec_keys() -> str:
    """Every key of a spec, one table per part of it."""
    from sarnn_ros import spec

    parts: list[tuple[str, type[BaseModel]]] = [
        ("The spec", spec.Spec),
        ("`cameras`, each", spec.CameraSpec),
        ("`crop` of a camera", spec.Crop),
        ("`joints`, each source", spec.JointSource),
        ("`command`", spec.CommandSource),
        ("`episodes`: one of", spec.EpisodeSplit),
    ]
    text = []
    for heading, model in parts:
        rows = [
            (f"`{name}`", _default(field.default), field.description or "")
            for name, field in model.model_fields.items()
        ]
        text += [f"## {heading}", table(("key", "default", ""), rows)]
    return "\n\n".join(text)


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "*required*"
    if value is None:
        return ""
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}`"


def training_settings() -> str:
    """Every setting of a training, and what the recipes make of it."""
    from sarnn_ros.training.config import RECIPES, TrainConfig, make_config

    recipes = {recipe: make_config({"recipe": recipe}).model_dump() for recipe in RECIPES}
    rows = [
        (f"`{name}`", *(_default(config[name]) or "null" for config in recipes.values()),
         field.description)
        for name, field in TrainConfig.model_fields.items()
        if name != "recipe"
    ]  # fmt: skip
    return table(("setting", *recipes, ""), rows)


def node_parameters() -> str:
    """Every parameter of the inference node."""
    from sarnn_ros.control.settings import DECLARATIONS, TYPE_NAMES

    rows = []
    for item in DECLARATIONS.values():
        default = list(item.default) if isinstance(item.default, tuple) else item.default
        rows.append(
            (f"`{item.name}`", TYPE_NAMES[item.kind], f"`{json.dumps(default)}`",
             item.constraint, "yes" if item.live else "`~/load`" if item.on_load else "",
             item.description)
        )  # fmt: skip
    return table(("parameter", "type", "default", "range", "live", ""), rows)


def encodings() -> str:
    """Every image encoding, as the tests compute its pixels."""
    sys.path.append(str(ROOT / "test" / "support"))
    from encodings_table import table as tested

    return tested()


def commands() -> str:
    """Every command of `sarnn` with its arguments and options."""
    from sarnn_ros.cli.main import app

    return "\n\n".join(_command(typer.main.get_command(app), "sarnn", None))


def _command(command: Any, name: str, parent: Any) -> Iterator[str]:
    # Newer typers bring a click of their own, so its classes are not asked for by name.
    context = command.context_class(command, info_name=name.split()[-1], parent=parent)
    if hasattr(command, "commands"):
        for child, found in command.commands.items():
            yield from _command(found, f"{name} {child}", context)
        return
    # What `--help` says, as `[OPTIONS] BAGS...`; typer's own form differs between its versions.
    arguments = [
        f"{item.name.upper()}{'...' if item.nargs != 1 else ''}"
        for item in command.params
        if item.param_type_name == "argument"
    ]
    yield f"## {name}"
    yield f"```console\n$ {' '.join([name, '[OPTIONS]', *arguments])}\n```"
    yield (command.help or "").replace("\f", "")
    rows = []
    for item in command.params:
        shown = ", ".join(f"`{option}`" for option in [*item.opts, *item.secondary_opts])
        if item.param_type_name == "argument":
            shown = f"`{item.name.upper()}`"
        default = item.default
        if item.required:
            default = "*required*"
        elif default in (None, False, (), []) or callable(default):
            default = ""
        rows.append((shown, default, getattr(item, "help", None) or ""))
    if rows:
        yield table(("", "default", ""), rows)


def python_api() -> str:
    """One section per module, filled by autodoc."""
    lines = []
    for room in ROOMS:
        folder = PACKAGE / room
        modules = sorted(folder.glob("*.py")) if folder.is_dir() else [PACKAGE / f"{room}.py"]
        lines += [f"## {room}", ""]
        for path in modules:
            if path.stem == "__init__" and not path.read_text(encoding="utf-8"):
                continue
            name = path.parent if path.stem == "__init__" else path.with_suffix("")
            module = ".".join(name.relative_to(ROOT).parts)
            try:
                import_module(module)
            except ModuleNotFoundError as error:  # an extra that is not installed: torch, mostly
                print(f"{module} is left out: {error}", file=sys.stderr)
                continue
            if folder.is_dir():
                lines += [f"### {module}", ""]
            lines += ["```{eval-rst}", f".. automodule:: {module}", "```", ""]
    return "\n".join(lines)


def benchmarks() -> str:
    """All results as one page: those of `make benchmark`, then a section of each log."""
    folder = ROOT / "benchmark" / "results"
    first, *logs = ((folder / f"{name}.md").read_text(encoding="utf-8") for name in RESULTS)
    parts = [first.removeprefix("# Benchmarks\n")]
    parts += [re.sub(r"^#", "##", log, flags=re.MULTILINE) for log in logs]
    return "\n".join(part.strip() + "\n" for part in parts)


def tasks() -> str:
    """Success on public tasks, and then of peers."""
    folder = ROOT / "benchmark" / "results"
    pages = (folder / f"{name}.md" for name in ("tasks", "peers"))
    ours, peers = (page.read_text(encoding="utf-8") for page in pages)
    nested = re.sub(r"^#", "##", peers, flags=re.MULTILINE)
    return ours.removeprefix("# Public tasks\n") + "\n" + nested


def spec_example() -> str:
    """The example, as a block of YAML."""
    text = (ROOT / "config" / "spec_example.yaml").read_text(encoding="utf-8")
    return f"```yaml\n{text}```"


#: Made at each build of the site.
PAGES = {"api": python_api, "benchmarks": benchmarks, "tasks": tasks}
#: Page of docs/reference -> its generated parts, in any order.
PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "spec": {"keys": spec_keys, "example": spec_example},
    "training": {"settings": training_settings},
    "parameters": {"parameters": node_parameters},
    "data": {"encodings": encodings},
    "cli": {"commands": commands},
}
BEGIN, END = "<!-- {part}: made by docs/generate.py -->\n\n", "\n\n<!-- end of {part} -->"


def reference(page: str) -> str:
    """The text of a page of docs/reference, with its generated parts as they are now.

    :raises ValueError: the page lacks the comments around a part.
    """
    text = (HERE / "reference" / f"{page}.md").read_text(encoding="utf-8")
    for part, make in PARTS[page].items():
        begin, end = BEGIN.format(part=part), END.format(part=part)
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"docs/reference/{page}.md needs {begin!r} and {end!r}, once each")
        before, rest = text.split(begin)
        text = before + begin + make().strip() + end + rest.split(end)[1]
    return text


def write_references() -> None:
    """Write the generated parts of docs/reference."""
    for page in PARTS:
        _write(HERE / "reference" / f"{page}.md", reference(page))


def write_all(folder: Path) -> None:
    """Write all of `PAGES`."""
    folder.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        _write(folder / f"{name}.md", make().rstrip() + "\n")


def _write(file: Path, text: str) -> None:
    """One that did not change keeps its time, so Sphinx need not read it."""
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_references()
    write_all(HERE / "_generated")
