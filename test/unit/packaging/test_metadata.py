# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""setup.py and package.xml tell the same, and name all that the code imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from catkin_pkg.package import Package, parse_package
from packaging.requirements import Requirement

import sarnn_ros

ROOT = Path(__file__).resolve().parents[3]
#: Distribution -> the module it brings, where the names differ.
MODULES = {
    "opencv-python-headless": "cv2",
    "cv-bridge": "cv_bridge",
    "pyyaml": "yaml",
    "mujoco-core": "mujoco",
}
ROS_PACKAGE = re.compile(r"(\w+_msgs|\w+_interfaces|std_srvs|rclpy|launch|launch_ros)$")


@pytest.fixture(scope="module")
def setup_arguments() -> dict[str, object]:
    """What setup.py passes to setup(), evaluated by setup.py itself."""
    code = (
        "import json, runpy, setuptools\n"
        "setuptools.setup = lambda **arguments: print(json.dumps(arguments))\n"
        "runpy.run_path('setup.py')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    arguments: dict[str, object] = ast.literal_eval(done.stdout.replace("false", "False"))
    return arguments


@pytest.fixture(scope="module")
def manifest() -> Package:
    return parse_package(str(ROOT / "package.xml"))


def imported_modules() -> set[str]:
    found = set()
    for folder in ("sarnn_ros", "launch"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {name.name.split(".")[0] for name in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"sarnn_ros"}


def test_one_version_everywhere(setup_arguments: dict[str, object], manifest: Package) -> None:
    assert setup_arguments["version"] == manifest.version == sarnn_ros.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == manifest.version
    assert citation["license"] == manifest.licenses[0]
    heading = f"{manifest.version} ("
    assert heading in (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")


def test_name_licence_and_maintainer_agree(
    setup_arguments: dict[str, object], manifest: Package
) -> None:
    assert setup_arguments["name"] == manifest.name == "sarnn_ros"
    assert setup_arguments["license"] == manifest.licenses[0] == "Apache-2.0"
    maintainer = manifest.maintainers[0]
    assert setup_arguments["maintainer"] == maintainer.name
    assert setup_arguments["maintainer_email"] == maintainer.email


def test_package_xml_is_valid_for_ament(manifest: Package) -> None:
    """A wrong e-mail, for one, silently drops the build type."""
    manifest.validate()
    assert manifest.package_format == 3
    assert manifest.get_build_type() == "ament_python"
    assert (ROOT / "resource" / manifest.name).is_file()


def test_package_xml_names_every_ros_package(manifest: Package) -> None:
    declared = {item.name for item in manifest.exec_depends}
    imported = {name for name in imported_modules() if ROS_PACKAGE.match(name)}
    assert imported <= declared
    unused = {name for name in declared - imported if ROS_PACKAGE.match(name)}
    assert unused == set()


def test_setup_names_every_other_package(setup_arguments: dict[str, object]) -> None:
    extras = setup_arguments["extras_require"]
    assert isinstance(extras, dict)
    core = setup_arguments["install_requires"]
    assert isinstance(core, list)
    lines = [
        *core,
        *(line for one in ("train", "sim", "lerobot", "hdf5", "web") for line in extras[one]),
    ]
    names = {Requirement(line).name.lower() for line in lines}
    brought = {MODULES.get(name, name) for name in names}
    brought.remove("tensorboard")  # through torch.utils.tensorboard
    imported = {name for name in imported_modules() if not ROS_PACKAGE.match(name)}
    imported.discard("pydantic_core")  # a part of pydantic
    assert imported - brought == set(), "imported, and in neither install_requires nor an extra"
    assert brought - imported == set(), "required, and never imported"


def test_only_what_must_be_is_pinned(setup_arguments: dict[str, object]) -> None:
    extras = setup_arguments["extras_require"]
    assert isinstance(extras, dict)
    for extra, lines in extras.items():
        for requirement in map(Requirement, lines):
            pinned = any(part.operator == "==" for part in requirement.specifier)
            if requirement.name == "mujoco":
                continue  # gymnasium-robotics fails on newer ones
            assert pinned == (extra in ("ros", "kilted")), requirement
            if pinned:
                assert requirement.marker is not None
                assert requirement.marker.evaluate({"platform_machine": "aarch64"}) is False


def test_colcon_test_finds_pytest(setup_arguments: dict[str, object]) -> None:
    """Without pytest in the extra 'test', `colcon test` runs nothing and says nothing."""
    extras = setup_arguments["extras_require"]
    assert isinstance(extras, dict)
    assert "pytest" in {Requirement(line).name for line in extras["test"]}
