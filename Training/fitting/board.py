"""What a training tells TensorBoard: curves, and a validation slice as the network sees it. TensorBoard is optional."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from KidneyTumorCascadeLib.errors import SetupError
from Training.fitting.training_log import Interval
from Training.fitting.validation import Panel

FOLDER = "tensorboard"
LABEL_COLOUR, FOUND_COLOUR = (0.20, 0.75, 0.35), (0.95, 0.45, 0.10)
TINT = 0.55


class Board:
    """Event files in OUT/tensorboard: `tensorboard --logdir RUNS` shows them."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def add(self, interval: Interval, panel: Panel) -> None:
        """One validation's numbers and picture."""
        numbers = {
            "loss/training": interval.loss,
            "dice/training": interval.training_dice,
            "dice/validation": interval.validation_dice,
            "speed/seconds per step": interval.seconds_per_step,
            "speed/share of waiting for data": interval.data_share,
            "learning rate": interval.learning_rate,
        }
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, interval.step)
        self.writer.add_image("validation/CT, label, prediction", picture(panel), interval.step)
        self.writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()


def make_board(out: Path, step: int, wanted: bool | None) -> Board | None:
    """A board that goes on from a step (what lies beyond is forgotten), or None when it is not wanted, or not there and nobody asked for it."""
    if wanted is False or not can_write():
        return None
    from torch.utils.tensorboard import SummaryWriter

    return Board(SummaryWriter(str(out / FOLDER), purge_step=step + 1))


def can_write() -> bool:
    """Whether TensorBoard is installed."""
    return importlib.util.find_spec("tensorboard") is not None


def require_tensorboard(wanted: bool | None) -> None:
    """Raises SetupError when it was asked for and is not installed."""
    if wanted and not can_write():
        raise SetupError("TensorBoard is not installed here; pip install tensorboard, or leave out --tensorboard.")


def picture(panel: Panel) -> Tensor:
    """The slice three times side by side, (3, y, 3 x) from 0 to 1: the CT, the reference over it, what was found over it."""
    low, high = panel.image.min(), panel.image.max()
    grey = ((panel.image - low) / (high - low).clamp(min=1e-6)).expand(3, -1, -1)
    return torch.cat((grey, tinted(grey, panel.label, LABEL_COLOUR), tinted(grey, panel.found, FOUND_COLOUR)), dim=2)


def tinted(grey: Tensor, mask: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """A picture (3, y, x) with a colour over the mask (y, x)."""
    return torch.where(mask, grey * (1.0 - TINT) + torch.tensor(colour).reshape(3, 1, 1) * TINT, grey)
