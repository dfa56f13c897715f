"""Real tumor slices above, synthetic ones below, in the same window, each tumor outlined."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from KidneyTumorCascadeLib.report import write_bytes_atomically
from Training.resemblance.tumor_slices import TumorSlice

COLUMNS, ROWS, ZOOM = 8, 3, 2
# In pixels: the heading of each half, and the line between slices.
HEADING, LINE = 34, 2
OUTLINE = (255, 96, 96)
# By kind of synthetic case.
MADE = {"copies": "tumors grown into real CT", "transplants": "other patients' kidneys in real CT", "bodies": "bodies rendered from label maps"}


def write_picture(real: Sequence[TumorSlice], synthetic: Sequence[TumorSlice], path: Path, kind: str = "copies") -> None:
    """Write a PNG: some of each, one of a patient first. Raises InputError or SetupError when it cannot be written."""
    titles = ("Real: slices of KiTS19 patients, tumor outlined", f"Synthetic: {MADE[kind]}, tumor outlined")
    halves = [np.concatenate([heading(title, sample), sheet(chosen(sample))]) for title, sample in zip(titles, (real, synthetic), strict=True)]
    content = io.BytesIO()
    Image.fromarray(np.concatenate(halves)).save(content, format="PNG", optimize=True)
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


def heading(title: str, sample: Sequence[TumorSlice]) -> NDArray[np.uint8]:
    """What a half shows, black on white, as wide as its sheet."""
    band = Image.new("RGB", (COLUMNS * cell_size(sample), HEADING), "white")
    ImageDraw.Draw(band).text((10, HEADING / 2), title, fill="black", font=ImageFont.load_default(20), anchor="lm")
    return np.asarray(band)


def cell_size(sample: Sequence[TumorSlice]) -> int:
    """Pixels from one slice of a sheet to the next."""
    return len(sample[0].crisp) * ZOOM + LINE


def sheet(sample: Sequence[TumorSlice]) -> NDArray[np.uint8]:
    """Slices in rows, enlarged, as they were before the treatment for the test."""
    size = cell_size(sample)
    canvas = np.full((ROWS * size, COLUMNS * size, 3), 255, dtype=np.uint8)
    for index, one in enumerate(sample[: COLUMNS * ROWS]):
        y, x = (index // COLUMNS) * size, (index % COLUMNS) * size
        canvas[y : y + size - LINE, x : x + size - LINE] = outlined(one)
    return canvas


def outlined(one: TumorSlice) -> NDArray[np.uint8]:
    """A slice enlarged, with a line just outside its tumor, so that nothing of the tumor is covered."""
    edge = one.crisp.shape[0] * ZOOM
    gray = Image.fromarray(np.clip(np.rint(one.crisp), 0, 255).astype(np.uint8)).resize((edge, edge), Image.Resampling.BICUBIC)
    picture = np.asarray(gray.convert("RGB")).copy()
    inside = np.kron(one.tumor, np.ones((ZOOM, ZOOM), dtype=bool))
    picture[ndimage.binary_dilation(inside) & ~inside] = OUTLINE
    return picture
