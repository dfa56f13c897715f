"""The settings of one stage's training, read from a config file. A misspelt or impossible setting is refused: it must not go unnoticed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.json_fields import load_json, reason
from KidneyTumorCascadeLib.normalization import Normalization, normalization_from_dict
from KidneyTumorCascadeLib.vnet import VNetShape
from Training.fitting.augmentation import IntensityRange, SpatialRange
from Training.fitting.case_choice import CaseChoice
from Training.fitting.dataset import Sampling
from Training.fitting.losses import LOSSES

CASE_KIND_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")
BASE = "extends"


@dataclass(frozen=True)
class OptimizerSettings:
    """Which optimizer and its numbers; `momentum` is for "sgd" (the published one) only."""

    kind: str
    learning_rate: float
    weight_decay: float
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if self.kind not in OPTIMIZERS:
            raise ValueError(f"the optimizer is one of {', '.join(OPTIMIZERS)}, not {self.kind!r}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0 or not 0 <= self.momentum < 1:
            raise ValueError(f"an optimizer with {self} is impossible")


@dataclass(frozen=True)
class StageSettings:
    """Everything that decides what a stage's training does, but for the data folder and the seed.

    Attributes:
        stage: "roi", "kidney" or "tumor".
        shape: the network.
        sampling: the patches it is shown.
        normalization: from HU to its input.
        cases: which version of the pool's cases the patches come from: a folder in POOL/train and POOL/validation, such as "fine" or "coarse".
        more_cases: another such folder whose training cases join them where the pool has it, such as "slices"; None: no other.
        steps: steps of the optimizer in all.
        batch: patches a step.
        loss: a name in `LOSSES`.
        optimizer: and its numbers.
        schedule: of the learning rate after the warm-up: "cosine" falls to zero at the last step, "constant" does not fall.
        warmup_steps: over which the learning rate rises.
        ema_decay: of the moving average that ships; 0 ships the network as it is after the last step.
        clip_norm: largest norm of a step's gradient; None: gradients are taken as they are.
        validate_every: steps between validations, each of which saves a checkpoint.
        patch_in_use: voxels (z, y, x) that the network is to see at once in a bundle; None: the patch that it is trained with.

    Raises ValueError, from the constructor, for what cannot be trained.
    """

    stage: str
    shape: VNetShape
    sampling: Sampling
    normalization: Normalization
    cases: str
    steps: int
    batch: int
    loss: str
    optimizer: OptimizerSettings
    schedule: str
    warmup_steps: int
    ema_decay: float
    clip_norm: float | None
    validate_every: int
    more_cases: str | None = None
    patch_in_use: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        require_folder("cases", self.cases)
        if self.more_cases is not None:
            require_folder("more_cases", self.more_cases)
        require_choice("loss", self.loss, LOSSES)
        require_choice("schedule", self.schedule, SCHEDULES)
        for name in ("steps", "batch", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is 1 or more, not {getattr(self, name)}")
        if self.warmup_steps < 0 or not 0 <= self.ema_decay < 1 or not (self.clip_norm is None or self.clip_norm > 0):
            raise ValueError("warmup_steps is 0 or more, ema_decay from 0 to below 1, and clip_norm above 0 or null")
        for patch in (self.sampling.patch, self.used_patch):
            if len(patch) != 3 or any(edge < 1 or edge % self.shape.divisor for edge in patch):
                raise ValueError(f"each of the three edges of a patch must be a multiple of {self.shape.divisor} for this network, not {patch}")

    @property
    def used_patch(self) -> tuple[int, ...]:
        """Voxels (z, y, x) that the network sees at once in a bundle."""
        return self.patch_in_use or self.sampling.patch


def require_folder(name: str, value: Any) -> None:
    """Raises ValueError unless the value can name a folder of cases."""
    if not isinstance(value, str) or not re.fullmatch(CASE_KIND_PATTERN, value):
        raise ValueError(f"{name} is the name of a folder in the pool's splits, such as fine or coarse, not {value!r}")


def require_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raises ValueError unless the value is one of the words."""
    if value not in list(choices):
        raise ValueError(f"{name} is one of {', '.join(choices)}, not {value!r}")


