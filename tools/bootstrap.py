# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Make the virtual environment that `make` works in: choose a Python, create, install, stamp.

Standard library only, and nothing newer than Python 3.6, as any `python3` must get far enough to
say that it is too old. The stamp is written last, so an installation that failed half-way is taken
up again by the next `make`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
RANGE = "Python 3.11, 3.12 or 3.13"
#: Tried in this order, after the `python3` that runs this file.
OTHERS = ("python3.12", "python3.13", "python3.11")
STAMP = ".installed"

#: What a sourced ROS or another virtual environment leaves behind; it must not mix with ours.
FOREIGN = ("AMENT_PREFIX_PATH", "PYTHONHOME", "PYTHONPATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")

# Runs in the Python that is looked at, so it is as old-fashioned as that one may be.
PROBE = """
import json, platform, struct, sys
try:
    import ensurepip, venv
    lacks = ""
except ImportError as error:
    lacks = str(error)
print(json.dumps({
    "executable": sys.executable,
    "version": list(sys.version_info[:3]),
    "implementation": platform.python_implementation(),
    "bits": 8 * struct.calcsize("P"),
    "system": platform.system(),
    "machine": platform.machine(),
    "libc": platform.libc_ver()[0],
    "lacks": lacks,
}))
"""


class Unsuitable(Exception):
    """What is wrong with one Python, or with all of them."""


def clean_environment():
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    if len(environment) < len(os.environ):
        environment.pop("LD_LIBRARY_PATH", None)
    return environment


def look_at(python):
    """The facts that PROBE prints about `python`, a name on PATH or a path."""
    try:
        output = subprocess.run(
            [python, "-c", PROBE],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            env=clean_environment(),
        )
    except OSError as error:
        raise Unsuitable("cannot be run ({})".format(error.strerror))
    try:
        return json.loads(output.stdout)
    except ValueError:
        last = output.stderr.strip().splitlines()[-1:] or ["no output"]
        raise Unsuitable("does not run ({})".format(last[0]))


def check(facts):
    """Raise `Unsuitable` unless the packages that `make` installs exist for this Python."""
    version = ".".join(str(part) for part in facts["version"])
    if facts["implementation"] != "CPython":
        raise Unsuitable("is {}, not CPython".format(facts["implementation"]))
    if not OLDEST <= tuple(facts["version"][:2]) <= NEWEST:
        raise Unsuitable("is Python {}, not {}".format(version, RANGE))
    if facts["bits"] != 64:
        raise Unsuitable("is a {}-bit Python, not a 64-bit one".format(facts["bits"]))
    if (facts["system"], facts["machine"]) != ("Linux", "x86_64"):
        raise Unsuitable(
            "runs on {} {}; the ROS 2 wheels exist for Linux x86_64 only".format(
                facts["system"], facts["machine"]
            )
        )
    if facts["libc"] != "glibc":
        raise Unsuitable("is not linked against glibc, as the ROS 2 wheels are")
    if facts["lacks"]:
        raise Unsuitable(
            "cannot make virtual environments ({}); on Debian and Ubuntu: "
            "apt install python{}.{}-venv".format(facts["lacks"], *facts["version"][:2])
        )


def choose(asked):
    """The facts of the Python asked for, or of the first suitable one."""
    problems = []
    for python in [asked] if asked else [sys.executable] + list(OTHERS):
        try:
            if not shutil.which(python):
                raise Unsuitable("is not there")
            facts = look_at(python)
            check(facts)
            return facts
        except Unsuitable as problem:
            problems.append("  {} {}".format(python, problem))
    raise Unsuitable(
        "no suitable Python found:\n{}\n"
        "  remedy: install {} (64-bit, Linux x86_64) and, if it is not found by itself, name it: "
        "make PYTHON=/path/to/python3.12\n"
        "  with ROS 2 already installed, or on another platform: docs/how-to/install.md".format(
            "\n".join(problems), RANGE
        )
    )


def usable(venv, version):
    """Whether `venv` is whole and of the Python `version` (major, minor, micro)."""
    python = os.path.join(venv, "bin", "python")
    try:
        facts = look_at(python)
    except Unsuitable:
        return False
    has_pip = subprocess.run(
        [python, "-m", "pip", "--version"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=clean_environment(),
    )
    return facts["version"] == version and has_pip.returncode == 0


def install(facts, venv, extras):
    python = os.path.join(venv, "bin", "python")
    stamp = os.path.join(venv, STAMP)
    if os.path.exists(stamp):
        os.remove(stamp)
    if not usable(venv, facts["version"]):
        print("making {} with {}".format(venv, facts["executable"]), flush=True)
        subprocess.run(
            [facts["executable"], "-m", "venv", "--clear", venv],
            check=True,
            env=clean_environment(),
        )
    print("installing into {} (minutes, the first time)".format(venv), flush=True)
    command = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    if not sys.stdout.isatty():
        command.append("--quiet")
    command += ["--editable", ".[{}]".format(extras)]
    subprocess.run(command, check=True, env=clean_environment())
    with open(stamp, "w") as file:
        file.write("{}\n".format(extras))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help="use this one (default: the first suitable one)")
    parser.add_argument("--venv", default=".venv")
    parser.add_argument("--extras", default="train,sim,ros,test,dev")
    arguments = parser.parse_args()
    try:
        install(choose(arguments.python), arguments.venv, arguments.extras)
    except Unsuitable as problem:
        sys.exit("error: {}".format(problem))
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the next `make` goes on from here")
    except subprocess.CalledProcessError as error:
        sys.exit(
            "error: installing failed (exit code {}; the lines above say why)\n"
            "  where: {}\n"
            "  remedy: check the network and the free disk space (4 GB), then run `make` again: "
            "it goes on from here".format(error.returncode, " ".join(error.cmd))
        )


if __name__ == "__main__":
    main()
