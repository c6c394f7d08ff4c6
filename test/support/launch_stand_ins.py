# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for `launch` and `launch_ros`, which no registry has: they record and resolve.

Only what our launch files use, and as strict as the real ones where it matters: an unknown
argument, an undeclared one and a missing one are errors here too.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from ament_index_python.packages import get_package_prefix


@dataclass
class Context:
    """The state of one launch: argument values, and the processes asked for."""

    share: Path
    configurations: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    globals: dict[str, Any] = field(default_factory=dict)
    argv: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def get_locals_as_dict(self) -> dict[str, Any]:
        return dict(self.globals)

    def extend_globals(self, extensions: Mapping[str, Any]) -> None:
        self.globals.update(extensions)


class ShutDown(Exception):
    """The launch ended itself, and all that it had started; its message is what was logged."""


@dataclass
class Process:
    """One process, with everything resolved to plain values."""

    package: str | None
    executable: str
    name: str | None = None
    namespace: str = ""
    arguments: list[str] = field(default_factory=list)
    prefix: str | None = None
    #: In the order of the command: a file, or a file of these values for this node alone, or one
    #: value for every node of the process.
    parameter_rules: list[Path | dict[str, Any] | tuple[str, Any]] = field(default_factory=list)
    remappings: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Any]:
        """What holds in the end, if the files' sections are all `/**`."""
        values: dict[str, Any] = {}
        for rule in self.parameter_rules:
            if isinstance(rule, tuple):
                rule = dict([rule])
            values |= parameters_of(rule) if isinstance(rule, Path) else rule
        return values

    def ros_arguments(self, folder: Path) -> list[str]:
        """What launch_ros would append to the command, its files written to `folder`."""
        arguments = ["--ros-args", "-r", f"__node:={self.name}"]
        namespace = self.namespace.strip("/")
        if namespace:
            arguments += ["-r", f"__ns:=/{namespace}"]
        for number, rule in enumerate(self.parameter_rules):
            if isinstance(rule, tuple):
                name, value = rule
                arguments += ["-p", f"{name}:={yaml.safe_dump(value).splitlines()[0]}"]
                continue
            if isinstance(rule, dict):
                name = "/".join(["", *filter(None, [namespace]), str(self.name)])
                document = {name: {"ros__parameters": rule}}
                rule = folder / f"launch_params_{number}"
                rule.write_text(yaml.safe_dump(document))
            arguments += ["--params-file", str(rule)]
        for source, target in self.remappings.items():
            arguments += ["-r", f"{source}:={target}"]
        return arguments


def resolve(value: Any, context: Context) -> Any:
    """A plain value, a substitution, or a list of those to be joined."""
    if hasattr(value, "perform"):
        return value.perform(context)
    if isinstance(value, (list, tuple)):
        return "".join(resolve(item, context) for item in value)
    return value


def parameter(value: Any, context: Context) -> Any:
    return (
        value.evaluate(context) if isinstance(value, ParameterValue) else resolve(value, context)
    )


@dataclass
class LaunchConfiguration:
    name: str
    default: str | None = None

    def perform(self, context: Context) -> str:
        if self.default is not None:
            return context.configurations.get(self.name, self.default)
        return context.configurations[self.name]  # undeclared: an error, as in the real one


@dataclass
class PathJoinSubstitution:
    parts: list[Any]

    def perform(self, context: Context) -> str:
        return str(Path(*(resolve(part, context) for part in self.parts)))


@dataclass
class FindPackageShare:
    package: str

    def perform(self, context: Context) -> str:
        assert self.package == "sarnn_ros"
        return str(context.share)


@dataclass
class FindPackagePrefix:
    package: str

    def perform(self, context: Context) -> str:
        return get_package_prefix(self.package)


@dataclass
class ParameterValue:
    value: Any
    value_type: type

    def evaluate(self, context: Context) -> Any:
        text = resolve(self.value, context)
        if self.value_type is bool:
            if text.lower() not in ("true", "false"):
                raise ValueError(f"'{text}' is not a bool")
            return text.lower() == "true"
        return self.value_type(text)


@dataclass
class Parameter:
    name: str
    value: Any
    value_type: type

    def evaluate(self, context: Context) -> tuple[str, Any]:
        return self.name, ParameterValue(self.value, self.value_type).evaluate(context)


