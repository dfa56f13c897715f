"""Pictures of the cases that came out worst: the slices with most wrong voxels, the reference's contours beside those that were found."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.report import write_bytes_atomically
from KidneyTumorCascadeLib.slice_picture import (
    AXIAL,
    CORONAL,
    KIDNEY_COLOR,
    TUMOR_COLOR,
    Frame,
    Plane,
    Projection,
    SpacingZYX,
    View,
    render_slice,
    slice_of,
)
from KidneyTumorCascadeLib.volume import Volume
from Training.command_line import make_folder

if TYPE_CHECKING:
    from PIL import Image

LABELS = (1, 2)
MOST_PICTURES = 5
# Pixels.
CELL, MARGIN, GAP, TEXT_SIZE = 560, 20, 10, 20
BACKGROUND, TEXT_COLOR = (14, 15, 17), (235, 235, 235)
# mm around what is labelled, and the least that is shown.
CONTEXT_MM, LEAST_FIELD_MM = 40.0, 160.0


@dataclass(frozen=True)
class Picture:
    """A case's picture (PNG) and how right the case came out, 0 to 1."""

    name: str
    rightness: float
    png: bytes


@dataclass
class WorstCases:
    """The pictures of the `most` worst cases seen so far; of all others nothing is kept."""

    most: int = MOST_PICTURES
    pictures: list[Picture] = field(default_factory=list)

    def see(self, name: str, scan: Volume, found: Volume, reference: Volume, note: str) -> None:
        """Look at one more case. All three volumes are in LPS order on one grid."""
        rightness = lowest_dice(found.voxels, reference.voxels)
        if rightness == 1.0 or (len(self.pictures) == self.most and rightness >= self.pictures[-1].rightness):
            return
        content = io.BytesIO()
        picture_of(scan, found.voxels, reference.voxels, f"{name}: {note}").save(content, format="PNG")
        self.pictures.append(Picture(name, rightness, content.getvalue()))
        self.pictures = sorted(self.pictures, key=lambda picture: picture.rightness)[: self.most]

    def write(self, folder: Path) -> list[Path]:
        """Write the pictures, the worst first; returns the files."""
        make_folder(folder)
        files = [folder / f"worst_{place}_{picture.name}.png" for place, picture in enumerate(self.pictures, start=1)]
        for file, picture in zip(files, self.pictures, strict=True):
            write_bytes_atomically(file, picture.png)
        return files


def lowest_dice(found: NDArray[Any], reference: NDArray[Any]) -> float:
    """The lower of the Dice of label 1 and of label 2 where the reference has them; without any, 1 if nothing was found, else 0.

    Taking label 1 for itself makes an invented tumor count: it is missing from the kidney.
    """
    dices = [dice(found == label, reference == label) for label in LABELS if (reference == label).any()]
    return min(dices) if dices else float(not found.any())


def dice(found: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Of two masks, one of which is not empty."""
    return 2.0 * np.count_nonzero(found & reference) / (np.count_nonzero(found) + np.count_nonzero(reference))


def picture_of(scan: Volume, found: NDArray[Any], reference: NDArray[Any], title: str) -> Image.Image:
    """The axial and the coronal slice with most wrong voxels, each with the reference's contours (left) and the found ones (right)."""
    from PIL import Image, ImageDraw, ImageFont

    x, y, z = scan.geometry.spacing
    top = MARGIN + 2 * (TEXT_SIZE + GAP)
    picture = Image.new("RGB", (2 * MARGIN + 2 * CELL + GAP, top + 2 * CELL + GAP + MARGIN), BACKGROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(TEXT_SIZE)
    draw.text((MARGIN, MARGIN), title, font=font, fill=TEXT_COLOR)
    draw_legend(draw, font, MARGIN + TEXT_SIZE + GAP)
    for row, plane in enumerate((AXIAL, CORONAL)):
        index = worst_slice(found, reference, plane)
        view = view_of(found, reference, plane, index, (z, y, x))
        for column, (labels, caption) in enumerate(((reference, "reference"), (found, "found"))):
            frame = Frame(MARGIN + column * (CELL + GAP), top + row * (CELL + GAP), CELL, CELL)
            picture.paste(Image.fromarray(render_slice(scan.voxels, labels, (z, y, x), Projection(view, frame))), (frame.left, frame.top))
            draw.text((frame.left + 8, frame.top + 6), f"{plane.name} {index}: {caption}", font=font, fill=TEXT_COLOR, stroke_width=2, stroke_fill=0)
    return picture


def draw_legend(draw: Any, font: Any, top: int) -> None:
    """What the colours of the contours mean."""
    for left, name, color in ((MARGIN, "kidney with tumor", KIDNEY_COLOR), (MARGIN + 240, "tumor", TUMOR_COLOR)):
        draw.line((left, top + TEXT_SIZE / 2, left + 26, top + TEXT_SIZE / 2), fill=color, width=3)
        draw.text((left + 34, top + TEXT_SIZE / 2), name, font=font, fill=TEXT_COLOR, anchor="lm")


def worst_slice(found: NDArray[Any], reference: NDArray[Any], plane: Plane) -> int:
    """The index of the slice with most voxels of a wrong label."""
    others = tuple({0, 1, 2} - {plane.axis})
    return int(np.count_nonzero(found != reference, axis=others).argmax())


def view_of(found: NDArray[Any], reference: NDArray[Any], plane: Plane, index: int, spacing: SpacingZYX) -> View:
    """The part of a slice around what is labelled in it."""
    labelled = slice_of((found > 0) | (reference > 0), plane, index)
    down, along = (extent_mm(np.flatnonzero(labelled.any(axis=1 - axis)), spacing[(plane.rows, plane.columns)[axis]]) for axis in (0, 1))
    return View(plane, index, (down[0], along[0]), (down[1], along[1]), plane.name)


def extent_mm(used: NDArray[np.intp], step: float) -> tuple[float, float]:
    """Middle and length of what is used along an axis, with some context. The worst slice always has something labelled."""
    length = (used[-1] - used[0] + 1) * step + 2 * CONTEXT_MM
    return float(used[0] + used[-1]) / 2 * step, max(float(length), LEAST_FIELD_MM)
