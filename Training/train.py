"""Train one stage of the cascade.

    python -m Training.train --config Training/configs/standard.json --stage kidney --data POOL --out RUNS/kidney

POOL is what `Training.synthesis` wrote. OUT gets `checkpoint.pt` (atomic; resumed from when it is there), `weights.safetensors` (the moving
average that ships) and `log.csv`.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from KidneyTumorCascadeLib.device import Engine, choose_device
from KidneyTumorCascadeLib.errors import CascadeError
from KidneyTumorCascadeLib.vnet import VNet
from Training.augmentation import IntensityRange, SpatialRange
from Training.cases import load_cases
from Training.dataset import PatchSource
from Training.losses import LOSSES, foreground
from Training.settings import StageSettings, read_settings

PLAIN_SPATIAL = SpatialRange(rotation_degrees=0.0, scale=0.0, stretch=0.0, elastic_mm=0.0, mirror=False)
PLAIN_INTENSITY = IntensityRange(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
VALIDATION_PATCHES = 32


def learning_rate(step: int, settings: StageSettings) -> float:
    """Linear warm-up, then a half cosine to zero."""
    peak = float(settings.optimizer["learning_rate"])
    if step < settings.warmup_steps:
        return peak * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def make_optimizer(network: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """AdamW, or the published SGD with momentum."""
    rate, decay = float(settings["learning_rate"]), float(settings["weight_decay"])
    if settings["kind"] == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate, momentum=float(settings["momentum"]), weight_decay=decay)
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)


class MovingAverage:
    """An exponential moving average of a network's state, slow at first."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone().float() for name, value in network.state_dict().items()}

    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the network's present state."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        for name, value in network.state_dict().items():
            self.state[name].lerp_(value.detach().float(), 1.0 - decay)


class Trainer:
    """One stage in training: network, moving average, optimizer and the place it has reached."""

    def __init__(self, settings: StageSettings, data: Path, out: Path, engine: Engine, seed: int) -> None:
        torch.manual_seed(seed)
        self.settings, self.out, self.engine, self.step = settings, out, engine, 0
        self.network = VNet(settings.shape).to(engine.device)
        self.average = MovingAverage(self.network, settings.ema_decay)
        self.optimizer = make_optimizer(self.network, settings.optimizer)
        cases = load_cases(data / "train" / settings.cases)
        self.source = PatchSource(cases, settings.sampling, settings.normalization, engine.device, seed)
        self.validation = self.validation_patches(data)

    def validation_patches(self, data: Path) -> list[tuple[Tensor, Tensor]]:
        """The same unchanged patches of validation cases every time."""
        plain = replace(self.settings.sampling, spatial=PLAIN_SPATIAL, intensity=PLAIN_INTENSITY, jitter_mm=15.0)
        cases = load_cases(data / "validation" / self.settings.cases)
        source = PatchSource(cases, plain, self.settings.normalization, self.engine.device, seed=0)
        return [source.batch(1) for _ in range(VALIDATION_PATCHES)]

    def start_from(self, weights: Path) -> None:
        """Begin with trained weights, of another stage for instance."""
        self.network.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
        self.average = MovingAverage(self.network, self.settings.ema_decay)

    def train_step(self) -> float:
        """One step of the optimizer; returns its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.settings)
        image, target = self.source.batch(self.settings.batch)
        self.network.train()
        with self.engine.autocast():
            logits = self.network(image)
        loss: Tensor = LOSSES[self.settings.loss](logits, target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.step += 1
        self.average.update(self.network, self.step)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise CascadeError(f"The loss became {value} at step {self.step}; lower the learning rate and resume from the last checkpoint.")
        return value

    @torch.no_grad()
    def validate(self) -> float:
        """Dice of the moving average over all validation patches together."""
        network = VNet(self.settings.shape).to(self.engine.device)
        network.load_state_dict(self.average.state)
        network.eval()
        overlap = total = 0.0
        for image, target in self.validation:
            with self.engine.autocast():
                logits = network(image)
            found = foreground(logits) > 0.5
            overlap += float((found & (target > 0)).sum())
            total += float(found.sum() + (target > 0).sum())
        return 2.0 * overlap / max(total, 1.0)

    def save(self) -> None:
        """Checkpoint and weights, each whole or not at all."""
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state,
            "optimizer": self.optimizer.state_dict(),
            "patches": self.source.generator.get_state(),
        }
        replace_file(self.out / "checkpoint.pt", lambda path: torch.save(state, path))
        half = {name: value.half().contiguous() for name, value in self.average.state.items()}
        replace_file(self.out / "weights.safetensors", lambda path: save_file(half, path))

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one; only tensors and plain values are read from it."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True, map_location=self.engine.device)
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.state = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.source.generator.set_state(state["patches"].cpu())
        return True

    def run(self) -> None:
        """Train to the end, logging and saving at every validation."""
        started, first, losses = time.monotonic(), self.step, []
        while self.step < self.settings.steps:
            losses.append(self.train_step())
            if self.step % self.settings.validate_every == 0 or self.step == self.settings.steps:
                dice = self.validate()
                self.save()
                seconds = (time.monotonic() - started) / (self.step - first)
                self.log(sum(losses) / len(losses), dice, seconds)
                losses = []

    def log(self, loss: float, dice: float, seconds: float) -> None:
        """A line on the terminal and one in log.csv."""
        left = seconds * (self.settings.steps - self.step) / 60.0
        stage = self.settings.stage
        print(f"{stage} {self.step:6d}  loss {loss:.4f}  validation Dice {dice:.4f}  {seconds:.2f} s/step  {left:.0f} min left", flush=True)
        path = self.out / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow(["step", "loss", "validation_dice", "seconds_per_step"])
            writer.writerow([self.step, f"{loss:.6f}", f"{dice:.6f}", f"{seconds:.4f}"])


def replace_file(path: Path, write: Any) -> None:
    """Let `write` fill a temporary file, then put it in place."""
    temporary = path.with_name(path.name + ".tmp")
    write(temporary)
    with temporary.open("rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--stage", choices=("roi", "kidney", "tumor"), required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="weights (.safetensors) to begin with")
    parser.add_argument("--steps", type=int, help="train this many steps instead of the configured number")
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        settings = read_settings(arguments.config, arguments.stage)
        if arguments.steps:
            settings = replace(settings, steps=arguments.steps)
        arguments.out.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(settings, arguments.data, arguments.out, choose_device(arguments.device), arguments.seed)
        if not trainer.resume() and arguments.init:
            trainer.start_from(arguments.init)
        trainer.run()
    except CascadeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
