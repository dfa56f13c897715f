"""The same patient in another scanner: reconstruction kernel, slice thickness, beam hardening. Labels stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from Training.cases import AIR_HU, Case
from Training.variation.projections import Projector
from Training.variation.scan_filters import as_stored, as_tensor, blurred, coarse_factor, expanded, shrunk, smooth_step

IN_PLANE = (1, 2)
# Half of the iodine or calcium above this HU counts as dense.
DENSE_HU = (150.0, 450.0)


def with_kernel(case: Case, sharpness: float) -> Case:
    """Another reconstruction kernel, which acts within slices alone: a Gaussian for a soft one, its inverse in part for a sharp one.

    Args:
        case: the case.
        sharpness: negative: sd (mm) of the blur; positive: how much of the finest detail is added to itself, as edge-enhancing kernels
            raise middle frequencies above 1 and reach zero where soft ones do (Boedeker, Cooper and McNitt-Gray 2007); 0 changes nothing.
    """
    if not sharpness:
        return case
    hu = as_tensor(case.hu)
    if sharpness < 0.0:
        return replace(case, hu=as_stored(blurred(hu, -sharpness / case.spacing_mm, IN_PLANE)))
    soft = blurred(hu, 0.8, IN_PLANE)
    return replace(case, hu=as_stored(hu.add_(hu - soft, alpha=sharpness)))


def with_thick_slices(case: Case, thickness_mm: float, increment_mm: float, offset_mm: float = 0.0) -> Case:
    """Reconstructed in slices that average `thickness_mm` along z, `increment_mm` apart, then resampled to the case's grid linearly.

    An increment below the thickness overlaps, one above it leaves gaps. `offset_mm` shifts the first slice's middle from the first voxel's.
    """
    if thickness_mm <= case.spacing_mm and increment_mm <= case.spacing_mm:
        return case
    depth = len(case.hu)
    matrix = slab_matrix(depth, thickness_mm / case.spacing_mm, increment_mm / case.spacing_mm, offset_mm / case.spacing_mm)
    flat = case.hu.reshape(depth, -1).astype(np.float32)
    return replace(case, hu=as_stored(torch.from_numpy((matrix @ flat).reshape(case.hu.shape))))


def slab_matrix(depth: int, thickness: float, increment: float, offset: float) -> sparse.csr_matrix:
    """What each voxel along z becomes, as weights of those there were; all lengths in voxels. Rows add up to 1."""
    count = max(1, int(np.floor((depth - 1 - offset) / increment)) + 1)
    middles = offset + increment * np.arange(count)
    edges = np.arange(depth) - 0.5
    low, high = middles[:, None] - thickness / 2.0, middles[:, None] + thickness / 2.0
    overlap = np.clip(np.minimum(high, edges + 1.0) - np.maximum(low, edges), 0.0, None)
    slabs = overlap / overlap.sum(axis=1, keepdims=True)
    position = np.clip((np.arange(depth) - offset) / increment, 0.0, count - 1.0)
    lower = np.minimum(position.astype(np.int64), max(0, count - 2))
    share = (position - lower)[:, None]
    weights = slabs[lower] * (1.0 - share) + slabs[np.minimum(lower + 1, count - 1)] * share
    return sparse.csr_matrix(weights.astype(np.float32))


def with_beam_hardening(case: Case, strength: float) -> Case:
    """Cupping, and dark bands between dense bones or contrast medium, with streaks beside them.

    Dense material hardens the beam, so that a ray through more of it is attenuated by less than in proportion: the error of its line integral
    goes with the square of its path through it (Joseph and Spital 1978). Those errors are reconstructed and added. `strength` 1 takes some
    15 to 30 HU from the middle of a pelvis between the hips; 0 changes nothing.
    """
    if not strength:
        return case
    hu = as_tensor(case.hu)
    factor = coarse_factor(case.spacing_mm)
    error = hardening_error(shrunk(hu, factor), case.spacing_mm * factor)
    hu.add_(expanded(error, factor, case.hu.shape), alpha=strength)
    return replace(case, hu=np.where(case.hu > AIR_HU, as_stored(hu), case.hu))


def hardening_error(hu: Tensor, spacing_mm: float) -> Tensor:
    """What a beam corrected imperfectly for water and not at all for bone adds to coarse voxels, in HU."""
    projector = Projector(hu.shape[1:], spacing_mm)
    water = projector.project(((hu + 1000.0) / 1000.0).clamp(0.0, 1.2))
    dense = projector.project(smooth_step(hu, *DENSE_HU) * (hu + 1000.0) / 1000.0)
    lost = 2.2e-4 * (dense * dense + 0.35 * dense * water) + 1.0e-5 * water * water
    return projector.reconstruct(-lost) * 1000.0
