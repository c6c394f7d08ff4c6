# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What tests over real DDS need: a domain of their own, processes, and a robot that records.

Nothing here sleeps to synchronise: everything waits for a condition, with a limit.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before the first message class is imported: a field of the wrong type is then an error.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

import numpy as np
import psutil
import pytest
from in_time import NotInTime

from sarnn_ros.errors import EnvironmentProblem
from sarnn_ros.processes import free_domain
from sarnn_ros.share import ros_environment

#: Discovery alone can take three seconds, on a machine that is busy with other tests longer.
TIMEOUT = 30.0

#: Kept free for tests; hand-made runs use other domains. Above 101 the ports would collide with
#: those that Linux hands out by itself.
DOMAINS = range(80, 101)


#: Messages that a robot may be behind.
QUEUE = 200
SECOND = 1_000_000_000
#: Different ones that a robot's camera shows, in turn.
PICTURES = 50


def _no_events(kind: str) -> Any:
    """Of an rclpy publisher or subscription. Every one of them makes each wait of this process's
    executor slower, and with four robots that is what it does most of the time."""
    from rclpy import event_handler

    return getattr(event_handler, f"{kind}EventCallbacks")(use_default_callbacks=False)


def wait_until(
    condition: Callable[[], Any], what: str | Callable[[], str], timeout: float = TIMEOUT
) -> Any:
    """The condition's value as soon as it is true.

    :raises NotInTime: naming `what` if it does not come true in time.
    """
    pause = threading.Event()
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise NotInTime(f"not within {timeout:g} s: {what() if callable(what) else what}")
        pause.wait(0.005)


@pytest.fixture(scope="session")
def wait() -> Callable[..., Any]:
    return wait_until


