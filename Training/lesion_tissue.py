"""What lesions are made of: HU by kind of tumor, with the texture and the noise of the scan around them. Arrays are z, y, x.

What is known of renal masses in CT fixes the ranges: clear cell 80 to 200 HU and heterogeneous in the arterial phase, papillary 40 to 70,
chromophobe between, cysts 0 to 20, fat below -20.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]
KINDS = ("clear_cell", "papillary", "chromophobe", "oncocytoma", "cystic", "fatty")
KIND_WEIGHTS = (0.45, 0.15, 0.15, 0.1, 0.1, 0.05)
# Kidneys darker than this (HU) were scanned without contrast medium.
UNENHANCED_HU = 70.0
# Mean of the solid tissue as a fraction of the kidney's, and its standard deviation in HU.
MEAN_FRACTION = {"clear_cell": (0.55, 1.05), "papillary": (0.25, 0.5), "chromophobe": (0.4, 0.75), "oncocytoma": (0.65, 1.1)}
OTHER_MEAN_FRACTION = (0.35, 0.8)
SPREAD_HU = {"clear_cell": (10.0, 40.0), "oncocytoma": (6.0, 20.0)}
OTHER_SPREAD_HU = (3.0, 14.0)
SOLID_HU = (25.0, 220.0)


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
    if kidney_hu < UNENHANCED_HU:
        return float(rng.uniform(18.0, 48.0)), float(rng.uniform(2.0, 8.0))
    fraction = rng.uniform(*MEAN_FRACTION.get(kind, OTHER_MEAN_FRACTION))
    return float(np.clip(kidney_hu * fraction, *SOLID_HU)), float(rng.uniform(*SPREAD_HU.get(kind, OTHER_SPREAD_HU)))


def tumor_hu(kind: str, distance: Field, spacing_mm: float, kidney_hu: float, rng: np.random.Generator) -> Field:
    """HU of a tumor's tissue where `distance` (mm) is negative."""
    mean, spread = solid_hu(kind, kidney_hu, rng)
    hu = mean + spread * mixed_texture(distance.shape, spacing_mm, rng)
    depth = np.maximum(-distance, 0.0)
    pattern = smooth_noise(distance.shape, rng.uniform(3.0, 9.0) / spacing_mm, rng)
    if kind == "clear_cell":
        return with_necrosis(hu, depth, pattern, rng)
    if kind == "oncocytoma":
        scar = sigmoid((relative(depth) - 0.75 + 0.2 * pattern) * 16.0)
        return mixed(hu, scar, rng.uniform(20.0, 50.0))
    if kind == "cystic":
        return with_fluid(hu, depth, pattern, rng)
    if kind == "fatty":
        fat = sigmoid((pattern - rng.uniform(-0.6, 0.4)) * 5.0)
        return mixed(hu, fat, rng.uniform(-100.0, -50.0))
    return hu


def with_necrosis(hu: Field, depth: Field, pattern: Field, rng: np.random.Generator) -> Field:
    """Three of four clear cell tumors that are not small have died off in the middle."""
    if float(depth.max()) <= 8.0 or rng.random() >= 0.75:
        return hu
    necrosis = sigmoid((relative(depth) - rng.uniform(0.35, 0.75) + 0.25 * pattern) * 12.0)
    return mixed(hu, necrosis, rng.uniform(5.0, 35.0))


def with_fluid(hu: Field, depth: Field, pattern: Field, rng: np.random.Generator) -> Field:
    """Fluid within a solid wall, divided by septa."""
    wall = sigmoid((rng.uniform(1.5, 4.0) - depth) * 1.5)
    septa = sigmoid((rng.uniform(0.1, 0.3) - np.abs(pattern)) * 14.0)
    solid = np.maximum(wall, septa * np.float32(rng.uniform(0.4, 1.0)))
    return mixed(hu, 1.0 - solid, rng.uniform(5.0, 25.0))


def relative(depth: Field) -> Field:
    """Depth (mm) as a fraction of the deepest."""
    return np.asarray(depth / max(float(depth.max()), 1.0), dtype=np.float32)


def mixed(hu: Field, share: Field, other_hu: float) -> Field:
    """HU of tissue of which that share (0 to 1) is something of `other_hu`."""
    return np.asarray(hu * (1.0 - share) + other_hu * share, dtype=np.float32)


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
