# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `/diagnostics` says about the node, once a second. It reads, and decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.lifecycle import LifecycleNode

from sarnn_ros.control.controller import Controller
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.state import ACTIVE, Status
from sarnn_ros.control.statistics import as_text
from sarnn_ros.ros import messages
from sarnn_ros.ros.graph_watch import GraphWatch
from sarnn_ros.ros.gripper_action import GripperAction

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
LEVELS = {"fine": OK, "waiting": WARN, "faulted": ERROR}


class Diagnostics:
    """The statuses `control` (may it command, and if not, why), `timing`, and of the scene
    `health`, `cameras` and `camera places`; `gripper`, if an action commands one.

    :ivar problem: why the last transition failed, for those who cannot read the log.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._name = node.get_fully_qualified_name()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._controller: Controller | None = None
        self._config: Any = None
        self._graph: GraphWatch | None = None
        self._grippers: Sequence[GripperAction] = ()
        self.problem = ""

    def configured(
        self,
        config: Any,
        controller: Controller,
        graph: GraphWatch,
        grippers: Sequence[GripperAction],
    ) -> None:
        self._config, self._controller, self._graph = config, controller, graph
        self._grippers = grippers
        self.problem = ""

    def cleaned_up(self) -> None:
        self._config = self._controller = self._graph = None
        self._grippers = ()

    def publish(
        self, status: Status, lifecycle: str, settings: Settings, loading: str | None
    ) -> None:
        """:param lifecycle: the state of the lifecycle node.
        :param loading: the policy that a `~/load` is loading.
        """
        statuses = [self._control(status, lifecycle, settings, loading)]
        if self._controller is not None:
            scene = self._controller.parts.scene
            places = self._controller.parts.cameras
            statuses += [
                self._timing(self._controller),
                self._part("health", *scene.health_status()),
                self._part("cameras", *scene.drift_status()),
                self._part("camera places", *places.status()),
            ]
        if self._grippers:
            statuses.append(self._gripper())
        stamp_ns = int(self._node.get_clock().now().nanoseconds)
        self._publisher.publish(messages.diagnostic_array(statuses, stamp_ns))

    def _part(
        self, part: str, well: bool, text: str, values: dict[str, object]
    ) -> DiagnosticStatus:
        level = OK if well else WARN
        return messages.diagnostic_status(f"{self._name}: {part}", level, text, "", values)

    def _control(
        self, status: Status, lifecycle: str, settings: Settings, loading: str | None
    ) -> DiagnosticStatus:
        values: dict[str, object] = {
            "state": lifecycle,
            "policy": settings.policy,
            "dry_run": settings.dry_run,
            "doing": status.state.value,
        }
        if loading is not None:
            values["loading"] = loading
        level, text = LEVELS[status.level], status.text
        controller = self._controller
        if controller is None:
            if self.problem:
                level, text = ERROR, f"{status.state.value}: {self.problem}"
        else:
            warning = controller.parts.outside.warning
            if warning and level == OK and controller.started:
                level, text = WARN, f"{text}; {warning}"
            faults = controller.faults.active if status.state in ACTIVE else ()
            if controller.started:
                values["running for (s)"] = controller.run_s
            if lag_s := controller.parts.lag.seconds:
                values["the arm lags by (s)"] = lag_s
            values["commands"] = controller.statistics.commands
            values["resets"] = controller.statistics.resets
            values |= {f"fault {fault.code}": fault.text for fault in faults}
            for what, counts in (
                ("faults", controller.faults.counts),
                (
                    "limit violations",
                    dict(controller.statistics.violations),
                ),  # another thread may add one
                ("interpolation interrupted", controller.parts.interpolator.interruptions),
            ):
                values |= {f"{what} {reason}": count for reason, count in counts.items()}
        return messages.diagnostic_status(
            f"{self._name}: control", level, text, settings.policy, values
        )

    def _gripper(self) -> DiagnosticStatus:
        news = {one.ends.joint: one.news for one in self._grippers}
        text = "; ".join(f"{joint}: {said}" for joint, (_, said) in news.items())
        values: dict[str, object] = {one.ends.joint: one.topic_name for one in self._grippers}
        return self._part("gripper", all(well for well, _ in news.values()), text, values)

    def _timing(self, controller: Controller) -> DiagnosticStatus:
        statistics = controller.statistics
        wanted = self._config.spec.rate
        values: dict[str, object] = {
            "rate (Hz)": statistics.rate(),
            "rate wanted (Hz)": wanted,
            "ticks total": statistics.total,
            "ticks missed": statistics.missed,
        }
        values |= as_text(statistics.latencies())
        values |= {f"age {one} (ms)": age * 1e3 for one, age in statistics.ages().items()}
        if self._graph is not None:
            values |= {f"rate {topic} (Hz)": hz for topic, hz in self._graph.rates.items()}
            values |= {f"received {topic}": n for topic, n in self._graph.received().items()}
        text = f"{statistics.rate():.1f} of {wanted:g} Hz, {statistics.missed} ticks missed"
        return self._part("timing", not statistics.missed_lately, text, values)
