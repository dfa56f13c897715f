"""`Training/train.py` for tests with several processes: each tells what it ended with, and one can be given a loss that is no number.

Started by torchrun, with the arguments of `train.py`. Each process writes OUT/rank<N>.json. TROUBLE_AT is the step whose loss is spoilt, in
the second process alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping

import torch
from torch import Tensor

from KidneyTumorCascadeLib.device import Engine
from Training import train
from Training.fitting import validation
from Training.fitting.distributed import Processes
from Training.fitting.losses import LOSSES
from Training.fitting.settings import StageSettings
from Training.fitting.trainer import Trainer

usual_stage = train.train_stage


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of all names and numbers."""
    summary = hashlib.sha256()
    for name, value in sorted(state.items()):
        summary.update(name.encode() + value.contiguous().numpy().tobytes())
    return summary.hexdigest()


def telling_stage(settings: StageSettings, arguments: argparse.Namespace, engine: Engine, processes: Processes) -> Trainer:
    """Train as usual, then say what this process holds."""
    trainer = usual_stage(settings, arguments, engine, processes)
    ended = {
        "network": digest(trainer.network.state_dict()),
        "average": digest(trainer.average.state),
        "patches": digest({"state": trainer.patches.state}),
    }
    (arguments.out / f"rank{processes.rank}.json").write_text(json.dumps(ended))
    return trainer


def spoil(at: int) -> None:
    """Let the loss of that step be no number."""
    usual, calls = LOSSES["dice_ce"], []

    def spoilt(logits: Tensor, target: Tensor) -> Tensor:
        calls.append(1)
        return usual(logits, target) * (torch.nan if len(calls) == at else 1.0)

    LOSSES["dice_ce"] = spoilt


if __name__ == "__main__":
    validation.VALIDATION_PATCHES = 4
    train.train_stage = telling_stage
    if os.environ["RANK"] == "1" and "TROUBLE_AT" in os.environ:
        spoil(int(os.environ["TROUBLE_AT"]))
    sys.exit(train.main())
