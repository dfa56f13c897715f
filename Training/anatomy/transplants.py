"""A patient's kidneys with their tumors and cysts put into a real scan in place of its own kidneys. Arrays are z, y, x.

The background is real, and so is how a tumor deforms its kidney; parenchyma takes HU, layers and grain from the scan's own kidneys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from Training.anatomy.anatomies import CYST, KIDNEY, TUMOR, KidneyMap
from Training.anatomy.anatomy_kidneys import cyst_hu, pieces, signed_distance
from Training.anatomy.anatomy_shapes import random_field
from Training.anatomy.anatomy_sides import Sides, opposite, sides_of
from Training.anatomy.anatomy_warp import random_warp, warped
from Training.cases import KIDNEY as CASE_KIDNEY
from Training.cases import TUMOR as CASE_TUMOR
from Training.cases import Case, around, as_hu
from Training.lesion.lesion_displacement import displacement, pushed
from Training.lesion.lesion_texture import noise_sd, scan_grain, smooth_noise
from Training.lesion.lesion_tissue import KIND_WEIGHTS, KINDS, tumor_hu

Floats = NDArray[np.float32]
LabelArray = NDArray[np.uint8]
Mask = NDArray[np.bool_]
GAS_HU, BONE_HU, FAT_HU = -250.0, 300.0, -30.0
MARGIN_MM = 45.0
PLACES = 4
# A place where more of the kidney than this would lie in bone or gas is none.
MOST_HARD = 0.06
ONE_SIDE_PROBABILITY = 0.3
DEPTHS_MM = np.array([3.0, 5.0, 7.0, 9.0, 12.0, 16.0])


@dataclass(frozen=True)
class Parenchyma:
    """What a scan's own kidneys look like: HU by depth under the surface (`DEPTHS_MM`), and how much it varies from place to place."""

    profile: NDArray[np.float64]
    usual: float
    patchiness: float


def transplanted(case: Case, kidneys: KidneyMap, rng: np.random.Generator) -> Case | None:
    """The case with that patient's kidneys instead of its own, labelled; None where they do not fit. The case given stays as it is.

    A kidney without a counterpart in the scan is left out, and so stays a kidney of the scan on a side where the patient has none.
    """
    own, others = sides_of(case.labels > 0, case.spacing_mm, body_middle(case.hu)), sides_of(kidneys.labels > 0, kidneys.spacing_mm, None)
    mirrored = bool(rng.random() < 0.5)
    if mirrored:
        others = {opposite(side): mask for side, mask in others.items()}
    chosen = chosen_sides(kidneys, {side: others[side] for side in others if side in own}, rng)
    if not chosen:
        return None
    labels = np.zeros(case.labels.shape, dtype=np.uint8)
    blocked = obstacles(case)
    for side in chosen:
        if not place_one(labels, kidneys, others[side], own[side], blocked, case.spacing_mm, mirrored, rng):
            return None
    removed = np.logical_or.reduce([own[side] for side in chosen])
    return painted(case, labels, removed, rng)


def body_middle(hu: NDArray[np.int16]) -> float:
    """Voxel x of the middle of the body."""
    return float(np.nonzero(hu[::4, ::4, ::4] > -300)[2].mean() * 4.0)


def chosen_sides(kidneys: KidneyMap, others: Sides, rng: np.random.Generator) -> list[str]:
    """The sides to replace: all, or now and then only the one with the tumor, the other kidney staying real."""
    with_tumor = [side for side, mask in others.items() if (kidneys.labels[mask] == TUMOR).any()]
    return with_tumor if with_tumor and rng.random() < ONE_SIDE_PROBABILITY else list(others)


@dataclass(frozen=True)
class Obstacles:
    """What a kidney should not lie in: bone and gas, not at all; other organs and muscle, as little as possible."""

    hard: Mask
    soft: Mask


def obstacles(case: Case) -> Obstacles:
    """Bone and gas without specks of noise, and soft tissue outside the kidneys."""
    free = case.labels == 0
    hard = ndimage.binary_opening(((case.hu < GAS_HU) | (case.hu > BONE_HU)) & free)
    closed = ndimage.binary_dilation(hard, iterations=3)
    return Obstacles(ndimage.binary_erosion(closed, iterations=2, border_value=1), (case.hu > FAT_HU) & free)