def read_config(path: Path) -> dict[str, Any]:
    """A parsed configuration, laid over the one beside it that it may extend. Raises InputError when a file is none.

    {"extends": "standard.json", "steps": 300} is standard.json with another number of steps; objects within objects are laid over each other
    in the same way. What a file extends cannot extend another.
    """
    config = parse_config(path)
    if BASE not in config:
        return config
    name = config.pop(BASE)
    base = parse_config(path.parent / str(name))
    if BASE in base:
        raise InputError(f"The training configuration {path} extends {name}, which extends another; extend that one, or write the settings out.")
    return laid_over(base, config)


def laid_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `base` with those of `changes` in their place; objects in both are laid over each other."""
    merged = dict(base)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = laid_over(merged[name], value) if both else value
    return merged


def parse_config(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError when there is none."""
    try:
        config = load_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"The training configuration {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"The training configuration {path} is not valid JSON ({reason(error)}); correct it.") from error
    if not isinstance(config, dict):
        raise InputError(f"The training configuration {path} must be a JSON object with stages; correct it.")
    return config


def read_settings(path: Path, stage: str) -> StageSettings:
    """The settings of one stage. Raises InputError when the file or the stage in it cannot be used."""
    config = read_config(path)
    try:
        return stage_settings(config, stage)
    except KeyError as error:
        raise InputError(f"The training configuration {path} lacks {reason(error)} for the stage {stage!r}; add it.") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"The training configuration {path} cannot be used for the stage {stage!r} ({reason(error)}); correct it.") from error


def stage_settings(config: Mapping[str, Any], stage: str) -> StageSettings:
    """The settings of one stage of a parsed configuration; a stage's own values override the common ones."""
    common = {name: value for name, value in config.items() if name not in ("stages", "bundle")}
    values = {**common, **config["stages"][stage]}
    refuse_unknown("", values, known_settings())
    return StageSettings(
        stage=stage,
        shape=VNetShape.from_dict(values["network"]),
        sampling=sampling_of(values),
        normalization=normalization_from_dict(values["normalization"]),
        cases=values["cases"],
        steps=whole(values, "steps"),
        batch=whole(values, "batch"),
        loss=values["loss"],
        optimizer=part(OptimizerSettings, "optimizer", values["optimizer"]),
        schedule=values.get("schedule", "cosine"),
        warmup_steps=whole(values, "warmup_steps"),
        ema_decay=float(values["ema_decay"]),
        clip_norm=optional_number(values["clip_norm"]),
        validate_every=whole(values, "validate_every"),
        more_cases=values.get("more_cases"),
        patch_in_use=None if values.get("patch_in_use") is None else tuple(values["patch_in_use"]),
    )


def sampling_of(values: Mapping[str, Any]) -> Sampling:
    """The part of the settings that decides which patches are shown."""
    return Sampling(
        patch=tuple(values["patch"]),
        spacing_mm=float(values["spacing_mm"]),
        foreground=tuple(values["foreground"]),
        focus=tuple(values["focus"]),
        focus_probability=float(values["focus_probability"]),
        jitter_mm=float(values["jitter_mm"]),
        negative_probability=float(values["negative_probability"]),
        ignore_beyond_mm=optional_number(values.get("ignore_beyond_mm")),
        spatial=part(SpatialRange, "spatial", values.get("spatial", {})),
        intensity=part(IntensityRange, "intensity", values.get("intensity", {})),
        choice=part(CaseChoice, "choice", values.get("choice", {})),
    )


def known_settings() -> set[str]:
    """What a stage's settings are called in a configuration."""
    assembled = {"stage", "shape", "sampling"}
    return {field.name for kind in (StageSettings, Sampling) for field in fields(kind)} - assembled | {"network"}


def part(kind: Any, name: str, values: Mapping[str, Any]) -> Any:
    """A dataclass of settings from an object of the configuration."""
    refuse_unknown(f"{name}.", values, {field.name for field in fields(kind)})
    return kind(**values)


def refuse_unknown(place: str, values: Iterable[str], known: set[str]) -> None:
    """Raises ValueError for names that nothing reads."""
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{place}{unknown[0]} is not a setting; known are {', '.join(sorted(known))}")


def optional_number(value: Any) -> float | None:
    """A number, or None for null."""
    return None if value is None else float(value)


def whole(values: Mapping[str, Any], name: str) -> int:
    """A whole number. Raises ValueError for anything else, which `int` would round."""
    value = values[name]
    if type(value) is not int:
        raise ValueError(f"{name} is a whole number, not {value!r}")
    return value
