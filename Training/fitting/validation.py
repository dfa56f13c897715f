"""How right a network is, on patches that stay the same from the first validation to the last."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from KidneyTumorCascadeLib.device import Engine
from Training.case_names import ORIGINS, origin_of
from Training.cases import load_cases
from Training.fitting.augmentation import PLAIN_INTENSITY, PLAIN_SPATIAL
from Training.fitting.case_choice import CaseChoice
from Training.fitting.dataset import PatchSource
from Training.fitting.losses import IGNORED, foreground
from Training.fitting.scan_statistics import normalization_of_cases
from Training.fitting.settings import StageSettings

VALIDATION_PATCHES = 32
VALIDATION_JITTER_MM = 15.0
Patches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Panel:
    """One axial slice (y, x) of a validation patch: the network's input, the reference, and what was found."""

    image: Tensor
    label: Tensor
    found: Tensor


def overlap_and_total(logits: Tensor, target: Tensor) -> list[float]:
    """Voxels found rightly, and those found plus those there are, of logits (B, 2, z, y, x): Dice is 2 * overlap / total."""
    found = (foreground(logits) > 0.5) & (target != IGNORED)
    overlap, total = (found & (target == 1)).sum(), found.sum() + (target == 1).sum()
    return [float(count) for count in torch.stack((overlap, total)).tolist()]


def dice_of(counts: Sequence[float]) -> float:
    """Dice of an overlap and a total; 0 where there is nothing at all."""
    overlap, total = counts
    return 2.0 * overlap / max(total, 1.0)


def validation_patches(settings: StageSettings, data: Path, device: torch.device, origins: Collection[str] = ORIGINS) -> Patches:
    """Plain patches of the validation cases of those origins, the same ones for each call; none where there are no such cases.

    The choice of cases is for training alone: here each case is drawn as often as the others, those with faint tumors too.
    """
    # What training passes over is met in use, and must count in what validation tells.
    every = CaseChoice()
    plain = replace(settings.sampling, spatial=PLAIN_SPATIAL, intensity=PLAIN_INTENSITY, jitter_mm=VALIDATION_JITTER_MM, choice=every)
    folder = data / "validation" / settings.cases
    cases = [case for case in load_cases(folder) if origin_of(case.name) in origins]
    if not cases:
        return []
    source = PatchSource(cases, plain, normalization_of_cases(settings.normalization, cases, folder), device, seed=0)
    return [source.batch(1) for _ in range(VALIDATION_PATCHES)]


@torch.no_grad()
def count_patches(network: nn.Module, engine: Engine, patches: Patches) -> list[float]:
    """Overlap and total of all patches together."""
    counts = [0.0, 0.0]
    for image, target in patches:
        with engine.autocast():
            logits = network(image)
        counts = [sum(pair) for pair in zip(counts, overlap_and_total(logits, target), strict=True)]
    return counts


@torch.no_grad()
def make_panel(network: nn.Module, engine: Engine, patches: Patches) -> Panel:
    """The slice with the most foreground of the patch with the most."""
    image, target = max(patches, key=lambda patch: int((patch[1] == 1).sum()))
    with engine.autocast():
        logits = network(image)
    index = int((target[0] == 1).sum(dim=(1, 2)).argmax())
    return Panel(image[0, 0, index].cpu(), (target[0, index] == 1).cpu(), (foreground(logits)[0, index] > 0.5).cpu())
