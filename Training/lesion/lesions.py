"""Tumors and cysts of real shape grown into real kidneys: they push their surroundings aside, have the scan's grain, and are labelled.

Arrays are z, y, x.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.geometry import Slices
from Training.cases import KIDNEY, TUMOR, Case, around, as_hu
from Training.lesion.lesion_displacement import REACH_RADII, displacement, lost_noise, pushed
from Training.lesion.lesion_shapes import FAR_MM, Field, Shape, turned
from Training.lesion.lesion_surroundings import with_stranding, with_vessels
from Training.lesion.lesion_texture import noise_sd, scan_grain, sigmoid, smooth_noise
from Training.lesion.lesion_tissue import KIND_WEIGHTS, KINDS, tumor_hu

CYST = 3
EDGE_MM = 0.7
FEWEST_SEEDS, FEWEST_VOXELS = 200, 30
# At least this share of a lesion replaces kidney; the rest bulges out of it.
LEAST_IN_KIDNEY = 0.04
GAS_HU, BONE_HU = -250.0, 300.0
FAT_HU, DARKEST_FAT_HU = -30.0, -160.0
SPARED_MM = 1.0
UNKNOWN_KIDNEY_HU = 40.0
# The best of so many places is taken: masses grow into fat rather than into muscle, and not into bone at all.
PLACES = 5
MOST_HARD, MOST_IN_WALL = 0.03, 0.1
# Holes of gas in a tumor are never seen.
GAS_WEIGHT = 20.0
WALL_MM = 9.0
# How far outside of the kidney's surface a lesion's middle lies, in diameters: most bulge out of it.
OUTWARD = (-0.22, 0.45)
STRANDING_SHARE, VESSEL_SHARE, CAPSULE_SHARE = 0.2, 0.15, 0.25


@dataclass(frozen=True)
class Grown:
    """A case with one more lesion.

    Attributes:
        case: the new case.
        kind: one of KINDS, or "cyst".
        contrast_hu: its mean HU less the kidney's median before it grew.
    """

    case: Case
    kind: str
    contrast_hu: float


def grow(case: Case, shape: Shape, diameter_mm: float, label: int, rng: np.random.Generator) -> Case | None:
    """The case with one more lesion on a kidney, or None where it did not fit. The case given stays as it is.

    `label` TUMOR makes a tumor (label 2), CYST a simple cyst, which counts as kidney (label 1) as in KiTS19. Bone and gas are spared.
    """
    grown = grow_described(case, shape, diameter_mm, label, rng)
    return None if grown is None else grown.case


def grow_described(case: Case, shape: Shape, diameter_mm: float, label: int, rng: np.random.Generator) -> Grown | None:
    """As `grow`, with what has grown."""
    kidney = case.labels == KIDNEY
    seeds = surface_of(kidney)
    if len(seeds) < FEWEST_SEEDS:
        return None
    distance = turned(shape, case.spacing_mm, diameter_mm, rng)
    center = best_center(case, distance, [center_from(seeds, kidney, diameter_mm / case.spacing_mm, rng) for _ in range(PLACES)])
    if center is None:
        return None
    distance = with_margin(distance, int(np.ceil(REACH_RADII * diameter_mm / 2.0 / case.spacing_mm)))
    fit = place(case, distance, center)
    if fit is None:
        return None
    into, part = fit
    return implanted_described(case, into, distance[part], label, rng)


def surface_of(kidney: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The voxels (n; z, y, x) of a mask that touch something else."""
    if not kidney.any():
        return np.empty((0, 3), dtype=np.int64)
    box = around(kidney, 1)
    return np.asarray(np.argwhere(kidney[box] & ~ndimage.binary_erosion(kidney[box])) + [side.start for side in box], dtype=np.int64)