@contextmanager
def own_domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other test of this machine has now, whichever process runs it."""
    folder = Path(tempfile.gettempdir()) / "sarnn_ros_test_domains"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)

    def take() -> tuple[int, int] | None:
        for number in DOMAINS:
            handle = os.open(folder / str(number), os.O_CREAT | os.O_RDWR, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free_domain([number])  # nodes that a run left behind when it was killed
            except (BlockingIOError, EnvironmentProblem):
                os.close(handle)
                continue
            return number, handle
        return None

    number, handle = wait_until(take, "a free ROS_DOMAIN_ID", timeout=100.0)
    try:
        yield number
    finally:
        os.close(handle)


@pytest.fixture(scope="module")
def domain() -> Iterator[int]:
    """The domain of this module."""
    with own_domain() as number:
        yield number


@pytest.fixture(scope="module")
def environment(domain: int) -> dict[str, str]:
    """The environment of every process of this module."""
    return {
        **ros_environment(),
        "ROS_DOMAIN_ID": str(domain),
        "ROS_PYTHON_CHECK_FIELDS": "1",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "PYTHONFAULTHANDLER": "1",
        "RCUTILS_LOGGING_BUFFERED_STREAM": "0",
    }


def _on_its_own() -> None:
    """In a child: its own process group, which signals reach. No session: Linux shares the cores
    out between those, whatever the priorities in each (sched_autogroup_enabled), and a node waited
    for one twice as long beside the unit tests: 13 ms instead of 6, 2 without them."""
    os.setpgrp()
    # Under nohup the test run ignores SIGHUP, and its children would.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


_LIBC = ctypes.CDLL(None)


def die_with_parent() -> None:
    """In a child: end with the thread that started us. A node that outlived a killed run of tests
    would disturb the next one in its domain."""
    _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Process:
    """A child process whose output can be waited for. To be made in the main thread."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as stream:
            self._popen = subprocess.Popen(
                list(command), env=dict(environment), stdout=stream, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, preexec_fn=_on_its_own,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    def wait_for(self, text: str, timeout: float = TIMEOUT, *, after: int = 0) -> None:
        """Until `text` is in the output, `after` so many characters of it."""

        def found() -> bool:
            seen = text in self.output[after:]
            if not seen and self.returncode is not None:
                raise AssertionError(
                    f"ended with {self.returncode} before {text!r}:\n{self.output}"
                )
            return seen

        wait_until(found, lambda: f"{text!r} in the output:\n{self.output}", timeout)

    def send(self, number: int) -> None:
        self._popen.send_signal(number)

    @property
    def group(self) -> list[psutil.Process]:
        """What runs of it and of all that it started, also when it has ended itself."""
        found = []
        for one in psutil.process_iter():
            with suppress(ProcessLookupError, psutil.Error):
                if os.getpgid(one.pid) == self.pid and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(one)
        return found

    def stop(self, number: int = signal.SIGINT, timeout: float = TIMEOUT) -> int:
        """Ask it to end, and its return code. Whoever does not end is killed."""
        if self.returncode is None:
            self.send(signal.SIGCONT)  # a stopped process ends on nothing else
            self.send(number)
        return self.ended(timeout)

    def ended(self, timeout: float = TIMEOUT) -> int:
        """Its return code, once it ends. Whoever does not end is killed."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
            raise NotInTime(f"did not end:\n{self.output}") from None

    def kill(self) -> None:
        if self.returncode is None:
            self._popen.send_signal(signal.SIGCONT)
            self._popen.kill()
        self._popen.wait()


class Launcher:
    """Starts processes, and ends those that are left."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._processes: list[Process] = []
        self._started = 0

    def __call__(self, *command: str, **extra: str) -> Process:
        log = self._folder / f"{self._started}.log"
        self._started += 1
        process = Process([str(part) for part in command], {**self._environment, **extra}, log)
        self._processes.append(process)
        return process

    def end(self) -> None:
        """Ask all at once, then kill: each one killed leaves 35 MB of shared memory behind."""
        for process in self._processes:
            process.send(signal.SIGCONT)
            process.send(signal.SIGINT)
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline and any(
            process.returncode is None for process in self._processes
        ):
            time.sleep(0.02)
        while self._processes:
            self._processes.pop().kill()

    def finish(self) -> None:
        """End them in order: what a killed one leaves in shared memory may disturb the next."""
        while self._processes:
            process = self._processes.pop()
            try:
                process.stop()
            finally:
                process.kill()


@pytest.fixture(scope="module")
def launch(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launcher]:
    launcher = Launcher(environment, tmp_path_factory.mktemp("log"))
    yield launcher
    launcher.end()


@pytest.fixture(scope="module")
def start_node(launch: Callable[..., Process]) -> Callable[..., Process]:
    """Starts the inference node as `ros2 run` would, with parameters given as keywords.

    Unless given, it commands as soon as it is active, holds for as long as a test may take, and
    `watch.max_gap` is 1 s: on a machine that is busy with other tests, a node may have to wait for
    its turn for longer than the default allows."""

    def start(*arguments: str, **parameters: Any):
        ros = ["--ros-args"]
        usual = {"start_on_activate": True, "start__wait": 600.0, "watch__max_gap": 1.0}
        parameters = usual | parameters
        for name, value in parameters.items():
            ros += ["-p", f"{name.replace('__', '.')}:={_yaml(value)}"]
        return launch(sys.executable, "-m", "sarnn_ros.ros.inference_node", *ros, *arguments)

    return start


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    return str(value)


@contextmanager
def in_background(node: Any, *ignored: type[Exception]) -> Iterator[Any]:
    """Run a node's callbacks in a thread: its executor. Another exception than those ignored ends
    the thread, and fails the test."""
    from rclpy.executors import SingleThreadedExecutor

    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    closing = threading.Event()

    def spin() -> None:
        while not closing.is_set():
            with suppress(*ignored):
                executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin, name=node.get_name())
    thread.start()
    try:
        yield executor
    finally:
        # Not by the executor's shutdown: a message that comes just then would raise in it.
        closing.set()
        thread.join(TIMEOUT)
        executor.shutdown()