def place_one(
    labels: LabelArray, kidneys: KidneyMap, part: Mask, own: Mask, blocked: Obstacles, spacing_mm: float, mirrored: bool, rng: np.random.Generator
) -> bool:
    """Write one kidney (`part` of the map) into `labels` about where `own` lies, at the best of a few places; False when it fits nowhere."""
    where = around(part, 3)
    source = np.where(part[where], kidneys.labels[where], 0).astype(np.uint8)
    kidney_middle = np.argwhere((source == KIDNEY) | (source == CYST)).mean(axis=0)
    target = np.argwhere(own).mean(axis=0)
    tries = [placed(source, kidneys.spacing_mm, kidney_middle, target, labels.shape, spacing_mm, mirrored, rng) for _ in range(PLACES)]
    costs = [cost(values, corner, blocked) for values, corner in tries]
    best = int(np.argmin([soft + 10.0 * hard for soft, hard in costs]))
    values, corner = tries[best]
    if costs[best][1] > MOST_HARD or not values.any():
        return False
    box = tuple(slice(start, start + size) for start, size in zip(corner, values.shape, strict=True))
    np.copyto(labels[box], values, where=(values > 0) & ~blocked.hard[box])
    return True


def placed(
    source: LabelArray,
    source_mm: float,
    middle: NDArray[np.float64],
    target: NDArray[np.float64],
    shape: tuple[int, ...],
    spacing_mm: float,
    mirrored: bool,
    rng: np.random.Generator,
) -> tuple[LabelArray, tuple[int, int, int]]:
    """One kidney, turned, scaled and shifted a little, on the scan's voxels; and its corner in the scan."""
    half = [int(np.ceil(0.75 * max(source.shape) * source_mm / spacing_mm))] * 3
    centre = np.rint(target + rng.normal(0.0, (8.0, 4.0, 4.0)) / spacing_mm).astype(int)
    low = np.maximum(0, centre - half)
    high = np.minimum(shape, centre + np.array(half) + 1)
    size = (int(high[0] - low[0]), int(high[1] - low[1]), int(high[2] - low[2]))
    warp = random_warp(rng, size, spacing_mm, mirrored, (0.9, 1.1))
    values = warped(source, source_mm, middle, size, spacing_mm, (centre - low).astype(np.float64), warp, torch.device("cpu"))
    return values, (int(low[0]), int(low[1]), int(low[2]))


def cost(values: LabelArray, corner: tuple[int, int, int], blocked: Obstacles) -> tuple[float, float]:
    """Share of a kidney in other soft tissue, and in bone or gas."""
    box = tuple(slice(start, start + size) for start, size in zip(corner, values.shape, strict=True))
    inside = values > 0
    voxels = float(np.count_nonzero(inside)) + 1.0
    return np.count_nonzero(inside & blocked.soft[box]) / voxels, np.count_nonzero(inside & blocked.hard[box]) / voxels


def painted(case: Case, labels: LabelArray, removed: Mask, rng: np.random.Generator) -> Case:
    """The case without the removed kidneys and with those of `labels` (1 kidney, 2 tumor, 3 cyst)."""
    where = around((labels > 0) | removed, round(MARGIN_MM / case.spacing_mm))
    hu, new, old = case.hu[where].astype(np.float32), labels[where], removed[where]
    look = parenchyma_of(hu, (case.labels[where] == CASE_KIDNEY) & (old | (new == 0)), case.spacing_mm)
    grain = grain_like(hu, case.labels[where] > 0, rng)
    background = with_room(filled_with_fat(hu, old, grain, case.spacing_mm, rng), new, old, grain, case.spacing_mm)
    tissue = tissue_hu(new, look, case.spacing_mm, rng)
    soft = ndimage.gaussian_filter((new > 0).astype(np.float32), float(rng.uniform(0.45, 0.8)))
    result, new_labels = case.hu.copy(), np.where(removed, 0, case.labels).astype(np.uint8)
    result[where] = as_hu(background * (1.0 - soft) + (tissue + grain) * soft)
    new_labels[labels > 0] = CASE_KIDNEY
    new_labels[labels == TUMOR] = CASE_TUMOR
    return replace(case, hu=result, labels=new_labels)


