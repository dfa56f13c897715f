"""Axial slices of tumors as small pictures that can be compared: real ones from files of 8 bits, synthetic ones from cases.

All are treated alike: the same window, pixels of PIXEL_MM, noise topped up to the same level, the same smoothing, whole grays. Arrays are y, x.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from KidneyTumorCascadeLib.errors import InputError
from Training.cases import KIDNEY, TUMOR, Case

Picture = NDArray[np.float32]
# The files tell neither window nor pixel size. Fat is black, fluid nearly so, and muscle's gray (slice_window.muscle_grays: median 45) is
# then that of the 50 to 60 HU it has in contrast CT; 0.78 mm is what scans of KiTS19 usually have.
WINDOW_HU = (0.0, 300.0)
REAL_PIXEL_MM = 0.78
PIXEL_MM = 1.5
PATCH = 64
SMOOTHING_MM = 1.5
# About as noisy as the noisiest tenth of the real slices at PIXEL_MM.
NOISE_GRAY = 28.0
# What white noise of deviation 1 differs from its neighbourhood by: sqrt(1 - 2 g(0) + sum g^2) for a Gaussian of one pixel.
WHITE_SHARE = 0.873
# Smaller tumors are a few pixels; larger ones fill the patch.
DIAMETERS_MM = (14.0, 95.0)
SLICES_PER_PATIENT = 4


@dataclass(frozen=True)
class TumorSlice:
    """A tumor and what is around it, PATCH x PATCH pixels of PIXEL_MM with the tumor in the middle.

    Attributes:
        group: the patient or scan; what shares it never lies on both sides of a split.
        gray: 0 to 255, after the treatment that all get.
        crisp: the same before smoothing and added noise, for pictures.
        tumor, kidney: bool; a real slice need not have its kidney labelled.
        diameter_mm: of a disk of the tumor's area.
    """

    group: str
    gray: Picture
    crisp: Picture
    tumor: NDArray[np.bool_]
    kidney: NDArray[np.bool_]
    diameter_mm: float


def windowed(hu: NDArray[np.integer] | NDArray[np.floating]) -> Picture:
    """HU as the real slices' gray, 0 to 255."""
    low, high = WINDOW_HU
    return np.asarray(np.clip((hu - low) / (high - low), 0.0, 1.0) * 255.0, dtype=np.float32)


def as_hu_of(gray: Picture) -> Picture:
    """What HU a gray means."""
    low, high = WINDOW_HU
    return np.asarray(low + gray / 255.0 * (high - low), dtype=np.float32)


def tumor_slice(group: str, gray: Picture, labels: NDArray[np.uint8], pixel_mm: float, rng: np.random.Generator) -> TumorSlice | None:
    """The patch around the largest tumor of a slice, treated as all are; None when it has no tumor of a size to compare."""
    parts, count = ndimage.label(labels == TUMOR)
    if not count:
        return None
    tumor = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    diameter = 2.0 * float(np.sqrt(tumor.sum() / np.pi)) * pixel_mm
    if not DIAMETERS_MM[0] <= diameter <= DIAMETERS_MM[1]:
        return None
    center = np.argwhere(tumor).mean(axis=0)
    crisp = patch_of(gray, center, pixel_mm)
    masks = [patch_of(mask.astype(np.float32), center, pixel_mm) > 0.5 for mask in (tumor, labels == KIDNEY)]
    return TumorSlice(group, treated(crisp, masks[0], rng), crisp, masks[0], masks[1], diameter)


def patch_of(picture: Picture, center: NDArray[np.float64], pixel_mm: float) -> Picture:
    """PATCH x PATCH pixels of PIXEL_MM around a place, averaged as coarser pixels average; 0 beyond the picture."""
    step = PIXEL_MM / pixel_mm
    # The spread of a box of that width, less that of one of the picture's own pixels.
    blur = np.sqrt(max(step**2 - 1.0, 0.0) / 12.0)
    smooth = ndimage.gaussian_filter(picture, blur) if blur > 0.0 else picture
    offset = center - step * (PATCH - 1) / 2.0
    return np.asarray(ndimage.affine_transform(smooth, np.full(2, step), offset, output_shape=(PATCH, PATCH), order=1), dtype=np.float32)