class Graph:
    """A node in this process that spins in the background, on the module's domain."""

    def __init__(self, domain: int) -> None:
        import rclpy
        from rclpy.impl.implementation_singleton import rclpy_implementation

        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node(
            "probe", context=self.context, start_parameter_services=False
        )
        self._spinning = ExitStack()
        # Tests destroy publishers and subscriptions while it waits for them.
        ignored = rclpy_implementation.InvalidHandle
        self._executor = self._spinning.enter_context(in_background(self.node, ignored))

    def close(self) -> None:
        self._spinning.close()
        self.node.destroy_node()
        self.context.try_shutdown()

    def in_executor(self, work: Callable[[], Any]) -> Any:
        """What `work` returns there. rclpy's action clients need it: an answer that comes before
        the sending thread has noted its request is ignored. And nothing that a callback under
        way uses may be destroyed elsewhere."""
        task = self._executor.create_task(work)
        wait_until(task.done, "the executor")
        return task.result()

    def call(self, kind: Any, name: str, request: Any = None, timeout: float = TIMEOUT) -> Any:
        """A service's response."""
        with self.client(kind, name, timeout) as ask:
            return ask(kind.Request() if request is None else request)

    @contextmanager
    def client(
        self, kind: Any, name: str, timeout: float = TIMEOUT
    ) -> Iterator[Callable[[Any], Any]]:
        """From a request to its response, for a service that is called more than once."""
        client = self.node.create_client(kind, name)

        def ask(request: Any) -> Any:
            future = client.call_async(request)
            wait_until(future.done, f"an answer of {name}", timeout)
            return future.result()

        try:
            wait_until(client.service_is_ready, f"the service {name}", timeout)
            self._wait_until_known(name.rpartition("/")[0], timeout)
            yield ask
        finally:
            self.node.destroy_client(client)

    def _wait_until_known(self, server: str, timeout: float) -> None:
        """Wait until a node has discovered every client that this one has made so far."""
        from rcl_interfaces.srv import GetParameters

        from sarnn_ros.ros.clients import knows_clients

        name = f"{server}/get_parameters"
        client = self.node.create_client(GetParameters, name)
        try:
            wait_until(client.service_is_ready, f"the service {name}", timeout)
            wait_until(knows_clients(client), f"an answer of {name}", timeout)
        finally:
            self.node.destroy_client(client)

    def trigger(self, name: str) -> Any:
        """A Trigger's response."""
        from std_srvs.srv import Trigger

        return self.call(Trigger, name)

    def change_state(self, node: str, transition: int, timeout: float = TIMEOUT) -> bool:
        """One lifecycle request; whether it succeeded."""
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request()
        request.transition.id = transition
        return bool(self.call(ChangeState, f"{node}/change_state", request, timeout).success)

    def state(self, node: str) -> str:
        from lifecycle_msgs.srv import GetState

        return str(self.call(GetState, f"{node}/get_state").current_state.label)

    def set_parameter(self, node: str, name: str, value: Any) -> tuple[bool, str]:
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        result = self.call(SetParameters, f"{node}/set_parameters", request).results[0]
        return result.successful, result.reason

    def collect(self, kind: Any, topic: str, qos: Any = 10) -> list[Any]:
        """A list to which every message of the topic is appended from now on."""
        received: list[Any] = []
        self.node.create_subscription(kind, topic, received.append, qos)
        return received


@pytest.fixture(scope="module")
def graph(domain: int, environment: dict[str, str]) -> Iterator[Graph]:
    os.environ.update(
        {
            key: value
            for key, value in environment.items()
            if key.startswith(("ROS_", "RMW", "FAST"))
        }
    )
    graph = Graph(domain)
    yield graph
    graph.close()


@dataclass(frozen=True)
class Received:
    """A command as the robot got it, and where the robot was then.

    :param at_ns: when it was sent, by the system's clock, as DDS says: however long this process
        had to wait for a core before it took it. With a simulated clock, when it came.
    """

    at_ns: int
    names: tuple[str, ...]
    position: np.ndarray
    rest: np.ndarray  # where it would come to rest: a trajectory's last point
    velocity: np.ndarray | None
    duration_ns: int
    present: np.ndarray

    def holds(self, before: Received) -> bool:
        """Whether it is a hold of the command before: the same once more, or on a trajectory where
        that comes to rest."""
        off = np.abs(self.position - before.position)
        if self.velocity is None or before.velocity is None or self.velocity.any():
            return not off.any()
        half = 0.5 * np.abs(before.velocity) * before.duration_ns / SECOND
        return bool((off <= half + 1e-9).all())


def _stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return stamp.sec * 1_000_000_000 + stamp.nanosec


Mutation = Callable[[Any], Sequence[Any]]


def unchanged(message: Any) -> Sequence[Any]:
    return (message,)


