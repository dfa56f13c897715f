"""Where a scan ends, and what the patient lies on. Labels change only where the field of view cuts them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from Training.cases import AIR_HU, Case, as_hu
from Training.variation.scan_filters import as_tensor, coarse_factor, shrunk

BODY_HU = -300.0


def cut(case: Case, kept: NDArray[np.bool_]) -> Case:
    """The case with air and no labels wherever `kept` (which may be broadcast to z, y, x) is false."""
    return replace(case, hu=np.where(kept, case.hu, np.int16(AIR_HU)), labels=np.where(kept, case.labels, np.uint8(0)))


def with_circular_view(case: Case, radius_mm: float, center_mm: tuple[float, float] = (0.0, 0.0)) -> Case:
    """Only a cylinder along z was reconstructed; scanners fill the rest with air, or with -2000, which reading clips to air.

    `center_mm` is its axis (y, x), from the middle of the slices.
    """
    y, x = ((np.arange(length) - (length - 1) / 2.0) * case.spacing_mm - middle for length, middle in zip(case.hu.shape[1:], center_mm, strict=True))
    return cut(case, (y[:, None] ** 2 + x[None, :] ** 2 <= radius_mm**2)[None])


def with_ends_cut(case: Case, first: int, last: int) -> Case:
    """The scan starts at slice `first` and ends before slice `last` (indices along z). The grid stays: beyond the scan lies air."""
    index = np.arange(len(case.hu))
    return cut(case, ((index >= first) & (index < last))[:, None, None])


def with_kidneys_cut(case: Case, rng: np.random.Generator) -> Case:
    """The scan begins or ends within the kidneys, as scans of the chest and of the pelvis do; half or more of them is often left."""
    slices = np.flatnonzero((case.labels > 0).any(axis=(1, 2)))
    if not slices.size:
        return case
    plane = int(slices[0] + rng.uniform(0.1, 0.9) * (slices[-1] - slices[0]))
    return with_ends_cut(case, 0, plane) if rng.random() < 0.3 else with_ends_cut(case, plane, len(case.hu))


def with_narrow_view(case: Case, rng: np.random.Generator) -> Case:
    """A field of view drawn at random: somewhat narrower than the body in most cases, narrow about the spine in some."""
    body = np.argwhere(body_mask(case.hu, case.spacing_mm).any(axis=0))
    if not len(body):
        return case
    (top, left), (bottom, right) = body.min(axis=0), body.max(axis=0)
    half = (right - left + 1) / 2.0 * case.spacing_mm
    middle = ((top + bottom + 1) / 2.0, (left + right + 1) / 2.0)
    off = [(place - length / 2.0) * case.spacing_mm + rng.normal(0.0, 8.0) for place, length in zip(middle, case.hu.shape[1:], strict=True)]
    share = rng.uniform(0.5, 0.75) if rng.random() < 0.2 else rng.uniform(0.78, 1.1)
    return with_circular_view(case, float(half * share), (off[0], off[1]))


def body_mask(hu: NDArray[np.int16], spacing_mm: float) -> NDArray[np.bool_]:
    """Where the patient is, without couch and clothes: the largest thing that is not air once everything thin has gone, plus about 6 mm."""
    factor = coarse_factor(spacing_mm)
    coarse = shrunk(as_tensor(hu), factor).numpy() > BODY_HU
    opened = ndimage.binary_opening(np.pad(coarse, 1), structure=in_plane())[1:-1, 1:-1, 1:-1]
    parts, count = ndimage.label(opened)
    if count > 1:
        opened = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in opened])
    return enlarged(ndimage.binary_dilation(filled, structure=np.ones((1, 3, 3), dtype=bool)), factor, hu.shape)


def in_plane() -> NDArray[np.bool_]:
    """A cross within slices."""
    cross = np.zeros((3, 3, 3), dtype=bool)
    cross[1, 1, :] = cross[1, :, 1] = True
    return cross


def enlarged(mask: NDArray[np.bool_], factor: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A coarse mask on fine voxels."""
    for axis in range(3):
        mask = mask.repeat(factor, axis=axis)
    return mask[: shape[0], : shape[1], : shape[2]]


def with_other_couch(case: Case, rng: np.random.Generator) -> Case:
    """What lay around the patient is gone, and another couch is there: a curved shell of carbon fibre about foam, below a mat of a finger's width.

    Shells have -300 to 100 HU over 2 to 4 mm, foam -990 to -900; the curve sags by 0 to 60 mm over the couch's half width.
    """
    body = body_mask(case.hu, case.spacing_mm)
    rows, columns = np.flatnonzero(body.any(axis=(0, 2))), np.flatnonzero(body.any(axis=(0, 1)))
    if not rows.size:
        return case
    around = np.where(body, case.hu, np.minimum(case.hu, case.hu.dtype.type(AIR_HU + 24)))
    y, x = (np.arange(length) * case.spacing_mm for length in case.hu.shape[1:])
    middle, half = float(columns.mean() * case.spacing_mm + rng.normal(0.0, 15.0)), rng.uniform(180.0, 265.0)
    sag = rng.uniform(0.0, 60.0) * (1.0 - ((x - middle) / half) ** 2)
    top = float(rows[-1] * case.spacing_mm + rng.uniform(0.0, 15.0)) - float(sag.max()) + sag
    couch = couch_hu(y[:, None] - top[None, :], rng)
    there = (couch > AIR_HU) & (np.abs(x - middle) < half)[None, :]
    return replace(case, hu=np.where(there[None] & ~body, as_hu(couch)[None], around))


def couch_hu(depth_mm: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """HU at that depth (mm) below a couch's upper face: two shells and the foam between them; air elsewhere."""
    shell, thickness = rng.uniform(2.0, 4.0), rng.uniform(18.0, 60.0)
    inside = (depth_mm >= 0.0) & (depth_mm <= thickness)
    in_shell = inside & ((depth_mm < shell) | (depth_mm > thickness - shell))
    return np.where(in_shell, rng.uniform(-300.0, 100.0), np.where(inside, rng.uniform(-990.0, -900.0), AIR_HU))
