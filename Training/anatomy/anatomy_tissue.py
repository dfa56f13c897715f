"""HU of every tissue of an anatomy by contrast phase, and the scanner's part: partial volume, slices, noise. Arrays are z, y, x."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from Training.anatomy.anatomy_labels import Tissue

Range = tuple[float, float]
PHASES = ("arterial", "portal", "excretory", "none")
PHASE_ODDS = (0.45, 0.3, 0.07, 0.18)
# HU by phase: late arterial (corticomedullary), portal venous (nephrographic), excretory, no contrast medium.
ENHANCED: dict[str, tuple[Range, Range, Range, Range]] = {
    "aorta": ((180, 380), (120, 190), (90, 130), (34, 48)),
    "cava": ((70, 160), (110, 170), (90, 130), (32, 46)),
    "portal": ((80, 160), (130, 200), (90, 130), (32, 46)),
    "renal_vein": ((120, 210), (130, 190), (90, 130), (32, 46)),
    "hepatic_vein": ((60, 110), (120, 190), (85, 120), (30, 44)),
    "heart": ((120, 260), (100, 160), (85, 120), (32, 46)),
    "liver": ((55, 95), (85, 130), (70, 110), (35, 65)),
    "spleen": ((95, 160), (95, 140), (75, 110), (40, 55)),
    "pancreas": ((70, 125), (70, 110), (55, 90), (25, 45)),
    "adrenal": ((50, 100), (50, 90), (40, 80), (15, 40)),
    "wall": ((55, 110), (60, 110), (50, 80), (25, 45)),
    "muscle": ((48, 68), (50, 72), (48, 68), (42, 60)),
    "cortex": ((130, 240), (125, 210), (95, 150), (24, 42)),
    "medulla": ((65, 150), (115, 200), (95, 160), (24, 42)),
    "urine": ((-5, 20), (-5, 60), (150, 900), (-5, 15)),
    "bladder": ((-5, 20), (-5, 30), (0, 400), (-5, 15)),
}
PLAIN: dict[Tissue, Range] = {
    Tissue.AIR: (-1015, -985),
    Tissue.LUNG: (-890, -700),
    Tissue.SKIN: (-20, 50),
    Tissue.FAT: (-118, -92),
    Tissue.VISCERAL_FAT: (-115, -80),
    Tissue.CORTICAL: (280, 650),
    Tissue.MARROW: (70, 260),
    Tissue.RIB: (250, 600),
    Tissue.FEMUR: (250, 450),
    Tissue.DISC: (60, 120),
    Tissue.CORD: (20, 50),
    Tissue.CARTILAGE: (60, 180),
    Tissue.COUCH: (-600, 200),
    Tissue.FOAM: (-1000, -880),
    Tissue.GAS: (-1000, -900),
    Tissue.GALLBLADDER: (0, 25),
    Tissue.STOOL: (-60, 120),
    Tissue.CYST: (-5, 22),
}
LIKE: dict[Tissue, str] = {
    Tissue.BACK_MUSCLE: "muscle",
    Tissue.STOMACH: "wall",
    Tissue.DUODENUM: "wall",
    Tissue.COLON: "wall",
    Tissue.SMALL_BOWEL: "wall",
    Tissue.RECTUM: "wall",
    Tissue.ESOPHAGUS: "wall",
    Tissue.PELVIS_URINE: "urine",
    Tissue.KIDNEY: "cortex",
    Tissue.TUMOR: "cortex",
}
# How uneven a tissue is (HU, standard deviation) over some mm.
UNEVEN: dict[Tissue, Range] = {
    Tissue.LUNG: (20, 60),
    Tissue.FAT: (2, 7),
    Tissue.VISCERAL_FAT: (3, 14),
    Tissue.MUSCLE: (3, 12),
    Tissue.BACK_MUSCLE: (8, 30),
    Tissue.CORTICAL: (20, 90),
    Tissue.MARROW: (15, 45),
    Tissue.RIB: (30, 90),
    Tissue.STOOL: (20, 160),
    Tissue.FLUID: (0, 20),
    Tissue.PANCREAS: (5, 20),
    Tissue.LIVER: (1, 6),
    Tissue.SPLEEN: (1, 12),
    Tissue.HEART: (2, 15),
}
USUAL_UNEVEN: Range = (1, 8)
STRANGE_PROBABILITY = 0.25
STRANGE_HU = 45.0
ORAL_CONTRAST_PROBABILITY = 0.3


@dataclass(frozen=True)
class Look:
    """The HU of a patient's tissues: mean and unevenness for each number of `Tissue`, and those of the kidneys' parts."""

    phase: str
    mean: NDArray[np.float32]
    uneven: NDArray[np.float32]
    medulla: float
    urine: float

    @property
    def cortex(self) -> float:
        """Of the kidneys."""
        return float(self.mean[Tissue.KIDNEY])


def random_look(rng: np.random.Generator) -> Look:
    """A phase and the tissues' HU in it; in every fourth patient soft tissues stray beyond what is usual."""
    phase = str(rng.choice(PHASES, p=PHASE_ODDS))
    column = PHASES.index(phase)
    # Tissues of one patient lie alike within their ranges: it is the same dose of contrast medium.
    level = float(rng.uniform())
    drawn = {name: between(ranges[column], 0.6 * level + 0.4 * float(rng.uniform())) for name, ranges in ENHANCED.items()}
    mean = np.zeros(len(Tissue), dtype=np.float32)
    for tissue in Tissue:
        mean[tissue] = rng.uniform(*PLAIN[tissue]) if tissue in PLAIN else drawn.get(LIKE.get(tissue, tissue.name.lower()), 30.0)
    mean[Tissue.FLUID] = rng.uniform(120, 600) if rng.random() < ORAL_CONTRAST_PROBABILITY else rng.uniform(-5, 45)
    if rng.random() < STRANGE_PROBABILITY:
        soft = (mean > 0) & (mean < 300)
        mean[soft] = mean[soft] + rng.normal(0.0, STRANGE_HU, size=int(soft.sum())).astype(np.float32)
    uneven = np.array([rng.uniform(*UNEVEN.get(tissue, USUAL_UNEVEN)) for tissue in Tissue], dtype=np.float32)
    return Look(phase, mean, uneven, min(drawn["medulla"], float(mean[Tissue.KIDNEY])), drawn["urine"])


