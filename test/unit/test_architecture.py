# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which room may import which, and where the heavy libraries live. Read off the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from rooms import ARROWS, BOXES, HELPERS, PICTURE, picture

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "sarnn_ros"

ROS = {
    *("rclpy", "launch", "launch_ros", "ament_index_python"),
    *("builtin_interfaces", "rcl_interfaces", "std_srvs"),
}
#: A command may import it, too, inside its function.
ROS_MODULES = ("ros/", "sim/node.py", "sim/referee.py", "sim/teleoperator.py")
TORCH = {"torch", "torchvision", "tensorboard"}
TORCH_MODULES = (
    *("model/", "training/", "policy/export.py", "policy/graph.py"),
    "interop/eipl_checkpoint.py",
    "interop/rmb_checkpoint.py",
)
#: Only inside functions, so that the module works where torch is not installed.
LAZY_TORCH_MODULES = ("policy/", "cli/")
SIMULATOR = {"mujoco"}


class Import(NamedTuple):
    """One import statement: the dotted module, the line, and whether it runs with the module."""

    module: str
    line: int
    eager: bool


def imports_of(source: str) -> list[Import]:
    """All imports of a module, those inside functions included, those for type checkers not."""

    def walk(node: ast.AST, eager: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(name.name, child.lineno, eager) for name in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"line {child.lineno}: relative import"
                base = child.module or ""
                yield Import(base, child.lineno, eager)
                yield from (
                    Import(f"{base}.{name.name}", child.lineno, eager) for name in child.names
                )
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    yield from walk(other, eager)
            else:
                is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
                yield from walk(child, eager and not is_function)

    return list(walk(ast.parse(source), eager=True))


def room_of(module: str) -> str | None:
    """The room of a module of ours (`sarnn_ros.data.bags` -> `data`), None for the others."""
    parts = module.split(".")
    return parts[1] if parts[0] == "sarnn_ros" and len(parts) > 1 else None


def violations(path: str, source: str) -> list[str]:
    """What the module at `path` (relative to the package) imports and may not."""
    room = path.split("/")[0].removesuffix(".py")
    if room not in ARROWS and path != "__init__.py":
        return [f"{path}: the room '{room}' is not in this test's map"]
    allowed = ARROWS.get(room, set()) | {room}
    found = []
    for item in imports_of(source):
        top = item.module.split(".")[0]
        target = room_of(item.module)
        if target is not None and not _fits(target, allowed):
            reason = f"'{room}' may not import '{target}'"
        elif _is_ros(top) and not path.startswith(ROS_MODULES):
            if not item.eager and room == "cli":
                continue
            reason = f"ROS belongs in {', '.join(ROS_MODULES)}"
        elif top in TORCH and not path.startswith(TORCH_MODULES):
            if not item.eager and path.startswith(LAZY_TORCH_MODULES):
                continue
            reason = f"torch belongs in {', '.join(TORCH_MODULES)}"
        elif top in SIMULATOR and room != "sim":
            reason = "the simulator belongs in sim/"
        elif room == "cli" and item.eager and _is_heavy(item.module):
            reason = "a command imports heavy things inside its function"
        else:
            continue
        found.append(f"{path}:{item.line}: {item.module}: {reason}")
    return found


def _fits(target: str, allowed: set[str]) -> bool:
    # `from sarnn_ros import __version__` names no room.
    return target in allowed or target.startswith("__")


def _is_ros(top: str) -> bool:
    return top in ROS or top.endswith("_msgs")


def _is_heavy(module: str) -> bool:
    light = ("sarnn_ros.errors", "sarnn_ros.cli", "sarnn_ros.share", "sarnn_ros.__version__")
    if module.startswith(light) or module == "sarnn_ros":
        return False
    top = module.split(".")[0]
    return top not in (sys.stdlib_module_names | {"typer"})


MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES)
def test_arrows_point_one_way(path: str) -> None:
    assert violations(path, (PACKAGE / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("room", sorted(set(ARROWS) - {"cli"}))
def test_no_arrow_is_there_for_nothing(room: str) -> None:
    modules = [path for path in MODULES if path.split("/")[0].removesuffix(".py") == room]
    used = {room_of(item.module) for path in modules for item in imports_in(path)}
    assert ARROWS[room] - used == set()


def test_the_picture_shows_the_rooms_as_they_are() -> None:
    assert set(BOXES) == set(ARROWS) - HELPERS
    assert PICTURE.read_text(encoding="utf-8") == picture(), "run: python test/support/rooms.py"


@cache
def imports_in(path: str) -> list[Import]:
    return imports_of((PACKAGE / path).read_text(encoding="utf-8"))


def modules_reached(path: str, *, lazily: bool) -> dict[str, str]:
    """Every module of ours that importing `path` brings: module -> the one that imports it.

    :param lazily: also by the imports inside functions.
    """
    found = {path: ""}
    todo = [path]
    while todo:
        here = todo.pop()
        for item in imports_in(here):
            there = item.module.removeprefix("sarnn_ros.").replace(".", "/") + ".py"
            if there in MODULES and there not in found and (item.eager or lazily):
                found[there] = here
                todo.append(there)
    return found


@pytest.mark.parametrize("path", [path for path in MODULES if not path.startswith(ROS_MODULES)])
def test_nothing_else_brings_ros_through_others(path: str) -> None:
    """The command line and the demo run nodes: inside their functions they may."""
    runs_nodes = path.startswith(("cli/", "sim/"))
    reached = modules_reached(path, lazily=not runs_nodes)
    assert [there for there in reached if there.startswith(ROS_MODULES)] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("errors.py", "import sarnn_ros.spec"),
        ("model/layers.py", "from sarnn_ros.data import bags"),
        ("training/trainer.py", "from sarnn_ros.ros.messages import image"),
        ("ros/inference_node.py", "def f():\n    import sarnn_ros.training"),
        ("sim/demo.py", "from sarnn_ros import policy"),
        ("data/decode.py", "import rclpy"),
        ("data/decode.py", "from sensor_msgs.msg import Image"),
        ("sim/scene.py", "import rclpy.node"),
        ("policy/runtime.py", "import torch"),
        ("data/reading.py", "def f():\n    import torch"),
        ("ros/inference_node.py", "def f():\n    from torch import nn"),
        ("training/trainer.py", "import mujoco"),
        ("cli/train.py", "import numpy as np"),
        ("cli/latency.py", "import rclpy"),
        ("cli/train.py", "from sarnn_ros.training.run import train"),
        ("attic/old.py", "import os"),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str) -> None:
    assert len(violations(path, source)) >= 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("policy/backends.py", "def f():\n    import torch"),
        ("policy/export.py", "import torch"),
        ("ros/inference_node.py", "import rclpy\nfrom sarnn_ros.policy import runtime"),
        ("cli/train.py", "import typer\n\ndef train():\n    from sarnn_ros.training import run"),
        ("data/bags.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("cli/main.py", "from sarnn_ros import __version__"),
        ("cli/latency.py", "def latency():\n    import rclpy"),
    ],
)
def test_a_right_import_is_not(path: str, source: str) -> None:
    assert violations(path, source) == []


def _python_files() -> list[str]:
    folders = ("sarnn_ros", "launch", "test", "tools", "benchmark")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in [*found, ROOT / "setup.py"])


@pytest.mark.parametrize("path", _python_files())
def test_every_file_says_whose_it_is_and_what_for(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    if not text and path.endswith("__init__.py"):
        return
    lines = text.removeprefix("#!/usr/bin/env python3\n").splitlines()
    assert lines[:2] == [
        "# Copyright 2026 The sarnn_ros authors",
        "# SPDX-License-Identifier: Apache-2.0",
    ]
    assert ast.get_docstring(ast.parse(text)), "no module docstring"


@pytest.mark.parametrize(
    "module",
    ["sarnn_ros", "sarnn_ros.spec", "sarnn_ros.cli.main", "sarnn_ros.policy.runtime"],
)
def test_importing_it_brings_neither_torch_nor_ros(module: str) -> None:
    """The real thing, as a library could drag one in behind the syntax trees' back."""
    heavy = ("torch", "onnx", "rclpy", "mujoco", "matplotlib")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
