# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The documentation says what the code does: links, examples, options, parameters.

`make docs` builds the site itself, where a warning is an error.
"""

from __future__ import annotations

import ast
import doctest
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from sarnn_ros.control.faults import CODES
from sarnn_ros.control.settings import DECLARATIONS, build_settings
from sarnn_ros.spec import parse_spec

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("benchmark/results/*.md"))
    if not path.is_relative_to(DOCS / "_build") and not path.is_relative_to(DOCS / "_generated")
)


@cache
def generator() -> Any:
    """docs/generate.py."""
    sys.path.insert(0, str(DOCS))
    return import_module("generate")


@cache
def generated() -> dict[str, str]:
    """The pages that docs/generate.py makes for the site."""
    return {name: make() for name, make in generator().PAGES.items()}


def text_of(page: str) -> str:
    """With the generated pages that it includes."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"{include} \.\./_generated/(\w+)\.md", text):
        text += generated()[name]
    return text


def anchors(page: str) -> set[str]:
    """What may stand behind a `#`, as GitHub and MyST make it of headings."""
    headings = re.findall(r"^#{1,4} (.+)$", text_of(page), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["spec", "training", "parameters", "data", "cli"])
def test_the_reference_is_as_the_code(page: str) -> None:
    assert page in generator().PARTS
    text = (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")
    same = text == generator().reference(page)
    assert same, f"docs/reference/{page}.md is out of date: run python docs/generate.py"


def test_no_page_of_a_clone_waits_for_the_site() -> None:
    """A reader of the files sees no included page; of those that include one, the benchmarks are
    elsewhere in the repository, and the API is in docstrings."""
    waiting = {page for page in PAGES if "{include}" in (ROOT / page).read_text(encoding="utf-8")}
    assert waiting == {f"docs/reference/{name}.md" for name in ("api", "benchmarks", "tasks")}


def test_the_python_api_leaves_no_module_out() -> None:
    for module in ("sarnn_ros.spec", "sarnn_ros.model.sarnn", "sarnn_ros.policy.runtime"):
        assert f".. automodule:: {module}\n" in generated()["api"]


def test_the_public_names_are_those_of_the_modules() -> None:
    text = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(sarnn_ros[\w.]*)` \| .* \| (.*) \|$", text, flags=re.MULTILINE)
    listed = {module: set(re.findall(r"`(\w+)`", names)) for module, names in rows}
    assert len(listed) > 9
    for module, names in listed.items():
        found = import_module(module)
        assert set(found.__all__) == names, module
        for name in names:
            if callable(getattr(found, name)) and not name.startswith("Observe"):
                assert getattr(found, name).__doc__, f"{module}.{name}"
    written = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "sarnn_ros").rglob("*.py")
        if re.search("^__all__ = ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert written == set(listed)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    lost = []
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        if not target.is_file() or (
            anchor and anchor not in anchors(target.relative_to(ROOT).as_posix())
        ):
            lost.append(link)
    assert lost == []


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {
        line.strip() for block in re.findall(r"```{toctree}(.*?)```", index, re.DOTALL)
        for line in block.splitlines()
    }  # fmt: skip
    pages = {
        page.removeprefix("docs/").removesuffix(".md")
        for page in PAGES
        if page.startswith("docs/") and page != "docs/index.md"
    }
    assert pages <= listed


@pytest.mark.parametrize("page", PAGES)
def test_examples_in_yaml_are_valid(page: str) -> None:
    """Those of a spec, and those of the node's parameters."""
    for block in blocks(page, "yaml"):
        found: Any = yaml.safe_load(block)
        if isinstance(found, dict) and "cameras" in found:
            parse_spec(found)
        elif isinstance(found, dict) and "/**" in found:
            build_settings(dict(flat(found["/**"]["ros__parameters"])))


def flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """`{"guard": {"floor": 1.0}}` as rclpy names it: `guard.floor`."""
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            pairs += flat(value, f"{prefix}{name}.")
        else:
            pairs.append((prefix + name, value))
    return pairs


GROUPS = {name.split(".")[0] for name in DECLARATIONS if "." in name}


@pytest.mark.parametrize("page", PAGES)
def test_every_parameter_that_is_named_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`(\w+\.\w+)(?::=?[^`]*)?`", text)
    unknown = [name for name in named if name.split(".")[0] in GROUPS and name not in DECLARATIONS]
    assert unknown == []


def options() -> dict[str, set[str]]:
    """Command of `sarnn` -> its options."""
    text = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    parts = re.split(r"^## sarnn (\S+)$", text, flags=re.MULTILINE)[1:]
    return {
        name: set(re.findall(r"`(--[\w-]+)`", part))
        for name, part in zip(parts[::2], parts[1::2], strict=True)
    }


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_the_options_that_are_shown(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    known = options()
    for line in re.findall(r"\bsarnn ([a-z][a-z-]+ [^`\n]*--[^`\n]*)", text):
        command, *words = line.split("#")[0].split(" -- ")[0].split()
        if command not in known or command == "run":  # prose; `run` hands on ROS's options
            continue
        shown = {word for word in words if word.startswith("--")}
        assert shown <= known[command] | {"--help"}, line


@pytest.mark.usefixtures("quick_export")
@pytest.mark.parametrize("page", [page for page in PAGES if ">>>" in (ROOT / page).read_text()])
def test_examples_in_python_give_what_is_shown(page: str) -> None:
    result = doctest.testfile(
        str(ROOT / page),
        module_relative=False,
        optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL,
    )
    assert result.attempted > 0
    assert result.failed == 0


MODULES = sorted((ROOT / "sarnn_ros").rglob("*.py"))


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if ">>> " in path.read_text(encoding="utf-8")],
    ids=lambda path: path.stem,
)
def test_examples_in_docstrings_give_what_is_shown(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    result = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def template(node: ast.AST) -> str | None:
    """A string of the source, with `…` for what it fills in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        return "".join(map(str, parts))
    return None


@cache
def templates() -> frozenset[str]:
    """All strings of the package."""
    files = (ROOT / "sarnn_ros").rglob("*.py")
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8"))))
    return frozenset(text for node in nodes if (text := template(node)))


TROUBLES = "docs/how-to/troubleshooting.md"


def troubles() -> list[str]:
    """The messages of the page."""
    text = (ROOT / TROUBLES).read_text(encoding="utf-8")
    return re.findall(r"^\| `([^|]+?)` \|", text, flags=re.MULTILINE)


@pytest.mark.parametrize("message", troubles())
def test_a_message_of_the_page_is_one_of_the_program(message: str) -> None:
    parts = [re.escape(part) for part in message.split("…")]
    pattern = re.compile("…?" + "…".join(parts))
    assert any(pattern.search(text) for text in templates())


def test_every_reason_why_a_message_is_void_is_on_the_page() -> None:
    missing = []
    for file in ("streams/decode.py", "streams/ingest.py", "streams/poses.py"):
        for node in ast.walk(ast.parse((ROOT / "sarnn_ros" / file).read_text("utf-8"))):
            raised = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if raised in ("DecodeError", "NoTransform"):
                text = template(node.args[0])
                if text is not None and not any(
                    re.search("…".join(map(re.escape, message.split("…"))), text)
                    for message in troubles()
                ):
                    missing.append(f"{file}: {text}")
    assert missing == []


def test_every_fault_is_in_the_reference_and_found_somewhere() -> None:
    text = (DOCS / "reference" / "faults.md").read_text(encoding="utf-8")
    table = text.split("## Codes")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| `([a-z_]+)(?::<?\w+>?)?` \|", table, flags=re.MULTILINE))
    assert listed == CODES, "a fault has a row in docs/reference/faults.md"
    sources = "\n".join(
        file.read_text(encoding="utf-8")
        for room in ("control", "ros")
        for file in (ROOT / "sarnn_ros" / room).glob("*.py")
        if file.name != "faults.py"
    )
    assert [code for code in CODES if not re.search(rf'"{code}[:"]', sources)] == []


def definitions(path: Path) -> set[str]:
    """Names that a module defines: functions, classes, and `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (item for item in node.body if isinstance(item, ast.FunctionDef))
            names |= {f"{node.name}.{item.name}" for item in inner}
    return names


def test_the_walk_leads_through_the_code_as_it_is() -> None:
    text = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w/]+\.py)` \| `([\w.]+)` \| (.*) \|$", text, flags=re.MULTILINE)
    assert len(rows) >= 15
    for file, name, says in rows:
        found = definitions(ROOT / "sarnn_ros" / file)
        assert name in found, f"{file} has no {name}"
        methods = {item.split(".")[-1] for item in found}
        assert set(re.findall(r"`(_\w+)`", says)) <= methods, f"{file}: {says}"
    for file in re.findall(r"`(\w+/\w+\.py)`", text):
        assert any((top / file).is_file() for top in (ROOT, ROOT / "sarnn_ros")), file


def test_no_table_is_empty():
    """A command may have neither arguments nor options."""
    assert not re.search(r"--- \|\n(?!\|)", generator().commands() + "\n")
