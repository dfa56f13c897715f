"""Inside kidneys of label maps: cortex and medulla, sinus fat and pelvis, cysts and tumors. Arrays are z, y, x."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from Training.anatomy.anatomies import CYST, KIDNEY, TUMOR
from Training.anatomy.anatomy_labels import Tissue
from Training.anatomy.anatomy_shapes import random_field
from Training.anatomy.anatomy_tissue import Look
from Training.cases import around
from Training.lesion.lesion_tissue import KIND_WEIGHTS, KINDS, tumor_hu

Floats = NDArray[np.float32]
LabelArray = NDArray[np.uint8]
SINUS_REACH_MM = 11.0


def parenchyma_hu(mask: NDArray[np.bool_], spacing_mm: float, look: Look, rng: np.random.Generator) -> Floats:
    """HU of parenchyma everywhere in the array, by depth under the mask's surface: cortex outside, pyramids inside."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1].astype(np.float32) * spacing_mm
    lobes = random_field(mask.shape, rng.uniform(8.0, 12.0) / spacing_mm, rng)
    medulla = np.clip(0.5 + 0.4 * (depth - rng.uniform(5.0, 8.0) - 2.0 * lobes), 0.0, 1.0)
    texture = rng.uniform(1.0, 8.0) * random_field(mask.shape, 3.0 / spacing_mm, rng)
    return np.asarray(look.cortex + (look.medulla - look.cortex) * medulla + texture, dtype=np.float32)


def paint_sinuses(body: LabelArray, kidneys: LabelArray, spacing_mm: float, rng: np.random.Generator) -> None:
    """Fat, vessels and renal pelvis in the hollow of each kidney, over whatever lies there."""
    mask = kidneys > 0
    if not mask.any():
        return
    where = around(mask, round(SINUS_REACH_MM / spacing_mm) + 2)
    part, inside = body[where], mask[where]
    reach = SINUS_REACH_MM / spacing_mm
    grown = ndimage.distance_transform_edt(~inside) <= reach
    hollow = (ndimage.distance_transform_edt(grown) > reach) & ~inside
    first, second = (random_field(part.shape, 7.0 / spacing_mm, rng) for _ in range(2))
    part[hollow] = Tissue.VISCERAL_FAT
    part[hollow & (np.hypot(first, second) < 0.35)] = Tissue.RENAL_VEIN
    depth = ndimage.distance_transform_edt(hollow) * spacing_mm
    part[hollow & (depth > rng.uniform(1.5, 4.0)) & (first > rng.uniform(-0.2, 1.0))] = Tissue.PELVIS_URINE


def paint_kidneys(hu: Floats, kidneys: LabelArray, spacing_mm: float, look: Look, rng: np.random.Generator) -> None:
    """Write the HU of kidneys, tumors and cysts into `hu` wherever `kidneys` has them."""
    for part, where in pieces(kidneys > 0, 3):
        labels = np.where(part, kidneys[where], 0)
        values = parenchyma_hu(labels == KIDNEY, spacing_mm, look, rng)
        for tumor, place in pieces(labels == TUMOR, 2):
            distance = signed_distance(tumor, spacing_mm)
            kind = str(rng.choice(KINDS, p=KIND_WEIGHTS))
            lesion = tumor_hu(kind, distance, spacing_mm, parenchyma_mean(look), rng)
            values[place] = np.where(tumor, lesion, values[place])
        for cyst, place in pieces(labels == CYST, 1):
            values[place] = np.where(cyst, cyst_hu(rng), values[place])
        hu[where] = np.where(part, values, hu[where])


def parenchyma_mean(look: Look) -> float:
    """What a region of interest in the kidney would measure."""
    return 0.6 * look.cortex + 0.4 * look.medulla


def cyst_hu(rng: np.random.Generator) -> float:
    """Fluid; in one cyst of twelve, blood or protein."""
    return float(rng.uniform(40.0, 85.0) if rng.random() < 0.08 else rng.uniform(-5.0, 22.0))


def signed_distance(mask: NDArray[np.bool_], spacing_mm: float) -> Floats:
    """Distance from the mask's surface in mm, negative inside."""
    padded = np.pad(mask, 1)
    distance = ndimage.distance_transform_edt(~padded) - ndimage.distance_transform_edt(padded)
    return np.asarray(distance[1:-1, 1:-1, 1:-1] * spacing_mm, dtype=np.float32)


def pieces(mask: NDArray[np.bool_], margin: int) -> list[tuple[NDArray[np.bool_], tuple[slice, slice, slice]]]:
    """Each connected piece of a mask, cut out with a margin, and where it is."""
    parts, _ = ndimage.label(mask)
    found = []
    for index, box in enumerate(ndimage.find_objects(parts), start=1):
        z, y, x = (slice(max(0, item.start - margin), min(size, item.stop + margin)) for item, size in zip(box, mask.shape, strict=True))
        found.append((parts[z, y, x] == index, (z, y, x)))
    return found
