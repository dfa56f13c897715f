"""Parallel projections of coarse slices and back, as one sparse matrix: what physics happens along rays is worked out there.

Slices are (z, y, x), projections are (angle, bin, z) in mm of water where HU + 1000 went in as thousandths.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

ANGLES = 36


class Projector:
    """Projections of slices of one size and spacing at evenly spaced angles. The ray of angle 0 runs along x, from side to side.

    Attributes:
        angles: in radians.
    """

    def __init__(self, shape: tuple[int, ...], spacing_mm: float) -> None:
        self.shape, self.spacing_mm = (int(shape[0]), int(shape[1])), spacing_mm
        self.angles = np.arange(ANGLES) * np.pi / ANGLES
        self.matrix = ray_matrix(*self.shape)

    def project(self, slices: Tensor) -> NDArray[np.float32]:
        """Line integrals (angle, bin, z) of slices (z, y, x), in units times mm."""
        flat = slices.reshape(len(slices), -1).numpy().T
        return np.asarray((self.matrix @ flat) * np.float32(self.spacing_mm), dtype=np.float32).reshape(ANGLES, -1, len(slices))

    def spread(self, projections: NDArray[np.floating]) -> Tensor:
        """Each voxel's mean (z, y, x) over the rays through it, rays that were set to 0 counted."""
        depth = projections.shape[-1]
        back = self.matrix.T @ projections.reshape(-1, depth).astype(np.float32) / ANGLES
        return torch.from_numpy(np.ascontiguousarray(back.T).reshape(depth, *self.shape))

    def reconstruct(self, projections: NDArray[np.float32]) -> Tensor:
        """Filtered back projection (z, y, x): what `project` integrates is what comes back, up to the coarse grid's blur."""
        bins = projections.shape[1]
        size = 2 ** int(np.ceil(np.log2(2 * bins)))
        # A cosine window: sharing pixels between two bins leaves ripples at the highest frequencies.
        window = 0.5 + 0.5 * np.cos(2.0 * np.pi * np.fft.rfftfreq(size))
        response = (np.fft.rfft(ramp(size, self.spacing_mm)).real * window)[None, :, None]
        filtered = np.fft.irfft(np.fft.rfft(projections, size, axis=1) * response, size, axis=1)[:, :bins]
        return self.spread(filtered * np.pi * self.spacing_mm)


def ramp(size: int, spacing_mm: float) -> NDArray[np.float64]:
    """The band-limited ramp filter in space (Kak and Slaney 1988, equation 61 of chapter 3), periodic with that size."""
    index = np.rint(np.fft.fftfreq(size) * size)
    values = np.zeros(size)
    odd = index % 2 != 0
    values[odd] = -1.0 / (np.pi * index[odd] * spacing_mm) ** 2
    values[0] = 0.25 / spacing_mm**2
    return values


@lru_cache(maxsize=8)
def ray_matrix(height: int, width: int) -> sparse.csr_matrix:
    """Pixels (y, x) to bins of all angles, (ANGLES x bins, height x width): each pixel falls into the two bins around its middle."""
    bins = int(np.ceil(np.hypot(height, width))) + 3
    y, x = np.meshgrid(np.arange(height) - (height - 1) / 2.0, np.arange(width) - (width - 1) / 2.0, indexing="ij")
    pixels = np.arange(height * width)
    rows, columns, weights = [], [], []
    for index, angle in enumerate(np.arange(ANGLES) * np.pi / ANGLES):
        position = (y * np.cos(angle) - x * np.sin(angle)).ravel() + (bins - 1) / 2.0
        lower = np.floor(position).astype(np.int64)
        share = position - lower
        for bin_index, weight in ((lower, 1.0 - share), (lower + 1, share)):
            rows.append(index * bins + bin_index)
            columns.append(pixels)
            weights.append(weight)
    entries = np.concatenate(weights).astype(np.float32), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_matrix(entries, shape=(ANGLES * bins, height * width))
