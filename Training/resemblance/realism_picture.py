"""Real tumor slices above, synthetic ones below, in the same window."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from KidneyTumorCascadeLib.report import write_bytes_atomically
from Training.resemblance.tumor_slices import TumorSlice

COLUMNS, ROWS, ZOOM, GAP = 8, 3, 2, 10


def write_picture(real: Sequence[TumorSlice], synthetic: Sequence[TumorSlice], path: Path) -> None:
    """Write a PNG: some of each, one of a patient first. Raises InputError or SetupError when it cannot be written."""
    halves = [sheet(chosen(sample)) for sample in (real, synthetic)]
    width = halves[0].shape[1]
    whole = np.concatenate([halves[0], np.full((GAP, width), 255, dtype=np.uint8), halves[1]])
    content = io.BytesIO()
    Image.fromarray(whole).save(content, format="PNG", optimize=True)
    write_bytes_atomically(path, content.getvalue())


def chosen(sample: Sequence[TumorSlice]) -> list[TumorSlice]:
    """As many as fit on a sheet, of as many patients or scans as possible."""
    seen: dict[str, int] = {}
    turns = []
    for one in sample:
        seen[one.group] = seen.get(one.group, 0) + 1
        turns.append(seen[one.group])
    order = np.argsort(turns, kind="stable")[: COLUMNS * ROWS]
    return [sample[index] for index in order]


def sheet(sample: Sequence[TumorSlice]) -> NDArray[np.uint8]:
    """Slices in rows, enlarged, as they were before the treatment for the test."""
    size = sample[0].crisp.shape[0] * ZOOM
    canvas = np.zeros((ROWS * size, COLUMNS * size), dtype=np.uint8)
    for index, one in enumerate(sample[: COLUMNS * ROWS]):
        y, x = (index // COLUMNS) * size, (index % COLUMNS) * size
        picture = Image.fromarray(np.clip(np.rint(one.crisp), 0, 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
        canvas[y : y + size, x : x + size] = np.asarray(picture)
    return canvas
