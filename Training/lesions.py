"""Tumors and cysts of real shape grown into real kidneys.

A lesion is a signed distance map (mm, negative inside) taken from a real patient's label map, turned, scaled, and set on a kidney's
surface; its tissue is drawn by kind. What is known of renal masses in CT fixes the ranges: clear cell 80 to 200 HU and heterogeneous in
the arterial phase, papillary 40 to 70, chromophobe between, cysts 0 to 20, fat below -20.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.volume import read_label_map
from Training.cases import Case, around

KINDS = ("clear_cell", "papillary", "chromophobe", "oncocytoma", "cystic", "fatty")
KIND_WEIGHTS = (0.45, 0.15, 0.15, 0.1, 0.1, 0.05)
TUMOR, CYST = 2, 3
EDGE_MM = 0.7
Field = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """A lesion's form: signed distance (z, y, x) in mm, negative inside, on 1 mm voxels."""

    source: str
    distance_mm: Field
    diameter_mm: float


def shapes_of(path: Path, label: int, spacing_mm: float, smallest_ml: float = 0.3) -> list[Shape]:
    """The connected lesions of one label map with 1 mm voxels."""
    mask = read_label_map(path).in_lps_order().voxels == label
    parts, _ = ndimage.label(mask)
    shapes = []
    for index, place in enumerate(ndimage.find_objects(parts), start=1):
        part = parts[place] == index
        ml = part.sum() * spacing_mm**3 / 1000.0
        if ml < smallest_ml:
            continue
        padded = np.pad(part, 6)
        distance = ndimage.distance_transform_edt(~padded) - ndimage.distance_transform_edt(padded)
        smooth = ndimage.gaussian_filter(distance.astype(np.float32) * spacing_mm, 0.7)
        diameter = 2.0 * (3.0 * ml * 1000.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
        shapes.append(Shape(f"{path.name.split('.')[0]}:{label}:{index}", smooth, float(diameter)))
    return shapes


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A uniformly distributed rotation or reflection, 3 x 3."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.asarray(q * np.sign(np.diag(r)))


def turned(shape: Shape, spacing_mm: float, diameter_mm: float, rng: np.random.Generator) -> Field:
    """The shape's signed distance (mm) on cubic voxels, turned at random and scaled to about that diameter; its middle is the middle."""
    scale = diameter_mm / shape.diameter_mm
    reach = float(np.linalg.norm(shape.distance_mm.shape)) / 2.0 * scale
    half = int(np.ceil(min(reach, 1.2 * diameter_mm) / spacing_mm)) + 2
    size = 2 * half + 1
    matrix = random_rotation(rng) * spacing_mm / scale
    offset = (np.array(shape.distance_mm.shape) - 1) / 2.0 - matrix @ np.full(3, half)
    distance = ndimage.affine_transform(shape.distance_mm, matrix, offset, output_shape=(size,) * 3, order=1, mode="constant", cval=12.0)
    return np.asarray(distance * scale, dtype=np.float32)


def smooth_noise(size: tuple[int, ...], sigma_voxels: float, rng: np.random.Generator) -> Field:
    """Gaussian noise of that correlation length, mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(size, dtype=np.float32), sigma_voxels, mode="wrap")
    return np.asarray((noise - noise.mean()) / max(float(noise.std()), 1e-6), dtype=np.float32)


def mixed_texture(size: tuple[int, ...], spacing_mm: float, rng: np.random.Generator) -> Field:
    """Noise of several lengths between 1.5 and 10 mm, standard deviation about 1."""
    lengths = rng.uniform(1.5, 10.0, size=3) / spacing_mm / 2.0
    weights = rng.dirichlet(np.ones(3))
    total = sum(np.sqrt(weight) * smooth_noise(size, length, rng) for weight, length in zip(weights, lengths, strict=True))
    return np.asarray(total, dtype=np.float32)


def solid_hu(kind: str, kidney_hu: float, rng: np.random.Generator) -> tuple[float, float]:
    """Mean HU and heterogeneity (sd, HU) of a kind's solid tissue in a scan whose kidneys have that mean."""
    if kidney_hu < 70.0:
        return float(rng.uniform(18.0, 48.0)), float(rng.uniform(2.0, 8.0))
    ranges = {"clear_cell": (0.55, 1.05), "papillary": (0.25, 0.5), "chromophobe": (0.4, 0.75), "oncocytoma": (0.65, 1.1)}
    low, high = ranges.get(kind, (0.35, 0.8))
    spread = {"clear_cell": (10.0, 40.0), "oncocytoma": (6.0, 20.0)}.get(kind, (3.0, 14.0))
    return float(np.clip(kidney_hu * rng.uniform(low, high), 25.0, 220.0)), float(rng.uniform(*spread))


def tumor_hu(kind: str, distance: Field, spacing_mm: float, kidney_hu: float, rng: np.random.Generator) -> Field:
    """HU of a tumor's tissue where `distance` (mm) is negative."""
    mean, spread = solid_hu(kind, kidney_hu, rng)
    hu = mean + spread * mixed_texture(distance.shape, spacing_mm, rng)
    depth = np.maximum(-distance, 0.0)
    deepest = max(float(depth.max()), 1.0)
    pattern = smooth_noise(distance.shape, rng.uniform(3.0, 9.0) / spacing_mm, rng)
    if kind == "clear_cell" and deepest > 8.0 and rng.random() < 0.75:
        necrosis = sigmoid((depth / deepest - rng.uniform(0.35, 0.75) + 0.25 * pattern) * 12.0)
        hu = hu * (1.0 - necrosis) + rng.uniform(5.0, 35.0) * necrosis
    elif kind == "oncocytoma":
        scar = sigmoid((depth / deepest - 0.75 + 0.2 * pattern) * 16.0)
        hu = hu * (1.0 - scar) + rng.uniform(20.0, 50.0) * scar
    elif kind == "cystic":
        wall = sigmoid((rng.uniform(1.5, 4.0) - depth) * 1.5)
        septa = sigmoid((rng.uniform(0.1, 0.3) - np.abs(pattern)) * 14.0)
        solid = np.maximum(wall, septa * rng.uniform(0.4, 1.0))
        hu = hu * solid + (1.0 - solid) * rng.uniform(5.0, 25.0)
    elif kind == "fatty":
        fat = sigmoid((pattern - rng.uniform(-0.6, 0.4)) * 5.0)
        hu = hu * (1.0 - fat) + rng.uniform(-100.0, -50.0) * fat
    return np.asarray(hu, dtype=np.float32)


def sigmoid(values: NDArray[np.floating[Any]]) -> Field:
    """The logistic function, safe against overflow."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0))), dtype=np.float32)


def noise_sd(hu: NDArray[np.int16], mask: NDArray[np.bool_]) -> float:
    """Noise of a tissue (HU): the spread of differences between neighbours along z, robust against edges."""
    both = mask[1:] & mask[:-1]
    if both.sum() < 50:
        return 10.0
    difference = np.diff(hu.astype(np.float32), axis=0)[both]
    return float(np.clip(np.median(np.abs(difference)) * 1.4826 / np.sqrt(2.0), 2.0, 40.0))


def place(case: Case, distance: Field, center: NDArray[np.int64]) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
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
    return tuple(into), tuple(part)


def grow(case: Case, shape: Shape, diameter_mm: float, label: int, rng: np.random.Generator) -> Case | None:
    """The case with one more lesion on a kidney, or None where it did not fit.

    `label` TUMOR makes a tumor (label 2), CYST a simple cyst, which counts as kidney (label 1) as in KiTS19. Bone and gas are spared.
    """
    kidney = case.labels == 1
    seeds = np.argwhere(kidney & ~ndimage.binary_erosion(kidney))
    if len(seeds) < 200:
        return None
    distance = turned(shape, case.spacing_mm, diameter_mm, rng)
    seed = seeds[rng.integers(len(seeds))]
    near = tuple(slice(max(0, int(s) - 8), int(s) + 9) for s in seed)
    inside = np.argwhere(kidney[near]).mean(axis=0) + [item.start for item in near]
    outward = (seed - inside) / max(float(np.linalg.norm(seed - inside)), 1e-3)
    center = np.rint(seed + outward * rng.uniform(-0.45, 0.35) * diameter_mm / case.spacing_mm).astype(np.int64)
    fit = place(case, distance, center)
    if fit is None:
        return None
    into, part = fit
    return implanted(case, into, distance[part], label, rng)


def implanted(case: Case, into: tuple[slice, ...], distance: Field, label: int, rng: np.random.Generator) -> Case | None:
    """The case with a lesion of that signed distance (mm) written at `into`, or None where little of it would touch soft tissue."""
    hu = case.hu[into].astype(np.float32)
    labels = case.labels[into]
    kidney = labels == 1
    spared = ((hu < -250.0) | (hu > 300.0)) & (labels == 0)
    spared = ndimage.binary_dilation(ndimage.binary_opening(spared), iterations=1)
    distance = np.where(spared, np.maximum(distance, 1.0), distance)
    body = distance < 0.0
    if body.sum() < 30 or (body & kidney).sum() < 0.04 * body.sum() or (spared & body).any():
        return None
    if (body & (labels == 2)).any():
        return None
    kidney_hu = float(np.median(hu[kidney])) if kidney.any() else 40.0
    if label == CYST:
        tissue = np.full(distance.shape, rng.uniform(-2.0, 22.0), dtype=np.float32)
    else:
        kind = str(rng.choice(KINDS, p=KIND_WEIGHTS))
        tissue = tumor_hu(kind, distance, case.spacing_mm, kidney_hu, rng)
    grain = smooth_noise(distance.shape, rng.uniform(0.4, 0.9), rng) * noise_sd(case.hu[into], labels > 0)
    alpha = sigmoid(-distance / rng.uniform(0.4, 1.3) / EDGE_MM * 2.0)
    result = case.hu.copy()
    result[into] = np.clip(np.rint(hu * (1.0 - alpha) + (tissue + grain) * alpha), -1024, 3071).astype(np.int16)
    new_labels = case.labels.copy()
    new_labels[into] = np.where(body, TUMOR if label == TUMOR else 1, labels)
    return Case(case.name, result, new_labels, case.spacing_mm)


def recontrasted(case: Case, rng: np.random.Generator) -> Case:
    """The case with its kidneys in another contrast phase: their parenchyma shifted, cortex and medulla set apart by depth."""
    kidney = case.labels == 1
    if not kidney.any():
        return case
    where = around(kidney, 4)
    mask, hu = kidney[where], case.hu[where].astype(np.float32)
    now = float(np.median(hu[mask]))
    target = float(rng.uniform(25.0, 45.0) if rng.random() < 0.3 else rng.uniform(70.0, 220.0))
    depth = ndimage.distance_transform_edt(mask).astype(np.float32) * case.spacing_mm
    medulla = sigmoid((depth - rng.uniform(5.0, 9.0) + 2.0 * smooth_noise(mask.shape, 4.0 / case.spacing_mm, rng)) * 1.2)
    phase = float(rng.uniform(-70.0, 30.0)) * (target > 60.0)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.6)
    # Sinus fat, stones and calyces inside the outline keep their own HU: only tissue near the parenchyma's is shifted.
    tissue = np.exp(-(((hu - now) / 70.0) ** 2))
    shift = (target - now + phase * medulla) * soft * tissue
    result = case.hu.copy()
    result[where] = np.clip(np.rint(hu + shift), -1024, 3071).astype(np.int16)
    return Case(case.name, result, case.labels, case.spacing_mm)


def without_kidney(case: Case, rng: np.random.Generator) -> Case:
    """The case after a nephrectomy on one side: that kidney's place is filled with fat."""
    parts, count = ndimage.label(case.labels > 0)
    if count < 1:
        return case
    sizes = np.bincount(parts.ravel())[1:]
    chosen = parts == 1 + int(rng.choice(np.argsort(sizes)[-2:]))
    where = around(chosen, 6)
    mask = ndimage.binary_dilation(chosen[where], iterations=2)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 1.0)
    fat = rng.uniform(-110.0, -85.0) + 12.0 * mixed_texture(mask.shape, case.spacing_mm, rng)
    result, labels = case.hu.copy(), case.labels.copy()
    result[where] = np.rint(case.hu[where] * (1.0 - soft) + fat * soft).astype(np.int16)
    labels[chosen] = 0
    return Case(case.name, result, labels, case.spacing_mm)
