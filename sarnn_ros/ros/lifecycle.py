# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node that survives exceptions in its transitions, and requests that its state does
not allow: rclpy's does not."""

from __future__ import annotations

import traceback
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from sarnn_ros.errors import SarnnError
from sarnn_ros.ros.spinning import RCLError


class SafeLifecycleNode(LifecycleNode):
    """Subclasses say what a transition does. After one that failed the node is unconfigured."""

    def __init__(self, node_name: str, **options: Any) -> None:
        super().__init__(node_name, **options)
        service = self._service_change_state
        service.callback = partial(self._change_state, service.callback)

    @property
    def state(self) -> str:
        """Lifecycle state: unconfigured, inactive, active or finalized."""
        return str(self._state_machine.current_state[1])

    def enable_publishers(self) -> None:
        """Lifecycle publishers that were made while active publish from now on."""
        number, label = self._state_machine.current_state
        super().on_activate(LifecycleState(label, number))

    @abstractmethod
    def configure(self) -> None: ...

    @abstractmethod
    def activate(self) -> None:
        """The lifecycle publishers publish by then."""

    @abstractmethod
    def halt(self) -> None:
        """Deactivate. The lifecycle publishers publish until it returns."""

    @abstractmethod
    def release(self) -> None:
        """Give back whatever `configure` made, all of it or part."""

    @abstractmethod
    def failed(self, problem: str) -> None:
        """A transition has failed, and why."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("configure", self.configure, partial(super().on_configure, state))

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("activate", partial(super().on_activate, state), self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("deactivate", self.halt, partial(super().on_deactivate, state))

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("cleanup", self.release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("shutdown", self.release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a failed transition the node is unconfigured, whatever was half done."""
        return self._transition("error", self.release)

    def _transition(self, name: str, *steps: Callable[[], object]) -> TransitionCallbackReturn:
        # rclpy swallows exceptions of these callbacks without a word.
        try:
            for step in steps:
                step()
        except SarnnError as error:
            self.get_logger().error(f"{name} failed: {error}")
            self.release()
            self.failed(error.problem)
            if name == "configure":  # FAILURE leads back to where it came from
                return TransitionCallbackReturn.FAILURE
            return TransitionCallbackReturn.ERROR  # to unconfigured
        except Exception:
            self.get_logger().error(f"{name} failed:\n{traceback.format_exc()}")
            self.failed(f"{name} failed with an unexpected error: see the log")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _change_state(self, answer: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
        # In Jazzy a request that the state does not allow raises through the executor: the node
        # would die, and the caller would wait for ever.
        try:
            return answer(request, response)
        except RCLError as error:
            self.get_logger().warning(
                f"transition {request.transition.id} refused while {self.state}: {error}"
            )
            response.success = False
            return response
