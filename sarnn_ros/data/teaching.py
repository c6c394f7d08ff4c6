# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One folder in which a robot is taught: its recordings, its policies, and how these did.

All that a session knows is read from there, so a session that was cut off goes on where it was.
Without rclpy and torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sarnn_ros.data.bags import label_of
from sarnn_ros.data.reading import RUN_OF_POLICY
from sarnn_ros.data.record import WHOLLY_LEFT_OUT, read_index
from sarnn_ros.data.scores import Score
from sarnn_ros.errors import ConfigError, shorten
from sarnn_ros.files import append_json, is_locked, name_aside, read_json_lines, write_text

BAGS, POLICY, TRIALS = "bags", "policy_", "trials.jsonl"
#: A first training is proposed from so many demonstrations on: of so many, training crops.
FIRST_DEMONSTRATIONS = 10
#: The next one from so many more recordings on.
ROUND = 5
#: Of so many runs a score begins to say something.
ENOUGH_RUNS = 10


class Lesson:
    """See the module.

    :param folder: is made if it is not there.
    :ivar spec: of the recordings, as `spec_digest` has it; empty: of any.
    :raises OSError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec = ""
        self.bags = folder / BAGS
        self.bags.mkdir(parents=True, exist_ok=True)

    # -- recordings ---------------------------------------------------------------------------

    def recordings(self) -> list[Path]:
        """Bags that training would read: finished, not labelled a failure, and not left out by
        the recorder's check. By another spec that may say otherwise, but of a run in which nobody
        took over."""
        left_out = {
            entry["name"]
            for entry in read_index(self.bags)
            if (why := entry.get("left_out", "")).startswith(WHOLLY_LEFT_OUT)
            and (
                not self.spec
                or self.spec == entry["spec"]
                or why.startswith(f"{WHOLLY_LEFT_OUT}{RUN_OF_POLICY}")
            )
        }
        bags = [path.parent for path in sorted(self.bags.glob("*/metadata.yaml"))]
        return [bag for bag in bags if bag.name not in left_out and label_of(bag) != "failure"]

    def added(self) -> int:
        """Recordings since the newest policy was trained."""
        used = self._settings(self.number)["bags"] if self.number else []
        return sum(bag.name not in used for bag in self.recordings())

    # -- policies -----------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """Of the newest policy; 0 if there is none."""
        done = self.folder.glob(f"{POLICY}*/config.json")
        return max(_numbers(path.parent.name for path in done), default=0)

    @property
    def next_number(self) -> int:
        """Of the policy that is trained next. A number that was given is not given again, though
        its policy was removed: its runs, and its training, are not those of another one."""
        lines = read_json_lines(self.folder / TRIALS)
        ran = _numbers(line.get("policy") for line in lines if isinstance(line, dict))
        begun = _numbers(file.stem for file in self.folder.glob(f"{POLICY}*.json"))
        trained = {number for number in begun if self._settings(number).get("done")}
        return 1 + max({self.number} | ran | trained)

    def finish_training(self) -> None:
        """To be called when a training has ended and its policy is there."""
        file = self._settings_file(self.number)
        write_text(file, json.dumps({**self._settings(self.number), "done": True}))

    def policy(self, number: int) -> Path:
        return self.folder / f"{POLICY}{number}"

    @property
    def newest(self) -> Path | None:
        return self.policy(self.number) if self.number else None

    def training(
        self, spec: Path, more: Sequence[str], *, background: bool, goes_on: bool
    ) -> list[str]:
        """Arguments of `sarnn` that train the next policy. One that was interrupted goes on, with
        the recordings that it began with.

        :param more: settings of the training, each `KEY=VALUE`.
        :param background: leave the cores to other processes.
        :param goes_on: from the newest policy, if there is one.
        """
        number = self.next_number
        out = self.policy(number)
        resumed = (self._next_run / "checkpoint.pt").is_file()
        if not resumed:
            bags = [bag.name for bag in self.recordings()]
            begun = {"bags": bags, "from": self.number if goes_on else 0, "settings": list(more)}
            write_text(self._settings_file(number), json.dumps(begun))
        kept = self._settings(number)
        words = ["train", *(str(self.bags / name) for name in kept["bags"])]
        words += ["--spec", str(spec), "--out", str(out), *["--background"] * background]
        for setting in kept["settings"]:
            words += ["--set", setting]
        if kept["from"]:
            words += ["--from", str(self.policy(kept["from"]))]
        return [*words, "--resume"] if resumed else words

    def _settings_file(self, number: int) -> Path:
        return self.folder / f"{POLICY}{number}.json"

    def _settings(self, number: int) -> Any:
        file = self._settings_file(number)
        return json.loads(file.read_text()) if file.is_file() else {"bags": []}

    @property
    def is_training(self) -> bool:
        """Whether a training of the next policy runs, perhaps of a session that was killed: it
        ends after its epoch."""
        return is_locked(self._next_run / "lock")

    @property
    def _next_run(self) -> Path:
        """What the training of the next policy keeps while it runs, see `training/run.py`."""
        return self.folder / f"{POLICY}{self.next_number}.run"

    def forget_training(self) -> None:
        """Put what a training that has failed left aside, so that the next one begins anew."""
        left = self._next_run
        if left.is_dir():
            left.rename(name_aside(left))

    # -- runs ---------------------------------------------------------------------------------

    def add_run(self, bag: str, policy: str, is_success: bool | None, led: bool, why: str) -> None:
        """A run of a policy, or what is said anew of one; on disk when this returns.

        :param bag: its recording.
        :param is_success: None: it does not count, as its recording was discarded, or not yet.
        :param led: whether a person took over, and so it is no success of the policy.
        :param why: it ended, in the node's words.
        """
        success = is_success and not led
        entry = {"bag": bag, "policy": policy, "success": success, "led": led, "why": why}
        append_json(self.folder / TRIALS, entry)

    def unlabelled(self) -> dict[str, Any] | None:
        """The newest run, if its recording is there and nobody has said how it ended.

        :raises ConfigError: a line is no run.
        """
        run = next(reversed(self._runs().values()), {})
        if run.get("success") is not None or run.get("led") or "why" not in run:
            return None
        return run if (self.bags / run["bag"] / "metadata.yaml").is_file() else None

    def score(self, policy: str) -> Score:
        """Of its runs so far.

        :raises ConfigError: a line is no run.
        """
        mine = [
            run["success"]
            for run in self._runs().values()
            if run.get("policy") == policy and run.get("success") is not None
        ]
        return Score(sum(mine), len(mine))

    def _runs(self) -> dict[str, dict[str, Any]]:
        """By recording, what was said last of each.

        :raises ConfigError: a line is no run.
        """
        runs: dict[str, dict[str, Any]] = {}
        for line in read_json_lines(self.folder / TRIALS):
            run = line if isinstance(line, dict) else {}
            if not (isinstance(run.get("bag"), str) and run.get("success") in (True, False, None)):
                raise ConfigError(
                    f"{shorten(json.dumps(line), 80)} is no run",
                    where=self.folder / TRIALS,
                    remedy="move it and trials.yaml, of 'sarnn trials', to a folder of their own"
                    if "trial" in run
                    else 'correct the line: {"bag": "episode_007", "success": false}, say; what '
                    "else is known of the bag stays",
                )
            runs[run["bag"]] = runs.get(run["bag"], {}) | run
        return runs

    # -- what comes next ----------------------------------------------------------------------

    def advice(self) -> str:
        """What to do next, and by which key."""
        newest, added = self.newest, self.added()
        if newest is None:
            left = FIRST_DEMONSTRATIONS - added
            if left > 0:
                return (
                    f"next: record {left} more demonstrations (space), each with the object "
                    "elsewhere; the first ones in the corners of where it may lie"
                )
            return f"next: train on {added} demonstrations (n), or record more (space)"
        if added >= ROUND:
            return f"next: train on {added} more recordings (n)"
        score = self.score(newest.name)
        if not score.trials:
            return f"next: see what {newest.name} would do (y: dry run), then let it run (g)"
        said = f"{newest.name}: {score.claim}"
        if score.successes < score.trials:
            return (
                f"{said}; next: let it run (g), and take over (t) where it goes wrong; or record "
                f"(space) where it failed; train (n) after {ROUND - added} more"
            )
        if score.trials < ENOUGH_RUNS:
            return f"{said}; next: let it run elsewhere (g)"
        return f"{said}; 'sarnn trials {self.folder / 'trials'}' gives a score to report"


def _numbers(names: Iterable[object]) -> set[int]:
    """Of the policies among these names."""
    ends = (str(name)[len(POLICY) :] for name in names if str(name).startswith(POLICY))
    return {int(end) for end in ends if end.isdigit()}
