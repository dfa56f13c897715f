"""Kidneys changed as patients' kidneys differ: another contrast phase, or one of them taken out. The case given stays as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from Training.cases import KIDNEY, Case, around, as_hu
from Training.lesion_tissue import mixed_texture, sigmoid, smooth_noise


def recontrasted(case: Case, rng: np.random.Generator) -> Case:
    """The case with its kidneys in another contrast phase: their parenchyma shifted, cortex and medulla set apart by depth."""
    kidney = case.labels == KIDNEY
    if not kidney.any():
        return case
    where = around(kidney, 4)
    mask, hu = kidney[where], case.hu[where].astype(np.float32)
    now = float(np.median(hu[mask]))
    target = float(rng.uniform(25.0, 45.0) if rng.random() < 0.3 else rng.uniform(70.0, 220.0))
    depth = ndimage.distance_transform_edt(mask).astype(np.float32) * case.spacing_mm
    medulla = sigmoid((depth - rng.uniform(5.0, 9.0) + 2.0 * smooth_noise(mask.shape, 4.0 / case.spacing_mm, rng)) * 1.2)
    phase = float(rng.uniform(-70.0, 30.0)) * (target > 60.0)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.6)
    # Sinus fat, stones and calyces inside the outline keep their own HU: only tissue near the parenchyma's is shifted.
    tissue = np.exp(-(((hu - now) / 70.0) ** 2))
    shift = (target - now + phase * medulla) * soft * tissue
    result = case.hu.copy()
    result[where] = as_hu(hu + shift)
    return replace(case, hu=result)


def without_kidney(case: Case, rng: np.random.Generator) -> Case:
    """The case after a nephrectomy on one side: that kidney, with its tumors, is replaced by fat. Kidneys grown together go together."""
    parts, count = ndimage.label(case.labels > 0)
    if count < 1:
        return case
    sizes = np.bincount(parts.ravel())[1:]
    chosen = parts == 1 + int(rng.choice(np.argsort(sizes)[-2:]))
    where = around(chosen, 6)
    mask = ndimage.binary_dilation(chosen[where], iterations=2)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 1.0)
    fat = rng.uniform(-110.0, -85.0) + 12.0 * mixed_texture(mask.shape, case.spacing_mm, rng)
    result, labels = case.hu.copy(), case.labels.copy()
    result[where] = as_hu(case.hu[where] * (1.0 - soft) + fat * soft)
    # What was filled with fat bears no label, be it a speck beside the kidney.
    labels[where][mask] = 0
    return replace(case, hu=result, labels=labels)
