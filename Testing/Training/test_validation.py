"""Dice of patches, counted over all of them together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from KidneyTumorCascadeLib.device import Engine
from Training import train
from Training.fitting.case_choice import CaseChoice
from Training.fitting.losses import IGNORED
from Training.fitting.settings import read_settings
from Training.fitting.validation import count_patches, dice_of, make_panel, overlap_and_total, validation_patches

SMOKE = Path(train.__file__).parent / "configs" / "smoke.json"
CPU = Engine(torch.device("cpu"), torch.float32, "CPU, float32")


class Signs(torch.nn.Module):
    """Calls positive voxels foreground."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat((-image, image), dim=1)


def random_patch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn((1, 1, 6, 5, 4), generator=generator)
    target = torch.randint(0, 3, (1, 6, 5, 4), generator=generator).to(torch.uint8)
    target[target == 2] = IGNORED
    return image, target


def dice_by_hand(patches: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    found = np.concatenate([(image[0, 0] > 0).numpy().ravel() for image, _ in patches])
    target = np.concatenate([target.numpy().ravel() for _, target in patches])
    found, wanted = found[target != IGNORED], target[target != IGNORED] == 1
    return float(2 * (found & wanted).sum() / (found.sum() + wanted.sum()))


def test_dice_is_of_all_counted_voxels_together() -> None:
    patches = [random_patch(seed) for seed in range(4)]
    counts = count_patches(Signs(), CPU, patches)
    assert dice_of(counts) == dice_by_hand(patches)
    parts = [overlap_and_total(Signs()(image), target) for image, target in patches]
    assert counts == [sum(part[0] for part in parts), sum(part[1] for part in parts)]


def test_nothing_at_all_has_no_dice() -> None:
    assert dice_of([0.0, 0.0]) == 0.0


def test_the_panel_is_the_slice_with_the_most_foreground_of_the_patch_with_the_most() -> None:
    patches = [random_patch(seed) for seed in range(3)]
    for _, target in patches:
        target.zero_()
    patches[1][1][0, 4, 1:3] = 1
    patches[1][1][0, 2, 1] = 1
    patches[2][1][0, 3, 0] = 1
    panel = make_panel(Signs(), CPU, patches)
    assert torch.equal(panel.image, patches[1][0][0, 0, 4])
    assert torch.equal(panel.label, patches[1][1][0, 4] == 1)
    assert torch.equal(panel.found, panel.image > 0)


def test_validation_patches_are_always_the_same(pool: Path) -> None:
    settings = read_settings(SMOKE, "kidney")
    first, again = (validation_patches(settings, pool, CPU.device) for _ in range(2))
    assert len(first) == 32
    assert all(torch.equal(a, b) for one, other in zip(first, again, strict=True) for a, b in zip(one, other, strict=True))


def test_validation_draws_the_cases_that_training_passes_over(pool: Path) -> None:
    settings = read_settings(SMOKE, "tumor")
    picky = replace(settings, sampling=replace(settings.sampling, choice=CaseChoice(least_contrast_hu=3000.0, small_tumor_weight=5.0)))
    expected, found = (validation_patches(each, pool, CPU.device) for each in (settings, picky))
    assert any((target == 1).any() for _, target in found)
    assert all(torch.equal(a, b) for one, other in zip(expected, found, strict=True) for a, b in zip(one, other, strict=True))
