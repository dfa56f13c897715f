"""One stage in training: steps of the optimizer, validation, checkpoints."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from KidneyTumorCascadeLib.bundle import save_weights
from KidneyTumorCascadeLib.device import Engine
from KidneyTumorCascadeLib.errors import CascadeError, InputError
from KidneyTumorCascadeLib.vnet import VNet
from Training.cases import load_cases
from Training.fitting import validation
from Training.fitting.checkpoint import read_checkpoint, write_checkpoint
from Training.fitting.dataset import PatchSource
from Training.fitting.distributed import Processes
from Training.fitting.losses import LOSSES
from Training.fitting.made_with import differences, made_with
from Training.fitting.optimization import MovingAverage, gradient_norm, learning_rate, make_network, make_optimizer, make_scaler
from Training.fitting.prefetch import Prefetcher
from Training.fitting.record import Record
from Training.fitting.scan_statistics import normalization_of_cases
from Training.fitting.settings import StageSettings
from Training.fitting.starting_weights import start_network
from Training.fitting.step_clock import StepClock, share
from Training.fitting.training_log import Interval

CHECKPOINT_FILE, WEIGHTS_FILE = "checkpoint.pt", "weights.safetensors"
# The scale of float16's gradients begins at 2^16 and is halved at each that overflows: after so many in a row it is not the scale.
MOST_OVERFLOWS = 25


def patch_seed(seed: int, rank: int, step: int = 0) -> int:
    """Of the patches that one process draws from a step on; that of the first one from the beginning is the seed itself."""
    return seed + 1_000_003 * rank + 101 * step


class Trainer:
    """Network, moving average, optimizer and the place that training has reached.

    Args:
        settings: of the stage.
        data: the pool.
        out: an existing folder for checkpoint.pt, weights.safetensors and what `Record` writes.
        engine: where to compute and how precisely.
        seed: of the first weights and of the patches.
        processes: that train together; all of them have to make the same calls in the same order.
        tensorboard: as `Record` takes it.

    Raises:
        InputError: when the pool has no cases of the kind that the stage needs, or the stage's choice leaves none of them.
    """

    def __init__(
        self,
        settings: StageSettings,
        data: Path,
        out: Path,
        engine: Engine,
        seed: int,
        processes: Processes | None = None,
        tensorboard: bool | None = False,
    ) -> None:
        torch.manual_seed(seed)
        self.settings, self.out, self.engine, self.seed, self.step = settings, out, engine, seed, 0
        self.processes, self.tensorboard = processes or Processes(), tensorboard
        self.network = self.processes.with_shared_norms(make_network(settings.shape, engine.device))
        self.model = self.processes.wrapped(self.network)
        self.average = MovingAverage(self.network, settings.ema_decay)
        self.optimizer = make_optimizer(self.network, settings.optimizer)
        self.scaler, self.overflows = make_scaler(engine), 0
        self.made_with = made_with(settings, data, seed)
        self.patches = Prefetcher(self.patch_source(data / "train"), settings.batch, engine.device)
        everything = validation.validation_patches(settings, data, engine.device)
        self.validation = everything[self.processes.rank :: self.processes.size]
        self.clock = StepClock()
        self.losses: list[float] = []
        self.counts = [0.0, 0.0]
        self.seconds = [0.0, 0.0]

    def patch_source(self, split: Path) -> PatchSource:
        """The training patches of this process. Raises InputError when there are no cases to draw them from."""
        settings, folder = self.settings, split / self.settings.cases
        cases = load_cases(folder)
        if settings.more_cases and (split / settings.more_cases).is_dir():
            cases += load_cases(split / settings.more_cases)
        if not any(settings.sampling.choice.weight(case) for case in cases):
            raise InputError(
                f"The choice of cases of the stage {settings.stage!r} leaves none of the {len(cases)} in {folder}, "
                "as their tumors are all too faint; lower least_contrast_hu in the configuration, or give a pool with other cases."
            )
        normalizations = normalization_of_cases(settings.normalization, cases, folder)
        return PatchSource(cases, settings.sampling, normalizations, self.engine.device, patch_seed(self.seed, self.processes.rank))

    def start_from(self, place: str | Path) -> None:
        """Begin with trained weights: see `start_network`."""
        start_network(self.network, self.settings, place)
        self.average = MovingAverage(self.network, self.settings.ema_decay)

    def train_step(self) -> float:
        """One step of the optimizer; returns its loss, the mean over the processes.

        Raises CascadeError, in all processes and before any weight changes, when loss or gradient is not finite in one of them.
        """
        with self.clock.step():
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.step, self.settings)
            with self.clock.wait():
                image, target = self.patches.next()
            self.model.train()
            with self.engine.autocast():
                logits = self.model(image)
            loss: Tensor = LOSSES[self.settings.loss](logits, target)
            value = self.finite(self.processes.mean(float(loss.detach())), "loss")
            self.change_weights(loss)
            self.step += 1
            self.average.update(self.network, self.step)
            self.count(value, logits.detach(), target)
        return value

    def change_weights(self, loss: Tensor) -> None:
        """Follow the gradient. Raises CascadeError, before any weight changes, when it is not finite; in float16, when it never is any more."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = gradient_norm(self.network, self.settings.clip_norm)
        # The scaler looks for its scale by trying: it leaves a step out when a gradient overflows.
        self.overflows = 0 if math.isfinite(norm) else self.overflows + 1
        if not self.scaler.is_enabled() or self.overflows > MOST_OVERFLOWS:
            self.finite(norm, "gradient")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.processes.share(self.network)

    def count(self, loss: float, logits: Tensor, target: Tensor) -> None:
        """Keep what the log says of an interval."""
        self.losses.append(loss)
        self.counts = [sum(pair) for pair in zip(self.counts, validation.overlap_and_total(logits, target), strict=True)]

    def finite(self, value: float, what: str) -> float:
        """The value. Raises CascadeError when it is no finite number."""
        if not math.isfinite(value):
            raise CascadeError(f"The {what} became {value} at step {self.step + 1}; lower the learning rate and resume from the last checkpoint.")
        return value

    def averaged_network(self) -> VNet:
        """The network that ships: that of the moving average."""
        network = make_network(self.settings.shape, self.engine.device)
        network.load_state_dict(self.average.state)
        return network.eval()

    def validate(self) -> float:
        """Dice of the moving average over all validation patches together, of which each process takes its share."""
        return validation.dice_of(self.processes.total(validation.count_patches(self.averaged_network(), self.engine, self.validation)))

    def save(self) -> None:
        """Weights and checkpoint, each whole or not at all. All processes take part; the first one writes.

        The checkpoint comes last: what it has reached is not done again, so the weights of that step have to be there. Raises CascadeError for
        weights that no file can hold.
        """
        state = {
            "stage": self.settings.stage,
            "made_with": self.made_with,
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            # Of each process, as of the batch that it used last.
            "patches": self.processes.gathered(self.patches.state),
        }
        if self.processes.first:
            try:
                save_weights(self.averaged_network(), self.out / WEIGHTS_FILE)
            except ValueError as error:
                raise CascadeError(f"At step {self.step} {error}; lower the learning rate and resume from the last checkpoint.") from error
            write_checkpoint(state, self.out / CHECKPOINT_FILE)

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one. Raises InputError when it is damaged or another stage's or network's."""
        path = self.out / CHECKPOINT_FILE
        if path.exists():
            self.restore_from(path)
        self.processes.require_same(self.step, f"The processes find different checkpoints in {self.out}; it must lie on a disk that all share.")
        return path.exists()

    def restore_from(self, path: Path) -> None:
        """Take over a checkpoint file, and warn when it was made with other settings, seed or cases. Raises InputError as `resume` does."""
        state = read_checkpoint(path, self.engine.device)
        stage = state.get("stage", self.settings.stage)
        if stage != self.settings.stage:
            raise InputError(f"{path} is a checkpoint of the stage {stage!r}, not of {self.settings.stage!r}; give another output folder.")
        try:
            self.restore(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"{path} was made with another configuration; resume with that one, or give another output folder.") from error
        changed = differences(state.get("made_with"), self.made_with)
        if changed and self.processes.first:
            warning = f"{path} was made with {changed}; training goes on with what is given now."
            print(f"warning: {warning}", file=sys.stderr, flush=True)

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `save` wrote. Older checkpoints have no scaler and no `made_with`, or the generator's state of one process alone."""
        self.network.load_state_dict(state["network"])
        self.average.state = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        if state.get("scaler") and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]
        self.patches.restart(self.generator_state(state["patches"].cpu()))

    def generator_state(self, states: Tensor) -> Tensor:
        """This process's among those of a checkpoint; a new one when it was made by another number of processes."""
        states = states.reshape(-1, states.shape[-1])
        if len(states) == self.processes.size:
            return states[self.processes.rank]
        if self.processes.first:
            warning = f"the checkpoint is of {len(states)} processes, now there are {self.processes.size}: they draw other patches from here on."
            print(f"warning: {warning}", file=sys.stderr, flush=True)
        return torch.Generator().manual_seed(patch_seed(self.seed, self.processes.rank, self.step)).get_state()

    def run(self) -> None:
        """Train to the end, recording and saving at every validation."""
        record = Record(self.settings, self.out, self.step, self.tensorboard) if self.processes.first else None
        started, first = time.monotonic(), self.step
        try:
            while self.step < self.settings.steps:
                loss = self.train_step()
                if record is not None:
                    record.stepped(self.step, loss)
                if self.step % self.settings.validate_every == 0 or self.step == self.settings.steps:
                    self.end_interval(record, started, first)
            if record is not None and self.step > first:
                record.say(f"{self.settings.stage}: steps waited for patches in {share(self.seconds):.1%} of their time")
        finally:
            self.patches.close()
            if record is not None:
                record.close()

    def end_interval(self, record: Record | None, started: float, first: int) -> None:
        """Validate, record and save. The log comes first: what it has beyond the checkpoint is cut off when training is resumed."""
        dice = self.validate()
        *counts, waiting, stepping = self.processes.total([*self.counts, *self.clock.seconds()])
        self.seconds = [self.seconds[0] + waiting, self.seconds[1] + stepping]
        interval = Interval(
            step=self.step,
            loss=sum(self.losses) / len(self.losses),
            training_dice=validation.dice_of(counts),
            validation_dice=dice,
            seconds_per_step=(time.monotonic() - started) / (self.step - first),
            data_share=share([waiting, stepping]),
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
        )
        if record is not None:
            record.validated(interval, validation.make_panel(self.averaged_network(), self.engine, self.validation))
        self.save()
        self.losses, self.counts, self.clock = [], [0.0, 0.0], StepClock()
