"""The whole scan in another contrast phase: vessels, organs, muscle. Kidneys are left to `kidney_changes`; labels stay as they are.

A scan with contrast medium is moved along its own HU: what is as bright as its blood becomes as bright as the new blood, and so on. One
without has nothing to tell blood from muscle by, so its tissues are told apart by where they lie: parenchyma within the wall of muscle,
the aorta and the vena cava in front of the spine. Gas, fat, fluid and bone stay as they are, and so does the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from Training.cases import Case, around
from Training.variation.contrast_phases import Uptake
from Training.variation.scan_filters import (
    as_stored,
    as_tensor,
    blurred,
    coarse_factor,
    expanded,
    kidney_outline,
    largest,
    shrunk,
    smooth_field,
    smooth_step,
    without_noise,
)

UNKNOWN_ORGAN_HU = 100.0
BLOOD_WITHOUT, ORGAN_WITHOUT, MUSCLE_WITHOUT = 42.0, 55.0, 52.0
# Kidneys brighter than this (HU, median) have taken up contrast medium.
ENHANCED_KIDNEY_HU = 65.0
FLUID_HU, BONE_HU = 25.0, 300.0
# Mean of coarse voxels of vertebrae: above blood with contrast medium; without it, already above muscle.
DENSE_HU, DENSE_WITHOUT_HU = 160.0, 105.0
# Brighter than any blood.
CORTEX_HU = 420.0
SOFT_SIGMA_MM = 1.2


def is_enhanced(case: Case) -> bool | None:
    """Whether the scan has contrast medium, by its kidneys; None without kidneys."""
    kidney = case.hu[case.labels == 1]
    return bool(np.median(kidney) > ENHANCED_KIDNEY_HU) if kidney.size else None


def with_phase(case: Case, uptake: Uptake, rng: np.random.Generator) -> Case:
    """The case with all but its kidneys in the phase of `uptake`; as it was when it has no kidneys to tell its own phase by."""
    before = is_enhanced(case)
    if before is None or not (before or uptake.enhanced):
        return case
    hu = as_tensor(case.hu)
    soft = without_noise(hu, SOFT_SIGMA_MM / case.spacing_mm)
    spared = spared_share(case, soft)
    shift = moved_along_hu(soft, uptake, brightest_tissue(case, soft, spared)) if before else taken_up(case, soft, uptake, rng)
    return replace(case, hu=as_stored(hu.add_(shift.mul_(1.0 - spared))))


@dataclass(frozen=True)
class Spine:
    """Where the vertebral bodies' front lies in each slice (voxels): rows `front` and columns `middle`, smooth along z."""

    front: NDArray[np.float64]
    middle: NDArray[np.float64]


def find_spine(hu: Tensor, spacing_mm: float, dense_hu: float) -> Spine | None:
    """The spine: what is denser than `dense_hu` near the middle of the body, in its posterior part; None where hardly any slice has it.

    `hu` is coarse; rows and columns are those of its grid.
    """
    dense, body = (hu > dense_hu).numpy(), (hu > -300.0).numpy()
    fronts, middles = np.full(len(dense), np.nan), np.full(len(dense), np.nan)
    for index in np.flatnonzero(body.any(axis=(1, 2))):
        rows, columns = np.nonzero(body[index])
        middle = float(np.median(columns))
        near = np.zeros_like(dense[index])
        left, right = max(0, int(middle - 45.0 / spacing_mm)), int(middle + 45.0 / spacing_mm) + 1
        near[int(np.percentile(rows, 45)) :, left:right] = True
        where = np.argwhere(dense[index] & near)
        if len(where) * spacing_mm**2 > 300.0:
            fronts[index], middles[index] = np.percentile(where[:, 0], 3), np.median(where[:, 1])
    known = np.flatnonzero(~np.isnan(fronts))
    if len(known) < max(2, 0.3 * len(dense)):
        return None
    every = np.arange(len(dense))
    front, middle_line = (
        ndimage.gaussian_filter1d(ndimage.median_filter(np.interp(every, known, values[known]), 5), 2.0) for values in (fronts, middles)
    )
    return Spine(front, middle_line)


def spared_share(case: Case, soft: Tensor) -> Tensor:
    """1 in bone with its marrow and in kidneys, 0 elsewhere, with soft borders."""
    factor = coarse_factor(case.spacing_mm)
    bone = bone_share(soft, factor, case.spacing_mm)
    spared = expanded(bone, factor, soft.shape) * smooth_step(soft, 75.0, 105.0)
    if case.labels.any():
        where = around(case.labels > 0, 4)
        spared[where] = torch.maximum(spared[where], kidney_outline(case.labels[where] > 0))
    return spared


