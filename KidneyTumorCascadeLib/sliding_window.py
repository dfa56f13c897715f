"""Applies networks to an image larger than their patch: overlapping patches, averaged with Gaussian weights.

The numbers agree with MONAI's `sliding_window_inference(mode="gaussian", sigma_scale=0.125, padding_mode="constant")`; unlike there, several
networks share one pass over the patches, progress is reported, and a run can be cancelled between patches.

Sizes, patches and slices are z, y, x.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from KidneyTumorCascadeLib.errors import Cancelled
from KidneyTumorCascadeLib.geometry import Size, Slices

Network = Callable[[Tensor], Tensor]

# Standard deviation of the Gaussian, as a share of the patch's edge.
SIGMA_SHARE = 0.125
# Without a floor the corners of a patch would weigh nothing, and a voxel that only corners reach would be lost to rounding.
LEAST_WEIGHT = 1e-3


class WeightedMeans:
    """Weighted mean, voxel by voxel, of what overlapping patches say; one sum for each network, one shared sum of weights.

    Args:
        size: of the image, z, y, x.
        weights: of a patch, (z, y, x); its device is where the sums are held.
    """

    def __init__(self, size: Size, weights: Tensor) -> None:
        self.size = size
        self.weights = weights
        self.sums: list[Tensor] = []
        self.weight_sum = torch.zeros(size, dtype=torch.float32, device=weights.device)

    def add(self, slices: Slices, outputs: Sequence[Tensor]) -> None:
        """Takes in what each network says about one patch: (K, *patch) each."""
        if not self.sums:
            self.sums = [torch.zeros((len(output), *self.size), device=self.weights.device) for output in outputs]
        for total, output in zip(self.sums, outputs, strict=True):
            total[(slice(None), *slices)] += output.to(self.weights) * self.weights
        self.weight_sum[slices] += self.weights

    def means(self) -> list[Tensor]:
        """(K, z, y, x) float32 of each network. Divides in place: call it once, at the end."""
        return [total.div_(self.weight_sum) for total in self.sums]


def sliding_window(
    image: Tensor,
    networks: Sequence[Network],
    patch: Size,
    overlap: float = 0.5,
    batch: int = 1,
    padding_value: float = 0.0,
    on_patch: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    sums_on: torch.device | None = None,
) -> list[Tensor]:
    """What each network says about every voxel of the image, in one pass over its patches.

    Args:
        image: (C, z, y, x). Where it is smaller than the patch it is padded on both sides.
        networks: each maps (B, C, *patch) to (B, K, *patch), of any floating type; K may differ between networks.
        patch: z, y, x.
        overlap: share of a patch's edge that neighbours have in common, 0 <= overlap < 1.
        batch: patches in one call of a network; the last call may have fewer.
        padding_value: what stands outside the image.
        on_patch: called after each batch with the number of patches done and of all patches.
        should_stop: asked before each batch.
        sums_on: device of the running sums and of the result; the image's own by default.

    Returns:
        For each network (K, z, y, x) float32: the mean over the patches, with Gaussian weights.

    Raises:
        Cancelled: when `should_stop` says so.
        ValueError: when patch, overlap or batch are impossible.
    """
    if batch < 1:
        raise ValueError(f"a batch holds at least one patch, not {batch}")
    padded, inside = pad_to_patch(image, patch, padding_value)
    z, y, x = padded.shape[1:]
    all_slices = patch_slices((z, y, x), patch, overlap)
    means = WeightedMeans((z, y, x), gaussian_weights(patch).to(image.device if sums_on is None else sums_on))
    done = 0
    for group in in_groups(all_slices, batch):
        if should_stop is not None and should_stop():
            raise Cancelled()
        with torch.no_grad():
            patches = torch.stack([padded[(slice(None), *slices)] for slices in group])
            outputs = [network(patches) for network in networks]
            for index, slices in enumerate(group):
                means.add(slices, [output[index] for output in outputs])
        done += len(group)
        if on_patch is not None:
            on_patch(done, len(all_slices))
    return [mean[(slice(None), *inside)] for mean in means.means()]


def patch_slices(size: Size, patch: Size, overlap: float) -> list[Slices]:
    """Where the patches lie in an image of that size, last axis fastest; the last one along each axis is moved back to end with the image.

    Along an axis shorter than the patch there is one patch, of the padded image. Raises ValueError when patch or overlap are impossible.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"the overlap of patches is a share from 0 to below 1, not {overlap}")
    if min(patch) < 1:
        raise ValueError(f"a patch has at least one voxel along each axis, not {patch}")
    starts = (axis_starts(length, edge, overlap) for length, edge in zip(size, patch, strict=True))
    depth, height, width = patch
    return [(slice(z, z + depth), slice(y, y + height), slice(x, x + width)) for z, y, x in itertools.product(*starts)]


