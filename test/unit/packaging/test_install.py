# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What colcon and pip really install, and that what is installed runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import sarnn_ros

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = ("inference_node", "recorder_node", "sarnn", "sim_node")


def run(*command: object, cwd: Path, **environment: str) -> str:
    """Its output; its error output too when it fails."""
    dropped = ("PYTHONPATH", "AMENT_PREFIX_PATH", "COLCON_PREFIX_PATH")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**kept, **environment},
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Installed:
    """One installation; `shell` runs a line as its user would, with the prefix sourced."""

    prefix: Path
    modules: Path
    shell: Callable[[str], str]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git knows, or would be told of: what a clone holds.

    In a workspace whose name has "wheel" in it, as setuptools' commands for pip have: colcon
    passes its path on to setup.py.
    """
    folder = tmp_path_factory.mktemp("wheeled_robot_ws") / "src" / "sarnn_ros"
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def by_colcon(source: Path) -> Installed:
    workspace = source.parents[1]
    colcon = Path(sys.executable).with_name("colcon")
    assert "sarnn_ros\tsrc/sarnn_ros\t(ros.ament_python)" in run(colcon, "list", cwd=workspace)
    run(colcon, "build", cwd=workspace)
    prefix = workspace / "install" / "sarnn_ros"

    def shell(line: str) -> str:
        return run("sh", "-c", f". install/setup.sh && {line}", cwd=workspace)

    (modules,) = prefix.glob("lib/python*/site-packages")
    return Installed(prefix, modules, shell)


@pytest.fixture(scope="module")
def by_pip(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """By way of an sdist, as an index holds it, which says least of what is in the tree."""
    prefix, sdist = tmp_path_factory.mktemp("prefix"), tmp_path_factory.mktemp("sdist")
    run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", sdist, cwd=source)
    (packed,) = sdist.iterdir()
    # --ignore-installed: or pip would remove the package that these tests run in.
    options = ("--no-deps", "--no-build-isolation", "--ignore-installed", "--prefix", prefix)
    run(sys.executable, "-m", "pip", "install", "--quiet", *options, packed, cwd=sdist)
    (modules,) = prefix.glob("lib/python*/site-packages")

    def shell(line: str) -> str:
        path = f"{prefix / 'bin'}:{os.environ['PATH']}"
        return run("sh", "-c", line, cwd=prefix, PATH=path, PYTHONPATH=str(modules))

    return Installed(prefix, modules, shell)


@pytest.fixture(params=["colcon", "pip"])
def installed(request: pytest.FixtureRequest) -> Installed:
    result: Installed = request.getfixturevalue(f"by_{request.param}")
    return result


def test_ament_finds_the_package(installed: Installed) -> None:
    marker = "share/ament_index/resource_index/packages/sarnn_ros"
    assert (installed.prefix / marker).is_file()
    assert (installed.prefix / "share" / "sarnn_ros" / "package.xml").is_file()


@pytest.mark.parametrize("folder", ["launch", "config"])
def test_share_is_complete(installed: Installed, folder: str) -> None:
    def files(path: Path) -> set[str]:
        return {item.name for item in path.iterdir() if item.is_file()}

    assert files(installed.prefix / "share" / "sarnn_ros" / folder) == files(ROOT / folder)


@pytest.mark.parametrize("program", PROGRAMS)
def test_ros2_run_finds_the_program(installed: Installed, program: str) -> None:
    """As ros2 run does: an executable file in lib/<package>."""
    path = installed.prefix / "lib" / "sarnn_ros" / program
    assert path.is_file()
    assert os.access(path, os.X_OK)


def test_programs_run_from_where_ros2_looks_and_from_where_the_shell_looks(
    installed: Installed,
) -> None:
    version = f"sarnn_ros {sarnn_ros.__version__}\n"
    assert installed.shell(f"{installed.prefix}/lib/sarnn_ros/sarnn --version") == version
    assert installed.shell("command -v sarnn").strip() == f"{installed.prefix}/bin/sarnn"
    assert installed.shell("sarnn --version") == version


def test_modules_and_data_are_complete(installed: Installed) -> None:
    def files(folder: Path) -> set[str]:
        found = (path for path in folder.rglob("*") if path.is_file())
        names = {path.relative_to(folder).as_posix() for path in found}
        return {name for name in names if "__pycache__" not in name}

    assert files(installed.modules / "sarnn_ros") == files(ROOT / "sarnn_ros")


def test_installed_code_finds_its_own_files(installed: Installed) -> None:
    code = "import sarnn_ros.share as s; print(s.__file__); print(s.share_directory())"
    module, share = installed.shell(f'"{sys.executable}" -c "{code}"').split()
    assert Path(module) == installed.modules / "sarnn_ros" / "share.py"
    assert Path(share) == installed.prefix / "share" / "sarnn_ros"


def test_colcon_test_runs_pytest(by_colcon: Installed, source: Path) -> None:
    colcon = Path(sys.executable).with_name("colcon")
    workspace = source.parents[1]
    run(colcon, "test", "--pytest-args", "test/unit/test_errors.py", cwd=workspace)
    result = run(colcon, "test-result", "--all", cwd=workspace)
    assert "0 errors, 0 failures, 0 skipped" in result
    assert "Summary: 0 tests" not in result
