# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`make` on machines that are not as it wishes: what is said, and what is done again."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
BOOTSTRAP = ROOT / "tools" / "bootstrap.py"
STAMP = Path(".venv/.installed")

GOOD = {
    "executable": "/usr/bin/python3",
    "version": [3, 12, 1],
    "implementation": "CPython",
    "bits": 64,
    "system": "Linux",
    "machine": "x86_64",
    "libc": "glibc",
    "lacks": "",
}


def fake_python(folder: Path, name: str = "python3", **facts: Any) -> Path:
    """A program called `name` that answers the probe like a Python of another machine."""
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'E'\n{json.dumps(GOOD | facts)}\nE\n")
    path.chmod(0o755)
    return path


def bootstrap(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BOOTSTRAP), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"version": [3, 10, 12]}, "is Python 3.10.12, not Python 3.11, 3.12 or 3.13"),
        ({"version": [3, 14, 0]}, "is Python 3.14.0, not Python 3.11, 3.12 or 3.13"),
        ({"implementation": "PyPy"}, "is PyPy, not CPython"),
        ({"bits": 32}, "is a 32-bit Python"),
        ({"system": "Darwin", "machine": "arm64"}, "runs on Darwin arm64; the ROS 2 wheels"),
        ({"system": "Windows", "machine": "AMD64"}, "runs on Windows AMD64; the ROS 2 wheels"),
        ({"machine": "aarch64"}, "runs on Linux aarch64; the ROS 2 wheels"),
        ({"libc": "musl"}, "is not linked against glibc"),
        ({"lacks": "No module named 'ensurepip'"}, "cannot make virtual environments"),
    ],
)
def test_an_unsuitable_python_is_named_with_the_reason(
    facts: dict[str, Any], message: str, tmp_path: Path
) -> None:
    python = fake_python(tmp_path, **facts)
    done = bootstrap("--python", str(python), "--venv", str(tmp_path / "venv"))
    assert done.returncode == 1
    assert f"{python} {message}" in done.stderr
    assert ("apt install python3.12-venv" in done.stderr) == ("lacks" in facts)
    assert "remedy: install Python 3.11, 3.12 or 3.13" in done.stderr
    assert "docs/how-to/install.md" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/false"])
def test_what_is_no_python_is_said_so(python: str, tmp_path: Path) -> None:
    done = bootstrap("--python", python, "--venv", str(tmp_path / "venv"))
    assert done.returncode == 1
    assert python in done.stderr
    assert "Traceback" not in done.stderr


def test_another_python_is_found_when_the_first_is_too_old(tmp_path: Path) -> None:
    """The old `python3` runs bootstrap; a newer one lies beside it."""
    fake_python(tmp_path, "python3.12", version=[3, 11, 0])
    code = (
        f"import sys; sys.path.insert(0, {str(BOOTSTRAP.parent)!r}); import bootstrap\n"
        f"sys.executable = {str(fake_python(tmp_path, 'old', version=[3, 8, 2]))!r}\n"
        "print(bootstrap.choose(None)['version'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.stdout.strip() == "[3, 11, 0]"


def test_old_pythons_can_read_it_so_far_as_to_say_that_they_are_old() -> None:
    ast.parse(BOOTSTRAP.read_text(encoding="utf-8"), feature_version=(3, 6))


# -- the Makefile ---------------------------------------------------------------------------------

# A build that needs nothing from the network: the whole of PEP 660 for an empty package.
BACKEND = """
import zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "sarnn_ros-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        info = "sarnn_ros-0.1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: sarnn_ros\\nVersion: 0.1.0\\n" + REQUIRES)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""  # noqa: E501
BROKEN = "REQUIRES = 'Requires-Dist: no-such-package-as-this-one\\n'" + BACKEND
WHOLE = "REQUIRES = ''" + BACKEND


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh clone of what `make` itself is made of; the package in it is empty."""
    (tmp_path / "tools").mkdir()
    for name in ("Makefile", "setup.py", "setup.cfg", "tools/bootstrap.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    return tmp_path


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**clean, "PIP_NO_INDEX": "1", **environment},
    )


@pytest.mark.slow
def test_a_failed_installation_is_taken_up_again(checkout: Path) -> None:
    (checkout / "backend.py").write_text(BROKEN)
    failed = make(checkout, "install")
    assert failed.returncode != 0
    assert "error: installing failed" in failed.stderr
    assert "remedy: check the network" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (checkout / STAMP).exists()

    (checkout / "backend.py").write_text(WHOLE)
    retried = make(checkout, "install")
    assert retried.returncode == 0, retried.stderr
    assert "making" not in retried.stdout, "the environment itself was whole"
    assert (checkout / STAMP).exists()

    again = make(checkout, "install")
    assert (again.returncode, again.stdout) == (0, "make: Nothing to be done for 'install'.\n")

    # A new setup.py is a reason to install again, a broken environment to make it anew.
    os.utime(checkout / "setup.py")
    (checkout / ".venv" / "bin" / "python").unlink()
    repaired = make(checkout, "install")
    assert repaired.returncode == 0, repaired.stderr
    assert "making" in repaired.stdout


def test_make_without_any_python_says_so(checkout: Path) -> None:
    done = make(checkout, "PYTHON=no-such-python", "install")
    assert done.returncode != 0
    assert "error: 'no-such-python' is not there" in done.stderr
    assert "remedy: install Python" in done.stderr


def test_a_sourced_ros_does_not_leak_in(checkout: Path) -> None:
    makefile = checkout / "Makefile"
    makefile.write_text(makefile.read_text() + "\nshow:\n\t@env\n")
    sourced = {
        "AMENT_PREFIX_PATH": "/opt/ros/humble",
        "PYTHONPATH": "/opt/ros/humble/lib/python3.10/site-packages",
        "LD_LIBRARY_PATH": "/opt/ros/humble/lib",
        "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp",
        "ROS_DISTRO": "humble",
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
    }
    seen = make(checkout, "show", **sourced, ROS_DOMAIN_ID="7").stdout
    assert not re.findall("|".join(f"^{name}=" for name in sourced), seen, re.MULTILINE)
    assert "ROS_DOMAIN_ID=7" in seen, "which network the user is on stays"


def test_libraries_of_the_users_own_stay(checkout: Path) -> None:
    """Without a sourced ROS, LD_LIBRARY_PATH may be what CUDA needs."""
    makefile = checkout / "Makefile"
    makefile.write_text(makefile.read_text() + "\nshow:\n\t@env\n")
    environment = {"AMENT_PREFIX_PATH": "", "_ROS_WHEELS_BOOTSTRAP_COMPLETE": ""}
    seen = make(checkout, "show", LD_LIBRARY_PATH="/usr/local/cuda/lib64", **environment).stdout
    assert "LD_LIBRARY_PATH=/usr/local/cuda/lib64" in seen


def test_help_is_the_default_and_names_the_targets(checkout: Path) -> None:
    done = make(checkout)
    assert done.returncode == 0
    targets = {line.split()[0] for line in done.stdout.splitlines()[1:]}
    assert targets == {
        *("help", "install", "demo", "demo-clean", "test", "coverage", "test-kilted", "lint"),
        *("format", "docs", "benchmark", "benchmark-tasks", "benchmark-peers", "soak"),
        *("test-unit", "test-ros", "test-web", "test-lerobot", "clean"),
    }
    assert not (checkout / ".venv").exists()