def center_from(seeds: NDArray[np.int64], kidney: NDArray[np.bool_], diameter: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """The middle of a lesion of that diameter (voxels) on a kidney's surface: between deep in the kidney and mostly outside."""
    seed = seeds[rng.integers(len(seeds))]
    return np.asarray(np.rint(seed + outward(kidney, seed) * rng.uniform(*OUTWARD) * diameter), dtype=np.int64)


def outward(kidney: NDArray[np.bool_], seed: NDArray[np.int64]) -> NDArray[np.float64]:
    """The direction (z, y, x) out of the kidney at a voxel of its surface, of length 1 (0 where the kidney lies evenly around it)."""
    near = tuple(slice(max(0, int(index) - 8), int(index) + 9) for index in seed)
    inside = np.argwhere(kidney[near]).mean(axis=0) + [item.start for item in near]
    return np.asarray((seed - inside) / max(float(np.linalg.norm(seed - inside)), 1e-3))


def best_center(case: Case, distance: Field, centers: list[NDArray[np.int64]]) -> NDArray[np.int64] | None:
    """The place where a lesion covers least of what it could not grow into; None where it would run into bone or gas everywhere."""
    free = [
        (soft, index)
        for index, (soft, hard, wall) in enumerate(obstruction(case, distance, center) for center in centers)
        if hard <= MOST_HARD and wall <= MOST_IN_WALL
    ]
    return centers[min(free)[1]] if free else None


def obstruction(case: Case, distance: Field, center: NDArray[np.int64]) -> tuple[float, float, float]:
    """Share of a lesion that would lie in other soft tissue; in bone or gas; and near bone, which is the wall of the trunk. 1 beyond the scan.

    Looked up on every third voxel.
    """
    fit = place(case, distance, center)
    if fit is None:
        return 1.0, 1.0, 1.0
    into, part = fit
    unlabelled = case.labels[into][::3, ::3, ::3] == 0
    hu = case.hu[into][::3, ::3, ::3]
    other = (distance[part][::3, ::3, ::3] < 0.0) & unlabelled
    bone, gas = (hu > BONE_HU) & unlabelled, hu < GAS_HU
    wall = ndimage.binary_dilation(bone, iterations=max(1, round(WALL_MM / case.spacing_mm / 3.0))) & other & ~gas
    voxels = float(np.count_nonzero(distance[::3, ::3, ::3] < 0.0)) + 1.0
    soft = other & (hu > FAT_HU) & ~bone
    hard = np.count_nonzero(other & bone) + GAS_WEIGHT * np.count_nonzero(other & gas)
    return np.count_nonzero(soft) / voxels, hard / voxels, np.count_nonzero(wall) / voxels


def with_margin(distance: Field, voxels: int) -> Field:
    """A lesion's array cut to the lesion and widened on all sides alike, so that its middle stays the middle."""
    middle = distance.shape[0] // 2
    used = np.argwhere(distance < 2.0)
    half = int(np.abs(used - middle).max()) if len(used) else 0
    inner = slice(middle - half, middle + half + 1)
    return np.pad(distance[inner, inner, inner], voxels, constant_values=FAR_MM)


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


def implanted_described(case: Case, into: Slices, distance: Field, label: int, rng: np.random.Generator) -> Grown | None:
    """The case with a lesion of that signed distance (mm) at `into`, and what has grown; None where it would touch a tumor or hardly a kidney."""
    hu, labels = case.hu[into].astype(np.float32), case.labels[into]
    spared = bone_and_gas(hu, labels)
    distance = np.where(spared, np.maximum(distance, SPARED_MM), distance)
    body = distance < 0.0
    if not fits(body, labels):
        return None
    kidney_hu = kidney_hu_of(hu, labels)
    grain = grain_of(hu, labels, rng)
    around_it, new_labels = make_room(hu, labels, distance, spared, grain, case.spacing_mm, rng)
    if label == TUMOR:
        around_it = surroundings(around_it, distance, spared, case.spacing_mm, kidney_hu, rng)
    kind = "cyst" if label == CYST else str(rng.choice(KINDS, p=KIND_WEIGHTS))
    new_hu = blended(around_it, distance, spared, kind, grain, case.spacing_mm, kidney_hu, rng)
    new_labels[body] = TUMOR if label == TUMOR else KIDNEY
    result, result_labels = case.hu.copy(), case.labels.copy()
    result[into] = np.where(spared, case.hu[into], as_hu(new_hu))
    result_labels[into] = np.where(spared, labels, new_labels)
    return Grown(replace(case, hu=result, labels=result_labels), kind, float(new_hu[body].mean()) - kidney_hu)


def make_room(
    hu: Field, labels: NDArray[np.uint8], distance: Field, spared: NDArray[np.bool_], grain: Field, spacing_mm: float, rng: np.random.Generator
) -> tuple[Field, NDArray[np.uint8]]:
    """HU and labels with what lies around the lesion pushed outwards, its grain as strong as before."""
    inward = displacement(distance, spared, spacing_mm, float(rng.uniform(0.3, 0.95)))
    fields = np.stack([hu, (labels > 0).astype(np.float32), (labels == TUMOR).astype(np.float32)])
    moved, any_label, tumor = pushed(fields, inward)
    new_labels = np.where(tumor > 0.5, TUMOR, np.where(any_label > 0.5, KIDNEY, 0)).astype(np.uint8)
    return moved + np.float32(0.7) * lost_noise(inward) * grain, new_labels


def surroundings(hu: Field, distance: Field, spared: NDArray[np.bool_], spacing_mm: float, kidney_hu: float, rng: np.random.Generator) -> Field:
    """Now and then the fat around a tumor is stranded, or thick vessels run in it."""
    stranded, supplied = rng.random() < STRANDING_SHARE, rng.random() < VESSEL_SHARE
    if not stranded and not supplied:
        return hu
    fat = (hu < FAT_HU) & (hu > DARKEST_FAT_HU) & ~spared
    # The array of a lesion's distances ends a short way beyond it.
    beyond = ndimage.distance_transform_edt(distance > 0.0).astype(np.float32) * spacing_mm
    if stranded:
        hu = with_stranding(hu, beyond, fat, spacing_mm, rng)
    return with_vessels(hu, beyond, fat, spacing_mm, kidney_hu, rng) if supplied else hu


def blended(
    hu: Field, distance: Field, spared: NDArray[np.bool_], kind: str, grain: Field, spacing_mm: float, kidney_hu: float, rng: np.random.Generator
) -> Field:
    """HU with the lesion's tissue written where it is; only its own box is worked on."""
    box = around(distance < 2.0, 1)
    inner = distance[box]
    tissue = tissue_of(kind, inner, spacing_mm, kidney_hu, rng)
    tissue = with_capsule(tissue, inner, kidney_hu, rng) if kind != "cyst" and rng.random() < CAPSULE_SHARE else tissue
    tissue = ndimage.gaussian_filter(tissue, float(rng.uniform(0.4, 0.8)) / spacing_mm)
    share = np.where(spared[box], 0.0, sigmoid(-inner / rng.uniform(0.7, 1.8) / EDGE_MM * 2.0))
    result = hu.copy()
    result[box] = hu[box] * (1.0 - share) + (tissue + grain[box]) * share
    return result


def with_capsule(tissue: Field, distance: Field, kidney_hu: float, rng: np.random.Generator) -> Field:
    """A rim of pressed parenchyma or of fibres, one or two mm thick, brighter or darker than the tumor."""
    rim = np.exp(-(((distance + float(rng.uniform(0.5, 1.5))) / float(rng.uniform(0.8, 1.6))) ** 2)).astype(np.float32)
    target = float(rng.uniform(0.4, 1.1)) * kidney_hu
    return np.asarray(tissue + rim * float(rng.uniform(0.3, 0.9)) * (target - tissue), dtype=np.float32)


def grain_of(hu: Field, labels: NDArray[np.uint8], rng: np.random.Generator) -> Field:
    """Noise (HU) like the scan's, from an even piece of its tissue, or of the strength measured in the kidney."""
    grain = scan_grain(hu, hu.shape, rng)
    if grain is None:
        grain = smooth_noise(hu.shape, rng.uniform(0.4, 0.9), rng) * np.float32(noise_sd(hu.astype(np.int16), labels > 0))
    return grain


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


def tissue_of(kind: str, distance: Field, spacing_mm: float, kidney_hu: float, rng: np.random.Generator) -> Field:
    """HU of a cyst's fluid, or of a tumor of that kind."""
    if kind == "cyst":
        return np.full(distance.shape, rng.uniform(-2.0, 22.0), dtype=np.float32)
    return tumor_hu(kind, distance, spacing_mm, kidney_hu, rng)