def parenchyma_of(hu: Floats, kidney: Mask, spacing_mm: float) -> Parenchyma:
    """Measured in the scan's own kidneys; medians, so that cysts and stones do not count."""
    depth = ndimage.distance_transform_edt(np.pad(kidney, 1))[1:-1, 1:-1, 1:-1] * spacing_mm
    usual = float(np.median(hu[kidney])) if kidney.any() else 40.0
    rings = [hu[np.abs(depth - middle) < 1.5] for middle in DEPTHS_MM]
    profile = np.array([np.median(ring) if ring.size > 50 else np.nan for ring in rings])
    profile = np.where(np.isnan(profile), usual if np.isnan(profile).all() else np.nanmean(profile), profile)
    smooth = ndimage.gaussian_filter(hu, 3.0 / spacing_mm)[depth > 5.0]
    spread = float(np.subtract(*np.quantile(smooth, (0.75, 0.25))) / 1.35) if smooth.size else 5.0
    return Parenchyma(profile, usual, float(np.clip(spread, 2.0, 30.0)))


def grain_like(hu: Floats, kidney: Mask, rng: np.random.Generator) -> Floats:
    """Noise (HU) like the scan's."""
    grain = scan_grain(hu, hu.shape, rng)
    return smooth_noise(hu.shape, 0.6, rng) * np.float32(noise_sd(hu.astype(np.int16), kidney)) if grain is None else grain


def filled_with_fat(hu: Floats, removed: Mask, grain: Floats, spacing_mm: float, rng: np.random.Generator) -> Floats:
    """The scan with fat like its own where a kidney was."""
    mask = ndimage.binary_dilation(removed, iterations=2)
    near = ndimage.binary_dilation(mask[::2, ::2, ::2], iterations=6)
    values = hu[::2, ::2, ::2][near]
    values = values[(values > -140.0) & (values < -60.0)]
    fat = float(np.median(values)) if values.size > 100 else -100.0
    fill = fat + rng.uniform(3.0, 10.0) * random_field(hu.shape, 8.0 / spacing_mm, rng) + grain
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 1.0)
    return np.asarray(hu * (1.0 - soft) + fill * soft, dtype=np.float32)


def with_room(hu: Floats, new: LabelArray, old: Mask, grain: Floats, spacing_mm: float) -> Floats:
    """The scan with other organs pushed out of the way of what is larger than the kidney that was there."""
    excess = (new > 0) & ~ndimage.binary_dilation(old, iterations=2) & (hu > FAT_HU)
    excess = ndimage.binary_opening(excess, iterations=1)
    if np.count_nonzero(excess) * spacing_mm**3 < 1000.0:
        return hu
    hard = ndimage.binary_opening((hu < GAS_HU) | (hu > BONE_HU))
    inward = displacement(signed_distance(excess, spacing_mm), hard, spacing_mm, 0.7)
    return np.asarray(pushed(hu[None], inward)[0], dtype=np.float32)


def tissue_hu(labels: LabelArray, look: Parenchyma, spacing_mm: float, rng: np.random.Generator) -> Floats:
    """HU of kidneys, tumors and cysts, without grain; beyond them that of parenchyma."""
    depth = ndimage.distance_transform_edt(np.pad(labels > 0, 1))[1:-1, 1:-1, 1:-1] * spacing_mm
    lobes = random_field(labels.shape, 10.0 / spacing_mm, rng)
    hu = np.interp(np.maximum(depth + 1.5 * lobes, 0.0), DEPTHS_MM, look.profile) + look.patchiness * random_field(
        labels.shape, 9.0 / spacing_mm, rng
    )
    hu = hu.astype(np.float32)
    for tumor, where in pieces(labels == TUMOR, 2):
        lesion = tumor_hu(str(rng.choice(KINDS, p=KIND_WEIGHTS)), signed_distance(tumor, spacing_mm), spacing_mm, look.usual, rng)
        hu[where] = np.where(tumor, lesion, hu[where])
    for cyst, where in pieces(labels == CYST, 1):
        hu[where] = np.where(cyst, cyst_hu(rng), hu[where])
    return np.asarray(ndimage.gaussian_filter(hu, (0.6, 0.4, 0.4)))
