"""The weights that a training begins with: of a file, or of a bundle's network of the same stage."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from KidneyTumorCascadeLib.bundle import load_bundle, load_network
from KidneyTumorCascadeLib.errors import InputError
from Training.fitting.checkpoint import load_weights
from Training.fitting.settings import StageSettings


def start_network(network: nn.Module, settings: StageSettings, place: str | Path) -> None:
    """Put into a network the weights of a .safetensors file, or of its stage in a bundle: a folder, or an installed bundle's name.

    Raises InputError when the file's weights do not fit, or when the bundle's network has another shape or was made for other voxels or
    another normalization than the configuration says: it would see what it was never trained on. Raises BundleError for a damaged bundle.
    """
    if Path(place).suffix == ".safetensors":
        load_weights(network, Path(place))
        return
    bundle = load_bundle(str(place))
    stage = bundle.stages[settings.stage]
    spacing = (settings.sampling.spacing_mm,) * 3
    for what, theirs, ours in (
        ("network", stage.shape.to_dict(), settings.shape.to_dict()),
        ("spacing_mm", list(stage.spacing), list(spacing)),
        ("normalization", stage.normalization.to_dict(), settings.normalization.to_dict()),
    ):
        if theirs != ours:
            raise InputError(f"The {settings.stage} network of the bundle {place} has {what} {differing(theirs, ours)}; use a configuration with it.")
    network.load_state_dict(load_network(stage, torch.device("cpu")).state_dict())


def differing(theirs: object, ours: object) -> str:
    """The first difference between two settings, for a sentence."""
    if isinstance(theirs, dict) and isinstance(ours, dict) and theirs.keys() == ours.keys():
        name = next(name for name in theirs if theirs[name] != ours[name])
        return f"{name} {theirs[name]}, the configuration {ours[name]}"
    return f"{theirs}, the configuration {ours}"
