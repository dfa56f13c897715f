"""Fast filters on whole scans: separable kernels, block means, smooth fields. Tensors are float32 (z, y, x), on any device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from Training.cases import AIR_HU, DENSEST_HU

COARSE_MM = 6.0
# What differs by more from its surroundings is an edge.
NOISE_HU = 25.0
AXES = (0, 1, 2)


def blurred(values: Tensor, sigma_voxels: float, axes: Sequence[int] = AXES) -> Tensor:
    """A Gaussian of that sd along the axes; beyond the edge the last voxel goes on. Sigma 0 returns the values themselves."""
    if sigma_voxels <= 0.0:
        return values
    reach = max(1, int(np.ceil(2.5 * sigma_voxels)))
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma_voxels) ** 2)
    weights /= weights[0] + 2.0 * weights[1:].sum()
    for axis in axes:
        values = folded(values, [float(weight) for weight in weights], axis)
    return values


def folded(values: Tensor, weights: Sequence[float], axis: int) -> Tensor:
    """Convolved along one axis with a symmetric kernel: its middle, then one side.

    Adding shifted views is several times faster on a CPU than a convolution with one channel.
    """
    result = values * weights[0]
    length = values.shape[axis]
    for shift, weight in enumerate(weights[1:], start=1):
        inner = max(0, length - shift)
        result.narrow(axis, shift, inner).add_(values.narrow(axis, 0, inner), alpha=weight) if inner else None
        result.narrow(axis, 0, inner).add_(values.narrow(axis, shift, inner), alpha=weight) if inner else None
        edge = min(shift, length)
        result.narrow(axis, 0, edge).add_(values.narrow(axis, 0, 1), alpha=weight)
        result.narrow(axis, length - edge, edge).add_(values.narrow(axis, length - 1, 1), alpha=weight)
    return result


def as_tensor(hu: NDArray[np.int16]) -> Tensor:
    """HU to work on, float32."""
    return torch.from_numpy(hu.astype(np.float32))


def as_stored(hu: Tensor) -> NDArray[np.int16]:
    """Rounded and clipped to what a CT stores. The tensor is used up."""
    stored: NDArray[np.int16] = hu.round_().clamp_(AIR_HU, DENSEST_HU).to(torch.int16).cpu().numpy()
    return stored


def without_noise(hu: Tensor, sigma_voxels: float) -> Tensor:
    """HU without noise but with their edges: a Gaussian, kept within `NOISE_HU` of the HU themselves."""
    soft = blurred(hu, sigma_voxels)
    return torch.maximum(torch.minimum(soft, hu + NOISE_HU), hu - NOISE_HU)


def kidney_outline(mask: NDArray[np.bool_]) -> Tensor:
    """How far each voxel counts as kidney: 1 up to a voxel beyond the outline, as reference outlines run inside of it, and soft from there."""
    return blurred(torch.from_numpy(ndimage.binary_dilation(mask).astype(np.float32)), 0.6)


def coarse_factor(spacing_mm: float) -> int:
    """How many voxels make up one of about 6 mm."""
    return max(1, round(COARSE_MM / spacing_mm))


def shrunk(values: Tensor, factor: int) -> Tensor:
    """Block means; what is left over at the far ends makes up blocks of its own."""
    if factor == 1:
        return values
    return F.avg_pool3d(values[None, None], blocks(values, factor), stride=factor, ceil_mode=True, count_include_pad=False)[0, 0]


def largest(values: Tensor, factor: int) -> Tensor:
    """The largest value of each of those blocks."""
    return F.max_pool3d(values[None, None], blocks(values, factor), stride=factor, ceil_mode=True)[0, 0]


def blocks(values: Tensor, factor: int) -> tuple[int, int, int]:
    """Size of a block: no larger than the scan."""
    z, y, x = (min(factor, length) for length in values.shape)
    return z, y, x


def expanded(values: Tensor, factor: int, shape: Sequence[int]) -> Tensor:
    """Linear interpolation between the middles of blocks, cut to the shape that was shrunk."""
    if factor == 1:
        return values
    size = [length * factor for length in values.shape]
    large: Tensor = F.interpolate(values[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
    cut: Tensor = large[: shape[0], : shape[1], : shape[2]]
    return cut


def smooth_field(shape: Sequence[int], length_voxels: float, rng: np.random.Generator) -> Tensor:
    """Noise between nodes that many voxels apart, sd about 1: nodes drawn independently and joined linearly cost next to nothing."""
    nodes = [max(2, int(np.ceil(length / max(length_voxels, 1.0))) + 1) for length in shape]
    coarse = torch.from_numpy(rng.standard_normal(nodes, dtype=np.float32))
    field = F.interpolate(coarse[None, None], size=list(shape), mode="trilinear", align_corners=True)[0, 0]
    # Joining lines between nodes leaves two thirds of their variance along each axis.
    result: Tensor = field * 1.5**1.5
    return result


def smooth_step(values: Tensor, low: float, high: float) -> Tensor:
    """0 at `low`, 1 at `high` and beyond, a cubic without corners between; `low` may be the larger one."""
    share = ((values - low) / (high - low)).clamp_(0.0, 1.0)
    return share.mul(-2.0).add_(3.0).mul_(share).mul_(share)
