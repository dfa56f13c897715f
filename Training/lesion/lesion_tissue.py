"""What lesions are made of: HU by kind of tumor, with structures as sharp and as irregular as real ones. Arrays are z, y, x.

What is known of renal masses in CT fixes the ranges: clear cell 80 to 200 HU and heterogeneous in the arterial phase, papillary 40 to 70,
chromophobe between, cysts 0 to 20, fat below -20.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from Training.lesion.lesion_texture import Field, crisp, power_noise, sigmoid, standardized

KINDS = ("clear_cell", "papillary", "chromophobe", "oncocytoma", "cystic", "fatty")
KIND_WEIGHTS = (0.5, 0.16, 0.12, 0.08, 0.1, 0.04)
# Kidneys darker than this (HU) were scanned without contrast medium.
UNENHANCED_HU = 70.0
# Mean of the solid tissue as a fraction of the kidney's, and its standard deviation in HU.
MEAN_FRACTION = {"clear_cell": (0.6, 1.1), "papillary": (0.3, 0.6), "chromophobe": (0.5, 0.85), "oncocytoma": (0.7, 1.1)}
OTHER_MEAN_FRACTION = (0.45, 0.85)
SPREAD_HU = {"clear_cell": (14.0, 44.0), "oncocytoma": (8.0, 20.0)}
OTHER_SPREAD_HU = (6.0, 20.0)
SOLID_HU, TISSUE_HU = (25.0, 220.0), (0.0, 250.0)
# Power of real tumors' texture falls with frequency about like this (3 dimensions).
SLOPES = (3.4, 5.0)
LEAST_NECROTIC_DEPTH_MM = 7.0
CALCIFIED_SHARE = 0.05


def solid_hu(kind: str, kidney_hu: float, rng: np.random.Generator) -> tuple[float, float]:
    """Mean HU and heterogeneity (sd, HU) of a kind's solid tissue in a scan whose kidneys have that mean."""
    if kidney_hu < UNENHANCED_HU:
        return float(rng.uniform(18.0, 48.0)), float(rng.uniform(2.0, 8.0))
    fraction = rng.uniform(*MEAN_FRACTION.get(kind, OTHER_MEAN_FRACTION))
    return float(np.clip(kidney_hu * fraction, *SOLID_HU)), float(rng.uniform(*SPREAD_HU.get(kind, OTHER_SPREAD_HU)))


def tumor_hu(kind: str, distance: Field, spacing_mm: float, kidney_hu: float, rng: np.random.Generator) -> Field:
    """HU of a tumor's tissue where `distance` (mm) is negative."""
    mean, spread = solid_hu(kind, kidney_hu, rng)
    depth = np.maximum(-distance, 0.0)
    hu = np.clip(mean + spread * tissue_texture(distance, spacing_mm, rng), *TISSUE_HU)
    if kind == "clear_cell":
        hu = with_necrosis(with_bright_rim(hu, depth, spacing_mm, rng), depth, spacing_mm, rng)
    elif kind == "oncocytoma":
        hu = with_scar(hu, depth, spacing_mm, rng)
    elif kind == "cystic":
        hu = with_fluid(hu, depth, spacing_mm, rng)
    elif kind == "fatty":
        hu = with_fat(hu, spacing_mm, rng)
    elif rng.random() < 0.35:
        hu = with_necrosis(hu, depth, spacing_mm, rng, most=0.3)
    return with_calcifications(hu, depth, spacing_mm, rng) if rng.random() < CALCIFIED_SHARE else hu


def irregular(distance: Field, spacing_mm: float, rng: np.random.Generator, slope: float | None = None) -> Field:
    """A field with structures of all sizes up to about half of the tumor."""
    reach = 2.0 * max(float(-distance.min()), 3.0)
    steep = float(rng.uniform(*SLOPES)) if slope is None else slope
    return power_noise(distance.shape, spacing_mm, steep, reach * float(rng.uniform(0.5, 1.3)), rng)


def tissue_texture(distance: Field, spacing_mm: float, rng: np.random.Generator) -> Field:
    """Even tissue with nodules, divided by strands that are darker or brighter: mean about 0, standard deviation 1 to 1.5."""
    nodules = irregular(distance, spacing_mm, rng)
    strands = standardized(-np.abs(irregular(distance, spacing_mm, rng)))
    strength = float(rng.uniform(-0.8, 0.8))
    return np.asarray(nodules + strength * np.clip(strands, -2.5, 2.5), dtype=np.float32)


