# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: the losses, one update, one epoch. Nothing of ROS, files or the terminal.

Both recipes have the loss of the reference implementation, EIPL's. `eipl` computes all of it at
every update. `fast` searches for the attention first, and keeps it (`attention_search.py`). Per
update it computes less:

- Only some frames of a batch (`encoder_frames`), drawn at random, are encoded again, with other
  noise and colours. The recurrent part runs over whole episodes, on the points that every frame
  had when it was last encoded.
- The next image is predicted for some of those frames only (`image_frames`).
- Between two full updates there are `inner_steps` updates of the recurrent part alone, on the
  stored points, distorted and mixed (`batches.py`): the convolutions are nearly all of the cost,
  and the recurrent part needs the steps.

The loss is parallel in time: with recorded inputs, nothing in the encoder or the image decoder
depends on the recurrent state. So all frames are encoded at once, one LSTM runs over the
sequences, and all predictions are decoded at once. Loss and gradient are those of the reference
implementation's step loop, to rounding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from sarnn_ros.errors import TrainingError
from sarnn_ros.geometry import feature_size
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.backends import load_model
from sarnn_ros.policy.directory import Places
from sarnn_ros.policy.expectation import Expectation
from sarnn_ros.training.attention_search import (
    early_ticks,
    is_cluttered,
    search_attention,
    search_late,
)
from sarnn_ros.training.batches import Batch, Batches, RecurrentBatch
from sarnn_ros.training.chunks import made_ahead, map_chunks, sum_chunks
from sarnn_ros.training.expected_places import (
    MIN_TOLD,
    NEAR_IN_CLUTTER,
    NEAR_MOTION,
    fit_places,
    usual_gain,
)
from sarnn_ros.training.explained import (
    Array,
    Starts,
    explained_share,
    explained_variance,
    left_out_explained,
    new_explained,
    ridge_predictions,
    ridge_slope,
    told_by,
    trajectories,
    unseen_demonstrations,
)
from sarnn_ros.training.few_places import fit_few_places
from sarnn_ros.training.footprint import Fits
from sarnn_ros.training.hold_units import MAX_HOLD_UNITS, make_hold_units
from sarnn_ros.training.late_points import Late, beside, moments
from sarnn_ros.training.machine import flush_subnormals
from sarnn_ros.training.points import PointScale
from sarnn_ros.training.recipe import RECIPE, Plan
from sarnn_ros.training.renormalise import gains_of, renormalise, retell
from sarnn_ros.training.rounds import Before
from sarnn_ros.training.schedule import cosine, loss_weight
from sarnn_ros.training.sequences import Sequences

#: Training has diverged if its loss is so many times that of the worst prediction within the value
#: ranges; an untrained network has a quarter of that. A loss that is only larger than before
#: proves nothing, as Adam recovers from spikes, and a resumed training does not know it.
DIVERGED_FACTOR = 100.0
#: Adam's epsilon, EIPL's.
ADAM_EPS = 1e-7
#: Ridge of the regression that decides what the recurrent part sees of the points. It is more than
#: `explained.CHOICE_RIDGE`, since the points were chosen to explain these very episodes.
SCALE_RIDGE = 0.03
#: Trajectories (T - 1, D), one per episode.
Runs = list[NDArray[np.float32]]


class Diverged(TrainingError):
    """The loss has diverged, or it or the weights are no longer finite."""


@dataclass(frozen=True)
class Losses:
    """Means over an epoch: mean squared errors; `total` is their weighted sum, as minimised."""

    image: float
    joint: float
    point: float
    total: float


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch.

    :param number: from 0.
    :param explained: of how the validation episodes' targets differ, the share that the free run
        explains (`free_run`, `explained.py`); None without validation.
    :param seconds: wall time.
    """

    number: int
    training: Losses
    validation: Losses | None
    explained: float | None
    learning_rate: float
    seconds: float


def masked_mse(prediction: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error over the valid (B, T) rows of (B, T, D); 0 where there is none."""
    squares = ((prediction - truth) ** 2).mean(-1)
    return (squares * valid).sum() / valid.sum().clamp(min=1)


def encode(model: SARNN, frames: Sequence[Tensor], fits: int) -> Tensor:
    """Attention points of N frames, one tensor (N, 3, H, W) per camera; (N, P).

    :param fits: frames whose activations fit into memory, see `chunks.map_chunks`.
    """
    weights = [weight for branch in model.branches for weight in branch.pos_encoder.parameters()]
    return map_chunks(lambda *part: model.encode(part), weights, frames, fits)


