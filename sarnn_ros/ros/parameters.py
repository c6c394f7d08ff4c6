# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`control.settings` as ROS parameters: declared, described, and every change checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from sarnn_ros.control.settings import (
    DECLARATIONS,
    Declaration,
    Settings,
    build_settings,
    find_problems,
    flatten,
)
from sarnn_ros.errors import ConfigError, join_problems
from sarnn_ros.validation import did_you_mean

#: Parameters that rclpy itself declares; they are not ours to check.
FOREIGN_PARAMETERS = ("use_sim_time", "start_type_description_service", "qos_overrides.")


class ParameterServer:
    """Declares the parameters on a node, checks every change, and reads them.

    rclpy stops at the first wrong override and ignores unknown ones in silence. So those are set
    aside here, the defaults declared instead, and `read` reports all of them.

    :param on_change: called while locked, before the parameters become those that it is given. A
        `ConfigError` or `RuntimeError` refuses the change.
    :ivar current: those in force, with later changes of the live ones.
    :ivar wrong: with what values, that the parameters cannot have, the node was started.
    :ivar locked: from configure to cleanup, when only `live` parameters may change, and those of
        `~/load`, which takes them.
    """

    def __init__(self, node: Node, on_change: Callable[[Settings], None]) -> None:
        self._node = node
        self._on_change = on_change
        self.locked = False
        # There is no public way to ask for the overrides that nobody declared.
        given = {
            name: item.value
            for name, item in node._parameter_overrides.items()
            if not name.startswith(FOREIGN_PARAMETERS)
        }
        self.wrong = {name: given[name] for name in find_problems(given)}
        self.current = build_settings(
            {name: value for name, value in given.items() if name not in self.wrong}
        )
        for name, value in flatten(self.current).items():
            declaration = DECLARATIONS[name]
            node.declare_parameter(
                name, _ros_value(declaration, value), descriptor(declaration), ignore_override=True
            )
        node.add_on_set_parameters_callback(self._check_change)

    def read(self) -> Settings:
        """The parameters as they are now. To be assigned to `current` when they are in force.

        :raises ConfigError: if the node was started with wrong or unknown ones.
        """
        values = {name: self._node.get_parameter(name).value for name in DECLARATIONS}
        return build_settings({**values, **self.wrong})

    def loaded(self, settings: Settings) -> None:
        """A policy that these name is in force from now on."""
        names = [name for name, one in DECLARATIONS.items() if one.on_load]
        self.current = self.current.model_copy(
            update={name: getattr(settings, name) for name in names}
        )

    def _check_change(self, parameters: Iterable[Parameter]) -> SetParametersResult:
        parameters = list(parameters)
        changed = {item.name: item.value for item in parameters if item.name in DECLARATIONS}
        # rclpy would undeclare it.
        gone = [
            f"{item.name}: it cannot be deleted; its default is {DECLARATIONS[item.name].default}"
            for item in parameters
            if item.name in changed and item.type_ == Parameter.Type.NOT_SET
        ]
        if gone:
            return SetParametersResult(successful=False, reason="; ".join(gone))
        problems = [f"{name}: {text}" for name, text in find_problems(changed).items()]
        problems += [
            f"{name}: takes effect at configure only; clean the node up first"
            for name in changed
            if self.locked and not (DECLARATIONS[name].live or DECLARATIONS[name].on_load)
        ]
        if problems:
            return SetParametersResult(successful=False, reason="; ".join(problems))
        for name in changed:
            self.wrong.pop(name, None)
        if self.locked and changed:
            now = flatten(self.current)
            try:
                self._on_change(build_settings({**now, **changed}))
            except (ConfigError, RuntimeError) as error:
                return SetParametersResult(successful=False, reason=str(error))
            live = {name: value for name, value in changed.items() if DECLARATIONS[name].live}
            self.current = build_settings({**now, **live})
        return SetParametersResult(successful=True)


def refuse_unknown(node: Node) -> None:
    """After a node has declared its parameters. rclpy ignores others in silence.

    :raises ConfigError: the node was started with a parameter that it does not have.
    """
    names = [
        name
        for name in node._parameter_overrides
        if not node.has_parameter(name) and not name.startswith(FOREIGN_PARAMETERS)
    ]
    if names:
        known = list(node._parameters)
        raise ConfigError(
            join_problems(
                f"{name}: there is no such parameter{did_you_mean(name, known)}" for name in names
            ),
            where="parameters",
            remedy=f"the parameters of {node.get_name()} are {', '.join(known)}",
        )


def _ros_value(declaration: Declaration, value: Any) -> Any:
    # An empty list has no type of its own.
    array = {
        tuple[int, ...]: Parameter.Type.INTEGER_ARRAY,
        tuple[float, ...]: Parameter.Type.DOUBLE_ARRAY,
        tuple[str, ...]: Parameter.Type.STRING_ARRAY,
    }.get(declaration.kind)
    return value if array is None else Parameter(declaration.name, array, list(value)).value


def descriptor(declaration: Declaration) -> ParameterDescriptor:
    """What `ros2 param describe` shows. rclpy checks the range too, but only of values that are
    set later; those given at the start have been checked before they are declared."""
    when = "" if declaration.live or declaration.read_only else "takes effect at configure"
    when += " or ~/load" if declaration.on_load else ""
    descriptor = ParameterDescriptor(
        description=declaration.description,
        additional_constraints="; ".join(filter(None, (declaration.constraint, when))),
        read_only=declaration.read_only,
        # We check the type ourselves: rclpy refuses `5` for a double and `[]` for a list.
        dynamic_typing=True,
    )
    low, high = declaration.low, declaration.high
    if low is not None and high is not None:
        if declaration.kind is int:
            ends = IntegerRange(from_value=int(low), to_value=int(high))
            descriptor.integer_range = [ends]
        elif declaration.kind is float:
            ends = FloatingPointRange(from_value=float(low), to_value=float(high))
            descriptor.floating_point_range = [ends]
    return descriptor
