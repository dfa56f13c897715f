"""Tumors and cysts of real shape grown into real kidneys: set on a kidney's surface, blended into the scan, and labelled. Arrays are z, y, x."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.geometry import Slices
from Training.cases import KIDNEY, TUMOR, Case, as_hu
from Training.lesion_shapes import Field, Shape, turned
from Training.lesion_tissue import KIND_WEIGHTS, KINDS, noise_sd, sigmoid, smooth_noise, tumor_hu

CYST = 3
EDGE_MM = 0.7
FEWEST_SEEDS, FEWEST_VOXELS = 200, 30
# At least this share of a lesion replaces kidney; the rest bulges out of it.
LEAST_IN_KIDNEY = 0.04
GAS_HU, BONE_HU = -250.0, 300.0
SPARED_MM = 1.0
UNKNOWN_KIDNEY_HU = 40.0


def grow(case: Case, shape: Shape, diameter_mm: float, label: int, rng: np.random.Generator) -> Case | None:
    """The case with one more lesion on a kidney, or None where it did not fit. The case given stays as it is.

    `label` TUMOR makes a tumor (label 2), CYST a simple cyst, which counts as kidney (label 1) as in KiTS19. Bone and gas are spared.
    """
    kidney = case.labels == KIDNEY
    seeds = np.argwhere(kidney & ~ndimage.binary_erosion(kidney))
    if len(seeds) < FEWEST_SEEDS:
        return None
    distance = turned(shape, case.spacing_mm, diameter_mm, rng)
    seed = seeds[rng.integers(len(seeds))]
    center = np.rint(seed + outward(kidney, seed) * rng.uniform(-0.45, 0.35) * diameter_mm / case.spacing_mm).astype(np.int64)
    fit = place(case, distance, center)
    if fit is None:
        return None
    into, part = fit
    return implanted(case, into, distance[part], label, rng)


def outward(kidney: NDArray[np.bool_], seed: NDArray[np.int64]) -> NDArray[np.float64]:
    """The direction (z, y, x) out of the kidney at a voxel of its surface, of length 1 (0 where the kidney lies evenly around it)."""
    near = tuple(slice(max(0, int(index) - 8), int(index) + 9) for index in seed)
    inside = np.argwhere(kidney[near]).mean(axis=0) + [item.start for item in near]
    return np.asarray((seed - inside) / max(float(np.linalg.norm(seed - inside)), 1e-3))


def place(case: Case, distance: Field, center: NDArray[np.int64]) -> tuple[Slices, Slices] | None:
    """Where the lesion's array goes in the case, and which part of it; None when it would mostly lie outside the scan."""
    half = distance.shape[0] // 2
    into, part = [], []
    for axis in range(3):
        low, high = int(center[axis]) - half, int(center[axis]) + half + 1
        start, stop = max(0, low), min(case.hu.shape[axis], high)
        if stop - start < half:
            return None
        into.append(slice(start, stop))
        part.append(slice(start - low, stop - low))
    return (into[0], into[1], into[2]), (part[0], part[1], part[2])


def implanted(case: Case, into: Slices, distance: Field, label: int, rng: np.random.Generator) -> Case | None:
    """The case with a lesion of that signed distance (mm) written at `into`, or None where it would touch a tumor or hardly a kidney."""
    hu, labels = case.hu[into].astype(np.float32), case.labels[into]
    spared = bone_and_gas(hu, labels)
    distance = np.where(spared, np.maximum(distance, SPARED_MM), distance)
    body = distance < 0.0
    if not fits(body, labels):
        return None
    tissue = tissue_of(label, distance, case.spacing_mm, kidney_hu_of(hu, labels), rng)
    grain = smooth_noise(distance.shape, rng.uniform(0.4, 0.9), rng) * noise_sd(case.hu[into], labels > 0)
    share = np.where(spared, 0.0, sigmoid(-distance / rng.uniform(0.4, 1.3) / EDGE_MM * 2.0))
    result, new_labels = case.hu.copy(), case.labels.copy()
    result[into] = as_hu(hu * (1.0 - share) + (tissue + grain) * share)
    new_labels[into] = np.where(body, TUMOR if label == TUMOR else KIDNEY, labels)
    return replace(case, hu=result, labels=new_labels)


def bone_and_gas(hu: Field, labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """What no lesion grows into, and a voxel around it; specks of noise are neither."""
    hard = ((hu < GAS_HU) | (hu > BONE_HU)) & (labels == 0)
    return np.asarray(ndimage.binary_dilation(ndimage.binary_opening(hard), iterations=1))


def fits(body: NDArray[np.bool_], labels: NDArray[np.uint8]) -> bool:
    """Whether a lesion of those voxels is large enough, grows out of a kidney, and leaves other tumors alone."""
    voxels = np.count_nonzero(body)
    in_kidney = np.count_nonzero(body & (labels == KIDNEY))
    return bool(voxels >= FEWEST_VOXELS and in_kidney >= LEAST_IN_KIDNEY * voxels and not (body & (labels == TUMOR)).any())


def kidney_hu_of(hu: Field, labels: NDArray[np.uint8]) -> float:
    """The kidney's usual HU."""
    kidney = labels == KIDNEY
    return float(np.median(hu[kidney])) if kidney.any() else UNKNOWN_KIDNEY_HU


def tissue_of(label: int, distance: Field, spacing_mm: float, kidney_hu: float, rng: np.random.Generator) -> Field:
    """HU of a cyst's fluid, or of a tumor of a kind drawn as often as it is seen."""
    if label == CYST:
        return np.full(distance.shape, rng.uniform(-2.0, 22.0), dtype=np.float32)
    return tumor_hu(str(rng.choice(KINDS, p=KIND_WEIGHTS)), distance, spacing_mm, kidney_hu, rng)