def between(ends: Range, part: float) -> float:
    """The value at that part of a range."""
    return float(ends[0] + part * (ends[1] - ends[0]))


def painted(tissues: NDArray[np.uint8], look: Look, spacing_mm: float, noise: torch.Generator, device: torch.device) -> Tensor:
    """HU (z, y, x, float32) of each tissue with its unevenness."""
    index = torch.from_numpy(tissues).to(device, torch.int32)
    mean, uneven = (torch.from_numpy(values).to(device) for values in (look.mean, look.uneven))
    texture = sum(smooth(tissues.shape, length / spacing_mm, noise, device) for length in (3.0, 8.0)) * 0.7
    return mean[index] + uneven[index] * texture


def smooth(shape: tuple[int, ...], length_voxels: float, noise: torch.Generator, device: torch.device) -> Tensor:
    """Smooth noise, mean 0 and standard deviation about 1."""
    coarse = [max(3, round(size / max(1.0, length_voxels)) + 2) for size in shape]
    values = torch.randn((1, 1, *coarse), generator=noise, device=device)
    return interpolate(values, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0] * 1.8


def blurred(values: Tensor, sigmas_voxels: tuple[float, float, float]) -> Tensor:
    """Gaussian blur (z, y, x); borders repeat."""
    for axis, sigma in enumerate(sigmas_voxels):
        if sigma > 0.2:
            values = blurred_along(values, axis, sigma)
    return values


def blurred_along(values: Tensor, axis: int, sigma: float) -> Tensor:
    """One axis of a Gaussian blur, as a weighted sum of shifted copies: quicker than a convolution with one channel."""
    reach = max(1, round(2.5 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    length = values.shape[axis]
    index = torch.arange(-reach, length + reach, device=values.device).clamp(0, length - 1)
    padded = values.index_select(axis, index)
    result = padded.narrow(axis, 0, length) * float(weights[0])
    for offset in range(1, 2 * reach + 1):
        result.add_(padded.narrow(axis, offset, length), alpha=float(weights[offset]))
    return result


@dataclass(frozen=True)
class Scanner:
    """How sharp, how thick, how noisy.

    Attributes:
        blur_mm: standard deviation of the blur within slices.
        slice_mm: thickness of slices.
        noise_hu: standard deviation of the noise after all blurring.
        grain_mm: correlation of the noise within slices (standard deviation of its kernel).
    """

    blur_mm: float
    slice_mm: float
    noise_hu: float
    grain_mm: float


def random_scanner(rng: np.random.Generator) -> Scanner:
    """A scanner and protocol."""
    return Scanner(
        blur_mm=float(rng.uniform(0.5, 1.3)),
        slice_mm=float(rng.choice([1.5, 2.5, 3.0, 5.0], p=[0.35, 0.2, 0.25, 0.2])),
        noise_hu=float(np.exp(rng.uniform(np.log(4.0), np.log(28.0)))),
        grain_mm=float(rng.uniform(0.5, 1.4)),
    )


def scanned(hu: Tensor, scanner: Scanner, spacing_mm: float, noise: torch.Generator) -> Tensor:
    """What a scanner makes of a body: blurred, averaged over slices, and noisy."""
    blur, grain = scanner.blur_mm / spacing_mm, scanner.grain_mm / spacing_mm
    hu = sliced(blurred(hu, (0.0, blur, blur)), scanner.slice_mm, spacing_mm)
    grains = blurred(torch.randn(hu.shape, generator=noise, device=hu.device), (0.3, grain, grain))
    grains *= scanner.noise_hu / grains[:: max(1, len(grains) // 8)].std()
    return resliced(hu + grains, spacing_mm / scanner.slice_mm)


def sliced(hu: Tensor, slice_mm: float, spacing_mm: float) -> Tensor:
    """Averaged over slices of that thickness, one after the other."""
    count = max(2, round(hu.shape[0] * spacing_mm / slice_mm))
    if count >= hu.shape[0]:
        return blurred(hu, (0.35, 0.0, 0.0))
    smooth_z = blurred(hu, (slice_mm / spacing_mm / 2.6, 0.0, 0.0))
    return taken(smooth_z, count)


def taken(hu: Tensor, count: int) -> Tensor:
    """That many slices at even distances over the whole extent, interpolated linearly."""
    position = (torch.arange(count, device=hu.device) + 0.5) * (hu.shape[0] / count) - 0.5
    low = position.floor().clamp(0, hu.shape[0] - 1).long()
    high = (low + 1).clamp(max=hu.shape[0] - 1)
    share = (position - low).clamp(0, 1)[:, None, None]
    return hu[low] * (1 - share) + hu[high] * share


def resliced(hu: Tensor, ratio: float) -> Tensor:
    """Back onto voxels as high as they are wide; `ratio` is their height over the slices' thickness."""
    return hu if ratio >= 1.0 else taken(hu, round(hu.shape[0] / ratio))
