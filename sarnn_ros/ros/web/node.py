# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The node `sarnn_web`: what `sarnn web` hears, and the services that it calls, as anybody could.

Two threads: the *executor*, which takes messages and answers, and *http*. A call is sent by the
latter at once, and waits for nobody: a stop passes, whatever else hangs.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from sarnn_ros.ros.spinning import spinning
from sarnn_ros.ros.web.access import listen
from sarnn_ros.ros.web.connections import Connections
from sarnn_ros.ros.web.server import PageServer, make_app
from sarnn_ros.ros.web.view import DRY_RUN, MAP, TRIGGERS, Call, View
from sarnn_ros.signals import stop_on_signals

#: Polling interval of what is watched and of calls without an answer, s; of cameras.
POLL_SECONDS = 0.2
CAMERA_POLL_SECONDS = 1.0
#: An answer may take so long, s; the end of an episode is long in coming on a slow disk.
ANSWER_SECONDS = 10.0
EPISODE_SECONDS = 30.0
#: A call waits so long for somebody who offers it: discovery may still be going on, s.
DISCOVERY_SECONDS = 3.0


@dataclass
class _Waiting:
    """A call without an answer; `future` is None while it is not sent."""

    call: Call
    client: Any
    future: Any
    until_s: float

    @property
    def answered(self) -> bool:
        return self.future is not None and self.future.done()