@dataclass
class DeclareLaunchArgument:
    name: str
    default_value: Any = None
    description: str = ""
    choices: list[str] | None = None

    def execute(self, context: Context) -> None:
        if self.name not in context.configurations:
            assert self.default_value is not None, f"'{self.name}' must be given"
            context.configurations[self.name] = resolve(self.default_value, context)
        value = context.configurations[self.name]
        assert self.choices is None or value in self.choices, (
            f"'{value}' is none of {self.choices}"
        )


@dataclass
class LogInfo:
    msg: str

    def execute(self, context: Context) -> None:
        context.log.append(self.msg)
        print(self.msg)


@dataclass(kw_only=True)
class Shutdown:
    reason: str

    def execute(self, context: Context) -> None:
        raise ShutDown("\n".join(context.log))


@dataclass
class OpaqueFunction:
    function: Any

    def execute(self, context: Context) -> None:
        for entity in self.function(context):
            entity.execute(context)


@dataclass
class IfCondition:
    expression: Any

    def evaluate(self, context: Context) -> bool:
        text = resolve(self.expression, context).lower()
        if text not in ("true", "false", "1", "0"):
            raise ValueError(f"'{text}' is no condition")
        return text in ("true", "1")


@dataclass
class LaunchDescription:
    entities: list[Any]

    def execute(self, context: Context) -> None:
        for entity in self.entities:
            entity.execute(context)


@dataclass
class PythonLaunchDescriptionSource:
    location: Any


@dataclass
class IncludeLaunchDescription:
    source: PythonLaunchDescriptionSource
    launch_arguments: Any = ()

    def execute(self, context: Context) -> None:
        description = load(Path(resolve(self.source.location, context)))
        declared = {item.name for item in description.entities if hasattr(item, "default_value")}
        for name, value in self.launch_arguments:
            assert name in declared, f"'{name}' is not an argument of the included file"
            # As in the real one it stays set afterwards, for whatever is included next.
            context.configurations[name] = resolve(value, context)
        description.execute(context)


@dataclass
class GroupAction:
    """Configurations that are set in it are forgotten after it; globals are not."""

    actions: list[Any]

    def execute(self, context: Context) -> None:
        before = dict(context.configurations)
        for action in self.actions:
            action.execute(context)
        context.configurations = before


@dataclass(kw_only=True)
class Node:
    package: str
    executable: str
    exec_name: str | None = None
    name: str | None = None
    namespace: Any = ""
    prefix: str | None = None
    output: str = "log"
    emulate_tty: bool = False
    arguments: list[Any] = field(default_factory=list)
    parameters: list[Any] = field(default_factory=list)
    remappings: list[tuple[Any, Any]] = field(default_factory=list)
    additional_env: Mapping[str, Any] = field(default_factory=dict)
    condition: IfCondition | None = None

    def execute(self, context: Context) -> None:
        if self.condition is not None and not self.condition.evaluate(context):
            return
        rules: list[Path | dict[str, Any] | tuple[str, Any]] = []
        for item in self.parameters:
            if isinstance(item, dict):
                rules.append({name: parameter(value, context) for name, value in item.items()})
            elif isinstance(item, Parameter):
                rules.append(item.evaluate(context))
            else:
                rules.append(Path(resolve(item, context)))
        context.processes.append(
            Process(
                package=self.package,
                executable=self.executable,
                name=self.name,
                namespace=resolve(self.namespace, context),
                prefix=self.prefix,
                arguments=[resolve(item, context) for item in self.arguments],
                parameter_rules=rules,
                remappings={
                    resolve(source, context): resolve(target, context)
                    for source, target in self.remappings
                },
                environment={
                    name: resolve(value, context) for name, value in self.additional_env.items()
                },
            )
        )


@dataclass(kw_only=True)
class LifecycleNode(Node):
    name: str
    namespace: Any


@dataclass(kw_only=True)
class ExecuteProcess:
    cmd: list[Any]
    output: str = "log"

    def execute(self, context: Context) -> None:
        program, *arguments = (resolve(item, context) for item in self.cmd)
        context.processes.append(Process(None, program, arguments=arguments))