def bone_share(soft: Tensor, factor: int, spacing_mm: float) -> Tensor:
    """Coarse voxels within bones: between parts of their cortex, and all that lies where the vertebrae do."""
    coarse_mm = spacing_mm * factor
    densest = largest(soft, factor).numpy()
    bone = closed_in_plane(densest > CORTEX_HU, round(9.0 / coarse_mm) or 1)
    spine = find_spine(shrunk(soft, factor), coarse_mm, DENSE_HU)
    if spine is not None:
        rows, columns = np.arange(bone.shape[1])[None, :, None], np.arange(bone.shape[2])[None, None, :]
        bone |= (rows >= spine.front[:, None, None]) & (np.abs(columns - spine.middle[:, None, None]) * coarse_mm < 28.0)
    return torch.from_numpy(bone.astype(np.float32))


def fine_line(line: NDArray[np.float64], factor: int, length: int) -> NDArray[np.float64]:
    """A line through coarse slices (value: coarse index) as fine indices for each fine slice."""
    middles = (np.arange(len(line)) + 0.5) * factor - 0.5
    return np.asarray(np.interp(np.arange(length), middles, (line + 0.5) * factor - 0.5))


def brightest_tissue(case: Case, soft: Tensor, spared: Tensor) -> tuple[float, float]:
    """HU of the organs and of the blood of a scan with contrast medium: the usual of what is brighter than muscle, and the aorta's."""
    thin = slice(None, None, 3)
    values, taken = soft[thin, thin, thin], spared[thin, thin, thin]
    bright = values[(values > 75.0) & (values < BONE_HU + 80.0) & (taken < 0.1)]
    organ = float(bright.median()) if len(bright) > 100 else UNKNOWN_ORGAN_HU
    factor = coarse_factor(case.spacing_mm)
    spine = find_spine(shrunk(soft, factor), case.spacing_mm * factor, DENSE_HU)
    blood = aorta_hu(soft, spine, factor, case.spacing_mm) if spine is not None else organ + 50.0
    return organ, max(blood, organ + 20.0)


def aorta_hu(soft: Tensor, spine: Spine, factor: int, spacing_mm: float) -> float:
    """HU of the brightest vessel in front of the spine and to the left of its middle: in each slice it makes up more than a seventh of 3 by 3 cm."""
    front, middle = (fine_line(line, factor, len(soft)) for line in (spine.front, spine.middle))
    found = []
    for plane, row, column in zip(soft[::4].numpy(), front[::4], middle[::4], strict=True):
        rows = slice(max(0, int(row - 32.0 / spacing_mm)), max(0, int(row - 2.0 / spacing_mm)))
        columns = slice(max(0, int(column - 8.0 / spacing_mm)), max(0, int(column + 22.0 / spacing_mm)))
        near = plane[rows, columns]
        found.append(float(np.percentile(near, 86)) if near.size else np.nan)
    return float(np.nanmedian(found)) if not np.isnan(found).all() else UNKNOWN_ORGAN_HU


def moved_along_hu(soft: Tensor, uptake: Uptake, now: tuple[float, float]) -> Tensor:
    """What to add to tissue of those HU so that organs and blood, `now` that bright, become as bright as in `uptake`.

    Fluid stays, and what is much denser than blood (bone, calcium, contrast medium in the bowel) does.
    """
    organ, blood = now
    up = (uptake.organ - organ, uptake.blood - blood)
    # Where blood gains on the organs, their noise and small veins must not be blown up to arteries: only what is nearly blood gains.
    between = up[0] if up[1] > up[0] else 0.4 * up[0] + 0.6 * up[1]
    knots = [-50.0, FLUID_HU, 58.0, organ, 0.4 * organ + 0.6 * blood, blood, 1.3 * blood, 1.8 * blood + 60.0]
    added = [0.0, 0.0, uptake.muscle - 60.0, up[0], between, up[1], up[1], 0.0]
    return interpolated(soft, knots, added)


def interpolated(values: Tensor, knots: list[float], results: list[float]) -> Tensor:
    """Piecewise linear, constant beyond the first and the last knot; 2 HU apart a table is as good and many times faster."""
    low, step = knots[0], 2.0
    count = int((knots[-1] - low) / step) + 2
    table = torch.from_numpy(np.interp(low + step * np.arange(count), knots, results).astype(np.float32))
    return table[((values - low) / step).round_().clamp_(0, count - 1).to(torch.int32)]


