"""Draws the picture of the sample in Slicer's list of sample data, an axial slice through kidneys and tumor: `make icon`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "KidneyTumorCascade" / "Resources" / "Icons" / "KidneyPhantom.png"
SIZE = 128
WINDOW, LEVEL = 400.0, 40.0
# The module's own colors of kidney and tumor, laid over the CT.
COLORS = {1: (185, 102, 83), 2: (144, 238, 144)}
OPACITY = 0.45
# Voxels beside the kidneys.
MARGIN = 20
# The module's sample; its voxels are about as large as the picture's pixels.
SAMPLE = PhantomSettings(seed=6, tumors=2, spacing=(1.5, 1.5, 4.0))


def best_slice(labels: NDArray[np.uint8]) -> int:
    """Where tumor and kidneys of both sides are seen best; (z, y, x)."""
    right, left = np.array_split(labels > 0, 2, axis=2)
    tumor = (labels == 2).sum(axis=(1, 2))
    return int(np.argmax(np.minimum(right.sum(axis=(1, 2)), left.sum(axis=(1, 2))) + tumor))


def colored(hu: NDArray[np.int16], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A slice (y, x) as one sees it in Slicer, the patient's right on the left."""
    gray = np.clip((hu - LEVEL) / WINDOW + 0.5, 0.0, 1.0) * 255
    picture = np.repeat(gray[..., None], 3, axis=2)
    for label, color in COLORS.items():
        inside = labels == label
        picture[inside] = (1 - OPACITY) * picture[inside] + OPACITY * np.array(color)
    return picture.round().astype(np.uint8)


def cropped(picture: NDArray[np.uint8], kidneys: NDArray[np.bool_]) -> Image.Image:
    """A square around both kidneys."""
    rows, columns = (np.flatnonzero(kidneys.any(axis=axis)) for axis in (1, 0))
    half = (columns[-1] - columns[0]) / 2 + MARGIN
    y, x = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
    return Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.LANCZOS, box=(x - half, y - half, x + half, y + half))


def main() -> None:
    """Write the picture to its place."""
    phantom = make_phantom(SAMPLE)
    index = best_slice(phantom.labels.voxels)
    hu, labels = phantom.volume.voxels[index], phantom.labels.voxels[index]
    cropped(colored(hu, labels), labels > 0).save(PLACE, optimize=True)


if __name__ == "__main__":
    main()
