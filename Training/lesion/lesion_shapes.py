"""The form of lesions: signed distance maps (mm, negative inside) taken from real patients' label maps, turned and scaled. Arrays are z, y, x."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.volume import Volume, read_label_map
from Training.cases import fraction

Field = NDArray[np.float32]
SMALLEST_ML = 0.3
RIM_VOXELS = 6
# Distance (mm) that stands for everywhere beyond the map.
FAR_MM = 12.0
# Label maps have corners that masses have not: they are rounded off by this share of the diameter.
ROUNDING = 0.04


@dataclass(frozen=True)
class Shape:
    """A lesion's form: signed distance (z, y, x) in mm, negative inside, on 1 mm voxels."""

    source: str
    distance_mm: Field
    diameter_mm: float


def shapes_of(path: Path, label: int, smallest_ml: float = SMALLEST_ML) -> list[Shape]:
    """The connected lesions of one label map; smaller ones have no form to speak of at 1 mm."""
    parts, _ = ndimage.label(on_millimetres(read_label_map(path), label))
    return [
        shape_of(part, f"{path.name.split('.')[0]}:{label}:{index}")
        for index, part in components(parts)
        if np.count_nonzero(part) >= 1000.0 * smallest_ml
    ]


def components(parts: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Number and mask of each component, cut out."""
    for index, place in enumerate(ndimage.find_objects(parts), start=1):
        yield index, parts[place] == index


def on_millimetres(labels: Volume, label: int) -> NDArray[np.bool_]:
    """Where a label is, on cubic voxels of 1 mm."""
    labels = labels.in_lps_order()
    mask = labels.voxels == label
    if np.allclose(labels.geometry.spacing, 1.0):
        return np.asarray(mask)
    return np.asarray(fraction(mask, labels.geometry, labels.geometry.resampled((1.0, 1.0, 1.0))) > 0.5)


def shape_of(part: NDArray[np.bool_], source: str) -> Shape:
    """The form of one lesion on 1 mm voxels; its diameter is that of a ball of its volume."""
    padded = np.pad(part, RIM_VOXELS)
    distance = ndimage.distance_transform_edt(~padded) - ndimage.distance_transform_edt(padded)
    smooth = ndimage.gaussian_filter(distance.astype(np.float32), 0.7)
    diameter = 2.0 * (3.0 * np.count_nonzero(part) / (4.0 * np.pi)) ** (1.0 / 3.0)
    return Shape(source, smooth, float(diameter))


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
    distance = ndimage.affine_transform(shape.distance_mm, matrix, offset, output_shape=(size,) * 3, order=1, mode="constant", cval=FAR_MM)
    distance = ndimage.gaussian_filter(distance, ROUNDING * diameter_mm / spacing_mm)
    return np.asarray(distance * scale, dtype=np.float32)
