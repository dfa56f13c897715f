"""The settings of one stage's training, read from a config file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.normalization import FixedNormalization, normalization_from_dict
from KidneyTumorCascadeLib.vnet import VNetShape
from Training.augmentation import IntensityRange, SpatialRange
from Training.dataset import Sampling


@dataclass(frozen=True)
class StageSettings:
    """Everything that decides what a stage's training does, but for the data folder and the seed."""

    stage: str
    shape: VNetShape
    sampling: Sampling
    normalization: FixedNormalization
    cases: str
    steps: int
    batch: int
    loss: str
    optimizer: dict[str, Any]
    warmup_steps: int
    ema_decay: float
    clip_norm: float
    validate_every: int


def read_settings(path: Path, stage: str) -> StageSettings:
    """The settings of one stage. Raises InputError when the file or the stage in it cannot be used."""
    try:
        config = json.loads(path.read_text())
        return stage_settings(config, stage)
    except OSError as error:
        raise InputError(f"The training configuration {path} cannot be read: {error.strerror}.") from error
    except KeyError as error:
        raise InputError(f"The training configuration {path} lacks {error} for the stage {stage!r}.") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"The training configuration {path} cannot be used: {error}.") from error


def stage_settings(config: dict[str, Any], stage: str) -> StageSettings:
    """The settings of one stage of a parsed configuration; a stage's own values override the common ones."""
    values = {**config, **config["stages"][stage]}
    normalization = normalization_from_dict(values["normalization"])
    if not isinstance(normalization, FixedNormalization):
        raise ValueError("training patches are normalized with fixed statistics")
    sampling = Sampling(
        patch=tuple(values["patch"]),
        spacing_mm=float(values["spacing_mm"]),
        foreground=tuple(values["foreground"]),
        focus=tuple(values["focus"]),
        focus_probability=float(values["focus_probability"]),
        jitter_mm=float(values["jitter_mm"]),
        negative_probability=float(values["negative_probability"]),
        spatial=SpatialRange(**values.get("spatial", {})),
        intensity=IntensityRange(**values.get("intensity", {})),
    )
    return StageSettings(
        stage=stage,
        shape=VNetShape.from_dict(values["network"]),
        sampling=sampling,
        normalization=normalization,
        cases=values["cases"],
        steps=int(values["steps"]),
        batch=int(values["batch"]),
        loss=values["loss"],
        optimizer=values["optimizer"],
        warmup_steps=int(values["warmup_steps"]),
        ema_decay=float(values["ema_decay"]),
        clip_norm=float(values["clip_norm"]),
        validate_every=int(values["validate_every"]),
    )