def treated(gray: Picture, tumor: NDArray[np.bool_], rng: np.random.Generator) -> Picture:
    """Noise topped up to one level, smoothed, and in whole grays: so that neither sharpness nor grain nor rounding tells where a slice is from."""
    missing = np.sqrt(max(NOISE_GRAY**2 - noise_of(gray, tumor) ** 2, 0.0))
    smooth = ndimage.gaussian_filter(gray + rng.normal(0.0, 1.0, gray.shape) * missing, SMOOTHING_MM / PIXEL_MM)
    return np.asarray(np.clip(np.rint(smooth), 0.0, 255.0), dtype=np.float32)


def noise_of(gray: Picture, tumor: NDArray[np.bool_]) -> float:
    """Noise inside a tumor (its standard deviation, were it white), from how pixels differ from their neighbourhood."""
    difference = (gray - ndimage.gaussian_filter(gray, 1.0))[tumor]
    return float(np.median(np.abs(difference - np.median(difference)))) * 1.4826 / WHITE_SHARE


def real_slices(folder: Path, rng: np.random.Generator) -> list[TumorSlice]:
    """The slices PATIENT_*_ct.png with PATIENT_*_label.png of a folder, at most SLICES_PER_PATIENT of each patient, drawn at random.

    Raises InputError when there are none or one cannot be read.
    """
    paths = sorted(folder.glob("*_ct.png"))
    if not paths:
        raise InputError(f"There are no slices (*_ct.png) in {folder}; give the folder of the real tumor slices.")
    found = []
    taken: Counter[str] = Counter()
    for index in rng.permutation(len(paths)):
        path = paths[index]
        patient = re.split(r"_", path.name)[0]
        if taken[patient] < SLICES_PER_PATIENT:
            gray, labels = gray_of(path), gray_of(path.with_name(path.name.replace("_ct.png", "_label.png")))
            one = tumor_slice(patient, gray, labels.astype(np.uint8), REAL_PIXEL_MM, rng)
            taken[patient] += one is not None
            found += [one] if one is not None else []
    return found


def gray_of(path: Path) -> Picture:
    """A picture's grays. Raises InputError when it cannot be read."""
    try:
        return np.asarray(Image.open(path).convert("L"), dtype=np.float32)
    except OSError as error:
        raise InputError(f"The picture {path} cannot be read ({error}); copy it again.") from error


def case_slice(case: Case, group: str, rng: np.random.Generator) -> TumorSlice | None:
    """A slice through one of a case's tumors, drawn among those that show at least half of its greatest area."""
    parts, count = ndimage.label(case.labels == TUMOR)
    if not count:
        return None
    areas = (parts == 1 + int(rng.integers(count))).sum(axis=(1, 2))
    z = int(rng.choice(np.flatnonzero(areas >= 0.5 * areas.max())))
    return tumor_slice(group, windowed(case.hu[z]), case.labels[z], case.spacing_mm, rng)


def matched(real: Sequence[TumorSlice], synthetic: Sequence[TumorSlice], times: int = 1) -> list[TumorSlice]:
    """For each real slice as many synthetic ones, nearest to it in size, none taken twice: size is not what is asked about."""
    return list(matches([one for one in real for _ in range(times)], synthetic))


def matches(real: Sequence[TumorSlice], synthetic: Sequence[TumorSlice]) -> Iterator[TumorSlice]:
    """See `matched`. Those of extreme size choose first."""
    left = list(synthetic)
    middle = np.median([one.diameter_mm for one in real])
    for wanted in sorted(real, key=lambda one: -abs(np.log(one.diameter_mm / middle))):
        if not left:
            return
        gaps = [abs(np.log(one.diameter_mm / wanted.diameter_mm)) for one in left]
        yield left.pop(int(np.argmin(gaps)))
