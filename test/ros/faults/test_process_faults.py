# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Faults in how the node is driven: its lifecycle, its services and parameters, its process, its
clock, and a robot that is not the policy's."""

from __future__ import annotations

import array
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from promises import Promises
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

pytestmark = pytest.mark.slow

START = (0.3, 0.3, 0.3)
JOINTS = ("joint1", "joint2", "gripper")
CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4
SHUTDOWN = {"unconfigured": 5, "inactive": 6, "active": 7}
ALL = (CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE, *SHUTDOWN.values(), 42)


def is_silent(robot, wait, ticks=3):
    """Whether no command comes within so many ticks; one that was on its way may."""
    first = robot.published
    wait(lambda: robot.published > first + 15, "the robot goes on")
    count, second = len(robot.commands), robot.published
    wait(lambda: robot.published > second + 10 * ticks, "the robot goes on")
    return len(robot.commands) == count


def commands_come(robot, node, wait, count=3):
    seen = len(robot.commands)
    wait(lambda: len(robot.commands) >= seen + count, lambda: f"commands\n{node.output}")


@pytest.fixture(scope="module")
def managed(policy, start_node, make_robot):
    """A node that waits for its lifecycle manager, and its robot."""
    robot = make_robot(JOINTS, START, namespace="/managed/")
    return start_node("-r", "__ns:=/managed", policy=policy, autostart=False), robot


def test_lifecycle_requests_in_every_wrong_order(managed, policy, graph, wait):
    node, robot = managed
    name = "/managed/sarnn"
    right = {
        "unconfigured": {CONFIGURE, SHUTDOWN["unconfigured"]},
        "inactive": {ACTIVATE, CLEANUP, SHUTDOWN["inactive"]},
        "active": {DEACTIVATE, SHUTDOWN["active"]},
    }
    for state, transition in (
        ("unconfigured", None),
        ("inactive", CONFIGURE),
        ("active", ACTIVATE),
    ):
        if transition is not None:
            assert graph.change_state(name, transition), node.output
        for wrong in set(ALL) - right[state]:
            assert not graph.change_state(name, wrong)
            assert graph.state(name) == state
        for service in ("start", "stop", "reset"):
            assert graph.trigger(f"{name}/{service}").success == (state == "active")
        if state != "active":
            assert is_silent(robot, wait)
            assert not robot.commands
    graph.trigger(f"{name}/start")
    commands_come(robot, node, wait)
    assert graph.change_state(name, DEACTIVATE) and graph.change_state(name, CLEANUP)
    assert node.returncode is None
    Promises.of(policy).check(robot)


def test_ten_rounds(managed, policy, graph, wait):
    import psutil

    node, robot = managed
    name = "/managed/sarnn"
    process = psutil.Process(node.pid)
    threads = 0  # after the first round
    for _ in range(10):
        before = len(robot.commands)
        assert graph.change_state(name, CONFIGURE), node.output
        assert graph.change_state(name, ACTIVATE)
        commands_come(robot, node, wait, 2)
        assert graph.change_state(name, DEACTIVATE)
        assert graph.change_state(name, CLEANUP)
        threads = threads or process.num_threads()
        Promises.of(policy).check(robot, before)
    assert is_silent(robot, wait)
    wait(  # a thread may take a while to end
        lambda: process.num_threads() <= threads + 1,
        lambda: f"{process.num_threads()} threads, {threads} after the first round",
    )
    assert "Traceback" not in node.output


def test_a_policy_that_is_missing_can_be_corrected_without_a_restart(managed, policy, graph, wait):
    node, robot = managed
    name = "/managed/sarnn"
    assert graph.set_parameter(name, "policy", "/nowhere")[0]
    assert not graph.change_state(name, CONFIGURE)
    assert graph.state(name) == "unconfigured"
    assert "/nowhere" in node.output
    assert graph.set_parameter(name, "policy", str(policy))[0]
    assert graph.change_state(name, CONFIGURE) and graph.change_state(name, ACTIVATE)
    commands_come(robot, node, wait)
    assert graph.change_state(name, DEACTIVATE) and graph.change_state(name, CLEANUP)


@pytest.fixture(scope="module")
def running(policy, start_node, make_robot, wait):
    """A node that commands, and its robot."""
    robot = make_robot(JOINTS, START, namespace="/running/")
    node = start_node("-r", "__ns:=/running", policy=policy, autostart=True)
    wait(lambda: robot.commands, lambda: node.output)
    return node, robot


def test_storms_of_services_and_parameters(running, policy, graph, wait):
    node, robot = running
    name = "/running/sarnn"
    before = len(robot.commands)

    # One client each: of many that come and go, a node that gets no core has not heard yet.
    with ExitStack() as clients, ThreadPoolExecutor(8) as pool:
        services = [
            clients.enter_context(graph.client(Trigger, f"{name}/{service}"))
            for service in ("start", "stop", "reset")
        ]
        set_parameters = clients.enter_context(
            graph.client(SetParameters, f"{name}/set_parameters")
        )

        def storm(index):
            if index % 4 < 3:
                return services[index % 4](Trigger.Request()).success
            value = Parameter("input_param_joints", value=0.5 + index / 1000).to_parameter_msg()
            answer = set_parameters(SetParameters.Request(parameters=[value]))
            return answer.results[0].successful

        assert all(pool.map(storm, range(120)))
    graph.trigger(f"{name}/stop")
    assert is_silent(robot, wait)
    assert graph.set_parameter(name, "input_param_joints", 1.0)[0]
    assert graph.trigger(f"{name}/start").success
    commands_come(robot, node, wait)
    Promises.of(policy).check(robot, before)