def taken_up(case: Case, soft: Tensor, uptake: Uptake, rng: np.random.Generator) -> Tensor:
    """What contrast medium adds to a scan without. It is worked out on voxels of about 3 mm and given to what is solid on the scan's own."""
    factor = max(1, coarse_factor(case.spacing_mm) // 2)
    medium, spacing_mm = shrunk(soft, factor), case.spacing_mm * factor
    coarse, coarse_mm = shrunk(medium, 2), spacing_mm * 2
    spine = find_spine(coarse, coarse_mm, DENSE_WITHOUT_HU)
    share = expanded(organ_share(coarse, coarse_mm, spine, rng), 2, medium.shape)
    vessels = vessels_in_organs(tuple(medium.shape), spacing_mm, rng).mul_(share)
    added = share * (uptake.organ - ORGAN_WITHOUT) + (1.0 - share) * (uptake.muscle - MUSCLE_WITHOUT)
    added.add_(vessels.mul_(uptake.blood - BLOOD_WITHOUT - added), alpha=0.6)
    if spine is not None:
        add_great_vessels(added, spine, spacing_mm, uptake, rng)
    solid = smooth_step(soft, 5.0, 38.0).mul_(smooth_step(soft, 200.0, 110.0))
    return solid.mul_(expanded(added, factor, soft.shape))


def organ_share(hu: Tensor, spacing_mm: float, spine: Spine | None, rng: np.random.Generator) -> Tensor:
    """How much of the organs' uptake coarse voxels have: by parts of soft tissue within the body's wall, muscle none."""
    solid = (hu > 0.0).numpy()
    reach = max(1, round(25.0 / spacing_mm))
    trunk = closed_in_plane(solid, reach)
    depth = ndimage.distance_transform_edt(np.pad(trunk, ((0, 0), (1, 1), (1, 1))), sampling=(1e3, spacing_mm, spacing_mm))[:, 1:-1, 1:-1]
    inner = solid & (depth > 22.0) & before_spine(hu, spacing_mm, spine)
    parts, count = ndimage.label(ndimage.binary_erosion(inner))
    if not count:
        return torch.zeros_like(hu)
    sizes = np.bincount(parts.ravel()) * spacing_mm**3 / 1000.0
    shares = np.where(sizes > 100.0, rng.uniform(0.8, 1.15, count + 1), rng.uniform(0.1, 1.2, count + 1))
    distance, nearest = ndimage.distance_transform_edt(parts == 0, return_indices=True)
    spread = shares[parts[tuple(nearest)]] * np.clip(3.0 - distance, 0.0, 1.0) * inner
    return blurred(torch.from_numpy(spread.astype(np.float32)), 0.6)


def closed_in_plane(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Each slice closed over gaps of twice that many voxels, and its holes filled."""
    padded = np.pad(mask, ((0, 0), (reach + 1,) * 2, (reach + 1,) * 2))
    outside = ndimage.distance_transform_edt(~padded, sampling=(1e3, 1.0, 1.0)) > reach
    closed = ndimage.distance_transform_edt(~outside, sampling=(1e3, 1.0, 1.0)) > reach
    inner = slice(reach + 1, -reach - 1)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in closed | padded])[:, inner, inner]


def before_spine(hu: Tensor, spacing_mm: float, spine: Spine | None) -> NDArray[np.bool_]:
    """Where organs can lie: not behind the middle of the vertebral bodies, where muscle does."""
    if spine is None:
        return np.ones(hu.shape, dtype=bool)
    rows = np.arange(hu.shape[1])[None, :, None]
    columns = np.arange(hu.shape[2])[None, None, :]
    beside = np.abs(columns - spine.middle[:, None, None]) * spacing_mm
    limit = spine.front[:, None, None] + np.where(beside < 60.0, -4.0, 45.0) / spacing_mm
    return np.asarray(rows < limit)


def vessels_in_organs(shape: tuple[int, ...], spacing_mm: float, rng: np.random.Generator) -> Tensor:
    """Branches of vessels: the curves where two smooth fields are both near zero, of a few mm across."""
    first, second = (smooth_field(shape, rng.uniform(22.0, 35.0) / spacing_mm, rng) for _ in range(2))
    return torch.exp(-(first * first + second * second) / (2.0 * rng.uniform(0.1, 0.18) ** 2))


def add_great_vessels(added: Tensor, spine: Spine, spacing_mm: float, uptake: Uptake, rng: np.random.Generator) -> None:
    """Aorta and vena cava in front of the spine, to the left and to the right of its middle; the vein fills later than the artery.

    The spine's voxels are twice as large as those of `added`.
    """
    vein = uptake.blood if uptake.phase != "corticomedullary" else float(rng.uniform(60.0, 0.6 * uptake.blood))
    artery = rng.uniform(4.0, 12.0), rng.uniform(8.0, 12.0), uptake.blood
    for side_mm, radius_mm, hu in (artery, (rng.uniform(-24.0, -16.0), rng.uniform(8.0, 13.0), vein)):
        row = fine_line(spine.front, 2, len(added)) - (radius_mm + 2.0) / spacing_mm
        column = fine_line(spine.middle, 2, len(added)) + side_mm / spacing_mm
        add_tube(added, row, column, radius_mm / spacing_mm, hu - BLOOD_WITHOUT)


def add_tube(added: Tensor, row: NDArray[np.float64], column: NDArray[np.float64], radius: float, hu: float) -> None:
    """Set `added` to `hu` within a tube along z whose axis runs through (row, column) of each slice; all in voxels."""
    low, high = max(0, int(column.min() - radius) - 2), int(column.max() + radius) + 3
    near = added[:, :, low:high]
    y, x = torch.arange(near.shape[1]).float(), torch.arange(low, low + near.shape[2]).float()
    across = (x[None, None, :] - torch.from_numpy(column).float()[:, None, None]) ** 2
    along = (y[None, :, None] - torch.from_numpy(row).float()[:, None, None]) ** 2
    tube = (radius + 0.5 - torch.sqrt(across + along)).clamp_(0.0, 1.0)
    near.add_(tube.mul_(hu - near))
