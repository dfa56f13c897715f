"""Random fields that tissue and noise are made of: noise of one length, of many lengths, and grain like that of a scan. Arrays are z, y, x."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Field = NDArray[np.float32]
# A block of this many voxels is large enough for the grain of a scan, and small enough to lie within one organ.
GRAIN_VOXELS = 11
# Grain is made for a cube of this many voxels, which repeats.
TILE_VOXELS = 64
SOFT_TISSUE_HU = (0.0, 220.0)
# Homogeneous blocks: this share of the soft tissue varies least.
HOMOGENEOUS_SHARE = 0.04
FEWEST_BLOCKS = 20
USUAL_GRAIN_HU = 10.0
GRAIN_LIMITS_HU = (2.0, 40.0)


def smooth_noise(size: tuple[int, ...], sigma_voxels: float, rng: np.random.Generator) -> Field:
    """Gaussian noise of that correlation length, mean 0 and standard deviation 1."""
    return standardized(ndimage.gaussian_filter(rng.standard_normal(size, dtype=np.float32), sigma_voxels, mode="wrap"))


def power_noise(size: tuple[int, ...], spacing_mm: float, slope: float, longest_mm: float, rng: np.random.Generator) -> Field:
    """Noise whose power falls with frequency as f^-slope up to wavelengths of `longest_mm`: structures of all sizes; mean 0, sd 1.

    Coordinates of frequency are cycles per mm. It is periodic over the next size that the transform is quick for, not over `size`.
    """
    quick = [int(fft.next_fast_len(length, real=True)) for length in size]
    z, y = (fft.fftfreq(length, spacing_mm).astype(np.float32) for length in quick[:2])
    x = fft.rfftfreq(quick[2], spacing_mm).astype(np.float32)
    squared = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x**2 + np.float32(1.0 / longest_mm) ** 2
    spectrum = fft.rfftn(rng.standard_normal(quick, dtype=np.float32)) * squared ** np.float32(-slope / 4.0)
    return standardized(fft.irfftn(spectrum, s=quick)[tuple(slice(length) for length in size)])


def standardized(field: NDArray[np.floating[Any]]) -> Field:
    """Shifted and scaled to mean 0 and standard deviation 1."""
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), dtype=np.float32)


def sigmoid(values: NDArray[np.floating[Any]]) -> Field:
    """The logistic function, safe against overflow."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0))), dtype=np.float32)


def crisp(field: Field, threshold: float, width_mm: float, spacing_mm: float) -> Field:
    """1 where a field is above the threshold, 0 where below, with borders about `width_mm` wide however steep the field is."""
    # Along an axis, a slope of random direction is half as steep on average.
    steepness = 2.0 * float(np.mean([np.abs(np.diff(field, axis=axis)).mean() for axis in range(3)])) / spacing_mm
    return sigmoid((field - threshold) * 4.0 / max(steepness * width_mm, 1e-6))


def noise_sd(hu: NDArray[np.int16], mask: NDArray[np.bool_]) -> float:
    """Noise of a tissue (HU): the spread of differences between neighbours along z, robust against edges."""
    both = mask[1:] & mask[:-1]
    if both.sum() < 50:
        return USUAL_GRAIN_HU
    difference = np.diff(hu.astype(np.float32), axis=0)[both]
    return float(np.clip(np.median(np.abs(difference)) * 1.4826 / np.sqrt(2.0), *GRAIN_LIMITS_HU))


def scan_grain(hu: Field, size: tuple[int, ...], rng: np.random.Generator) -> Field | None:
    """Noise (HU) with the spectrum and the strength of the scan's own, or None where the scan has no even piece of soft tissue.

    White noise is convolved with one of the scan's most even blocks, its mean removed: the result has that block's power spectrum
    (Galerne, Gousseau, Morel, Random Phase Textures, IEEE Trans. Image Processing 2011).
    """
    block = even_block(hu, rng)
    if block is None:
        return None
    taper = np.sqrt(np.hanning(GRAIN_VOXELS + 2)[1:-1]).astype(np.float32)
    kernel = (block - block.mean()) * taper[:, None, None] * taper[None, :, None] * taper
    tile = [min(length, TILE_VOXELS) for length in size]
    spectrum = fft.rfftn(rng.standard_normal(tile, dtype=np.float32)) * fft.rfftn(kernel - kernel.mean(), s=tile)
    grain = standardized(fft.irfftn(spectrum, s=tile)) * np.float32(np.clip(block.std(), *GRAIN_LIMITS_HU))
    return np.pad(grain, [(0, length - own) for length, own in zip(size, tile, strict=True)], mode="wrap")


def even_block(hu: Field, rng: np.random.Generator) -> Field | None:
    """One of the cubes of soft tissue that vary least; None where there are hardly any."""
    if min(hu.shape) < 2 * GRAIN_VOXELS:
        return None
    half = GRAIN_VOXELS // 2
    inner = (slice(half, -half, 3),) * 3
    mean = ndimage.uniform_filter(hu, GRAIN_VOXELS)[inner]
    variance = ndimage.uniform_filter(hu * hu, GRAIN_VOXELS)[inner] - mean * mean
    soft = (mean > SOFT_TISSUE_HU[0]) & (mean < SOFT_TISSUE_HU[1]) & (variance > 1.0)
    places = np.argwhere(soft)
    if len(places) < FEWEST_BLOCKS:
        return None
    order = np.argsort(variance[soft])[: max(FEWEST_BLOCKS // 2, int(HOMOGENEOUS_SHARE * len(places)))]
    z, y, x = 3 * places[rng.choice(order)]
    block = hu[z : z + GRAIN_VOXELS, y : y + GRAIN_VOXELS, x : x + GRAIN_VOXELS]
    return np.asarray(block, dtype=np.float32)