def parameters_of(path: Path) -> dict[str, Any]:
    """The parameters in a ROS 2 YAML file that are for every node, nested names joined by dots."""

    def flatten(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from flatten(f"{prefix}{key}.", value)
            else:
                yield f"{prefix}{key}", value

    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return dict(flatten("", document["/**"]["ros__parameters"]))


MODULES = {
    "launch": [LaunchDescription],
    "launch.actions": [
        DeclareLaunchArgument,
        ExecuteProcess,
        GroupAction,
        IncludeLaunchDescription,
        LogInfo,
        OpaqueFunction,
        Shutdown,
    ],
    "launch.conditions": [IfCondition],
    "launch.launch_description_sources": [PythonLaunchDescriptionSource],
    "launch.substitutions": [LaunchConfiguration, PathJoinSubstitution],
    "launch_ros": [],
    "launch_ros.actions": [LifecycleNode, Node],
    "launch_ros.parameter_descriptions": [Parameter, ParameterValue],
    "launch_ros.substitutions": [FindPackagePrefix, FindPackageShare],
}


_PROCESS = {
    *("name", "cmd", "prefix", "cwd", "env", "additional_env", "shell", "sigterm_timeout"),
    *("sigkill_timeout", "emulate_tty", "output", "output_format", "log_cmd", "on_exit"),
    *("respawn", "respawn_delay", "cached_output", "condition"),
}
_NODE = _PROCESS | {
    *("executable", "package", "namespace", "exec_name", "parameters", "remappings"),
    *("ros_arguments", "arguments"),
}
#: What the real ones take: how many arguments by position, and which by keyword. Read off launch
#: and launch_ros of Humble, Jazzy and Rolling, which agree in these.
SIGNATURES: dict[str, tuple[int, set[str]]] = {
    "DeclareLaunchArgument": (1, {"name", "default_value", "description", "choices", "condition"}),
    "ExecuteProcess": (0, _PROCESS),
    "FindPackagePrefix": (1, {"package"}),
    "FindPackageShare": (1, {"package"}),
    "GroupAction": (1, {"actions", "scoped", "forwarding", "launch_configurations", "condition"}),
    "IfCondition": (1, {"predicate_expression"}),
    "IncludeLaunchDescription": (
        1,
        {"launch_description_source", "launch_arguments", "condition"},
    ),
    "LaunchConfiguration": (1, {"variable_name", "default"}),
    "LaunchDescription": (1, {"initial_entities", "deprecated_reason"}),
    "LifecycleNode": (0, _NODE),
    "LogInfo": (0, {"msg", "condition"}),
    "Node": (0, _NODE),
    "OpaqueFunction": (0, {"function", "args", "kwargs", "condition"}),
    "Parameter": (2, {"name", "value", "value_type"}),
    "ParameterValue": (1, {"value", "value_type"}),
    "PathJoinSubstitution": (1, {"substitutions"}),
    "PythonLaunchDescriptionSource": (1, {"launch_file_path"}),
    "Shutdown": (0, {"reason", "condition"}),
}


def real_signature(module: str, name: str) -> tuple[int, set[str]]:
    """Of the installed launch where there is one (ROS images), else as recorded."""
    found = importlib.util.find_spec("launch")
    if found is None or found.origin is None:  # a folder: our own
        return SIGNATURES[name]
    real = getattr(importlib.import_module(module), name)
    known = [vars(kind)["__init__"] for kind in real.__mro__ if "__init__" in vars(kind)]
    taken = [inspect.signature(function).parameters for function in known]
    positional = [one for one in taken[0].values() if one.kind is one.POSITIONAL_OR_KEYWORD]
    return len(positional) - 1, {key for parameters in taken for key in parameters}


@contextmanager
def _installed() -> Iterator[None]:
    before = {name: sys.modules.get(name) for name in MODULES}
    for name, members in MODULES.items():
        module = ModuleType(name)
        for member in members:
            setattr(module, member.__name__, member)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old


def load_module(path: Path) -> ModuleType:
    """Import a launch file."""
    specification = importlib.util.spec_from_file_location("a_launch_file", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    with _installed():
        specification.loader.exec_module(module)
    return module


def load(path: Path) -> LaunchDescription:
    """Run a launch file as `ros2 launch` does."""
    module = load_module(path)
    with _installed():
        description: LaunchDescription = module.generate_launch_description()
    return description


def launch(path: Path, share: Path, **arguments: str) -> list[Process]:
    """The processes that `ros2 launch PATH name:=value…` would start.

    :raises ShutDown: the launch ended itself.
    """
    argv = [f"{name}:={value}" for name, value in arguments.items()]
    context = Context(share, dict(arguments), argv=argv)
    load(path).execute(context)
    return context.processes