def recurrent_losses(
    model: SARNN,
    points: Tensor,
    joints: Tensor,
    targets: Tensor,
    learnt: Tensor,
    scale: PointScale | None = None,
    seen: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Joint and attention-point loss of B sequences.

    The point loss is bidirectional: the point decoded at t for t + 1 and the one encoded at t + 1
    pull each other, as in EIPL's backpropagation through time. The last frame is only a target of
    images, as there.

    :param points: encoded points (B, T - 1, P), and after them the motion, if the model gets it.
    :param joints: (B, T - 1, D), inputs.
    :param targets: (B, T - 1, D), what the prediction at t should be.
    :param learnt: ticks that count, (B, T - 1).
    :param scale: of the points that enter the recurrent part.
    :param seen: points that enter the recurrent part instead of `points`, if given.
    :returns: joint loss, point loss, decoded points (B, T - 1, P).
    """
    inputs = points if seen is None else seen
    hidden, _ = model.recur(inputs if scale is None else scale(inputs), joints)
    decoded = model.decoder_point(hidden)
    points = points[..., : decoded.shape[-1]]
    joint_loss = masked_mse(model.decoder_joint(hidden), targets, learnt)
    point_loss = masked_mse(decoded[:, :-1], points[:, 1:], _following(learnt))
    return joint_loss, point_loss, decoded


def _following(learnt: Tensor) -> Tensor:
    """Ticks (B, T - 1) whose next one counts, too."""
    return learnt[:, :-1] & learnt[:, 1:]


def image_loss(
    model: SARNN,
    frames: Sequence[Tensor],
    decoded: Tensor,
    following: Sequence[Tensor],
    learnt: Tensor,
    fits: int,
) -> Tensor:
    """Mean squared error of the predicted images, averaged over the cameras.

    :param frames: inputs, per camera (N, 3, H, W).
    :param decoded: points decoded at those frames, (N, P).
    :param following: the clean frames one tick later.
    :param learnt: those that count, (N,).
    :param fits: frames to predict at once on a GPU, see `chunks.sum_chunks`.
    """
    weights = [
        weight
        for branch in model.branches
        for part in (branch.im_encoder, branch.decoder_image)
        for weight in part.parameters()
    ]

    def errors(counts: Tensor, points: Tensor, *images: Tensor) -> Tensor:
        """Of each frame that counts, over its pixels and the cameras."""
        cameras = len(images) // 2
        predicted = model.predict_image(images[:cameras], points)
        squares = [
            ((image - truth) ** 2).mean((1, 2, 3))
            for image, truth in zip(predicted, images[cameras:], strict=True)
        ]
        return torch.stack(squares).mean(0) * counts

    total = sum_chunks(errors, weights, [learnt, decoded, *frames, *following], fits)
    return total / learnt.sum().clamp(min=1)


@torch.no_grad()
def free_run(model: SARNN, points: Tensor, joints: Tensor, targets: Tensor) -> Tensor:
    """Predictions of B episodes when the network runs on its own: images are the recorded ones,
    and each state is off by the error of the prediction before it.

    A low loss on recorded states can hide a policy that only extrapolates its state.

    :param points: what `Trainer.encode_all` gives.
    :param joints: (B, T, D).
    :param targets: likewise.
    :returns: (B, T - 1, D), what should be targets[:, :-1].
    """
    predicted, state, own = [], None, joints[:, 0]
    for tick in range(points.shape[1]):
        hidden, state = model.recur(points[:, tick : tick + 1], own.unsqueeze(1), state)
        predicted.append(model.decoder_joint(hidden[:, 0]))
        own = joints[:, tick + 1] + predicted[-1] - targets[:, tick]
    return torch.stack(predicted, 1)


def batch_losses(
    model: SARNN, batch: Batch, fits: Fits, scale: PointScale | None = None
) -> tuple[Tensor, Tensor]:
    """Image, joint and point loss of a batch, (3,), and the points of its encoded frames.

    :param scale: of the points that enter the recurrent part.
    """
    row, tick, encoded = batch.row, batch.tick, batch.encoded
    with torch.set_grad_enabled(torch.is_grad_enabled() and not batch.frozen):
        fresh = encode(model, [camera[:encoded] for camera in batch.frames], fits.points)
    now, motion = batch.points.tensor_split([model.point_dim], -1)
    now = now.index_put((row[:encoded], tick[:encoded]), fresh)
    points = torch.cat([now, motion], -1)
    joint, point, decoded = recurrent_losses(
        model, points, batch.joints, batch.targets, batch.learnt, scale
    )
    image = torch.zeros_like(joint)
    if batch.following:
        count = len(batch.following[0])
        inputs = [camera[:count] for camera in batch.frames]
        there = row[:count], tick[:count]
        image = image_loss(
            model, inputs, decoded[there], batch.following, batch.learnt[there], fits.images
        )
    return torch.stack([image, joint, point]), fresh


class Trainer:
    """Model, optimiser and data of one training; `run` yields after every epoch.

    Everything random comes from `generator`, and all state is in `state_dict`.

    :ivar scale: of the points that enter the recurrent part; None while the attention is trained.
    """

    def __init__(
        self, plan: Plan, model: SARNN, training: Sequences, validation: Sequences | None
    ) -> None:
        self.plan = plan
        self.config = config = plan.config
        self.model = model
        self.training = training
        self.validation = validation
        self.device = training.joints.device
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.batches = Batches(training, plan, self.generator)
        self.fits = Fits.of(model)
        self.scale: PointScale | None = None
        #: What is expected, without looking, of the episodes validated with: (F, samples, D).
        self.unseen = unseen_demonstrations(
            training.unpad(training.targets[:, :-1]),
            training.first_states(),
            (validation or training).first_states(),
        )
        self.epoch = 0
        #: Points of every frame when it was last encoded, (E, T - 1, P), and after them
        #: the motion, of clean frames; None before the first epoch, and where every update
        #: encodes all frames.
        self.points: Tensor | None = None
        #: What the attention that was searched for explains, and with episodes exchanged, by
        #: cross-validation; None if it is trained.
        self.searched: tuple[float, float] | None = None
        #: Points of first images by filters that have not learnt from them, (P,) by
        #: `Episode.identity`, also of earlier rounds; None where the model's own have not.
        self.held_out: dict[str, list[float | None]] = {}
        #: Points that follow what comes late, what first images leave, and how much of it these
        #: points explain; see `attention_search.search_late`.
        self.late = Late()
        self.left = self.gained = math.nan
        self.optimizer = torch.optim.Adam(
            model.parameters(), lr=config.learning_rate, eps=ADAM_EPS, fused=True
        )

    def run(self, clock: Callable[[], float]) -> Iterator[Epoch]:
        """Train the epochs that are left.

        :param clock: seconds, e.g. `time.monotonic`.
        :raises Diverged: the loss has diverged, or it or the weights are no longer finite.
        """
        config = self.config
        partly = config.encoder_frames is not None or config.inner_steps > 0
        if self.points is None and (partly or self.model.motion_dim):
            self.points = self.encode_all(self.training)
        while self.epoch < config.epochs:
            start = clock()
            self.model.train()
            batches = self.batches.shuffled()
            sums = torch.zeros(4, device=self.device)
            for index, episodes in enumerate(batches):
                for parameters in self.optimizer.param_groups:
                    parameters["lr"] = self._learning_rate(self.epoch + index / len(batches))
                losses = self.update(episodes)
                last: tuple[Tensor, Tensor | None] = losses, episodes
                self._check_loss(index, *last)
                for batch in made_ahead(self.draw_recurrent, config.inner_steps, self.device):
                    last = self.update_recurrent(batch).reshape(1), None
                # A loss is computed before its step. So the last recurrent step tells whether
                # the full update diverged, before the epoch is saved.
                self._check_loss(index, *last)
                sums += losses
            if not all(bool(torch.isfinite(weight).all()) for weight in self.model.parameters()):
                raise self._diverged("the weights are not finite", index, *last)
            validation = explained = None
            if self.validation is not None and (self.epoch + 1) % config.validate_every == 0:
                validation, explained = self.validate()
            epoch = Epoch(
                self.epoch,
                Losses(*(sums / len(batches)).tolist()),
                validation,
                explained,
                self._learning_rate(self.epoch),
                clock() - start,
            )
            self.epoch += 1
            yield epoch

    @flush_subnormals()
    def update(self, episodes: Tensor) -> Tensor:
        """One step on the loss of these episodes (B,). Returns image, joint, point, total."""
        config = self.config
        if self.points is None:
            shape = len(episodes), self.training.ticks - 1, self.model.point_dim
            points = self.training.joints.new_zeros(shape)
        else:
            points = self.points[episodes]
        batch = self.batches.draw(episodes, points, self.encoder_frozen)
        losses, fresh = batch_losses(self.model, batch, self.fits, self.scale)
        weights = losses.new_tensor([config.image_loss, config.joint_loss, self._point_weight()])
        self._step((weights * losses).sum())
        losses = losses.detach()
        if self.points is not None:
            where = episodes[batch.row[: len(fresh)]], batch.tick[: len(fresh)]
            self.points[..., : self.model.point_dim][where] = fresh.detach()
        return torch.cat([losses, (weights * losses).sum(0, keepdim=True)])

    @flush_subnormals()
    def draw_recurrent(self) -> RecurrentBatch:
        """A batch for `update_recurrent`, with the stored points.

        It has as many episodes as a full batch. The last batch of an epoch may have a single one,
        and many steps on it would spoil what was learnt.
        """
        assert self.points is not None
        deviation = None if self.scale is None else self.scale.deviation
        late = None
        if self.late.points:
            columns = pad(self._late_columns(), (0, self.model.motion_dim))
            late = columns, self.late.untold, self.late.told
        return self.batches.draw_recurrent(self.config.batch_size, self.points, deviation, late)

    @flush_subnormals()
    def update_recurrent(self, batch: RecurrentBatch) -> Tensor:
        """One step of the recurrent part alone. Returns its loss.

        Each CPU thread takes some of the episodes.
        """
        model = self.model
        parts = (model.rec, model.decoder_joint, model.decoder_point)
        weights = [weight for part in parts for weight in part.parameters()]
        ticks = batch.learnt.sum().clamp(min=1), _following(batch.learnt).sum().clamp(min=1)

        def share(
            seen: Tensor, points: Tensor, joints: Tensor, targets: Tensor, learnt: Tensor
        ) -> Tensor:
            """Of the loss, that of these episodes."""
            joint, point, _ = recurrent_losses(
                model, points, joints, targets, learnt, self.scale, seen
            )
            of_joint = learnt.sum() / ticks[0] * self.config.joint_loss * joint
            return of_joint + _following(learnt).sum() / ticks[1] * self._point_weight() * point

        values = [batch.seen, batch.points, batch.joints, batch.targets, batch.learnt]
        count = len(batch.learnt)
        loss = sum_chunks(share, weights, values, count, count)
        self._step(loss)
        return loss.detach()

    def _step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()

    @property
    def encoder_frozen(self) -> bool:
        """Whether the attention was searched for, and so is not trained.

        Training would lose what was found: the point loss is least for points that never move,
        and the joint loss hardly needs the object, as the state tells where the motion goes.
        """
        return self.scale is not None

    @flush_subnormals()
    def search_attention(self, say: Callable[[str], None] = lambda text: None) -> None:
        """Before the first epoch: find the attention, and freeze it; or say why it is trained."""
        if not self.plan.search_attention:
            demonstrations = int(self.training.demonstrations.sum())
            say(
                f"{demonstrations} demonstrations are too few to search for attention (at least "
                f"{RECIPE.min_episodes_for_search}): it is trained with the rest, which often "
                f"finds nothing"
            )
            return
        found = search_attention(
            self.model, self.training, self.config, self.generator, say, self._moving
        )
        self.searched = found.explains, found.permuted
        points = self._first_points(self.training, self.model)
        if self.training.compare_paces(points):
            say(
                "the demonstrations' paces differ: they are compared at the same moments of the "
                "motion, and learnt at their mean pace"
            )
        self.late, self.left, self.gained = search_late(
            self.model, self.training, points, self.generator, say
        )
        if found.held_out is not None:
            self._keep_held_out(found.held_out)
        self.freeze_attention()
        if self.model.motion_dim:
            so = "it is given it" if self.gets_motion else "too little to be given"
            say(
                "all points of first images together tell the motion of "
                f"{self._first_places.told:.0%} of the demonstrations, by a fit to the others; "
                f"for the recurrent part {so}"
            )

    @flush_subnormals()
    def go_on(self, before: Before) -> str:
        """Before the first epoch: take the weights of a policy, and train the last epochs only.

        :returns: why that cannot do, and another trainer is needed; empty if it can.
        """
        model = load_model(before.directory, before.config).to(self.device)
        data = self.training
        shown = data.demonstrations
        found = self._first_points(data, model)
        data.compare_paces(found)
        wanted, starts = trajectories(data.unpad(data.motions)), data.starts
        names = [name for name, one in zip(data.names, shown.tolist(), strict=True) if one]
        is_new = np.array([self._identities[name] not in before.training for name in names])
        self.searched = left_out_explained(found, wanted, starts)
        if is_new.any():
            some = not is_new.all()
            share = new_explained(found, wanted, starts, is_new) if some else self.searched[0]
            if share < RECIPE.min_explained:
                return f"the attention explains {share:.2f} of how the new demonstrations differ"
        gains = gains_of(before.normaliser, self.plan.dataset.normaliser)
        if gains.max() > RECIPE.max_gain:
            joint = self.plan.dataset.spec.joint_labels[int(gains.argmax())]
            return f"{joint} goes {gains.max():.0f} times as far as it did"
        self.held_out = before.config.training["held_out"]
        points, *when = before.config.training["late"]
        self.late = Late(tuple(points), *when)
        renormalise(model, before.normaliser, self.plan.dataset.normaliser)
        places, got_motion = before.config.places, model.motion_dim > 0
        if self.model.motion_dim and places is not None:
            pairs = found.reshape(len(found), -1, 2)
            motions = np.array([Expectation(places, one).z for one in pairs])
            retell(model, motions[:, : model.motion_dim], data.told.motions)
        self.model.load_state_dict(model.state_dict())
        if self.gets_motion != got_motion:
            so = "which it did not before" if self.gets_motion else "too little for it now"
            return (
                "all points of first images together tell the recurrent part the motion of "
                f"{self._first_places.told:.0%} of the demonstrations, {so}"
            )
        self.scale = self._scale_of_points()
        self.scale.unfold(self.model)
        epochs = self.config.epochs
        self.epoch = min(round(epochs * (1 - RECIPE.round_share)), epochs - 1)
        return ""

    def freeze_attention(self) -> None:
        """Before the first epoch: freeze the attention as it is, scale its points, and let the
        LSTM remember the first ones."""
        self.scale = scale = self._scale_of_points()
        held = min(scale.telling, MAX_HOLD_UNITS, self.model.rec_dim // 2)
        make_hold_units(self.model.rec, held)

    def _scale_of_points(self) -> PointScale:
        """Of those seen in all frames, and of the motion."""
        scale = self._scale(self._encode_all(self.training, self.model))
        if not self.model.motion_dim:
            return scale
        return scale.with_motion(self.model.motion_dim, self.gets_motion)

    @cached_property
    def _moving(self) -> set[str]:
        """Names of the cameras that move with the robot."""
        dataset = self.plan.dataset
        return {camera.name for camera in dataset.spec.cameras if dataset.moves(camera)}

    def _moving_points(self) -> list[int]:
        """Numbers of the points of cameras that move."""
        count = self.model.k_dim
        return [
            number * count + point
            for number, camera in enumerate(self.plan.dataset.spec.cameras)
            if camera.name in self._moving
            for point in range(count)
        ]

    def _scale(self, points: Tensor) -> PointScale:
        """What the recurrent part sees of points (E, T - 1, P)."""
        data = self.training
        shown, wanted, states = data.scenes
        steps = data.lengths[shown] - 1
        early = [
            points[shown, torch.minimum(torch.full_like(steps, tick), steps - 1)]
            for tick in early_ticks(data)
        ]
        late = self._late_columns()
        # Where the robot itself is at a moment is no difference between episodes.
        first = [((one - one.mean(0)) * ~late).double().cpu().numpy() for one in early]
        wanted = wanted.reshape(len(wanted), -1)
        starts = Starts(states)(states)
        if starts.shape[1]:  # nor is what its state tells, which the recurrent part is given
            first = [one - told_by(starts, one, starts)[0] for one in first]
            wanted = wanted - told_by(starts, wanted, starts)[0]
        told = np.concatenate(first)
        slope = ridge_slope(told, np.tile(wanted, (len(early), 1)), SCALE_RIDGE)
        groups = [(told, slope)]
        if self.late.points:
            groups.append(self._told_later(points[data.demonstrations], late))
        parts = [[torch.from_numpy(part).to(points.device) for part in one] for one in groups]
        return PointScale.of(points[data.steps()], *((one[0], one[1]) for one in parts))

    def _late_columns(self) -> Tensor:
        """Which coordinates are those of points that follow what comes late, bool (P,)."""
        late = torch.zeros(self.model.point_dim // 2, dtype=torch.bool, device=self.device)
        late[list(self.late.points)] = True
        return late.repeat_interleave(2)

    def _told_later(self, points: Tensor, late: Tensor) -> tuple[Array, Array]:
        """Late points (S * E, P) of the demonstrations at several moments, beside what is known
        then, and the slope (P, R) of the regression of the rest of the trajectories on them.

        :param points: of the demonstrations, (E, T - 1, P).
        :param late: columns, bool (P,).
        """
        values = points.double().cpu().numpy()
        episodes = np.arange(len(values))
        found = moments(self.training, episodes, values[:, 0])
        then = np.stack([values[episodes, one.ticks.cpu().numpy()] for one in found])
        then, rests = beside(then * late.cpu().numpy(), found)
        return then, ridge_slope(then, rests, SCALE_RIDGE)

    def final_model(self) -> SARNN:
        """What should be deployed: the scale of the points folded into the recurrent weights."""
        if self.scale is None:
            return self.model
        model = copy.deepcopy(self.model)
        self.scale.fold(model)
        return model

    @flush_subnormals()
    @torch.no_grad()
    def validate(self) -> tuple[Losses, float | None]:
        """Losses of `final_model` on the clean validation episodes, with the final loss weights;
        and the explained variance of its free run."""
        data, config = self.validation, self.config
        assert data is not None
        model = self.final_model().eval()
        points, learnt = self.encode_all(data, model), data.learnt()
        joint, point, decoded = recurrent_losses(
            model, points, data.joints[:, :-1], data.targets[:, :-1], learnt
        )
        where = torch.nonzero(learnt)
        image = torch.zeros((), device=self.device)
        for part in torch.split(where, self.fits.images):
            row, tick = part.T
            frames, following = data.scaled_frames(row, tick), data.scaled_frames(row, tick + 1)
            error = image_loss(
                model, frames, decoded[row, tick], following, learnt[row, tick], self.fits.images
            )
            image += error * len(part) / len(where)
        model.train()
        total = config.image_loss * image + config.joint_loss * joint + config.point_loss * point
        losses = Losses(*torch.stack([image, joint, point, total]).tolist())
        return losses, self.explained(*self.free_runs(model, points))

    def explained(self, runs: Runs, targets: Runs) -> float | None:
        """How much of how episodes differ `free_runs` predicts; None if they do not differ."""
        return explained_variance(runs, targets, self.unseen, self.training.weights)

    def free_runs(self, model: SARNN, points: Tensor | None = None) -> tuple[Runs, Runs]:
        """What the free run predicts, and the targets, of the validation episodes, or of the
        demonstrations trained on if there are none; normalised.

        :param points: of these episodes, if known.
        """
        data = self.validation or self.training
        points = self.encode_all(data, model, estimate=True) if points is None else points
        runs = free_run(model, points, data.joints, data.targets)
        return data.unpad(runs), data.unpad(data.targets[:, :-1])

    def points_explain(self, model: SARNN) -> tuple[float, float] | None:
        """What the points in the first images explain of how episodes differ that they were not
        found with, and the same with the other episodes' trajectories exchanged; None of too few
        episodes."""
        training, validation = self.training, self.validation
        if self.searched is not None:
            return self.searched
        demonstrations = int(training.demonstrations.sum())
        if validation is None or demonstrations < RECIPE.min_episodes_for_search:
            return None
        points, wanted, known = [], [], []
        starts = Starts(training.first_states())
        for data in (training, validation):
            points.append(self._first_points(data, model))
            wanted.append(trajectories(data.unpad(data.motions)))
            known.append(starts(data.first_states()))
        told = ridge_predictions(points[0], wanted[0], points[1], *known)
        return explained_share(*told, wanted[1])

    def _first_points(self, data: Sequences, model: SARNN) -> NDArray[np.float64]:
        """Of the first image of each demonstration, (E, P): as they would be had no filter learnt
        from that image."""
        first = torch.nonzero(data.demonstrations)
        found = self.encode(data, torch.cat([first, torch.zeros_like(first)], 1), model)
        if self.held_out and data is self.training:
            nothing = [None] * found.shape[1]
            kept = [
                self.held_out.get(self._identities[data.names[row]], nothing)
                for row in first[:, 0].tolist()
            ]
            held_out = torch.from_numpy(np.array(kept, np.float32)).to(found.device)
            found = torch.where(held_out.isnan(), found, held_out)
        points: NDArray[np.float64] = found.double().cpu().numpy()
        return points

    def _keep_held_out(self, points: Tensor) -> None:
        """:param points: of `Searched`, (E, P / 2, 2)."""
        points[:, list(self.late.points)] = torch.nan  # their filters have learnt from no image
        rows = np.round(points.flatten(1).double().cpu().numpy(), 4)
        self.held_out = {
            self._identities[name]: [None if np.isnan(value) else value for value in row.tolist()]
            for name, row in zip(self.training.names, rows, strict=True)
            if not np.isnan(row).all()
        }

    @cached_property
    def _identities(self) -> dict[str, str]:
        return {one.name: one.identity for one in self.plan.dataset.episodes}

    def expected_places(self) -> Places | None:
        """Where images let expect each point; None if the attention was trained."""
        if self.scale is None:
            return None
        if not self.gets_motion or self.training.few:
            return self._first_places
        points = self._encode_all(self.training, self.model)
        ticks = self.training.unpad(points.double())
        episodes: list[Array] = [one.reshape(len(one), -1, 2).astype(np.float64) for one in ticks]
        gain = usual_gain(self._first_places, episodes, self.training.told)
        return self._first_places.model_copy(update={"usual_gain": gain})

    @cached_property
    def _first_places(self) -> Places:
        """Where first images let expect each point, once the attention is frozen."""
        model, data = self.model, self.training
        points = torch.from_numpy(self._first_points(data, model)).float().to(self.device)
        anywhere = sorted({*self.late.points, *self._moving_points()})
        sides = [[max(1, feature_size(one, model.stride) - 1) for one in branch.im_size[::-1]]
                 for branch in model.branches]  # fmt: skip
        cells = points.new_tensor(sides).repeat_interleave(model.k_dim, 0)
        points, told = points.reshape(len(points), -1, 2), data.told
        if data.few:
            few = fit_few_places(points, told, cells, anywhere)
            if self.model.motion_dim and few.told >= MIN_TOLD:
                return few
            told = data.tell(exact=False)
            return fit_places(points, told, cells, anywhere).model_copy(update={"told": few.told})
        near = NEAR_IN_CLUTTER if self._things_lie_about() else NEAR_MOTION
        return fit_places(points, told, cells, anywhere, near)

    @property
    def gets_motion(self) -> bool:
        """Whether the recurrent part does, once the attention is frozen, and not only zeros."""
        return self.model.motion_dim > 0 and self._first_places.told >= MIN_TOLD

    def _things_lie_about(self) -> bool:
        first = torch.nonzero(self.training.demonstrations)[:, 0]
        images = self.training.scaled_frames(first, torch.zeros_like(first))
        cameras = self.plan.dataset.spec.cameras
        span = self.training.image_span
        return any(
            camera.name not in self._moving and is_cluttered(shown, camera, span)
            for shown, camera in zip(images, cameras, strict=True)
        )

    def encode_all(
        self, data: Sequences, model: SARNN | None = None, *, estimate: bool = False
    ) -> Tensor:
        """Points (E, T - 1, P) of every clean frame that has a next one, 0 elsewhere; and after
        them the motion, if the model gets it, (E, T - 1, motion_dim).

        :param estimate: the motion of all episodes, as it is at the robot.
        """
        return self.with_motion(data, self._encode_all(data, model or self.model), estimate)

    def with_motion(self, data: Sequences, points: Tensor, estimate: bool = False) -> Tensor:
        """Points of the first E episodes, (E, T, P), and after them the motion, if the model gets
        it."""
        if not self.model.motion_dim:
            return points
        motions = self._motions(data, points[:, 0], estimate)
        return torch.cat([points, motions.unsqueeze(1).expand(-1, points.shape[1], -1)], -1)

    def _motions(self, data: Sequences, first: Tensor, estimate: bool) -> Tensor:
        """What tells the motion of the first E episodes, (E, motion_dim), if first images do. Of
        demonstrations that are trained on it is known; as it was estimated, it would be learnt not
        to be trusted.

        :param first: points of its first images, (E, P).
        """
        count, places = self.model.motion_dim, self._first_places
        found = first.new_zeros(len(first), count)
        if not self.gets_motion:
            return found
        known = data.demonstrations[: len(first)] & (data is self.training and not estimate)
        for row in torch.nonzero(~known)[:, 0].tolist():
            points = first[row].double().cpu().numpy().reshape(-1, 2)
            found[row] = torch.from_numpy(Expectation(places, points).z[:count]).to(found)
        if data is self.training:
            found[known] = data.told.motions[: int(known.sum())]
        return found

    def _encode_all(self, data: Sequences, model: SARNN) -> Tensor:
        """`encode_all` without the motion."""
        where = torch.nonzero(data.steps())
        found = self.encode(data, where, model)
        whole = data.joints.new_zeros(len(data), data.ticks - 1, found.shape[-1])
        return whole.index_put(tuple(where.T), found)

    @flush_subnormals()
    @torch.no_grad()
    def encode(self, data: Sequences, where: Tensor, model: SARNN) -> Tensor:
        """`encode` of clean frames, few of which are in memory at once.

        :param where: (N, 2), episode and tick.
        """
        fits = self.fits.points
        parts = torch.split(where, min(fits, 256))
        return torch.cat([encode(model, data.scaled_frames(*part.T), fits) for part in parts])

    def _point_weight(self) -> float:
        config = self.config
        return loss_weight(self.epoch, config.point_loss, config.decay_end, config.curve)

    def _learning_rate(self, epoch: float) -> float:
        config = self.config
        return config.learning_rate * cosine(epoch / config.epochs, config.learning_rate_end)

    def _check_loss(self, index: int, losses: Tensor, episodes: Tensor | None) -> None:
        config, data = self.config, self.training
        worst = (
            config.image_loss * data.image_span**2
            + config.joint_loss * data.joint_span**2
            + config.point_loss  # points lie in [0, 1]
        )
        loss = float(losses[-1])
        if not loss <= DIVERGED_FACTOR * worst:  # true of NaN, too
            what = "has diverged" if math.isfinite(loss) else "is not finite"
            raise self._diverged(f"the loss {what}", index, losses, episodes)

    def _diverged(
        self, what: str, index: int, losses: Tensor, episodes: Tensor | None
    ) -> Diverged:
        """
        :param losses: image, joint, point and total; or the last of them alone.
        :param episodes: of the full update; None of a recurrent one, which had others.
        """
        names = ("image", "joint", "point", "total")[-len(losses) :]
        values = ", ".join(f"{n} {v:g}" for n, v in zip(names, losses.tolist(), strict=True))
        of, which = "in the recurrent updates after it", "the"
        if episodes is not None:
            named = (self.training.names[episode] for episode in episodes.tolist())
            of, which = f"of the episodes {', '.join(named)}", "those"
        return Diverged(
            f"{what} ({values})",
            where=f"epoch {self.epoch + 1}, batch {index + 1}, {of}",
            remedy="train again with a lower learning_rate or with clip_norm, and look at "
            f"{which} episodes with 'sarnn inspect'",
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs, on top of config and data."""
        return {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "points": self.points,
            "searched": self.searched,
            "held_out": self.held_out,
            "late": tuple(self.late),
            "scale": None if self.scale is None else tuple(self.scale),
            "alike": None if self.training.alike is None else self.training.alike.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Continue from `state_dict`.

        :returns: whether with the same random numbers. A GPU and a CPU draw them in different
            ways, with states of different sizes: then they follow from seed and epoch.
        """
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.searched = state["searched"]
        self.late = Late(*state["late"])
        self.held_out = state["held_out"]
        if state["points"] is not None:
            self.points = state["points"].to(self.device)
        if state["scale"] is not None:
            self.scale = PointScale(*state["scale"]).to(self.device)
        if state["alike"] is not None:
            self.training.align(np.array(state["alike"]))
        drawn = state["generator"].cpu()
        same: bool = drawn.shape == self.generator.get_state().shape
        if same:
            self.generator.set_state(drawn)
        else:
            numbers = np.random.SeedSequence([self.config.seed, self.epoch])
            self.generator.manual_seed(int(numbers.generate_state(1)[0]))
        return same