@dataclass
class Robot:
    """A joint robot with a camera: publishes 50 Hz joints and 33 Hz images, follows
    `joint_command` as a position controller would, and records every command it is sent.

    :param names: of the joints; :param start: their positions at first.
    :param clock: what stamps the messages, ns; by default the system's time.
    :ivar mutate_joints, mutate_image: a fault to inject: what is published instead of a message.
    :ivar harmless: the fault leaves the messages sound, if perhaps late, or at least such that
        the node must take them for sound.
    :ivar reports: stamp and reported positions, in the order of `names`, of each sound message.
    :ivar images: stamp of each sound image.
    :ivar delay_ns: the longest that a message took from this robot to itself since `reset`.
    :ivar echoed_ns: stamp of the last such message.
    :ivar last_ns: when the last command of any kind was sent (`Received.at_ns`).
    :ivar grips: what came on `gripper_command`, where the robot has one (`gripper`).
    :ivar record: to be held while a fault is injected, so that commands are before or after it.
    :ivar published: counts its steps, 100 in a second; at every second one it reports its joints.
    :ivar intruders: publishers that `mend` removes.
    :ivar kind: the message type of a command.
    """

    graph: Graph
    names: tuple[str, ...]
    start: np.ndarray
    interface: str = "joint_state"
    image_size: tuple[int, int] = (64, 64)  # width, height
    namespace: str = ""
    command_names: tuple[str, ...] = ()
    gripper: str = ""  # the joint that obeys gripper_command
    seed: int = 0
    clock: Callable[[], int] | None = None
    mutate_joints: Mutation = unchanged
    mutate_image: Mutation = unchanged
    moving: bool = True
    harmless: bool = False
    commands: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import Image, JointState
        from std_msgs.msg import Float64MultiArray, Header
        from trajectory_msgs.msg import JointTrajectory

        node = self.graph.node
        self.position = np.array(self.start, np.float64)
        self.goal = self.position.copy()
        self.record = threading.Lock()
        self.published = 0
        self.intruders: list[Any] = []
        self.reports: deque[tuple[int, np.ndarray]] = deque(maxlen=30_000)
        self.images: deque[int] = deque(maxlen=10_000)
        self.grips: list[float] = []
        self.delay_ns = self.echoed_ns = self.last_ns = 0
        # Queues as long as the commands': of a shorter one the most delayed would be missing.
        self._echo = node.create_publisher(
            Header, f"{self.namespace}echo", QUEUE, event_callbacks=_no_events("Publisher")
        )
        self._echo_subscription = node.create_subscription(
            Header,
            f"{self.namespace}echo",
            self._hear_echo,
            QUEUE,
            event_callbacks=_no_events("Subscription"),
        )
        self._joints = node.create_publisher(
            JointState,
            f"{self.namespace}joint_states",
            10,
            event_callbacks=_no_events("Publisher"),
        )
        self._images = node.create_publisher(
            Image,
            f"{self.namespace}image_raw",
            qos_profile_sensor_data,
            event_callbacks=_no_events("Publisher"),
        )
        kind = {
            "joint_state": JointState,
            "joint_trajectory": JointTrajectory,
            "forward_position": Float64MultiArray,
        }[self.interface]
        self.kind = kind
        self._subscriptions: list[Any] = []
        self.connect()
        random, (width, height) = np.random.default_rng(self.seed), self.image_size
        self._pictures = itertools.cycle(
            [
                array.array("B", random.integers(0, 256, 3 * width * height, np.uint8).tobytes())
                for _ in range(PICTURES)
            ]
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="robot", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(TIMEOUT)
        self.mend()
        self.disconnect()
        node = self.graph.node
        node.destroy_publisher(self._joints)
        node.destroy_publisher(self._images)
        node.destroy_publisher(self._echo)
        node.destroy_subscription(self._echo_subscription)

    def connect(self) -> None:
        """Listen to commands."""
        from std_msgs.msg import Float64

        if self._subscriptions:
            return
        obeyed = [(self.kind, "joint_command", self._obey)]
        if self.gripper:
            obeyed.append((Float64, "gripper_command", self._grip))
        self._subscriptions = [
            self.graph.node.create_subscription(
                kind,
                f"{self.namespace}{topic}",
                obey,
                QUEUE,
                event_callbacks=_no_events("Subscription"),
            )
            for kind, topic, obey in obeyed
        ]

    def disconnect(self) -> None:
        """As a controller that was deactivated."""
        while self._subscriptions:
            self.graph.node.destroy_subscription(self._subscriptions.pop())

    def mend(self) -> None:
        """End every fault."""
        with self.record:
            self.mutate_joints = self.mutate_image = unchanged
            self.moving, self.harmless = True, False
        self.connect()
        while self.intruders:
            self.graph.node.destroy_publisher(self.intruders.pop())

    def reset(self) -> None:
        """Back to the start, without a fault and with an empty record."""
        self.mend()
        with self.record:
            self.position = np.array(self.start, np.float64)
            self.goal = self.position.copy()
            self.commands.clear()
            self.grips.clear()
            self.delay_ns = 0

    @property
    def connected(self) -> bool:
        """Whether it listens to commands."""
        return bool(self._subscriptions)

    @property
    def now_ns(self) -> int:
        if self.clock is not None:
            return self.clock()
        return int(self.graph.node.get_clock().now().nanoseconds)

    def catch_up(self) -> None:
        """Until whatever has been sent to this process is recorded."""
        for _ in range(2):  # of what arrives together, the echo may be taken first
            now = self.now_ns
            wait_until(lambda now=now: self.echoed_ns >= now, "this robot hears itself")

    def wait_for_hold(self, said: Callable[[], str] = str) -> None:
        """Until a hold is the last command, see `Received.holds`. Another process's may
        still be on its way when this one's own messages have all arrived.

        :param said: what the node has: on a busy machine, that joint states were too old for one.
        :raises NotInTime: it does not come.
        """

        def held() -> bool:
            *_, last, hold = self.commands
            return hold.holds(last)

        wait_until(held, lambda: f"a hold as the last of {self.commands[-3:]}\n{said()}")

    def _hear_echo(self, header: Any) -> None:
        sent = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
        self.delay_ns = max(self.delay_ns, self.now_ns - sent)
        self.echoed_ns = sent

    def _header(self) -> Any:
        """Stamped now."""
        from std_msgs.msg import Header

        header = Header()
        header.stamp.sec, header.stamp.nanosec = divmod(self.now_ns, SECOND)
        return header

    def joint_message(self) -> Any:
        from sensor_msgs.msg import JointState

        position = array.array("d", self.position)
        return JointState(header=self._header(), name=list(self.names), position=position)

    def image_message(self) -> Any:
        from sensor_msgs.msg import Image

        width, height = self.image_size
        message = Image(width=width, height=height, encoding="rgb8", step=3 * width)
        message.header = self._header()
        message.header.frame_id = "camera"
        message.data = array.array("B", next(self._pictures))
        return message

    def _run(self) -> None:
        period = 0.01
        step, due = 0, time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + period, time.monotonic() - 0.1)
            with self.record:
                if self.moving:
                    self._follow()
                if step % 2 == 0:
                    self._report()
                if step % 3 == 0:
                    self._show()
                self.published += 1
            step += 1

    def _report(self) -> None:
        for joints in self.mutate_joints(self.joint_message()):
            self._joints.publish(joints)
            if self.harmless or self.mutate_joints is unchanged:
                reported = dict(zip(joints.name, joints.position))
                state = np.array([reported[name] for name in self.names])
                self.reports.append((_stamp_ns(joints), state))

    def _show(self) -> None:
        self._echo.publish(self._header())
        for image in self.mutate_image(self.image_message()):
            self._images.publish(image)
            if self.harmless or self.mutate_image is unchanged:
                self.images.append(_stamp_ns(image))

    def _follow(self) -> None:
        """Where it is 10 ms later."""
        self.position += (self.goal - self.position) * 0.2

    def _sent_ns(self, info: Any) -> int:
        return int(info["source_timestamp"]) if self.clock is None else self.clock()

    def _obey(self, message: Any, info: Any) -> None:
        at_ns = self._sent_ns(info)
        velocity, rest, duration_ns = None, None, 0
        if self.interface == "joint_state":
            names, position = tuple(message.name), np.array(message.position)
        elif self.interface == "joint_trajectory":
            names, point = tuple(message.joint_names), message.points[0]
            position, velocity = np.array(point.positions), np.array(point.velocities)
            rest = np.array(message.points[-1].positions)
            after = point.time_from_start
            duration_ns = after.sec * 1_000_000_000 + after.nanosec
        else:
            names, position = self.command_names or self.names, np.array(message.data)
        with self.record:
            self.last_ns = at_ns
            rows = [self.names.index(name) for name in names]
            self.commands.append(
                Received(
                    at_ns,
                    names,
                    position,
                    position if rest is None else rest,
                    velocity,
                    duration_ns,
                    self.position[rows].copy(),
                )
            )
            if np.isfinite(position).all():
                self.goal[rows] = position

    def _grip(self, message: Any, info: Any) -> None:
        with self.record:
            self.last_ns = self._sent_ns(info)
            self.grips.append(message.data)
            self.goal[self.names.index(self.gripper)] = message.data


