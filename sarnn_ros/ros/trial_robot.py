# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The inference node as `sarnn trials` and `sarnn teach` see it: it loads, starts and stops, as
anybody could, and says why a run ended. It implements `data.trials.Robot`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from sarnn_ros.control.state import STARTED
from sarnn_ros.data.trials import NotDone, keep_parameters, parameters_before
from sarnn_ros.errors import EnvironmentProblem
from sarnn_ros.ros.clients import knows_clients

#: What is changed for the trials, and set back after them.
CHANGED = ("policy", "policy_sha256", "run_timeout")
#: Discovery alone may take three seconds. After a session that was killed it once took more than
#: 15: DDS takes such a process for alive for 20 s, and its successor may have its address.
FINDING_SECONDS = 30.0
ANSWER_SECONDS = 10.0
#: Above `loading.DEADLINE_SECONDS`.
LOADING_SECONDS = 160.0
#: /diagnostics come every second.
SILENCE_SECONDS = 5.0
#: What was said before the start may arrive a little after its answer.
SETTLING_SECONDS = 0.5
#: The node ends a run by itself so long after the trial should have ended: this process may be
#: killed.
SPARE_SECONDS = 5.0
POLL_SECONDS = 0.02


class TrialRobot:
    """See the module. Another thread spins the node. `stop` may be called while another thread
    waits for something else.

    :param name: the inference node's full name.
    :param stop: ends all waiting, but not that for a stop.
    """

    def __init__(self, node: Node, name: str, stop: threading.Event) -> None:
        self.name, self._stop = name, stop
        self._triggers = {
            action: node.create_client(Trigger, f"{name}/{action}")
            for action in ("load", "start", "stop", "reset")
        }
        self._set = node.create_client(SetParameters, f"{name}/set_parameters")
        self._get = node.create_client(GetParameters, f"{name}/get_parameters")
        self._before: dict[str, Any] = {}
        self._dry_before: bool | None = None  # while a dry run of ours goes on
        self._kept: Path | None = None
        self._said: dict[str, str] = {}
        self._text = ""
        self._heard = -math.inf
        self._started = math.inf
        self._largest = -math.inf
        node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 50)
        node.create_subscription(Float64MultiArray, f"{name}/health", self._healthy, 50)

    def open(self, kept: Path | None = None, check: Callable[[], None] = lambda: None) -> str:
        """Find the node.

        :param kept: where what `close` sets back is kept until then. If the node still has what a
            session changed that was killed, it is what that one found.
        :param check: raises what keeps it from coming.
        :returns: the policy in force.
        :raises EnvironmentProblem: it is not there, or has none.
        """
        until = time.monotonic() + FINDING_SECONDS
        known = knows_clients(self._get)  # the client that was made last
        while not (self._get.service_is_ready() and self._said and known()):
            if self._stop.is_set():
                raise KeyboardInterrupt
            check()
            if time.monotonic() > until:
                raise EnvironmentProblem(
                    f"nothing was heard of {self.name} for {FINDING_SECONDS:g} s",
                    remedy="start it ('sarnn run inference --ros-args -p policy:=/path') in this "
                    "ROS domain; another name: --node",
                )
            time.sleep(POLL_SECONDS)
        self._before = self._parameters(*CHANGED)
        if not self._said["policy"]:
            raise EnvironmentProblem(f"{self.name} has no policy: {self._text}")
        self._kept = kept
        if kept is not None:
            self._before = parameters_before(kept, self._before)
        return self._said["policy"]

    def close(self) -> None:
        """Set back what was changed.

        :raises NotDone: the node is gone, or refuses.
        """
        if self._dry_before is not None:
            self.end_dry()
        if self._before:
            self._change(self._before, patient=True)
        if self._kept is not None:
            self._kept.unlink(missing_ok=True)

    # -- data.trials.Robot ----------------------------------------------------------------------

    def load(self, policy: Path, sha256: str, seconds: float) -> None:
        wanted = {"policy": str(policy), "run_timeout": seconds + SPARE_SECONDS}
        if self._kept is not None:
            try:
                keep_parameters(self._kept, self._before, wanted)
            except OSError as error:
                raise NotDone(f"{self._kept} cannot be written: {error.strerror}") from error
        self._change({**wanted, "policy_sha256": sha256})
        self._trigger("load", LOADING_SECONDS)

    def start(self) -> None:
        if self._said.get("dry_run") == "True":
            raise NotDone("it is a dry run, in which nothing moves: set dry_run to false")
        self._largest = -math.inf
        self._trigger("start")
        self._started = time.monotonic()

    def start_dry(self) -> None:
        """Start a run in which nothing moves."""
        if self._dry_before is None:
            # Of now: an operator may have set it since `open`.
            self._dry_before = bool(self._parameters("dry_run")["dry_run"])
        self._change({"dry_run": True})
        self._trigger("start")
        self._started = time.monotonic()

    def end_dry(self) -> None:
        """End it, and set back what was set before it."""
        self.stop()
        if self._dry_before is not None:
            self._change({"dry_run": self._dry_before}, patient=True)
        self._dry_before = None

    def _parameters(self, *names: str) -> dict[str, Any]:
        values = self._ask(self._get, GetParameters.Request(names=list(names))).values
        return dict(zip(names, map(parameter_value_to_python, values)))

    def stop(self) -> None:
        # If it refuses, it is not active, and nothing is commanded.
        self._ask(self._triggers["stop"], Trigger.Request(), patient=True)

    def reset(self) -> None:
        self._trigger("reset")

    def why_ended(self) -> str:
        if time.monotonic() - self._heard > SILENCE_SECONDS:
            return f"nothing was heard of {self.name} for {SILENCE_SECONDS:g} s: does it run?"
        running = self._said["doing"] in {state.value for state in STARTED}
        fresh = self._heard > self._started + SETTLING_SECONDS
        if not fresh or running:
            return ""
        if self._said.get("commands") == "0":  # since ~/load
            raise NotDone(self._text)
        return self._text

    @property
    def health(self) -> float | None:
        return None if self._largest == -math.inf else round(self._largest, 3)

    # -- ROS ------------------------------------------------------------------------------------

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{self.name}: control":
                self._said = {pair.key: pair.value for pair in status.values}
                self._text, self._heard = status.message, time.monotonic()

    def _healthy(self, message: Float64MultiArray) -> None:
        if message.data and math.isfinite(message.data[0]):
            self._largest = max(self._largest, message.data[0])

    def _change(self, values: dict[str, Any], patient: bool = False) -> None:
        """:raises NotDone: in the node's words."""
        changed = [Parameter(name, value=value) for name, value in values.items()]
        request = SetParameters.Request(parameters=[one.to_parameter_msg() for one in changed])
        for result in self._ask(self._set, request, patient=patient).results:
            if not result.successful:
                raise NotDone(result.reason)

    def _trigger(self, action: str, seconds: float = ANSWER_SECONDS) -> None:
        """:raises NotDone: in the node's words."""
        answer = self._ask(self._triggers[action], Trigger.Request(), seconds)
        if not answer.success:
            raise NotDone(answer.message)

    def _ask(
        self, client: Any, request: Any, seconds: float = ANSWER_SECONDS, patient: bool = False
    ) -> Any:
        """:param patient: wait even when the session is to end.
        :raises NotDone: nobody offers the service, or no answer."""
        until = time.monotonic() + seconds
        future = client.call_async(request)
        while not future.done():
            if self._stop.is_set() and not patient:
                client.remove_pending_request(future)
                raise NotDone("interrupted")
            if time.monotonic() > until:
                client.remove_pending_request(future)
                raise NotDone(f"no answer of {client.srv_name} within {seconds:g} s")
            time.sleep(POLL_SECONDS)
        return future.result()
