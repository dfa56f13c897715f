"""One stage in training: steps of the optimizer, validation, checkpoints."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from KidneyTumorCascadeLib.bundle import save_weights
from KidneyTumorCascadeLib.device import Engine
from KidneyTumorCascadeLib.errors import CascadeError, InputError
from KidneyTumorCascadeLib.vnet import VNet
from Training.augmentation import PLAIN_INTENSITY, PLAIN_SPATIAL
from Training.cases import load_cases
from Training.checkpoint import load_weights, read_checkpoint, write_checkpoint
from Training.dataset import PatchSource
from Training.losses import IGNORED, LOSSES, foreground
from Training.settings import OptimizerSettings, StageSettings

CHECKPOINT_FILE, WEIGHTS_FILE, LOG_FILE = "checkpoint.pt", "weights.safetensors", "log.csv"
LOG_COLUMNS = ("step", "loss", "validation_dice", "seconds_per_step")
VALIDATION_PATCHES = 32
VALIDATION_JITTER_MM = 15.0


def learning_rate(step: int, settings: StageSettings) -> float:
    """Linear warm-up, then a half cosine to zero."""
    peak = settings.optimizer.learning_rate
    if step < settings.warmup_steps:
        return peak * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def make_optimizer(network: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """AdamW, or the published SGD with momentum."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.kind == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate, momentum=settings.momentum, weight_decay=decay)
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)


def make_scaler(engine: Engine) -> Any:
    """Keeps small gradients within float16's range; passes everything through where another precision computes."""
    enabled = engine.precision == torch.float16
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(engine.device.type, enabled=enabled)
    # Before torch 2.3 it was CUDA's own.
    return torch.cuda.amp.GradScaler(enabled=enabled)


class MovingAverage:
    """An exponential moving average of a network's state, slow at first."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the network's present state; counts of batches are taken as they are."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value.detach(), 1.0 - decay)
            else:
                self.state[name].copy_(value)


class Trainer:
    """Network, moving average, optimizer and the place that training has reached.

    Args:
        settings: of the stage.
        data: the pool that `Training.synthesis` wrote.
        out: an existing folder for checkpoint.pt, weights.safetensors and log.csv.
        engine: where to compute and how precisely.
        seed: of the first weights and of the patches.

    Raises:
        InputError: when the pool has no cases of the kind that the stage needs.
    """

    def __init__(self, settings: StageSettings, data: Path, out: Path, engine: Engine, seed: int) -> None:
        torch.manual_seed(seed)
        self.settings, self.out, self.engine, self.step = settings, out, engine, 0
        self.network = VNet(settings.shape).to(engine.device)
        self.average = MovingAverage(self.network, settings.ema_decay)
        self.optimizer = make_optimizer(self.network, settings.optimizer)
        self.scaler = make_scaler(engine)
        cases = load_cases(data / "train" / settings.cases)
        self.source = PatchSource(cases, settings.sampling, settings.normalization, engine.device, seed)
        self.validation = self.validation_patches(data)

    def validation_patches(self, data: Path) -> list[tuple[Tensor, Tensor]]:
        """The same unchanged patches of validation cases every time."""
        plain = replace(self.settings.sampling, spatial=PLAIN_SPATIAL, intensity=PLAIN_INTENSITY, jitter_mm=VALIDATION_JITTER_MM)
        cases = load_cases(data / "validation" / self.settings.cases)
        source = PatchSource(cases, plain, self.settings.normalization, self.engine.device, seed=0)
        return [source.batch(1) for _ in range(VALIDATION_PATCHES)]

    def start_from(self, weights: Path) -> None:
        """Begin with trained weights, of another stage for instance. Raises InputError when they do not fit."""
        load_weights(self.network, weights)
        self.average = MovingAverage(self.network, self.settings.ema_decay)

    def train_step(self) -> float:
        """One step of the optimizer; returns its loss. Raises CascadeError, before any weight changes, when loss or gradient is not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.settings)
        image, target = self.source.batch(self.settings.batch)
        self.network.train()
        with self.engine.autocast():
            logits = self.network(image)
        loss: Tensor = LOSSES[self.settings.loss](logits, target)
        value = self.finite(float(loss.detach()), "loss")
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        # The scaler looks for its scale by trying: it leaves a step out when a gradient overflows.
        if not self.scaler.is_enabled():
            self.finite(float(norm), "gradient")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.average.update(self.network, self.step)
        return value

    def finite(self, value: float, what: str) -> float:
        """The value. Raises CascadeError when it is no finite number."""
        if not math.isfinite(value):
            raise CascadeError(f"The {what} became {value} at step {self.step + 1}; lower the learning rate and resume from the last checkpoint.")
        return value

    def averaged_network(self) -> VNet:
        """The network that ships: that of the moving average."""
        network = VNet(self.settings.shape).to(self.engine.device)
        network.load_state_dict(self.average.state)
        return network.eval()

    @torch.no_grad()
    def validate(self) -> float:
        """Dice of the moving average over all validation patches together."""
        network = self.averaged_network()
        overlap = total = 0.0
        for image, target in self.validation:
            with self.engine.autocast():
                logits = network(image)
            found = foreground(logits) > 0.5
            overlap += float((found & (target == 1)).sum())
            total += float((found & (target != IGNORED)).sum() + (target == 1).sum())
        return 2.0 * overlap / max(total, 1.0)

    def save(self) -> None:
        """Checkpoint and weights, each whole or not at all."""
        state = {
            "stage": self.settings.stage,
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "patches": self.source.generator.get_state(),
        }
        write_checkpoint(state, self.out / CHECKPOINT_FILE)
        save_weights(self.averaged_network(), self.out / WEIGHTS_FILE)

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one. Raises InputError when it is damaged or another stage's or network's."""
        path = self.out / CHECKPOINT_FILE
        if not path.exists():
            return False
        state = read_checkpoint(path, self.engine.device)
        stage = state.get("stage", self.settings.stage)
        if stage != self.settings.stage:
            raise InputError(f"{path} is a checkpoint of the stage {stage!r}, not of {self.settings.stage!r}; give another output folder.")
        try:
            self.restore(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"{path} was made with another configuration; resume with that one, or give another output folder.") from error
        return True

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `save` wrote. Checkpoints from before a scaler was kept have none."""
        self.network.load_state_dict(state["network"])
        self.average.state = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        if state.get("scaler") and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.source.generator.set_state(state["patches"].cpu())
        self.step = state["step"]

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
        path = self.out / LOG_FILE
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow(LOG_COLUMNS)
            writer.writerow([self.step, f"{loss:.6f}", f"{dice:.6f}", f"{seconds:.4f}"])
