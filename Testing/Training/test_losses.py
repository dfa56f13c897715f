"""The losses against MONAI's and PyTorch's."""

from __future__ import annotations

import pytest
import torch
from monai.losses.dice import DiceLoss
from torch import Tensor
from torch.nn import functional

from Training.fitting.losses import (
    IGNORED,
    LENIENT_SMOOTH,
    LOSSES,
    MOST_WEIGHT,
    PATCH_SMOOTH,
    SMOOTH,
    dice_and_cross_entropy,
    dice_loss,
    foreground,
    soft_dice,
)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn((3, 2, 5, 6, 7), generator=generator) * 3.0
    target = (torch.rand((3, 5, 6, 7), generator=generator) < 0.3).to(torch.uint8)
    target[1] = 0
    return logits, target


def monai_dice(logits: Tensor, target: Tensor, smooth: float) -> float:
    loss = DiceLoss(softmax=True, to_onehot_y=True, include_background=False, squared_pred=False, batch=True, smooth_nr=smooth, smooth_dr=smooth)
    return float(loss(logits, target[:, None].long()))


def test_dice_is_that_of_monai_over_the_whole_batch(batch: tuple[Tensor, Tensor]) -> None:
    assert float(dice_loss(*batch)) == pytest.approx(monai_dice(*batch, SMOOTH), abs=1e-6)


def test_dice_and_cross_entropy_is_the_sum_of_monais_and_pytorchs(batch: tuple[Tensor, Tensor]) -> None:
    logits, target = batch
    expected = monai_dice(logits, target, LENIENT_SMOOTH) + float(functional.cross_entropy(logits, target.long()))
    assert float(dice_and_cross_entropy(logits, target)) == pytest.approx(expected, abs=1e-6)


def test_gradients_are_those_of_monai(batch: tuple[Tensor, Tensor]) -> None:
    logits, target = batch
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(dice_loss(ours, target), ours)
    (expected,) = torch.autograd.grad(
        DiceLoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)(theirs, target[:, None].long()), theirs
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_perfect_and_opposite_predictions() -> None:
    target = torch.zeros((1, 4, 4, 4), dtype=torch.uint8)
    target[:, :2] = 1
    sure = torch.stack((1.0 - target.float(), target.float()), dim=1) * 100.0
    assert float(dice_loss(sure, target)) == pytest.approx(0.0, abs=1e-6)
    assert float(dice_loss(-sure, target)) == pytest.approx(1.0, abs=1e-6)


def test_dice_of_nothing_found_where_nothing_is_is_one() -> None:
    nothing = torch.zeros((2, 3, 3, 3))
    assert float(soft_dice(nothing, nothing)) == pytest.approx(1.0)


def test_half_precision_logits_give_full_precision_probabilities(batch: tuple[Tensor, Tensor]) -> None:
    probability = foreground(batch[0].bfloat16())
    assert probability.dtype == torch.float32
    assert probability.shape == batch[1].shape


def test_ignored_voxels_do_not_count() -> None:
    logits = torch.randn(2, 2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    target = (torch.rand(2, 4, 5, 6, generator=torch.Generator().manual_seed(1)) > 0.6).to(torch.uint8)
    target[:, :, :, 3:] = IGNORED
    for loss in LOSSES.values():
        expected = loss(logits[..., :3], target[..., :3])
        torch.testing.assert_close(loss(logits, target), expected)
        changed = logits.clone()
        changed[..., 3:] += 5.0
        torch.testing.assert_close(loss(changed, target), expected)


def test_a_patch_where_nothing_counts_gives_a_finite_loss() -> None:
    logits = torch.randn(1, 2, 4, 4, 4)
    target = torch.full((1, 4, 4, 4), IGNORED, dtype=torch.uint8)
    for name in ("dice_ce", "patch_dice_ce", "balanced_dice_ce"):
        assert torch.isfinite(LOSSES[name](logits, target))


def test_dice_of_each_patch_is_that_of_monai(batch: tuple[Tensor, Tensor]) -> None:
    logits, target = batch
    monai = DiceLoss(include_background=False, softmax=True, to_onehot_y=True, smooth_nr=PATCH_SMOOTH, smooth_dr=PATCH_SMOOTH, batch=False)
    entropy = functional.cross_entropy(logits, target.long())
    expected = monai(logits, target[:, None]) + entropy
    torch.testing.assert_close(LOSSES["patch_dice_ce"](logits, target), expected)
    assert not torch.isclose(LOSSES["patch_dice_ce"](logits, target), LOSSES["dice_ce"](logits, target))


def balanced_part(logits: Tensor, target: Tensor) -> Tensor:
    """What "balanced_dice_ce" has in the place of the plain mean of "patch_dice_ce"."""
    counted = target != IGNORED
    plain = functional.cross_entropy(logits, target.long(), ignore_index=IGNORED, reduction="sum") / counted.sum()
    return LOSSES["balanced_dice_ce"](logits, target) - LOSSES["patch_dice_ce"](logits, target) + plain


@pytest.mark.parametrize(("inside", "weight"), [(8, 7.0), (1, MOST_WEIGHT), (48, 1.0)])
def test_foreground_counts_as_much_as_background_but_within_bounds(inside: int, weight: float) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn((2, 2, 4, 4, 4), generator=generator)
    target = torch.zeros((2, 64), dtype=torch.uint8)
    target[:, :inside] = 1
    target = target.reshape(2, 4, 4, 4)
    expected = torch.stack(
        [
            functional.cross_entropy(one[None], wanted[None].long(), weight=torch.tensor([1.0, weight]))
            for one, wanted in zip(logits, target, strict=True)
        ]
    ).mean()
    torch.testing.assert_close(balanced_part(logits, target), expected)


def test_a_small_tumor_overlooked_for_sure_pulls_harder_when_balanced() -> None:
    target = torch.zeros((1, 16, 16, 16), dtype=torch.uint8)
    target[0, 6:9, 6:9, 6:9] = 1
    pulls = {}
    for name in ("patch_dice_ce", "balanced_dice_ce"):
        logits = torch.stack((torch.full(target.shape, 4.0), torch.full(target.shape, -4.0)), dim=1).requires_grad_()
        (gradient,) = torch.autograd.grad(LOSSES[name](logits, target), logits)
        pulls[name] = -float(gradient[:, 1][target == 1].sum())
    assert pulls["balanced_dice_ce"] > 5 * pulls["patch_dice_ce"] > 0
