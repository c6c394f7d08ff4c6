# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is decided before a training, and on what evidence. Without torch.

`RECIPE` has the numbers. Most are numbers of episodes: what few demonstrations do not tell must
not be learnt from them. `prepare` reads recordings and decides by them. The command line,
the Python API, `sarnn inspect` and the benchmarks all go through here.

How images are compared for the crop is in `data/differences.py`, with its own numbers: the report
of `sarnn inspect` shows it, too. Settings that a user may change are in `config.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.data.differences import crop_cameras
from sarnn_ros.data.displacements import read_aligned
from sarnn_ros.data.report import DatasetReport, examine
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.spec import Spec
from sarnn_ros.training import rounds
from sarnn_ros.training.config import TrainConfig

__all__ = ["RECIPE", "Plan", "Recipe", "decide", "prepare"]


@dataclass(frozen=True)
class Recipe:
    """Numbers that training decides by, each with what it rests on. "37 of 50" are successes of
    closed-loop trials, in the order of the seeds; more in docs/explanation/attention.md.
    """

    #: Episodes from which training crops by itself. Of ten places drawn alike, the crop with its
    #: margin covers the whole range and more, on average (computed, not tried).
    min_episodes_for_crop: int = 10

    #: Training episodes from which attention is searched for, and figures are told. One more than
    #: the five parts of the cross-validation; fewer were not tried.
    min_episodes_for_search: int = 6
    #: Episodes that the search looks at, at most, drawn at random: its memory and time grow with
    #: them. With one camera of 64x64 pixels 100 take 460 MB.
    max_episodes_for_search: int = 100
    #: Other things lie about if no crop was found for a camera, and of its first images more than
    #: this share of the pixels differ from the episodes' median. Without other things they are 0.7
    #: and 0.8 % (Fetch pick-and-place, two cameras); with them 3 to 10 % (the same, Meta-World's
    #: pick-place, lift).
    min_share_for_clutter: float = 0.02
    #: And from so many training episodes on, filters also learn what the motions follow there, as
    #: each half of them must show it to the other. Tried with 45 alone.
    min_episodes_for_learning: int = 20
    #: Of a camera's points, one per so many episodes is chosen for what it explains, and so many
    #: at least; more fit by chance. Coffee push, 25 demonstrations: 37, 39, 37 of 50 for 39, 21.
    episodes_per_chosen_point: int = 6
    min_chosen_points: int = 4
    #: Points are searched for in later images if first images and the robot's state leave more
    #: than this share of how the rests of the trajectories differ; each must explain so much more
    #: of it. Where all is seen at first 0.003 to 0.022 are left (five public tasks), where the
    #: goal is shown when the block is gripped 0.3, of which the best point explains 0.07.
    min_left_for_late_points: float = 0.1
    min_gain_of_late_point: float = 0.03
    #: And only from so many training episodes on. What few leave is what they do not tell: with 9
    #: to 15, 0.14 to 1.1 in three tasks where all is seen at first, with 22 0.1, with 31 0.03.
    min_episodes_for_late_points: int = 35
    #: Whole images are taken instead of crops if with them so much less is left, late points and
    #: all. Not measured by itself.
    min_gain_of_whole: float = 0.03
    #: First states deviate in one direction of the joints' space per so many episodes, at most.
    #: Not measured by itself; for twelve joints that start elsewhere, 45 episodes are too few.
    episodes_per_start_direction: int = 6

    #: Training episodes from which the recurrent part gets the motion, if it is told. Of fewer it
    #: is told less exactly: of 22 of Meta-World's pick-place in 65 %, and 34 of 50 succeed for 41
    #: (one seed).
    min_episodes_for_motion: int = 35
    #: But of so many it gets it, too, as `few_places.py` tells it. 9 of 10: Fetch's pick-and-place
    #: 33, 35, 31 of 50 for 26, 20, 16, push 25, 33 for 23, 20. 18 of 20: pick-and-place 44, 42 for
    #: 33, 40 (42 with the first ten alone), insertion 35 for 28, push 20 for 22, Meta-World's
    #: pick-place 49 for 40. 22 of 25: no gain (40 for 39, insertion 34 for 38, 50 for 50).
    few_episodes: tuple[int, int] = (9, 20)

    #: Training episodes from which an episode is mixed with a neighbour instead of any others.
    #: Meta-World's pick-place with 25 demonstrations: 34 of 50 with any four, 19 to 25 with
    #: neighbours (one seed); with 50 demonstrations three tasks do not differ.
    min_episodes_for_neighbours: int = 35
    #: A neighbour is one of the so many episodes whose motions are most alike: only between those
    #: is what to do nearly linear in what is seen. Lift: 50 of 50 for 43 with any other.
    neighbours: int = 5
    #: Of fewer episodes so many of any are mixed. Meta-World's pick-place, 25 demonstrations: the
    #: free run is 16 mm off instead of 22 with neighbours (median at tick 5).
    episodes_per_mixture: int = 4
    #: And this share as often, since between distant ones a mixture is not quite right. Fetch
    #: push, 25 demonstrations: 30 mm off for 37 when all are mixed (median at tick 14).
    mixup_factor_of_any: float = 0.6

    #: Share of the epochs, the last ones, that are trained where a training goes on from a policy.
    round_share: float = 0.2

    #: It does not where a joint goes more than so many times as far as before: its part of the
    #: network would be scaled by that. Not measured.
    max_gain: float = 10.0

    #: Below this share explained, of how episodes differ, training warns; and of how new ones
    #: differ, it does not go on from a policy. Three of the 77 policies
    #: of benchmark/results/tasks.md were below it, and succeeded in 59 % instead of 78.
    min_explained: float = 0.5


RECIPE = Recipe()


def is_few(episodes: int) -> bool:
    """Whether so many demonstrations to train on are few: see `Recipe.few_episodes`."""
    least, most = RECIPE.few_episodes
    return least <= episodes <= most


@dataclass(frozen=True)
class Plan:
    """A training before it starts: data, settings, and what follows from both.

    :param search_attention: filters are searched for, and frozen. False with `attention: train`,
        and of too few episodes, of which the attention is then trained.
    :param motion: the recurrent part also gets numbers that tell the motion, if they are told.
    :param mix_neighbours: mixtures are of two episodes with similar motions; else of any four.
    :param mixup: chance that a sequence is a mixture.
    :param whole: the report on the whole images, by which a crop was chosen or not; None of a
        dataset that was not read by `prepare`.
    :param uncropped: gives the plan of the whole images, if a camera is cropped.
    :param before: the policy to go on from.
    :param anew: gives the plan without it, of crops of its own, if it cannot be gone on from.
    :param why_anew: why it is not gone on from the policy that was given; empty if it is.
    """

    dataset: Dataset
    config: TrainConfig
    search_attention: bool
    motion: bool
    mix_neighbours: bool
    mixup: float
    whole: DatasetReport | None = None
    uncropped: Callable[[], Plan] | None = None
    before: rounds.Before | None = None
    anew: Callable[[], Plan] | None = None
    why_anew: str = ""

    @property
    def cropped(self) -> bool:
        """Whether `prepare` has cropped a camera."""
        return self.whole is not None and self.whole.spec != self.dataset.spec


def prepare(
    recordings: Iterable[str | Path],
    spec: Spec,
    config: TrainConfig,
    *,
    crop: bool | None = None,
    load: Callable[..., Dataset] = load_dataset,
    before_crop: Callable[[DatasetReport, Dataset], None] = lambda report, dataset: None,
    before: rounds.Before | None = None,
    validation: float = 0.1,
    **reading: Any,
) -> Plan:
    """Read recordings, undo where a camera stood elsewhere in some of them, crop the cameras to
    where the episodes differ, and decide the rest.

    :param recordings: bags, data sets, folders of them: see `load_dataset`.
    :param crop: whether to crop the cameras that have no crop in the spec; None: of
        `RECIPE.min_episodes_for_crop` or more, and not with `recipe: eipl`.
    :param load: `load_dataset`, or what does the same and shows progress.
    :param before_crop: told what the whole images showed, if a camera will be cropped.
    :param before: the policy to go on from, if that can be done (`rounds.py`).
    :param validation: share of the episodes, as of `load_dataset`.
    :param reading: what else `load_dataset` takes. Its seed is that of the config.
    :raises BagError: no episode is usable.
    :raises ConfigError: `before` is of another task or network, or of other recordings alone.
    """
    if before is not None:
        rounds.check_settings(before, spec, config)
    read = partial(load, list(recordings), seed=config.seed, validation=validation, **reading)
    dataset = read_aligned(read, spec, align=config.align_cameras)
    whole = examine(dataset)
    wanted = closer = choose_crop(whole, config, crop)
    why_anew = ""
    if before is not None:
        why_anew = rounds.why_other_crop(before.spec, wanted)
        if not why_anew:
            closer = spec.model_copy(update={"cameras": before.spec.cameras})
    if closer != spec:
        before_crop(whole, dataset)
        dataset = read(closer, displacements=dataset.displacements)

    def planned(dataset: Dataset) -> Plan:
        return replace(decide(dataset, config), whole=whole)

    def again(chosen: Spec) -> Plan:
        return planned(read(chosen, displacements=dataset.displacements))

    def with_uncropped(plan: Plan) -> Plan:
        return replace(plan, uncropped=lambda: again(spec)) if plan.cropped else plan

    if before is None or why_anew:
        return replace(with_uncropped(planned(dataset)), why_anew=why_anew)
    plan = planned(rounds.as_before(dataset, before, validation, config.seed))

    def anew() -> Plan:
        if closer == spec != wanted:  # else it was told
            before_crop(whole, dataset)
        return with_uncropped(again(wanted))

    if not plan.search_attention:
        why_anew = "there are too few demonstrations to tell whether the attention explains them"
    elif before.config.model.motion_dim and not plan.motion:
        why_anew = "the policy gets the motion, which this training does not tell it"
    else:
        return replace(plan, before=before, anew=anew)
    return replace(anew(), why_anew=why_anew)


def choose_crop(whole: DatasetReport, config: TrainConfig, crop: bool | None = None) -> Spec:
    """The spec with its cameras cropped as training would; `crop` as for `prepare`."""
    if crop is None:
        enough = len(whole.episodes) >= RECIPE.min_episodes_for_crop
        crop = enough and config.recipe != "eipl"
    return crop_cameras(whole.spec, whole.differences) if crop else whole.spec


def decide(dataset: Dataset, config: TrainConfig) -> Plan:
    """What follows from the number of demonstrations to train on."""
    training = [dataset.episodes[index] for index in dataset.training]
    episodes = sum(one.led is None and len(one.joints) > 1 for one in training)
    search = config.attention == "search" and episodes >= RECIPE.min_episodes_for_search
    motion = config.motion
    if motion is None:
        motion = is_few(episodes) or episodes >= RECIPE.min_episodes_for_motion
    neighbours = episodes >= RECIPE.min_episodes_for_neighbours
    return Plan(
        dataset,
        config,
        search_attention=search,
        motion=motion and search,
        mix_neighbours=neighbours,
        mixup=config.mixup * (1 if neighbours else RECIPE.mixup_factor_of_any),
    )
