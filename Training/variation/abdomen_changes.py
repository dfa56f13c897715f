"""What else differs between abdomens: contents of the bowel, free fluid. Labels stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.geometry import Slices
from Training.cases import Case, as_hu
from Training.variation.phase_changes import CORTEX_HU, DENSE_HU, closed_in_plane, find_spine
from Training.variation.scan_filters import as_stored, as_tensor, coarse_factor, expanded, shrunk, smooth_field, smooth_step

GAS_HU, PURE_GAS_HU = -500.0, -850.0
SMALLEST_GAS_ML, LARGEST_GAS_ML = 1.0, 400.0
PERIRENAL_MM, WALL_MM = 25.0, 14.0


def with_bowel_contents(case: Case, rng: np.random.Generator) -> Case:
    """Part of the bowel's gas replaced by what patients drink before a scan: water (0 to 30 HU) or contrast medium (150 to 600 HU).

    Fluid lies behind gas in a patient on the back: some loops fill up, others get a level, all with the loop's own wall.
    """
    fluid = float(rng.uniform(0.0, 30.0) if rng.random() < 0.4 else rng.uniform(150.0, 600.0))
    hu = case.hu.copy()
    for where, loop in gas_pockets(case):
        if rng.random() < 0.6:
            level = 0.0 if rng.random() < 0.5 else rng.uniform(0.2, 0.9)
            fill(hu[where], loop, level, fluid + rng.normal(0.0, 5.0))
    return replace(case, hu=hu)


def gas_pockets(case: Case) -> list[tuple[Slices, NDArray[np.bool_]]]:
    """Gas within the body: boxes, and where in each it is. Lungs are too large and not pure enough, air around the patient reaches the rim."""
    parts, _ = ndimage.label(case.hu < GAS_HU)
    sizes = np.bincount(parts.ravel()) * case.spacing_mm**3 / 1000.0
    pockets = []
    for index, where in enumerate(ndimage.find_objects(parts), start=1):
        at_rim = any(item.start == 0 or item.stop == length for item, length in zip(where[1:], case.hu.shape[1:], strict=True))
        if SMALLEST_GAS_ML < sizes[index] < LARGEST_GAS_ML and not at_rim:
            wide = widened(where, case.hu.shape)
            loop = parts[wide] == index
            if np.percentile(case.hu[wide][loop], 25) < PURE_GAS_HU:
                pockets.append((wide, loop))
    return pockets


def widened(where: tuple[slice, ...], shape: tuple[int, ...]) -> Slices:
    """A box with two voxels more on every side that has them: the border between gas and wall."""
    z, y, x = (slice(max(0, item.start - 2), min(length, item.stop + 2)) for item, length in zip(where, shape, strict=True))
    return z, y, x


def fill(hu: NDArray[np.int16], loop: NDArray[np.bool_], level: float, fluid_hu: float) -> None:
    """Fill a loop behind (at larger y than) that fraction of its depth. Voxels are filled by the share of gas in them, so that walls stay."""
    rows = np.flatnonzero(loop.any(axis=(0, 2)))
    first = rows[0] + level * (rows[-1] + 1 - rows[0]) - (2 if level == 0.0 else 0)
    behind = np.clip(np.arange(hu.shape[1]) - first + 0.5, 0.0, 1.0)[None, :, None]
    gas = np.clip((40.0 - hu) / 1040.0, 0.0, 1.0) * ndimage.binary_dilation(loop, iterations=2) * behind
    hu[...] = as_hu(hu + gas * (fluid_hu + 1000.0))


def with_ascites(case: Case, rng: np.random.Generator) -> Case:
    """Free fluid (0 to 20 HU) in parts of the peritoneal cavity, where there was fat between loops; the fat about kidneys and in the wall stays."""
    factor = coarse_factor(case.spacing_mm)
    hu = as_tensor(case.hu)
    coarse, coarse_mm = shrunk(hu, factor), case.spacing_mm * factor
    spine = find_spine(coarse, coarse_mm, DENSE_HU)
    if spine is None:
        return case
    solid = ((coarse > 0.0) & (coarse < CORTEX_HU)).numpy()
    trunk = closed_in_plane(solid, round(25.0 / coarse_mm))
    within = ndimage.distance_transform_edt(np.pad(trunk, ((0, 0), (1, 1), (1, 1))), sampling=(1e3, coarse_mm, coarse_mm))[:, 1:-1, 1:-1]
    cavity = (within > WALL_MM) & (np.arange(solid.shape[1])[None, :, None] < spine.front[:, None, None])
    kidneys = shrunk(torch.from_numpy((case.labels > 0).astype(np.float32)), factor).numpy() > 0.1
    if kidneys.any():
        cavity &= ndimage.distance_transform_edt(~kidneys, sampling=coarse_mm) > PERIRENAL_MM
    wet = torch.from_numpy(cavity.astype(np.float32)) * smooth_step(smooth_field(solid.shape, 50.0 / coarse_mm, rng), -0.2, 0.2)
    share = smooth_step(hu, 5.0, -70.0).mul_(smooth_step(hu, -220.0, -140.0)).mul_(expanded(wet, factor, case.hu.shape))
    return replace(case, hu=as_stored(hu.add_(share.mul_(float(rng.uniform(100.0, 115.0))))))
