"""What tumors do to the fat around them: strands, and vessels that feed them. Arrays are z, y, x."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from Training.lesion.lesion_texture import Field, power_noise, sigmoid

STRANDS_MM, VESSELS_MM = 8.0, 14.0


def with_stranding(hu: Field, distance: Field, fat: NDArray[np.bool_], spacing_mm: float, rng: np.random.Generator) -> Field:
    """Thin sheets of water and fibres in the fat, fading with the distance (mm) from the tumor."""
    share = sigmoid((float(rng.uniform(0.4, 0.9)) - sheets_mm(hu.shape, spacing_mm, rng)) * 3.0)
    return added(hu, share * np.exp(-np.maximum(distance, 0.0) / STRANDS_MM) * float(rng.uniform(30.0, 90.0)), fat, spacing_mm)


def with_vessels(hu: Field, distance: Field, fat: NDArray[np.bool_], spacing_mm: float, kidney_hu: float, rng: np.random.Generator) -> Field:
    """Vessels as bright as the kidney, 1 to 2.5 mm across: the lines where two sheets meet."""
    radius_mm = np.hypot(sheets_mm(hu.shape, spacing_mm, rng), sheets_mm(hu.shape, spacing_mm, rng))
    share = sigmoid((float(rng.uniform(0.8, 2.0)) - radius_mm) * 2.0) * sigmoid(VESSELS_MM - distance)
    return added(hu, share * (max(kidney_hu, 40.0) + 90.0), fat, spacing_mm)


def sheets_mm(size: tuple[int, ...], spacing_mm: float, rng: np.random.Generator) -> Field:
    """About the distance (mm) from a set of curved sheets. They are smooth: half the resolution is enough to make them."""
    coarse = power_noise(tuple(length // 2 + 1 for length in size), 2.0 * spacing_mm, 7.0, 40.0, rng)
    steepness = np.sqrt(sum(np.mean(along**2) for along in np.gradient(coarse))) / (2.0 * spacing_mm)
    fine = functional.interpolate(torch.from_numpy(coarse)[None, None], size=size, mode="trilinear")[0, 0].numpy()
    return np.asarray(np.abs(fine) / np.float32(max(float(steepness), 1e-6)), dtype=np.float32)


def added(hu: Field, more: Field, fat: NDArray[np.bool_], spacing_mm: float) -> Field:
    """HU with something added in fat, its borders soft."""
    soft = ndimage.gaussian_filter(fat.astype(np.float32), 0.7 / spacing_mm)
    return np.asarray(hu + more * soft * fat, dtype=np.float32)
