"""What training minimizes. Logits are (B, 2, z, y, x), targets (B, z, y, x) with 0, 1, or IGNORED where nothing counts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = 255
SMOOTH = 1e-5
# In voxels. Beside cross-entropy Dice may be lenient with the few voxels wrongly found in a patch without foreground.
LENIENT_SMOOTH = 200.0
PATCH_SMOOTH = 30.0
# How many times a foreground voxel may count in balanced cross-entropy.
MOST_WEIGHT = 10.0


def soft_dice(probability: Tensor, target: Tensor, smooth: float = SMOOTH) -> Tensor:
    """2 sum(p g) / (sum(p) + sum(g)) over the whole batch, so that patches without foreground do not decide it alone.

    Probabilities and targets are (B, z, y, x); `smooth` (voxels) is added above and below the line.
    """
    overlap = (probability * target).sum()
    return (2.0 * overlap + smooth) / (probability.sum() + target.sum() + smooth)


def dice_loss(logits: Tensor, target: Tensor, smooth: float = SMOOTH) -> Tensor:
    """1 - soft Dice of the foreground, as published (the printed denominator, sum p + sum p, is a misprint)."""
    return 1.0 - soft_dice(foreground(logits) * (target != IGNORED), (target == 1).float(), smooth)


def dice_and_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Dice loss plus mean cross-entropy: the second keeps gradients and calibration where there is little foreground."""
    return dice_loss(logits, target, LENIENT_SMOOTH) + mean_entropy(logits, target)


def patch_dice_and_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """As above, but Dice of each patch for itself, and their mean: a small tumor counts as much as a large one in another patch."""
    return patch_dice_loss(logits, target) + mean_entropy(logits, target)


def patch_dice_and_balanced_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """As above, but foreground and background of a patch count alike in its cross-entropy.

    Where a network is sure that there is no tumor, Dice has no gradient, and a small tumor's voxels are few in a mean: only weight wakes it.
    """
    return patch_dice_loss(logits, target) + balanced_entropy(logits, target)


def patch_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - soft Dice of the foreground of each patch, the mean over the patches."""
    dice = patch_dice(foreground(logits) * (target != IGNORED), (target == 1).float(), PATCH_SMOOTH)
    return 1.0 - dice.mean()


def patch_dice(probability: Tensor, target: Tensor, smooth: float) -> Tensor:
    """2 sum(p g) / (sum(p) + sum(g)) of each patch, (B,); the arguments are those of `soft_dice`."""
    overlap, total = (probability * target).sum((1, 2, 3)), (probability + target).sum((1, 2, 3))
    return (2.0 * overlap + smooth) / (total + smooth)


def mean_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of the voxels that count. A patch far from any kidney may have none: its mean is 0."""
    entropy = F.cross_entropy(logits.float(), target.long(), ignore_index=IGNORED, reduction="sum")
    return entropy / (target != IGNORED).sum().clamp(min=1)


def balanced_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Weighted mean cross-entropy of each patch's voxels that count, and the mean of that over the patches.

    A foreground voxel weighs as much as there are background voxels for each of them, but at least 1 and at most `MOST_WEIGHT`.
    """
    inside, outside = (target == 1).sum((1, 2, 3)), (target == 0).sum((1, 2, 3))
    weight = (outside / inside.clamp(min=1)).clamp(1.0, MOST_WEIGHT)[:, None, None, None]
    weights = (target == 0).float() + weight * (target == 1)
    entropy = F.cross_entropy(logits.float(), target.long(), ignore_index=IGNORED, reduction="none")
    return ((entropy * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3)).clamp(min=1.0)).mean()


def foreground(logits: Tensor) -> Tensor:
    """Probability of the foreground, (B, z, y, x) float32."""
    return torch.softmax(logits.float(), dim=1)[:, 1]


LOSSES = {
    "dice": dice_loss,
    "dice_ce": dice_and_cross_entropy,
    "patch_dice_ce": patch_dice_and_cross_entropy,
    "balanced_dice_ce": patch_dice_and_balanced_entropy,
}