class Robots:
    """Makes robots, and ends those that are left."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._robots: list[Robot] = []

    def __call__(
        self, names: Sequence[str], start: Sequence[float], make: type = Robot, **options: Any
    ) -> Any:
        robot = make(self._graph, tuple(names), np.array(start, np.float64), **options)
        self._robots.append(robot)
        return robot

    def end(self) -> None:
        while self._robots:
            self._robots.pop().close()


@pytest.fixture(scope="module")
def make_robot(graph: Graph) -> Iterator[Robots]:
    robots = Robots(graph)
    yield robots
    robots.end()


@pytest.fixture
def one_by_one(launch: Launcher, make_robot: Robots) -> Iterator[None]:
    """For tests that share nothing: no process or robot outlives its test and slows the next."""
    yield
    launch.finish()
    make_robot.end()


JOINTS = ("joint1", "joint2", "gripper")


def start_recorder(launch: Callable[..., Process], folder: Path) -> tuple[Process, Path]:
    """The recorder's node, with `small_spec`, and where its episodes will be."""
    from sarnn_ros.spec import dump_spec

    spec, out = folder / "spec.yaml", folder / "bags"
    spec.write_text(dump_spec(small_spec()))
    return launch(
        sys.executable, "-m", "sarnn_ros.ros.recorder_node", "--ros-args",
        "-p", f"spec:={spec}", "-p", f"out:={out}", "-p", "min_free_gigabytes:=0.1",
    ), out  # fmt: skip


