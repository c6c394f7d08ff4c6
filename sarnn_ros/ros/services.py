# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The services by which a person commands the robot's side: ~/start, ~/stop, ~/reset."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from std_srvs.srv import Trigger

from sarnn_ros.control.controller import Controller
from sarnn_ros.control.state import Status


class ControlServices:
    """Offers them for as long as the node lives.

    :param controller: the one that is active, or None.
    :param status: what the node is doing, for the answer if there is none.
    :param before_start: looks once more at what could prevent a start.
    :param changed: called after each request that was passed on.
    """

    def __init__(
        self,
        node: Node,
        controller: Callable[[], Controller | None],
        status: Callable[[], Status],
        *,
        before_start: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._log = node.get_logger()
        self._controller = controller
        self._status = status
        self._before_start = before_start
        self._changed = changed
        for name, work in (("start", self._start), ("stop", self._stop), ("reset", self._reset)):
            node.create_service(Trigger, f"~/{name}", partial(self._serve, work))

    def _start(self, controller: Controller) -> str:
        self._before_start()
        controller.start()
        return f"started: {controller.status().text}"

    def _stop(self, controller: Controller) -> str:
        controller.stop()
        return controller.status().text

    def _reset(self, controller: Controller) -> str:
        cleared = ", ".join(fault.code for fault in controller.reset())
        return f"reset{cleared and f', cleared: {cleared}'}: {controller.status().text}"

    def _serve(self, work: Callable[[Controller], str], _: Any, response: Any) -> Any:
        controller = self._controller()
        if controller is None:
            response.success, response.message = False, self._status().text
            return response
        try:
            response.success, response.message = True, work(controller)
        except RuntimeError as error:
            response.success, response.message = False, str(error)
        self._log.info(response.message)
        self._changed()
        return response
