"""Kidneys changed as patients' kidneys differ: another contrast phase, stones, one or both taken out. The case given stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.geometry import Slices
from Training.cases import KIDNEY, Case, around, as_hu
from Training.variation.contrast_phases import Uptake
from Training.variation.scan_filters import blurred, kidney_outline, smooth_field, without_noise

Field = NDArray[np.float32]
FAT_HU, TISSUE_HU = -90.0, 25.0
STONE_HU = (200.0, 1400.0)


def with_kidney_phase(case: Case, uptake: Uptake, rng: np.random.Generator) -> Case:
    """The case with its kidneys in the phase of `uptake`: bright cortex, medulla, urine. Sinus fat, cysts, stones and noise stay."""
    kidney = case.labels == KIDNEY
    if not kidney.any():
        return case
    where = around(kidney, 4)
    hu = case.hu[where].astype(np.float32)
    mask = kidney[where]
    parenchyma = parenchyma_share(hu, mask, case.spacing_mm)
    now = without_noise(torch.from_numpy(hu), 1.8 / case.spacing_mm).numpy()
    shift = (phase_hu(anatomy(mask, case.spacing_mm, rng), uptake) - now) * parenchyma
    result = case.hu.copy()
    result[where] = as_hu(hu + shift)
    return replace(case, hu=result)


def parenchyma_share(hu: Field, mask: NDArray[np.bool_], spacing_mm: float) -> Field:
    """How much of each voxel takes up contrast medium: all of the tissue within the outline but cysts, fat and stones; borders are soft."""
    soft = without_noise(torch.from_numpy(hu), 1.2 / spacing_mm).numpy()
    median = float(np.median(hu[mask]))
    # With contrast medium, what is as dark as water is a cyst or urine; without, nothing but fat can be told from tissue.
    low, high = (FAT_HU, TISSUE_HU) if median < 65.0 else (20.0, 0.45 * median)
    share = np.clip((soft - low) / (high - low), 0.0, 1.0)
    stone = np.clip((soft - median - 120.0) / 80.0, 0.0, 1.0)
    return np.asarray(share * (1.0 - stone) * kidney_outline(mask).numpy(), dtype=np.float32)


def smoothed(values: Field, sigma_voxels: float) -> Field:
    """A Gaussian of that sd."""
    result: Field = blurred(torch.from_numpy(np.ascontiguousarray(values)), sigma_voxels).numpy()
    return result


@dataclass(frozen=True)
class Anatomy:
    """Shares (0 to 1) of each voxel that are medulla and urine; the rest is cortex."""

    medulla: Field
    urine: Field


def anatomy(mask: NDArray[np.bool_], spacing_mm: float, rng: np.random.Generator) -> Anatomy:
    """Where a kidney of that outline may have its pyramids and calyces.

    The cortex is 5 to 9 mm deep, measured from the outline once its hilum has been closed; columns of cortex part the pyramids, which are
    1 to 2 cm across. Calyces lie 10 mm deep and more, close to the sinus.
    """
    depth = depth_mm(mask, spacing_mm)
    pattern = smooth_field(mask.shape, rng.uniform(8.0, 13.0) / spacing_mm, rng).numpy()
    cortex_mm = rng.uniform(5.0, 9.0) + 1.2 * smooth_field(mask.shape, 6.0 / spacing_mm, rng).numpy()
    medulla: Field = rising(depth - cortex_mm, 1.5) * rising(pattern + rng.uniform(0.2, 0.8), 0.5)
    calyces = smooth_field(mask.shape, rng.uniform(7.0, 11.0) / spacing_mm, rng).numpy()
    deepest = max(float(np.percentile(depth[mask], 98)), 1.0)
    urine: Field = rising(depth - max(11.0, 0.6 * deepest), 2.0) * rising(calyces - rng.uniform(0.3, 1.1), 0.35)
    return Anatomy(medulla, urine)


def depth_mm(mask: NDArray[np.bool_], spacing_mm: float) -> Field:
    """Depth below the kidneys' outer surface, once gaps of up to 2.5 cm (the hilum) have been closed. Worked out on every second voxel."""
    thin = np.pad(mask[::2, ::2, ::2], 9)
    step = 2.0 * spacing_mm
    reach = min(12.5, 8.0 * step)
    outside = ndimage.distance_transform_edt(~thin, sampling=step) > reach
    depth = np.maximum(ndimage.distance_transform_edt(~outside, sampling=step) - reach, 0.0)[9:-9, 9:-9, 9:-9]
    return np.asarray(enlarged(depth.astype(np.float32), mask.shape))


