# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The service `~/load`: another policy takes the place of the one in force, without a restart.

Reading, checking and warming up take seconds, and a damaged policy may take for ever. So they run
in a thread of their own; the executor takes messages and services meanwhile, `~/stop` among them.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from sarnn_ros.control.resolve import load_policy
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.state import Refused
from sarnn_ros.errors import PolicyError, SarnnError
from sarnn_ros.policy.runtime import Policy

#: Longer than the first steps of a policy may take; a network file system may never answer.
DEADLINE_SECONDS = 150.0


class PolicyLoader:
    """Offers `~/load` for as long as the node lives.

    :param begin: the settings that name the policy. Raises `Refused` or `SarnnError`.
    :param replace: lets a policy, loaded by these settings, take the place of the one in force;
        the answer. Raises the same, and the one in force stays.
    :param wake: wakes the executor.
    :ivar loading: the directory that is being loaded, or None.
    """

    def __init__(
        self,
        node: Node,
        begin: Callable[[], Settings],
        replace: Callable[[Policy, Settings], str],
        wake: Callable[[], None],
    ) -> None:
        self._node, self._begin, self._replace, self._wake = node, begin, replace, wake
        self.loading: str | None = None
        # A group of its own: the others would wait until it has answered.
        group = ReentrantCallbackGroup()
        node.create_service(Trigger, "~/load", self._serve, callback_group=group)

    async def _serve(self, _: Any, response: Any) -> Any:
        log = self._node.get_logger()
        try:
            response.message = await self.load()
            response.success = True
            log.info(response.message)
        except (SarnnError, Refused) as error:
            response.message = f"not loaded: {error}"
            log.error(response.message)
        except Exception:  # or the caller would wait for ever
            response.message = "not loaded: an unexpected error, see the log"
            log.error(f"~/load failed:\n{traceback.format_exc()}")
        self._wake()
        return response

    async def load(self, wanted: Callable[[], bool] = lambda: True) -> str:
        """What the service does.

        :param wanted: asked once more when it has been read.
        :raises SarnnError, Refused: the policy in force stays.
        """
        if self.loading is not None:
            raise Refused(f"'{self.loading}' is being loaded: wait for the answer to that")
        settings = self._begin()
        self.loading = settings.policy
        try:
            self._node.get_logger().info(f"loads '{settings.policy}'; the robot holds")
            self._wake()
            found = await self._read(settings)
            if isinstance(found, Exception):
                raise found
            if not wanted():
                raise Refused(f"'{settings.policy}' is no longer wanted")
            return self._replace(found, settings)
        finally:
            self.loading = None

    def _read(self, settings: Settings) -> Future:
        """The policy, or the exception that it raised."""
        future = Future(executor=self._node.executor)

        def settle(result: Policy | Exception) -> None:
            future.set_result(result)
            self._wake()

        def read() -> None:
            try:
                settle(load_policy(settings))
            except Exception as error:  # whatever a damaged file makes a library raise
                settle(error)
            timer.cancel()

        late = PolicyError(
            f"not loaded within {DEADLINE_SECONDS:g} s",
            where=settings.policy,
            remedy="is it on a network file system that does not answer? Copy it to this computer",
        )
        timer = threading.Timer(DEADLINE_SECONDS, settle, [late])
        timer.daemon = True
        timer.start()
        threading.Thread(target=read, name="load", daemon=True).start()
        return future
