# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The loop: it learns, it repeats itself exactly, it masks, it stops when it must."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.errors import TrainingError
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.training import batches
from sarnn_ros.training import trainer as trainer_module
from sarnn_ros.training.config import TrainConfig, make_config
from sarnn_ros.training.footprint import Fits
from sarnn_ros.training.points import PointScale
from sarnn_ros.training.recipe import decide
from sarnn_ros.training.run import make_trainer
from sarnn_ros.training.trainer import Diverged, Trainer, free_run

pytestmark = pytest.mark.usefixtures("quick_search")

MakeTask = Callable[..., Dataset]


def small(**settings: Any) -> TrainConfig:
    values = {"k_dim": 2, "rec_dim": 8, "epochs": 4, "threads": 1, "device": "cpu", "decay_end": 2}
    values["erase"] = 0.0  # it would often hide the square, which is all that there is to see
    if settings.get("recipe", "fast") == "fast":
        values |= {"inner_steps": 2, "encoder_frames": 12, "image_frames": 5, "validate_every": 1}
    return make_config({**values, **settings})


def weights_after(trainer: Trainer) -> torch.Tensor:
    for _ in trainer.run(time.monotonic):
        pass
    parameters = trainer.final_model().parameters()
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


#: Adam's first steps are the sign of the gradient, and rounding turns a zero one around; with this
#: eps they are proportional to it.
SMOOTH = 1e-2

RECIPES = pytest.mark.parametrize("recipe", ["fast", "eipl"])


@RECIPES
def test_it_learns(make_task: MakeTask, recipe: str) -> None:
    trainer = make_trainer(
        decide(make_task(), small(recipe=recipe, epochs=40, learning_rate=1e-2))
    )
    before, _ = trainer.validate()
    *_, last = trainer.run(time.monotonic)
    after = last.validation
    assert after is not None
    assert after.joint < before.joint / 5
    assert after.image < before.image / 2
    assert last.number == 39


@RECIPES
def test_the_same_seed_gives_the_same_weights(make_task: MakeTask, recipe: str) -> None:
    config = small(recipe=recipe)
    first = weights_after(make_trainer(decide(make_task(), config)))
    assert torch.equal(first, weights_after(make_trainer(decide(make_task(), config))))
    other = small(recipe=recipe, seed=1)
    assert not torch.equal(first, weights_after(make_trainer(decide(make_task(), other))))


def test_the_global_random_state_changes_nothing(make_task: MakeTask) -> None:
    first = weights_after(make_trainer(decide(make_task(), small())))
    trainer = make_trainer(decide(make_task(), small()))
    torch.manual_seed(99)
    assert torch.equal(first, weights_after(trainer))


@RECIPES
def test_longer_padding_changes_nothing(make_task: MakeTask, recipe: str) -> None:
    """Garbage appended to every episode's padding must not reach the weights."""
    config = small(recipe=recipe)
    dataset = make_task([9, 5, 7], validation=0)
    first = weights_after(make_trainer(decide(dataset, config)))
    trainer = make_trainer(decide(dataset, config))
    data = trainer.training
    for row, length in enumerate(data.lengths.tolist()):
        data.joints[row, length:] = 9.0
        data.targets[row, length:] = -9.0
    assert torch.equal(first, weights_after(trainer))


@RECIPES
def test_chunks_give_the_same_weights(
    make_task: MakeTask, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "ADAM_EPS", SMOOTH)
    config = small(recipe=recipe)
    first = weights_after(make_trainer(decide(make_task(), config)))
    trainer = make_trainer(decide(make_task(), config))
    assert min(trainer.fits) > 1000
    trainer.fits = Fits(3, 3)
    torch.testing.assert_close(first, weights_after(trainer), atol=1e-5, rtol=1e-4)