def enlarged(values: Field, shape: tuple[int, ...]) -> Field:
    """Values at every second voxel, joined by lines."""
    for axis, length in enumerate(shape):
        following = np.take(values, np.minimum(np.arange(1, values.shape[axis] + 1), values.shape[axis] - 1), axis=axis)
        pairs = np.stack((values, 0.5 * (values + following)), axis=axis + 1)
        joined = pairs.reshape((*values.shape[:axis], -1, *values.shape[axis + 1 :]))
        values = np.take(joined, np.arange(length), axis=axis)
    return values


def rising(values: NDArray[np.floating[Any]], width: float) -> Field:
    """From 0 to 1 about 0, over some `width` on either side."""
    return np.asarray(0.5 + 0.5 * np.tanh(values / width), dtype=np.float32)


def phase_hu(parts: Anatomy, uptake: Uptake) -> Field:
    """HU of parenchyma and urine in that phase."""
    tissue = uptake.cortex + (uptake.medulla - uptake.cortex) * parts.medulla
    return np.asarray(tissue + (uptake.urine - tissue) * parts.urine, dtype=np.float32)


def with_stones(case: Case, rng: np.random.Generator) -> Case:
    """One to four stones of 2 to 9 mm in the calyces: 200 to 600 HU for uric acid, up to 1400 for calcium. Labels stay: they count as kidney."""
    kidney = case.labels == KIDNEY
    if not kidney.any():
        return case
    where = around(kidney, 2)
    deep = np.argwhere(ndimage.distance_transform_edt(kidney[where]) * case.spacing_mm > 7.0)
    hu = case.hu[where].astype(np.float32)
    for _ in range(int(rng.integers(1, 5)) if len(deep) else 0):
        share = stone_share(hu.shape, deep[rng.integers(len(deep))], rng.uniform(1.0, 4.5, size=3) / case.spacing_mm)
        hu += share * (rng.uniform(*STONE_HU) - hu)
    result = case.hu.copy()
    result[where] = as_hu(hu)
    return replace(case, hu=result)


def stone_share(shape: tuple[int, ...], center: NDArray[np.int64], radii: NDArray[np.float64]) -> Field:
    """How much of each voxel lies in an ellipsoid (all in voxels), with a border of a voxel."""
    z, y, x = (np.arange(length) for length in shape)
    distance = np.sqrt(
        ((z - center[0]) / radii[0])[:, None, None] ** 2 + ((y - center[1]) / radii[1])[None, :, None] ** 2 + ((x - center[2]) / radii[2]) ** 2
    )
    return np.asarray(np.clip((1.0 - distance) * radii.mean() + 0.5, 0.0, 1.0), dtype=np.float32)


def without_kidney(case: Case, rng: np.random.Generator) -> Case:
    """The case after a nephrectomy on one side: that kidney, with its tumors, is replaced by fat. Kidneys grown together go together."""
    parts, count = ndimage.label(case.labels > 0)
    if count < 1:
        return case
    sizes = np.bincount(parts.ravel())[1:]
    chosen = parts == 1 + int(rng.choice(np.argsort(sizes)[-2:]))
    return filled_with_fat(case, chosen, rng)


def without_kidneys(case: Case, rng: np.random.Generator) -> Case:
    """The case after a nephrectomy on both sides: an abdomen in which there is nothing to find. All labels are gone."""
    labelled = case.labels > 0
    return filled_with_fat(case, labelled, rng) if labelled.any() else case


def filled_with_fat(case: Case, chosen: NDArray[np.bool_], rng: np.random.Generator) -> Case:
    """The case with fat and its strands instead of the chosen voxels, which bear no label then; it is as noisy as the scan was."""
    where: Slices = around(chosen, 6)
    mask = ndimage.binary_dilation(chosen[where], iterations=2)
    hu = case.hu[where].astype(np.float32)
    soft = smoothed(mask.astype(np.float32), 1.0)
    strands = np.exp(-((smooth_field(mask.shape, 12.0 / case.spacing_mm, rng).numpy() / 0.12) ** 2))
    fat = rng.uniform(-110.0, -92.0) + rng.uniform(0.0, 45.0) * strands + 4.0 * smooth_field(mask.shape, 5.0 / case.spacing_mm, rng).numpy()
    grain = smoothed(rng.standard_normal(mask.shape, dtype=np.float32), 0.6)
    grain *= fine_detail_sd(hu, mask) / grain.std()
    result, labels = case.hu.copy(), case.labels.copy()
    result[where] = as_hu(hu * (1.0 - soft) + (fat + grain) * soft)
    # What was filled with fat bears no label, be it a speck beside the kidney.
    labels[where][mask] = 0
    return replace(case, hu=result, labels=labels)


def fine_detail_sd(hu: Field, mask: NDArray[np.bool_]) -> float:
    """Sd of what is finer than two voxels in the mask, robust against edges: noise."""
    detail = (hu - smoothed(hu, 1.0))[mask]
    return float(np.median(np.abs(detail)) * 1.4826)
