"""Two probabilities of each voxel, to be kidney and to be tumor, become one label: 0 background, 1 kidney, 2 tumor.

The publication describes the merging twice, by overlaying the masks and by comparing the probabilities; both are here. They agree on what is
background and differ only in what they call kidney and what tumor. What is foreground depends on what the Kidney-V-Net was trained to find:
without tumors, a voxel is foreground when at least one of the two networks says so; with tumors taken in, when the Kidney-V-Net does, or when
the Tumor-V-Net does and the Kidney-V-Net supports it. Large tumors that bulge look least like kidney; a Tumor-V-Net that was trained around
kidneys alone may say anything about what looks like none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.component_rules import ComponentRules, Removal, apply_rules

if TYPE_CHECKING:
    from torch import Tensor

    Probability = NDArray[np.float32] | Tensor

__all__ = ["MERGES", "ComponentRules", "Removal", "apply_rules", "compare", "overlay"]

KIDNEY, TUMOR = 1, 2


def overlay(p_kidney: Probability, p_tumor: Probability, support: float | None = None, threshold: float = 0.5) -> NDArray[np.uint8]:
    """The tumor mask laid over the kidney mask.

    Args:
        p_kidney: (z, y, x), the Kidney-V-Net's probability of kidney.
        p_tumor: (z, y, x), the Tumor-V-Net's probability of tumor.
        support: where the Kidney-V-Net was trained to call tumors kidney, too: a voxel is tumor only when p_kidney is above this; with 0.5,
            what it does not call kidney is no tumor either. None: it was trained without them, and they need none.
        threshold: a voxel belongs to a mask when its probability is above this.

    Returns:
        Labels (z, y, x).
    """
    kidney, tumor = p_kidney > threshold, p_tumor > threshold
    return stack_masks(kidney, tumor if support is None else tumor & (p_kidney > support))


def compare(p_kidney: Probability, p_tumor: Probability, support: float | None = None) -> NDArray[np.uint8]:
    """Foreground where it is more probable than background; there the more probable of kidney and tumor, tumor where they are equally so.

    Each network has its own background, 1 - p. A voxel is background when both call it that, so the probability of background is taken as
    the smaller of the two, 1 - max(p_kidney, p_tumor). (Their product would be smaller still, and make a voxel foreground that both
    networks call background, such as 0.4 and 0.4.)

    Args:
        p_kidney: (z, y, x), the Kidney-V-Net's probability of kidney.
        p_tumor: (z, y, x), the Tumor-V-Net's probability of tumor.
        support: where the Kidney-V-Net was trained to call tumors kidney, too. Then p_kidney decides whether a voxel is either of the two,
            and p_tumor against p_kidney - p_tumor which of them; but what the Tumor-V-Net calls tumor is that wherever p_kidney is above `support`.
            None: it was trained without tumors.

    Returns:
        Labels (z, y, x).
    """
    if support is not None:
        foreground, supported = p_kidney > 0.5, (p_tumor > 0.5) & (p_kidney > support)
        return stack_masks(foreground, supported | foreground & (p_tumor >= p_kidney - p_tumor))
    return stack_masks(p_kidney > 0.5, (p_tumor > 0.5) & (p_tumor >= p_kidney))


MERGES = {"overlay": overlay, "compare": compare}


def stack_masks(kidney: Any, tumor: Any) -> NDArray[np.uint8]:
    """Labels of two masks (arrays, or tensors on any device); tumor on top."""
    labels = as_array(kidney).astype(np.uint8)
    labels[as_array(tumor)] = TUMOR
    return labels


def as_array(mask: Any) -> NDArray[np.bool_]:
    """A mask as a numpy array. Only the mask leaves the device of a tensor, a quarter of what its probabilities take."""
    return np.asarray(mask if isinstance(mask, np.ndarray) else mask.cpu().numpy(), dtype=np.bool_)
