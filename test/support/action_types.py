# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Packages of actions that the ROS wheels do not have, compiled for the tests: the wheels bring
the generators, but no build. Needs a C++ compiler, and empy of before version 4.

`python action_types.py OUT PACKAGE FILE…`: FILEs are like `action/Name.action`, in the working
directory. Afterwards OUT is what PYTHONPATH and LD_LIBRARY_PATH have to name.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

PREFIX = Path(sys.prefix)
#: Whose types the fields of an action may have, directly or not.
KNOWN = (
    "action_msgs", "unique_identifier_msgs", "builtin_interfaces", "service_msgs", "sensor_msgs",
    "std_msgs", "geometry_msgs",
)  # fmt: skip
#: Folders of sources, each of which becomes a library.
GENERATED = (
    "rosidl_generator_c", "rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c",
    "rosidl_typesupport_c",
)  # fmt: skip


def provide(environment: dict[str, str], package: str, sources: Path) -> None:
    """Let a package of types be found, by this process and by those of an environment. One that is
    installed is used, else it is compiled, once for these sources. If that cannot be, the test is
    left out.

    :param sources: folder with `action/` and perhaps `msg/`.
    """
    installed = importlib.util.find_spec(package)
    if installed is not None and installed.origin is not None:  # not a mere folder
        return
    if importlib.util.find_spec("rosidl_generator_py") is None:
        pytest.skip(f"no {package}, and no generators of rosidl: they come with the ROS wheels")
    if shutil.which("g++") is None:
        pytest.skip(f"no {package}, and no g++ to compile it with")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        pytest.skip(
            f"no {package}, and no Python.h to compile it with: apt-get install python3-dev"
        )
    if not _old_empy():
        pytest.skip(f"no {package}, and rosidl needs empy<4 to make it: pip install 'empy<4'")
    out = _built(sources, package)
    # Where the repository is on the path, its folder of that name may have been imported.
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    sys.path.append(str(out))
    importlib.invalidate_caches()
    for kind in GENERATED:  # this process has read its LD_LIBRARY_PATH already
        ctypes.CDLL(str(out / f"lib{package}__{kind}.so"))
    for where in (os.environ, environment):
        for name in ("PYTHONPATH", "LD_LIBRARY_PATH"):
            where[name] = os.pathsep.join(filter(None, (where.get(name), str(out))))


def _built(sources: Path, package: str) -> Path:
    files = sorted(str(path.relative_to(sources)) for path in sources.glob("*/*.[am]*"))
    content = b"".join((sources / name).read_bytes() for name in files)
    content += Path(__file__).read_bytes() + f"{package} {sys.version} {PREFIX}".encode()
    name = f"sarnn_ros_types_{hashlib.sha256(content).hexdigest()[:16]}"
    out = Path(tempfile.gettempdir()) / name
    if not out.exists():
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            made = Path(folder) / package
            command = [sys.executable, __file__, str(made), package, *files]
            environment = {**os.environ, "AMENT_PREFIX_PATH": str(PREFIX)}
            done = subprocess.run(
                command, cwd=sources, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            with suppress(OSError):  # another process of the tests may have been faster
                made.rename(out)
    return out


def _old_empy() -> bool:
    return int(importlib.metadata.version("empy").partition(".")[0]) < 4


def generate(out: Path, package: str, files: list[str]) -> None:
    """The sources: C, what DDS needs to know, and Python."""
    from rosidl_cli.command.translate.api import translate
    from rosidl_generator_c.cli import GenerateC
    from rosidl_generator_py.cli import GeneratePython
    from rosidl_generator_type_description.cli import HashTypeDescription
    from rosidl_typesupport_c.cli import GenerateCTypesupport
    from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport
    from rosidl_typesupport_introspection_c.cli import GenerateIntrospectionCTypesupport

    logging.disable()  # the wheels name each generator twice, which it warns of
    share = [str(PREFIX / "share")]
    files = translate(
        package_name=package, interface_files=files, include_paths=share,
        output_format="idl", output_path=out / "idl",
    )  # fmt: skip
    describe = HashTypeDescription("type_description").generate_type_hashes
    described = describe(package, files, share, out / "idl")
    c, dds, introspection, dispatch = (out / kind / package for kind in GENERATED)
    for folder in {Path(one.partition(":")[2]).parent.name for one in files}:
        # A message and an action may have one name, and descriptions are found by that alone.
        own = [one for one in files if Path(one.partition(":")[2]).parent.name == folder]
        about = [path for path in described if path.parent.name == folder]
        GenerateC("").generate(package, own, share, c, type_description_files=about)
    GenerateFastRTPSCTypesupport("").generate(package, files, share, dds)
    GenerateIntrospectionCTypesupport("").generate(package, files, share, introspection)
    supported = ["rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c"]
    support = GenerateCTypesupport("", typesupport_implementations=supported)
    support.generate(package, files, share, dispatch)
    python = GeneratePython("", typesupport_implementations=["rosidl_typesupport_c"])
    python.generate(package, files, share, out / package)


def compile_all(out: Path, package: str) -> None:
    """The libraries, each of which needs those before it."""
    import numpy as np

    headers = [out / kind for kind in GENERATED]
    headers += [PREFIX / "include", *(PREFIX / "include").iterdir()]
    headers += [Path(np.get_include()), Path(sysconfig.get_path("include"))]
    options = ["-O0", "-w", "-fPIC", "-shared", f"-L{out}", f"-L{PREFIX / 'lib'}"]
    options += ["-Wl,-rpath,$ORIGIN:$ORIGIN/.."]
    options += [f'-DROS_PACKAGE_NAME="{package}"', *(f"-I{one}" for one in headers)]
    needed = ["rcutils", "rosidl_runtime_c", "rosidl_typesupport_c", "rmw", "fastcdr"]
    needed += ["rosidl_typesupport_fastrtps_c", "rosidl_typesupport_fastrtps_cpp"]
    needed += ["rosidl_typesupport_introspection_c"]
    needed += [f"{one}__{kind}" for one in KNOWN for kind in (*GENERATED, "rosidl_generator_py")]
    for folder in (*GENERATED, package):
        sources = [path for path in (out / folder).rglob("*.c*") if path.suffix in (".c", ".cpp")]
        library = out / f"lib{package}__{folder}.so"
        if folder == package:
            library = out / package / f"{package}_s__rosidl_typesupport_c.so"
        compiler = "gcc" if sources[0].suffix == ".c" else "g++"
        command = [compiler, *options, f"-Wl,-soname,{library.name}"]
        command += [*map(str, sources), "-o", str(library)]
        subprocess.run([*command, *(f"-l{name}" for name in needed)], check=True)
        if folder != package:
            needed.insert(0, f"{package}__{folder}")


if __name__ == "__main__":
    generate(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    compile_all(Path(sys.argv[1]), sys.argv[2])