def test_a_latched_fault_outlives_deactivation(running, graph, wait):
    node, robot = running
    name = "/running/sarnn"

    def jumped(message):
        message.position = array.array("d", [value + 2.0 for value in message.position])
        return [message]

    robot.mutate_joints = jumped
    node.wait_for("call ~/reset, then ~/start")
    robot.mend()
    assert graph.change_state(name, DEACTIVATE)
    assert graph.change_state(name, ACTIVATE)
    node.wait_for("active: faulted: ")
    assert is_silent(robot, wait, ticks=5)
    assert not graph.trigger(f"{name}/start").success
    assert graph.trigger(f"{name}/reset").success
    assert is_silent(robot, wait)
    assert graph.trigger(f"{name}/start").success
    commands_come(robot, node, wait)


def test_a_stopped_process_sends_nothing_old_when_it_goes_on(running, policy, graph, wait):
    """And nothing new: the arm may have been moved meanwhile."""
    node, robot = running
    name = "/running/sarnn"
    commands_come(robot, node, wait)
    node.send(signal.SIGSTOP)
    assert is_silent(robot, wait, ticks=12)
    before = len(robot.commands)
    node.send(signal.SIGCONT)
    node.wait_for("call ~/reset, then ~/start: no")  # nothing was done for, or no tick for
    assert is_silent(robot, wait)
    assert not graph.trigger(f"{name}/start").success
    assert graph.trigger(f"{name}/reset").success and graph.trigger(f"{name}/start").success
    commands_come(robot, node, wait)
    Promises.of(policy).check(robot, before)


def test_a_starved_machine_costs_ticks_not_safety(running, policy, wait):
    node, robot = running
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6)]
    try:
        before = len(robot.commands)
        published = robot.published
        wait(lambda: robot.published > published + 200, "two seconds")
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    commands_come(robot, node, wait)
    Promises.of(policy).check(robot, before)


def test_a_robot_with_other_joints_is_never_commanded(policy, start_node, make_robot, wait):
    robot = make_robot(("shoulder", "elbow", "gripper"), START, namespace="/other/")
    node = start_node("-r", "__ns:=/other", policy=policy, autostart=True)
    node.wait_for("a message on 'joint_states' is void")
    for joint in ("joint1", "shoulder"):
        node.wait_for(joint)
    assert is_silent(robot, wait, ticks=5) and not robot.commands


def test_kill_9_leaves_nothing_to_send(policy, start_node, make_robot, wait):
    robot = make_robot(JOINTS, START, namespace="/killed/", interface="joint_trajectory")
    node = start_node(
        "-r", "__ns:=/killed", policy=policy, autostart=True, command_interface="joint_trajectory"
    )
    wait(lambda: len(robot.commands) > 3, lambda: node.output)
    node.kill()
    assert is_silent(robot, wait)


class SimulatedTime:
    """`/clock` at 100 Hz, which can be stopped and moved."""

    def __init__(self, graph):
        from rosgraph_msgs.msg import Clock

        self.now_ns = 1_000_000_000_000
        self.running = True
        self._lock = threading.Lock()
        self._publisher = graph.node.create_publisher(Clock, "/clock", 10)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        from rosgraph_msgs.msg import Clock

        while not self._ending.wait(0.01):
            with self._lock:
                self.now_ns += 10_000_000 * self.running
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(self.now_ns, 1_000_000_000)
            self._publisher.publish(message)

    def close(self):
        self._ending.set()
        self._thread.join()

    def stop(self, said, robot, wait):
        """Stop the clock until the node says so: then no command is on its way any more."""
        self.running = False
        before = len(said)
        wait(
            lambda: any(
                "no tick for" in one.message for array in said[before:] for one in array.status
            ),
            "diagnostics that say so",
        )
        assert is_silent(robot, wait, ticks=5)

    def move(self, by_ns, robot, wait):
        """Set the clock, which is stopped: the new time could not judge a command on its way. The
        robot goes on. Gives the number of commands before."""
        before = len(robot.commands)
        with robot.record, self._lock:
            delay_ns = robot.delay_ns
            self.now_ns += by_ns
            moved = self.now_ns
            self.running = True
        wait(lambda: 0 <= robot.echoed_ns - moved < 100_000_000_000, "an echo of the new time")
        robot.delay_ns = delay_ns
        return before


def test_simulated_time_stops_jumps_and_goes_back(policy, start_node, make_robot, graph, wait):
    time = SimulatedTime(graph)
    try:
        robot = make_robot(JOINTS, START, namespace="/sim/", clock=lambda: time.now_ns)
        # A run whose clock is set back ends where the policy may not begin anew.
        given = {"autostart": True, "use_sim_time": True, "start__margin": 1.0}
        node = start_node("-r", "__ns:=/sim", policy=policy, **given)
        wait(lambda: len(robot.commands) > 5, lambda: node.output)
        stamps = [command.at_ns for command in robot.commands]
        assert max(stamps) < 2_000_000_000_000, "ticks follow /clock"

        said = graph.collect(DiagnosticArray, "/diagnostics")
        time.stop(said, robot, wait)
        assert graph.trigger("/sim/sarnn/stop").success, "services answer without a clock"
        assert graph.trigger("/sim/sarnn/start").success
        time.running = True
        commands_come(robot, node, wait)

        promises = Promises.of(policy)
        promises.check(robot)
        for by_ns in (3_600_000_000_000, -4_200_000_000_000):
            time.stop(said, robot, wait)
            before = time.move(by_ns, robot, wait)
            commands_come(robot, node, wait)
            promises.check(robot, before)
        assert "Traceback" not in node.output
    finally:
        time.close()
    assert node.stop() == 0
