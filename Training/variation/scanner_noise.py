"""Noise as filtered back projection leaves it: little power at low frequencies, correlated over 1 to 3 voxels, streaky where the body is wide.

Noise of a ray's logarithm grows with the exponential of the attenuation along it (Beer and Lambert). Back projection spreads each ray's noise
over the ray, and by the central-slice theorem it has its power at the frequencies perpendicular to it: rays from side to side through
shoulders, hips and spine, which are the longest, make streaks from side to side. The ramp filter makes power rise with the frequency in the
slice's plane until the kernel cuts it off (Riederer, Pelc and Chesler 1978); along z it is white, smoothed by the slice's thickness.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from Training.cases import AIR_HU, Case
from Training.variation.projections import Projector
from Training.variation.scan_filters import as_stored, as_tensor, coarse_factor, expanded, shrunk

TILE = 96
# Rays within this angle of the left-right axis make the streaks.
WEDGE_DEGREES = 35.0
# Attenuation of water at a CT's mean energy of about 70 keV.
WATER_PER_MM = 0.02


@dataclass(frozen=True)
class Spectrum:
    """The power spectrum's form; frequencies in cycles per voxel, 0.5 is the highest there is.

    Attributes:
        cutoff: where the reconstruction kernel ends, in the slice's plane; about 0.2 is soft, 0.5 sharp.
        floor: power at frequency 0 as a fraction of the ramp's at the cutoff.
        slice_sigma_voxels: sd of the smoothing along z.
    """

    cutoff: float = 0.35
    floor: float = 0.15
    slice_sigma_voxels: float = 0.5

    def power(self, size: int = TILE) -> NDArray[np.float64]:
        """Power (z, y, x) on the frequencies of a real FFT of a cube of that size."""
        z, y, x = np.fft.fftfreq(size), np.fft.fftfreq(size), np.fft.rfftfreq(size)
        radius = np.hypot(y[:, None], x[None, :])
        plane = (self.floor * self.cutoff + radius) * np.exp(-((radius / self.cutoff) ** 2) * 2.0)
        return np.asarray(np.exp(-((2.0 * np.pi * z * self.slice_sigma_voxels) ** 2))[:, None, None] * plane)


def wedge(size: int = TILE) -> NDArray[np.bool_]:
    """Frequencies (y, x of a real FFT) that belong to rays near the left-right axis: those that point up and down (anterior-posterior)."""
    y, x = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    return np.asarray(np.abs(x)[None, :] <= np.tan(np.radians(WEDGE_DEGREES)) * np.abs(y)[:, None])


def noise_tiles(spectrum: Spectrum, rng: np.random.Generator, size: int = TILE) -> tuple[Tensor, Tensor]:
    """Two periodic cubes of noise: of the rays near the left-right axis, and of the others. Each has sd 1."""
    white = np.fft.rfftn(rng.standard_normal((size,) * 3, dtype=np.float32))
    shaped = white * np.sqrt(spectrum.power(size))
    near = wedge(size)
    tiles = [np.fft.irfftn(shaped * part, s=(size,) * 3, axes=(0, 1, 2)).astype(np.float32) for part in (near, ~near)]
    return torch.from_numpy(tiles[0] / tiles[0].std()), torch.from_numpy(tiles[1] / tiles[1].std())


def repeated(tile: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A periodic cube laid out over a scan."""
    times = [-(-length // size) for length, size in zip(shape, tile.shape, strict=True)]
    return tile.repeat(times)[: shape[0], : shape[1], : shape[2]]


def noise_sds(hu: Tensor, spacing_mm: float, strength: float) -> tuple[Tensor, Tensor]:
    """Relative sd on coarse voxels of the noise from rays near the left-right axis, and from the others; over the body their power averages 1.

    `strength` is how much of the attenuation arrives in the noise: 1 without, less with a tube current that follows the patient.
    """
    projector = Projector(hu.shape[1:], spacing_mm)
    attenuation = projector.project((hu + 1000.0).clamp(0.0, 2500.0) / 1000.0)
    power = np.exp(np.minimum(strength * attenuation * WATER_PER_MM, 6.0))
    near = np.abs(np.cos(projector.angles)) > np.cos(np.radians(WEDGE_DEGREES))
    sides, others = (projector.spread(power * part[:, None, None]) for part in (near, ~near))
    total = torch.sqrt((sides + others)[hu > -500.0].mean()) if bool((hu > -500.0).any()) else torch.sqrt((sides + others).mean())
    return torch.sqrt(sides) / total, torch.sqrt(others) / total


def with_noise(case: Case, sd_hu: float, rng: np.random.Generator, spectrum: Spectrum | None = None, strength: float = 0.6) -> Case:
    """The case with more noise, of that sd on average over the body. It is there in the air around the patient too."""
    if sd_hu <= 0.0:
        return case
    tiles = noise_tiles(spectrum or Spectrum(), rng)
    hu = as_tensor(case.hu)
    factor = coarse_factor(case.spacing_mm)
    maps = noise_sds(shrunk(hu, factor), case.spacing_mm * factor, strength)
    for tile, sd in zip(tiles, maps, strict=True):
        hu.addcmul_(repeated(tile, case.hu.shape), expanded(sd, factor, case.hu.shape), value=sd_hu)
    return replace(case, hu=np.where(case.hu > AIR_HU, as_stored(hu), case.hu))