def test_no_chunk_is_larger_than_what_fits(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an update: a chunk's activations are what takes the memory."""
    trainer = make_trainer(decide(make_task(), small()))
    trainer.fits = Fits(5, 3)
    sizes: dict[str, list[int]] = {"encode": [], "predict_image": []}

    def watch(name: str) -> None:
        method = getattr(SARNN, name)

        def call(self: SARNN, images: Any, *more: torch.Tensor) -> Any:
            if torch.is_grad_enabled():
                sizes[name].append(len(images[0]))
            return method(self, images, *more)

        monkeypatch.setattr(SARNN, name, call)

    for name in sizes:
        watch(name)
    next(trainer.run(time.monotonic))
    assert [max(found) for found in sizes.values()] == [5, 3]


def test_attention_that_was_found_learns_no_more(make_task: MakeTask) -> None:
    """Its points are still those of frames that are augmented anew, and the rest goes on."""
    trainer = make_trainer(decide(make_task([9] * 8), small(epochs=3)))
    trainer.search_attention()

    def weights(part: nn.Module) -> torch.Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in part.parameters()])

    attention, others, points = [weights(trainer.model.pos_encoder)], [], []
    for _ in trainer.run(time.monotonic):
        model = trainer.model
        attention.append(weights(model.pos_encoder))
        others.append([weights(part) for part in (model.rec, model.decoder_image)])
        assert trainer.points is not None
        points.append(trainer.points.clone())
    for before, after in pairwise(attention):
        assert torch.equal(before, after)
    for before, after in pairwise(others):
        assert not any(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert not torch.equal(points[-2], points[-1])


def test_eipl_update_is_that_of_the_reference(
    make_task: MakeTask, reference_sarnn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One epoch without noise: plain torch, plain Adam, the plain loop, in the same order."""
    monkeypatch.setattr(trainer_module, "ADAM_EPS", SMOOTH)
    monkeypatch.setattr(batches, "IMAGE_NOISE", 0.0)
    config = small(
        recipe="eipl", epochs=1, joint_noise=0, brightness=0, contrast=0,
        saturation=0, hue=0, erase=0, batch_size=2, decay_end=0, temperature=1e-2,
    )  # fmt: skip
    dataset = make_task([8, 8, 8], validation=0)
    trainer = make_trainer(decide(dataset, config))
    plain = reference_sarnn.ReferenceSARNN(8, 2, 3, temperature=1e-2, im_size=(14, 16))
    state = trainer.model.state_dict()
    plain.load_state_dict({name: state[name].clone() for name in plain.state_dict()})
    optimizer = torch.optim.Adam(plain.parameters(), eps=SMOOTH)
    order = torch.randperm(3, generator=torch.Generator().manual_seed(config.seed))
    images = torch.stack(
        [trainer.training.frames(torch.full((8,), row), torch.arange(8))[0] for row in range(3)]
    )
    joints, targets = trainer.training.joints, trainer.training.targets
    for batch in order.split(2):
        parts = (images[batch], joints[batch], images[batch], targets[batch])
        image, joint, point = reference_sarnn.step_loop_losses(plain, *parts)
        optimizer.zero_grad()
        (0.1 * image + joint + 0.1 * point).backward()
        optimizer.step()
    weights_after(trainer)
    ours = dict(trainer.model.named_parameters())
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(ours[name], parameter, atol=1e-5, rtol=1e-4, msg=name)


def test_several_cameras_train(make_task: MakeTask) -> None:
    dataset = make_task(sizes=((16, 14), (12, 18)))
    *_, last = make_trainer(decide(dataset, small(epochs=20, learning_rate=5e-3))).run(
        time.monotonic
    )
    first = next(make_trainer(decide(dataset, small())).run(time.monotonic))
    assert last.training.joint < first.training.joint / 3
    assert last.training.image < first.training.image


def test_learnt_temperature_moves(make_task: MakeTask) -> None:
    trainer = make_trainer(decide(make_task(), small(temperature=None)))
    weights_after(trainer)
    assert float(trainer.model.state_dict()["pos_encoder.6.temperature"]) != 1.0


@pytest.mark.parametrize("lengths", [[2], [1, 2, 1], [2, 9]])
def test_very_short_episodes_train(make_task: MakeTask, lengths: list[int]) -> None:
    weights = weights_after(make_trainer(decide(make_task(lengths, validation=0), small())))
    assert bool(torch.isfinite(weights).all())


def test_nothing_to_learn_from_is_refused(make_task: MakeTask) -> None:
    with pytest.raises(
        TrainingError, match="none of 2 training episodes is a demonstration of two ticks"
    ):
        make_trainer(decide(make_task([1, 1], validation=0), small()))


@RECIPES
def test_a_loss_that_is_not_finite_names_the_batch(make_task: MakeTask, recipe: str) -> None:
    """By the names that the bags have, and the epoch as the progress bar counts. A recurrent
    update has drawn other episodes: its loss names none."""
    named = []
    for seed in range(6):
        config = small(recipe=recipe, batch_size=2, seed=seed)
        trainer = make_trainer(decide(make_task(validation=0.4), config))
        assert trainer.training.names == ("e0", "e1", "e3")
        trainer.training.joints[2, 1] = float("nan")
        with pytest.raises(TrainingError, match=r"not finite(.|\n)*lower learning_rate") as error:
            list(trainer.run(time.monotonic))
        where = str(error.value.where)
        assert where.startswith("epoch 1, batch ")
        assert "total nan" in error.value.problem
        assert "e2" not in where
        named.append("of the episodes" in where)
        assert ("e3" in where) == named[-1]
        assert ("in the recurrent updates after it" in where) != named[-1]
    assert True in named
    assert (False in named) == (recipe == "fast")


def test_recurrent_updates_have_whole_batches(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the last update of an epoch, which has what is left."""
    for episodes, sizes in ((3, [3] * 2), (5, [4] * 4)):
        trainer = make_trainer(
            decide(make_task([9] * episodes, validation=0), small(batch_size=4))
        )
        drawn = []
        draw = trainer.batches.draw_recurrent

        def watched(*arguments: Any, draw: Any = draw, drawn: list[int] = drawn) -> Any:
            batch = draw(*arguments)
            drawn.append(len(batch.learnt))
            return batch

        monkeypatch.setattr(trainer.batches, "draw_recurrent", watched)
        next(trainer.run(time.monotonic))
        assert drawn == sizes


def test_batches_that_are_drawn_ahead_are_the_same(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train() -> torch.Tensor:
        torch.set_num_threads(2)
        return weights_after(make_trainer(decide(make_task(), small(inner_steps=7))))

    ahead = train()
    drawn = []

    def one_by_one(make: Callable[[], Any], count: int, device: torch.device) -> Iterator[Any]:
        for _ in range(count):
            drawn.append(make())
            yield drawn[-1]

    monkeypatch.setattr(trainer_module, "made_ahead", one_by_one)
    assert torch.equal(train(), ahead)
    assert drawn


@RECIPES
def test_a_loss_that_diverges_stops_before_its_epoch_ends(
    make_task: MakeTask, recipe: str
) -> None:
    """Adam's steps are as large as the learning rate, and finite: float32 holds out for long."""
    settings = {"recipe": recipe, "epochs": 30, "learning_rate": 100, "batch_size": 2}
    trainer = make_trainer(decide(make_task(), small(**settings)))
    with pytest.raises(Diverged, match="the loss has diverged") as error:
        next(trainer.run(time.monotonic))
    # The recurrent steps of the first batch are enough.
    assert f"epoch 1, batch {2 if recipe == 'eipl' else 1}," in str(error.value.where)


def test_a_spike_that_training_can_come_back_from_is_none(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand times the loss before, but no worse than untrained weights."""
    trainer = make_trainer(decide(make_task(), small(recipe="eipl")))
    losses = iter([1e-4, 1.0, 1e-4, 1e-4])
    monkeypatch.setattr(trainer, "update", lambda episodes: torch.full((4,), next(losses)))
    assert len(list(trainer.run(time.monotonic))) == 4


def test_validation_is_of_the_weights_that_are_deployed(make_task: MakeTask) -> None:
    scaled = make_trainer(decide(make_task(), small()))
    scaled.freeze_attention()
    weights_after(scaled)
    plain = make_trainer(decide(make_task(), small()))
    plain.model.load_state_dict(scaled.final_model().state_dict())
    deployed, known = scaled.validate(), plain.validate()
    assert deployed[0].joint == pytest.approx(known[0].joint)
    assert deployed[1] == pytest.approx(known[1])
    plain.model.load_state_dict(scaled.model.state_dict())
    assert deployed[0].joint != pytest.approx(plain.validate()[0].joint)


def test_going_on_does_not_encode_all_frames_again(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer than an epoch of the fast recipe."""
    first, second = (make_trainer(decide(make_task(validation=0), small())) for _ in range(2))
    next(first.run(time.monotonic))
    second.load_state_dict(first.state_dict())
    monkeypatch.setattr(second, "encode", None)
    assert next(second.run(time.monotonic)).number == 1


def test_a_free_run_feeds_the_network_its_own_errors(make_task: MakeTask) -> None:
    """Tick by tick, as a robot that follows every action would."""
    trainer = make_trainer(decide(make_task([9, 6]), small()))
    weights_after(trainer)
    data, model = trainer.training, trainer.model
    predicted = free_run(model, trainer.encode_all(data), data.joints, data.targets)
    own, state = data.joints[:1, 0], None
    for tick in range(int(data.lengths[0]) - 1):
        frame = data.frames(torch.tensor([0]), torch.tensor([tick]))
        with torch.no_grad():
            action, _, _, state = model.act(frame, own, state)
        torch.testing.assert_close(predicted[:1, tick], action)
        own = action  # `target: next_state`


def test_explained_variance_tells_a_policy_that_knows_its_episodes(make_task: MakeTask) -> None:
    """Before training less than the mean demonstration; after it most of what differs, unless the
    images were empty. Three seeds on three kinds of CPU gave 0.94 to 0.97, and -0.05 to 0.15."""
    found = []
    for images in ("shown", "empty"):
        dataset = make_task([9] * 24, validation=1 / 3)
        for episode in dataset.episodes:
            episode.joints[0] = 0.5  # else that tells where it goes
            if images == "empty":
                episode.images["camera0"][:] = 40
        config = small(epochs=40, inner_steps=10, learning_rate=1e-2, pad_after=0, mixup=0)
        trainer = make_trainer(decide(dataset, config))
        _, before = trainer.validate()
        *_, last = trainer.run(time.monotonic)
        assert before is not None
        assert last.explained is not None
        assert before < 0
        found.append(last.explained)
    knows, blind = found
    assert blind < 0.5 < 0.75 < knows <= 1


def test_the_recurrent_part_trains_on_what_tells_trajectories_apart(make_task: MakeTask) -> None:
    """Folded into the weights, the final model gives what the trained one gave."""
    trainer = make_trainer(decide(make_task(), small(recipe="eipl")))
    points = trainer.encode_all(trainer.training)
    flat = points.flatten(0, 1)
    slope = torch.zeros(flat.shape[1], 3)
    slope[0, 0], slope[1, 1] = 1.0, 2.0  # only these two coordinates tell anything
    trainer.scale = scale = PointScale.of(flat, (flat, slope))
    telling, rest = scale(flat)[:, :2], scale(flat)[:, 2:]
    torch.testing.assert_close(telling.std(0), torch.full((2,), 0.3), atol=0.01, rtol=0)
    assert float(rest.std(0).max()) <= 0.031
    assert int(torch.linalg.matrix_rank(scale.matrix)) == flat.shape[1]  # nothing is lost
    seen = flat[:, :2] - flat[:, :2].mean(0)
    fitted = seen @ torch.linalg.lstsq(seen, telling).solution
    torch.testing.assert_close(fitted, telling, atol=1e-3, rtol=0)  # they tell of nothing else
    weights_after(trainer)
    points = trainer.encode_all(trainer.training)
    joints = trainer.training.joints[:, :-1]
    trained, _ = trainer.model.recur(scale(points), joints)
    final, _ = trainer.final_model().recur(points, joints)
    torch.testing.assert_close(final, trained, atol=1e-5, rtol=1e-4)
    assert not torch.equal(trainer.final_model().rec.weight_ih, trainer.model.rec.weight_ih)
    other = make_trainer(decide(make_task(), small(recipe="eipl")))
    other.load_state_dict(trainer.state_dict())
    assert torch.equal(other.final_model().rec.weight_ih, trainer.final_model().rec.weight_ih)


def test_the_noise_on_points_is_per_tick_and_per_episode(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "POINT_NOISE", 0.5)
    monkeypatch.setattr(batches, "HELD_SHARE", 0.0)
    trainer = make_trainer(decide(make_task(), small(mixup=0, pad_after=0)))
    data, deviation = trainer.training, torch.tensor([1.0, 0.1])
    points = torch.zeros(len(data), 100, 2)
    noisy = torch.cat(
        [trainer.batches.draw_recurrent(len(data), points, deviation).seen for _ in range(60)]
    )
    torch.testing.assert_close(noisy.std(1).mean(0), 0.5 * deviation, rtol=0.05, atol=0)
    torch.testing.assert_close(noisy.mean(1).std(0), 0.5 * deviation, rtol=0.2, atol=0)


@pytest.mark.parametrize("pad", [0, 1.0], ids=["to the end", "padded after it"])
def test_held_points_stay_from_a_tick_of_their_motion_on(make_task: MakeTask, pad: float) -> None:
    trainer = make_trainer(decide(make_task(), small(mixup=0, pad_after=pad)))
    data = trainer.training
    ticks = torch.arange(data.ticks - 1.0)[:, None].expand(len(data), -1, 2)
    held, last = 0, set()
    for _ in range(100):
        batch = trainer.batches.draw_recurrent(len(data), ticks)
        motion = slice(data.ticks - 1)
        assert torch.equal(batch.points[:, motion], ticks)  # what is to be predicted goes on
        for seen in batch.seen[..., 0]:
            stays = int(seen.max())
            assert torch.equal(seen[motion], ticks[0, :, 0].clamp(max=stays))
            if stays < data.ticks - 2:
                held += 1
                last.add(stays)
    assert 0.35 < held / (100 * len(data)) < 0.6
    assert len(last) > 2


def test_late_points_go_on_and_are_another_episodes_until_they_tell(make_task: MakeTask) -> None:
    trainer = make_trainer(decide(make_task(), small(mixup=0)))
    data = trainer.training
    episode = torch.arange(len(data))[:, None].expand(-1, data.ticks - 1)
    ticks = torch.arange(data.ticks - 1.0).expand(len(data), -1)
    points = torch.stack([100 * episode + ticks] * 2, -1)
    late = torch.tensor([False, True]), 0.4, 0.5
    exchanged = held = 0
    for _ in range(30):
        batch = trainer.batches.draw_recurrent(len(data), points, late=late)
        motion = slice(data.ticks - 1)
        own, seen = batch.points[:, motion, 1], batch.seen[:, motion, 1]
        share = ticks / data.lengths[own[:, 0].div(100).long(), None]
        first = (share >= 0.4) & (share <= 0.5)  # seen as they are at least then
        assert torch.equal(seen[first], own[first])
        assert torch.equal(seen[share < 0.4] % 100, ticks[share < 0.4])  # of the same tick
        held += int((seen < own)[share > 0.5].any())
        exchanged += int((seen != own).any(1).sum())
        assert (batch.seen[:, motion, 0] <= own).all()  # the other one is held, in half of them
    assert exchanged > 0.5 * 30 * len(data) and held > 10


def test_sequences_go_on_at_rest_after_their_end(make_task: MakeTask) -> None:
    """A policy whose motion is over goes on running: it must hold what it has reached."""
    quiet = small(pad_after=0.5, mixup=0, joint_noise=0)
    trainer = make_trainer(decide(make_task([9, 6, 1, *[9] * 7], validation=0), quiet))
    data, more = trainer.training, 5  # half of 9 ticks, rounded up
    numbers = torch.arange(len(data) * (data.ticks - 1.0)).reshape(len(data), -1, 1)
    of_episode = data.lengths - 1
    for _ in range(20):
        batch = trainer.batches.draw_recurrent(len(data), numbers)
        assert batch.points.shape[1] == batch.joints.shape[1] == data.ticks - 1 + more
        for row, number in enumerate((batch.points[:, 0, 0] // (data.ticks - 1)).long().tolist()):
            steps = int(of_episode[number])
            if steps == 0:
                assert not batch.learnt[row].any()  # of a single tick nothing is learnt
                continue
            assert batch.learnt[row].nonzero()[:, 0].tolist() == list(range(steps + more))
            for drawn, given in [
                (batch.points, numbers),
                (batch.joints, data.joints),
                (batch.targets, data.targets),
            ]:
                assert torch.equal(drawn[row, :steps], given[number, :steps])
                last = drawn[row, steps - 1 : steps]
                assert torch.equal(drawn[row, steps:], last.expand_as(drawn[row, steps:]))
            assert torch.equal(batch.seen[row, steps:], batch.seen[row, steps - 1 : steps].expand(
                data.ticks - 1 + more - steps, -1
            ))  # fmt: skip


def test_an_episode_is_mixed_with_those_most_like_it(make_task: MakeTask) -> None:
    trainer = make_trainer(decide(make_task([9, 1, *[9] * 8], validation=0), small()))
    data = trainer.training
    places = torch.tensor([0.0, 0.3, 1.0, 0.7, 0.11, 0.9, 0.23, 0.51, 0.38, 0.62])
    data.targets[:] = places[:, None, None]
    short = int(data.lengths.argmin())
    for episode, nearest in enumerate(trainer.batches._neighbours.tolist()):
        if episode == short:
            assert set(nearest) == {short}
        else:
            others = [one for one in range(10) if one not in (episode, short)]
            apart = sorted(others, key=lambda one: abs(places[one] - places[episode]))
            assert nearest == apart[:5]


@pytest.mark.parametrize("neighbours", [True, False], ids=["of two", "of several"])
def test_a_mixture_lasts_as_long_as_its_first_episode(
    make_task: MakeTask, neighbours: bool
) -> None:
    """The others' time is stretched: all begin and end together, whatever their pace."""
    quiet = small(mixup=1.0, joint_noise=0, pad_after=0)
    plan = decide(make_task([5, 9, 1, 30, *[12] * 6], validation=0), quiet)
    trainer = make_trainer(replace(plan, mix_neighbours=neighbours))
    data = trainer.training
    share = torch.arange(data.ticks - 1) / (data.lengths[:, None] - 2).clamp(min=1)
    points = share.clamp(max=1)[..., None]  # of how much of an episode is over
    seen = set()
    for _ in range(20):
        batch = trainer.batches.draw_recurrent(len(data), points)
        for row, steps in enumerate(batch.learnt.sum(1).tolist()):
            if steps > 0:  # the weights sum up to 1
                expected = torch.linspace(0, 1, steps)
                torch.testing.assert_close(
                    batch.points[row, :steps, 0], expected, atol=1e-5, rtol=0
                )
            seen.add(steps)
    assert seen == {0, 4, 8, 11, 29}


@pytest.mark.parametrize("neighbours", [True, False], ids=["of two", "of several"])
@pytest.mark.parametrize("share", [0.2, 0.8])
def test_so_many_sequences_are_mixtures(
    make_task: MakeTask, neighbours: bool, share: float
) -> None:
    plan = decide(make_task([9] * 40, validation=0), small(mixup=1.0, joint_noise=0, pad_after=0))
    trainer = make_trainer(replace(plan, mix_neighbours=neighbours, mixup=share))
    data = trainer.training
    points = torch.randn(len(data), 1, 6).expand(-1, data.ticks - 1, -1)
    drawn = [trainer.batches.draw_recurrent(len(data), points).points[:, 0] for _ in range(50)]
    mixed = torch.cdist(torch.cat(drawn), points[:, 0]).min(1).values > 0.02
    assert float(mixed.double().mean()) == pytest.approx(share, abs=0.05)


def test_mixtures_of_several_differ_as_much_as_episodes(make_task: MakeTask) -> None:
    quiet = small(mixup=1.0, joint_noise=0, pad_after=0)
    plan = decide(make_task([9] * 40, validation=0), quiet)
    trainer = make_trainer(replace(plan, mix_neighbours=False, mixup=1.0))
    data = trainer.training
    points = torch.randn(len(data), 1, 6).expand(-1, data.ticks - 1, -1)
    drawn = [trainer.batches.draw_recurrent(len(data), points).points[:, 0] for _ in range(200)]
    mixed = torch.cat(drawn)
    torch.testing.assert_close(mixed.mean(0), points[:, 0].mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(mixed.std(0), points[:, 0].std(0), atol=0, rtol=0.1)


def test_a_mixture_mixes_inputs_and_targets_alike(make_task: MakeTask) -> None:
    trainer = make_trainer(decide(make_task(), small(mixup=1.0, joint_noise=0, pad_after=0)))
    data = trainer.training
    points = data.targets[:, :-1].repeat(1, 1, 2)[..., :2]  # any linear function of the targets
    beyond = False
    for _ in range(50):
        batch = trainer.batches.draw_recurrent(len(data), points)
        expected = batch.targets.repeat(1, 1, 2)[..., :2]
        torch.testing.assert_close(batch.points, expected)
        shown = batch.targets[batch.learnt]
        assert torch.isfinite(shown).all()
        beyond |= bool((shown.max() > data.targets.max()) | (shown.min() < data.targets.min()))
        steps = sorted((data.lengths - 1).tolist())
        assert sorted(batch.learnt.sum(1).tolist()) == steps
    assert beyond