class WebNode(Node):
    """See the module.

    :param node: the inference node's full name.
    :param recorder: the recorder's.
    """

    def __init__(self, view: View, node: str, recorder: str, **options: Any) -> None:
        super().__init__("sarnn_web", start_parameter_services=False, **options)
        self._view = view
        owners = {"node": node, "recorder": recorder}
        self._triggers = {
            action: self.create_client(Trigger, f"{owners[owner]}/{service}")
            for action, (owner, service) in TRIGGERS.items()
        }
        self._parameters = self.create_client(SetParameters, f"{node}/set_parameters")
        self._waiting: list[_Waiting] = []
        self._lock = threading.RLock()  # of `_waiting`
        self._overlay = re.compile(rf"{re.escape(node)}/(?:(\w+)/)?attention_overlay/compressed")
        self._map = f"{recorder}/places/compressed"
        self._topics: dict[str, str] = {}
        self._pictures: dict[str, Any] = {}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 50)
        self.create_subscription(Float64MultiArray, f"{node}/health", self._health, 50)
        # On the steady clock: a stopped simulation must not stop the page.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(CAMERA_POLL_SECONDS, self._find_cameras, clock=steady)
        self.create_timer(POLL_SECONDS, self._follow_pictures, clock=steady)
        self.create_timer(POLL_SECONDS, self._look_after_calls, clock=steady)
        self._find_cameras()

    def call(self, action: str) -> int:
        """Begin an action of `TRIGGERS` or `DRY_RUN`; any thread. What becomes of it is in the
        view.

        :returns: its number there.
        :raises Busy: it has been begun before, and has no answer.
        """
        call = self._view.begin(action)
        if action == "stop":
            self._drop_unsent()
        client = self._triggers.get(action, self._parameters)
        if client.service_is_ready():
            self._send(call, client)
        else:
            call.text = f"not sent yet: {_nobody(client)}"
            with self._lock:
                until_s = time.monotonic() + DISCOVERY_SECONDS
                self._waiting.append(_Waiting(call, client, None, until_s))
        if action == "stop" and self._triggers["lesson_end_run"].service_is_ready():
            # A lesson may be about to start the robot, which a stop before that does not prevent.
            self._triggers["lesson_end_run"].call_async(Trigger.Request())
        return call.number

    def _drop_unsent(self) -> None:
        """A start that waits for its node must not follow a stop."""
        with self._lock:
            for one in list(self._waiting):
                if not one.future and one.call.action != "stop":
                    self._waiting.remove(one)
                    self._view.end(one.call, False, "not sent: a stop came after it")

    def _send(self, call: Call, client: Any) -> None:
        request = Trigger.Request()
        if call.action in DRY_RUN:
            value = Parameter("dry_run", value=DRY_RUN[call.action])
            request = SetParameters.Request(parameters=[value.to_parameter_msg()])
        seconds = EPISODE_SECONDS if call.action.startswith("episode") else ANSWER_SECONDS
        future = client.call_async(request)
        with self._lock:
            self._waiting.append(_Waiting(call, client, future, time.monotonic() + seconds))
        future.add_done_callback(partial(self._answered, call))

    def _answered(self, call: Call, future: Any) -> None:
        if future.cancelled() or future.result() is None:
            return
        answer = future.result()
        if call.action in DRY_RUN:
            result = answer.results[0]
            mode = "a dry run" if DRY_RUN[call.action] else "no dry run"
            text = result.reason or f"{mode}; the robot is stopped until the next start"
            self._view.end(call, result.successful, text)
        else:
            self._view.end(call, answer.success, answer.message)

    # -- what is heard --------------------------------------------------------------------------

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self._view.say(status.name, status.level[0], status.message, values)

    def _health(self, message: Float64MultiArray) -> None:
        if message.data:
            self._view.health(message.data[0])

    def _shown(self, camera: str, message: CompressedImage) -> None:
        self._view.show(camera, bytes(message.data))

    def _find_cameras(self) -> None:
        # Our own subscriptions keep the names of topics that nobody publishes any more.
        known = (name for name, _ in self.get_topic_names_and_types())
        names = [name for name in known if self.count_publishers(name)]
        found = filter(None, map(self._overlay.fullmatch, names))
        self._topics = {one[1] or "": one[0] for one in found}
        if self._map in names:
            self._topics[MAP] = self._map
        self._view.found(tuple(sorted(self._topics)))

    def _follow_pictures(self) -> None:
        """Subscribed to only while somebody looks: the node draws for subscribers alone."""
        looked_at = self._view.looked_at()
        for camera in looked_at - self._pictures.keys():
            self._pictures[camera] = self.create_subscription(
                CompressedImage, self._topics[camera], partial(self._shown, camera), 1
            )
        for camera in self._pictures.keys() - looked_at:
            self.destroy_subscription(self._pictures.pop(camera))

    def _look_after_calls(self) -> None:
        now = time.monotonic()
        with self._lock:
            waiting = [one for one in self._waiting if not one.answered]
            ready = [one for one in waiting if not one.future and one.client.service_is_ready()]
            late = [one for one in waiting if one not in ready and now > one.until_s]
            self._waiting = [one for one in waiting if one not in (*ready, *late)]
            for one in ready:  # locked: a stop that comes now is sent after it
                self._send(one.call, one.client)
        for one in late:
            text = _nobody(one.client)
            if one.future is not None:
                one.client.remove_pending_request(one.future)
                text = f"no answer of {one.client.srv_name}; it may still take effect"
            if one.call.action == "stop":
                text += ". If the robot moves, use the emergency stop."
            self._view.end(one.call, False, text)


def _nobody(client: Any) -> str:
    return f"nobody offers {client.srv_name}: look whether its node runs, in this ROS domain"


def serve(
    node: str,
    recorder: str,
    host: str,
    port: int,
    token: str | None,
    listens: Callable[[str], object],
) -> int:
    """Serve the page until SIGINT, SIGQUIT, SIGTERM or SIGHUP.

    :param listens: told the address to open, once it answers.
    :returns: 0 after a clean stop, 1 if the server ended by itself.
    :raises ConfigError: see `listen`.
    """
    with stop_on_signals() as stop:
        listening, access, url = listen(host, port, token)
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        view = View(node, recorder)
        web = WebNode(view, node, recorder)
        failed = False

        def ended() -> None:
            nonlocal failed
            failed = not stop.is_set()
            stop.set()

        connections = Connections()
        with spinning(web, stop):
            app = make_app(view, access, web.call, connections)
            server = PageServer(app, connections, access.token, listening, ended)
            listens(url)
            stop.wait()
            server.stop()
    return int(failed)