def with_bright_rim(hu: Field, depth: Field, spacing_mm: float, rng: np.random.Generator) -> Field:
    """Tumors are best supplied from outside: brighter tissue towards the border, thicker here and thinner there."""
    thickness = float(rng.uniform(2.0, 9.0)) * np.exp(0.5 * irregular(-depth, spacing_mm, rng, slope=5.0))
    gain = float(rng.uniform(0.0, 0.2)) * np.abs(hu.mean())
    return np.asarray(hu + gain * (2.0 * np.exp(-depth / thickness) - 0.7), dtype=np.float32)


def with_necrosis(hu: Field, depth: Field, spacing_mm: float, rng: np.random.Generator, most: float = 0.65) -> Field:
    """Two of three tumors that are not small have died off in part: irregular dark lakes with sharp shores, mostly in the middle."""
    if float(depth.max()) <= LEAST_NECROTIC_DEPTH_MM or rng.random() >= 0.65:
        return hu
    field = relative(depth) * float(rng.uniform(0.0, 3.0)) + irregular(-depth, spacing_mm, rng, slope=float(rng.uniform(4.2, 5.5)))
    share = crisp(field, level(field, depth, float(rng.uniform(0.05, most))), float(rng.uniform(1.5, 5.0)), spacing_mm)
    fluid = float(rng.uniform(4.0, 30.0)) + 4.0 * irregular(-depth, spacing_mm, rng)
    return mixed(hu, share * float(rng.uniform(0.7, 1.0)), fluid)


def with_scar(hu: Field, depth: Field, spacing_mm: float, rng: np.random.Generator) -> Field:
    """A dark star in the middle: strands that run together there."""
    strands = -np.abs(irregular(-depth, spacing_mm, rng, slope=5.0)) + 2.0 * (relative(depth) - 1.0)
    share = crisp(strands, level(strands, depth, float(rng.uniform(0.03, 0.12))), 2.0, spacing_mm)
    return mixed(hu, share, float(rng.uniform(20.0, 60.0)))


def with_fluid(hu: Field, depth: Field, spacing_mm: float, rng: np.random.Generator) -> Field:
    """Fluid within a solid wall that is thicker in places, divided by thin septa."""
    thickness = float(rng.uniform(1.0, 3.0)) * np.exp(0.6 * irregular(-depth, spacing_mm, rng, slope=5.0))
    wall = sigmoid((thickness - depth) * 2.5)
    septa = np.zeros_like(depth)
    for _ in range(int(rng.integers(0, 3))):
        sheet = -np.abs(irregular(-depth, spacing_mm, rng, slope=5.0))
        septa = np.maximum(septa, crisp(sheet, level(sheet, depth, float(rng.uniform(0.05, 0.15))), 1.5, spacing_mm))
    solid = np.maximum(wall, septa * np.float32(rng.uniform(0.3, 0.9)))
    return mixed(hu, 1.0 - solid, float(rng.uniform(2.0, 22.0)))


def with_fat(hu: Field, spacing_mm: float, rng: np.random.Generator) -> Field:
    """Lobes of fat between vessels and muscle (angiomyolipoma)."""
    field = power_noise(hu.shape, spacing_mm, 4.5, 20.0, rng)
    share = crisp(field, float(rng.uniform(-0.8, 0.5)), float(rng.uniform(1.5, 4.0)), spacing_mm)
    return mixed(hu, share, float(rng.uniform(-100.0, -50.0)))


def with_calcifications(hu: Field, depth: Field, spacing_mm: float, rng: np.random.Generator) -> Field:
    """A few specks or flakes of chalk."""
    field = power_noise(hu.shape, spacing_mm, 5.0, 15.0, rng)
    share = crisp(field, level(field, depth, float(rng.uniform(0.0005, 0.004))), 1.5, spacing_mm)
    return mixed(hu, share, float(rng.uniform(200.0, 600.0)))


def level(field: Field, depth: Field, share: float) -> float:
    """The value that a share of the tumor's voxels lies above."""
    inside: NDArray[np.float32] = field[depth > 0.0]
    return float(np.quantile(inside, 1.0 - share)) if inside.size else 0.0


def relative(depth: Field) -> Field:
    """Depth (mm) as a fraction of the deepest."""
    return np.asarray(depth / max(float(depth.max()), 1.0), dtype=np.float32)


def mixed(hu: Field, share: Field, other_hu: float | Field) -> Field:
    """HU of tissue of which that share (0 to 1) is something of `other_hu`."""
    return np.asarray(hu * (1.0 - share) + other_hu * share, dtype=np.float32)