def count_patches(size: Size, patch: Size, overlap: float) -> int:
    """How many patches cover an image of that size."""
    return len(patch_slices(size, patch, overlap))


def axis_starts(length: int, edge: int, overlap: float) -> list[int]:
    """First voxel of each patch along one axis."""
    if length <= edge:
        return [0]
    step = max(1, int(edge * (1 - overlap)))
    count = math.ceil((length - edge) / step) + 1
    return [min(index * step, length - edge) for index in range(count)]


def stretched_patch(size: Size, patch: Size, overlap: float, stretch: float, multiple: int) -> Size:
    """The patch, or a longer one along some axes where that covers an image of this size with fewer voxels in all.

    Args:
        size: of the image, z, y, x.
        patch: that the network was trained with, z, y, x.
        overlap: of neighbouring patches, as in `sliding_window`.
        stretch: how many times as long as the patch each edge may be, at least 1.
        multiple: a longer edge is a multiple of this.
    """
    z, y, x = (stretched_edge(length, edge, overlap, stretch, multiple) for length, edge in zip(size, patch, strict=True))
    return z, y, x


def stretched_edge(length: int, edge: int, overlap: float, stretch: float, multiple: int) -> int:
    """The edge of `stretched_patch` along one axis; of equally good ones the shortest."""
    edges: list[int] = [edge, *range((edge // multiple + 1) * multiple, int(edge * stretch) + 1, multiple)]
    voxels = [wanted * len(axis_starts(length, wanted, overlap)) for wanted in edges]
    return edges[voxels.index(min(voxels))]


def gaussian_weights(patch: Size) -> Tensor:
    """(z, y, x) float32: 1 at the centre of the patch, falling off towards its faces, nowhere below `LEAST_WEIGHT`."""
    weights = torch.ones(1)
    for edge in patch:
        offset = torch.arange(edge, dtype=torch.float32) - (edge - 1) / 2
        weights = weights.unsqueeze(-1) * torch.exp(-0.5 * (offset / (SIGMA_SHARE * edge)) ** 2)
    return weights[0].clamp(min=LEAST_WEIGHT)


def pad_to_patch(image: Tensor, patch: Size, value: float) -> tuple[Tensor, Slices]:
    """The image (C, z, y, x), padded on both sides where it is smaller than the patch, and where the image lies in it."""
    missing = [max(edge - length, 0) for length, edge in zip(image.shape[1:], patch, strict=True)]
    z, y, x = (slice(gap // 2, gap // 2 + length) for gap, length in zip(missing, image.shape[1:], strict=True))
    if not any(missing):
        return image, (z, y, x)
    widths = [width for gap in reversed(missing) for width in (gap // 2, gap - gap // 2)]
    return functional.pad(image, widths, value=value), (z, y, x)


def in_groups(items: Sequence[Slices], length: int) -> Iterator[Sequence[Slices]]:
    """The items, so many at a time."""
    for start in range(0, len(items), length):
        yield items[start : start + length]
