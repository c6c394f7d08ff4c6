# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A policy of LeRobot, trained for so much CPU time, or asked tick by tick by another process.

Run by the Python of LeRobot's environment; imports nothing of this repository. The one argument is
a JSON of `methods.LeRobot.ask`. What LeRobot decides is left to it: network, loss, normalisation,
optimiser, schedule, batch size, queue of actions. Our own is how frames get there: decoded once,
before the time is counted, and kept in memory.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_policy, make_policy_config, make_pre_post_processors
from lerobot.utils.feature_utils import dataset_to_policy_features
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

CHECKPOINT, SAVED_SECONDS = "checkpoint.pt", 300.0
STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
#: LeRobot's own, of a training.
BATCH, STEPS = TrainPipelineConfig.batch_size, TrainPipelineConfig.steps


class Peer:
    """The policy with what LeRobot puts before and after it.

    :ivar size: height and width that images get before anything else; None: they stay.
    """

    def __init__(self, asked: dict[str, Any]) -> None:
        self.data = LeRobotDataset("local/peers", root=asked["data"], video_backend="pyav")
        self.size = asked["size"]
        settings = {key: _tuples(value) for key, value in asked["settings"].items()}
        config = make_policy_config(asked["policy"], device="cpu", push_to_hub=False, **settings)
        features = dataset_to_policy_features(self.data.meta.features)
        for name, feature in features.items():
            if name.startswith(IMAGES):
                feature.shape = (feature.shape[0], *(self.size or feature.shape[1:]))
        config.input_features = {key: one for key, one in features.items() if key != ACTION}
        torch.manual_seed(asked["seed"])
        self.config, self.policy = config, make_policy(config, self.data.meta)
        self.before, self.after = make_pre_post_processors(
            config, dataset_stats=self.data.meta.stats
        )
        self.cameras = [key for key in config.input_features if key.startswith(IMAGES)]

    def resize(self, images: Tensor) -> Tensor:
        """(…, 3, H, W) in [0, 1] to uint8, as large as the policy takes them."""
        small = adaptive_avg_pool2d(images, self.size) if self.size else images
        return (small * 255).round().to(torch.uint8)


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Frames:
    """All frames of the data set in memory, and batches of them as LeRobot's loader makes them.

    Beyond the ends of an episode its first or last frame stands, and is marked as padding.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        rows = [self._row(peer.data[index]) for index in range(len(peer.data))]
        self._images = {key: torch.stack([row.pop(key) for row in rows]) for key in peer.cameras}
        self._vectors = {key: torch.stack([row[key] for row in rows]) for key in (STATE, ACTION)}
        episodes = np.array([int(row["episode_index"]) for row in rows])
        self._first = np.searchsorted(episodes, episodes)
        self._last = np.searchsorted(episodes, episodes, side="right") - 1
        skipped = getattr(peer.config, "drop_n_last_frames", 0)
        self._usable = np.flatnonzero(np.arange(len(rows)) <= self._last - skipped)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        return row | {key: self._peer.resize(row[key]) for key in self._peer.cameras}

    def batch(self, random: np.random.Generator) -> dict[str, Any]:
        chosen = random.choice(self._usable, BATCH)
        seen, _ = self._window(chosen, self._peer.config.observation_delta_indices)
        done, padded = self._window(chosen, self._peer.config.action_delta_indices)
        batch: dict[str, Any] = {
            key: pixels[seen].float() / 255 for key, pixels in self._images.items()
        }
        batch |= {STATE: self._vectors[STATE][seen], ACTION: self._vectors[ACTION][done]}
        return batch | {"action_is_pad": padded, "task": [""] * BATCH}

    def _window(self, chosen: Any, offsets: list[int] | None) -> tuple[Tensor, Tensor]:
        if offsets is None:
            return torch.from_numpy(chosen), torch.zeros(len(chosen), dtype=torch.bool)
        wanted = chosen[:, None] + np.array(offsets)
        within = np.clip(wanted, self._first[chosen, None], self._last[chosen, None])
        return torch.from_numpy(within), torch.from_numpy(within != wanted)


def train(asked: dict[str, Any]) -> None:
    """Goes on from the checkpoint, if there is one, up to so many CPU seconds in all."""
    peer, out = Peer(asked), Path(asked["out"])
    frames, policy = Frames(peer), peer.policy
    preset = peer.config.get_optimizer_preset()
    optimizer = preset.build(policy.get_optim_params())
    planned = peer.config.get_scheduler_preset()
    scheduler = None if planned is None else planned.build(optimizer, STEPS)
    random = np.random.default_rng(asked["seed"])
    updates, cpu, wall = 0, 0.0, 0.0
    if (out / CHECKPOINT).is_file():
        kept = torch.load(out / CHECKPOINT, weights_only=False)
        policy.load_state_dict(kept["policy"])
        optimizer.load_state_dict(kept["optimizer"])
        if scheduler is not None:
            scheduler.load_state_dict(kept["scheduler"])
        random.bit_generator.state = kept["random"]
        torch.set_rng_state(kept["torch_random"])
        updates, cpu, wall = (kept["about"][key] for key in ("updates", "cpu_seconds", "seconds"))
    saved = cpu
    cpu, wall = cpu - time.process_time(), wall - time.monotonic()

    def save() -> None:
        about = {
            "updates": updates,
            "cpu_seconds": cpu + time.process_time(),
            "seconds": wall + time.monotonic(),
            "parameters": sum(one.numel() for one in policy.parameters()),
            "loss": loss.item(),
        }
        state = {
            "policy": policy.state_dict(), "optimizer": optimizer.state_dict(),
            "scheduler": scheduler and scheduler.state_dict(),
            "random": random.bit_generator.state, "torch_random": torch.get_rng_state(),
            "about": about,
        }  # fmt: skip
        torch.save(state, out / "checkpoint.partial")
        (out / "checkpoint.partial").replace(out / CHECKPOINT)
        (out / "trained.json").write_text(json.dumps(about))

    policy.train()
    while cpu + time.process_time() < asked["cpu_seconds"]:
        loss, parts = policy.forward(peer.before(frames.batch(random)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), preset.grad_clip_norm)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        updates += 1
        used = cpu + time.process_time()
        if updates % 50 == 0:
            print(f"{updates} updates, {used:.0f} s, {loss.item():.4f}, {parts}", flush=True)
        if used - saved > SAVED_SECONDS:
            save()
            saved = used
    save()


def serve(asked: dict[str, Any]) -> None:
    """Answers (images by camera, state) with an action, and None by forgetting the episode."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed must not get among the answers
    peer = Peer(asked)
    kept = torch.load(Path(asked["out"]) / CHECKPOINT, weights_only=False)
    peer.policy.load_state_dict(kept["policy"])
    peer.policy.eval()
    torch.manual_seed(asked["seed"])
    while True:
        try:
            told = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        action = None
        if told is None:
            peer.policy.reset()
        else:
            images, state = told
            batch: dict[str, Any] = {STATE: torch.from_numpy(state).float()[None], "task": [""]}
            for name, image in images.items():
                pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 255
                batch[IMAGES + name] = peer.resize(pixels)[None].float() / 255
            action = peer.after(peer.policy.select_action(peer.before(batch)))[0].numpy()
        pickle.dump(action, answers)
        answers.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    asked = json.loads(sys.argv[1])
    {"train": train, "serve": serve}[asked["do"]](asked)