def small_spec(**changes: Any) -> Any:
    """What the small policies of these tests observe and command."""
    from sarnn_ros.spec import parse_spec

    return parse_spec(
        {
            "rate": 10.0,
            "cameras": [{"name": "front", "width": 32, "height": 24}],
            "joints": [{"names": list(JOINTS)}],
            "joint_range": [0.1, 0.9],
            **changes,
        }
    )


@pytest.fixture(scope="session")
def make_policy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a small policy: an initialised network, exported as training would.

    Its joints range over [-1, 1] rad and its predictions stay near 0.3, where a robot of these
    tests stands. `bias` (normalised) moves the predictions elsewhere; `change` spoils the network.
    `p99`: prediction errors that are said to be usual, in all terms; none by default. `limits`:
    further values of the envelope. `effort`: of each joint the lowest and highest of training;
    unknown by default. `references`: of the cameras' places; none by default.
    """

    def make(
        *,
        spec: Any = None,
        bias: float = 0.62,
        seed: int = 0,
        max_step: float = 0.3,
        source_size: tuple[int, int] = (64, 64),
        p99: float | None = None,
        effort: tuple[tuple[float, float] | None, ...] | None = None,
        references: Any = None,
        change: Callable[[Any], None] = lambda model: None,
        **limits: float,
    ) -> Path:
        import torch
        from policies import envelope, network, write_policy
        from quick_export import quick_graphs

        spec = spec or small_spec()
        model = network(spec, seed=seed)
        with torch.no_grad():
            # Untrained, it jumps about with every image; a trained one moves in small steps.
            model.decoder_joint[0].weight.mul_(0.2)
            model.decoder_joint[0].bias.fill_(bias)
            change(model)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sarnn_ros.policy.export.export_graphs", quick_graphs)
            return write_policy(
                tmp_path_factory.mktemp("policy") / "policy",
                spec,
                model,
                limits=envelope(
                    spec,
                    source_size=source_size,
                    max_step=max_step,
                    **({} if effort is None else {"effort": effort}),
                    **limits,
                ),
                health=lambda made: None if p99 is None else _health(made.config, p99),
                references=references,
            )

    return make


def _health(config: Any, p99: float) -> Any:
    from sarnn_ros.policy.directory import Health, Quantiles, health_terms

    errors = {
        term: Quantiles(p50=(p99 / 2,) * count, p95=(p99 / 2,) * count, p99=(p99,) * count,
                        max=(p99,) * count)
        for term, count in health_terms(config.model, config.spec).items()
    }  # fmt: skip
    return Health(source="validation", episodes=1, ticks=100, errors=errors)


@pytest.fixture(scope="session")
def policy(make_policy: Callable[..., Path]) -> Path:
    """The small policy that most tests run."""
    return make_policy()
