"""One picture of a result: a coronal slice of the body, and an axial and a sagittal slice of each side, with contours and boxes.

Everything is drawn from single slices, so no second scan is ever held in memory. Pillow is imported when a picture is made.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.geometry import Box, Geometry, Slices
from KidneyTumorCascadeLib.report import NOTICE, write_bytes_atomically
from KidneyTumorCascadeLib.slice_picture import (
    AXIAL,
    CORONAL,
    KIDNEY,
    KIDNEY_COLOR,
    SAGITTAL,
    TUMOR,
    TUMOR_COLOR,
    Array,
    Color,
    Frame,
    Plane,
    Projection,
    SpacingZYX,
    View,
    render_slice,
    slice_of,
)
from KidneyTumorCascadeLib.volume import Volume

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

BOX_COLOR: Color = (60, 190, 215)
TEXT_COLOR: Color = (235, 235, 235)
DIM_COLOR: Color = (150, 152, 156)
BACKGROUND: Color = (14, 15, 17)

# Air and lungs lie below, the rest of the body above.
BODY_HU = -300.0

# Pixels of the picture.
MARGIN, GAP = 28, 14
CELL_WIDTH, CELL_HEIGHT = 520, 400
CORONAL_WIDTHS = (480, 760)
CORONAL_HEIGHT = 2 * CELL_HEIGHT + GAP
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 28, 21, 16

# mm of surroundings shown beside a kidney or the body.
KIDNEY_CONTEXT, BODY_CONTEXT = 30.0, 8.0
LARGEST_FIELD = 560.0
SCALE_BAR_MM = 50.0


@dataclass(frozen=True)
class Kidney:
    """What was found on one side. `focus` and the bounds (low and high per axis) are voxels z, y, x."""

    side: str
    kidney_ml: float
    tumor_ml: float
    focus: tuple[int, int, int]
    low: tuple[int, int, int]
    high: tuple[int, int, int]


@dataclass(frozen=True)
class Subject:
    """The scan and labels in LPS order, (z, y, x), with the boxes."""

    scan: Array
    labels: Array
    geometry: Geometry
    boxes: Sequence[Box]

    @property
    def spacing(self) -> SpacingZYX:
        """z, y, x in mm."""
        x, y, z = self.geometry.spacing
        return z, y, x


def write_preview(path: str | Path, scan_lps: Volume, labels_lps: Array, boxes: Sequence[Box], title: str, notes: Sequence[str] = ()) -> None:
    """`preview` as a PNG file, whole or not at all. Raises what that and `write_bytes_atomically` raise."""
    content = io.BytesIO()
    preview(scan_lps, labels_lps, boxes, title, notes).save(content, format="PNG")
    write_bytes_atomically(path, content.getvalue())


def preview(scan_lps: Volume, labels_lps: Array, boxes: Sequence[Box], title: str, notes: Sequence[str] = ()) -> Image.Image:
    """The picture of a result.

    Args:
        scan_lps: HU, in LPS order.
        labels_lps: (z, y, x), 0 background, 1 kidney, 2 tumor, on the scan's grid. Not changed.
        boxes: where the fine networks looked; they also tell the sides apart (without any, the image's middle does).
        title: first line.
        notes: last lines, such as warnings.

    Raises:
        SetupError: Pillow is not installed.
    """
    if labels_lps.shape != scan_lps.voxels.shape:
        raise ValueError(f"labels of shape {labels_lps.shape} do not fit a scan of shape {scan_lps.voxels.shape}")
    subject = Subject(scan_lps.voxels, labels_lps, scan_lps.geometry, boxes)
    kidneys = find_kidneys(subject)
    panels = arrange(subject, kidneys)
    return _compose(subject, panels, title, [*_findings(subject, kidneys), *notes])


# --- what to show ----------------------------------------------------------------------------------------------------------------------------


def find_kidneys(subject: Subject) -> list[Kidney]:
    """One entry per side with labels, right before left."""
    order = ("right", "both", "left")
    found = [_kidney_in(subject, slices, side) for side, slices in _regions(subject)]
    return sorted((kidney for kidney in found if kidney is not None), key=lambda kidney: order.index(kidney.side))


def _regions(subject: Subject) -> list[tuple[str, Slices]]:
    if subject.boxes:
        return [(box.side, box.slices(subject.geometry)) for box in subject.boxes if _inside(box, subject.geometry)]
    depth, height, width = subject.labels.shape
    middle = width // 2
    rest = (slice(0, depth), slice(0, height))
    return [("right", (*rest, slice(0, middle))), ("left", (*rest, slice(middle, width)))]


def _inside(box: Box, geometry: Geometry) -> bool:
    try:
        box.slices(geometry)
    except InputError:
        return False
    return True


def _kidney_in(subject: Subject, slices: Slices, side: str) -> Kidney | None:
    region = subject.labels[slices]
    # Slice by slice: a mask of the whole region would double the label map's memory.
    counts = np.array([[np.count_nonzero(layer == label) for label in (KIDNEY, TUMOR)] for layer in region])
    if not counts.any():
        return None
    start = np.array([item.start for item in slices])
    low, high = np.transpose([(line[0], line[-1]) for line in _occupied(region, counts)])
    kidney_ml, tumor_ml = (float(count) * subject.geometry.voxel_ml for count in counts.sum(axis=0))
    return Kidney(side, kidney_ml, tumor_ml, _three(start + _focus(region, counts)), _three(start + low), _three(start + high))


def _occupied(region: Array, counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The indices along z, y, x at which there is any label."""
    shadow = np.zeros(region.shape[1:], bool)
    for layer in region:
        shadow |= layer > 0
    return [np.flatnonzero(line) for line in (counts.any(axis=1), shadow.any(axis=1), shadow.any(axis=0))]


def _focus(region: Array, counts: NDArray[np.int64]) -> tuple[int, int, int]:
    """The voxel through which the slices go: amid the largest cross-section of tumor, or of kidney where there is none."""
    label = TUMOR if counts[:, 1].any() else KIDNEY
    z = int(counts[:, label - 1].argmax())
    parts, count = ndimage.label(region[z] == label)
    largest = 1 + int(np.argmax(np.bincount(parts.ravel(), minlength=count + 1)[1:]))
    y, x = (int(np.median(where)) for where in np.nonzero(parts == largest))
    return z, y, x


def _three(values: Array) -> tuple[int, int, int]:
    z, y, x = (int(value) for value in values)
    return z, y, x


def arrange(subject: Subject, kidneys: Sequence[Kidney]) -> list[tuple[View, Frame]]:
    """The panels and their places: coronal on the left, then a column per side with axial above sagittal."""
    main = max(kidneys, key=lambda kidney: (kidney.tumor_ml, kidney.kidney_ml), default=None)
    focus = main.focus if main else _three(np.array(subject.labels.shape) // 2)
    coronal = _coronal_view(subject, focus[1], kidneys)
    width = int(np.clip(CORONAL_HEIGHT * coronal.field[1] / coronal.field[0], *CORONAL_WIDTHS))
    top = MARGIN + TITLE_SIZE + 2 * GAP
    panels = [(coronal, Frame(MARGIN, top, width, CORONAL_HEIGHT))]
    columns = [_kidney_views(subject, kidney) for kidney in kidneys] or [_middle_views(subject, focus)]
    for number, views in enumerate(columns):
        left = MARGIN + width + GAP + number * (CELL_WIDTH + GAP)
        panels += [(view, Frame(left, top + row * (CELL_HEIGHT + GAP), CELL_WIDTH, CELL_HEIGHT)) for row, view in enumerate(views)]
    return panels


def _coronal_view(subject: Subject, index: int, kidneys: Sequence[Kidney]) -> View:
    """The whole body's width; all slices, but no more than a torso's around the kidneys."""
    depth = subject.labels.shape[0]
    height = depth * subject.spacing[0]
    middle = (depth - 1) * subject.spacing[0] / 2
    if kidneys and height > LARGEST_FIELD:
        wanted = float(np.mean([kidney.low[0] + kidney.high[0] for kidney in kidneys])) / 2 * subject.spacing[0]
        reach = (height - LARGEST_FIELD) / 2
        middle = float(np.clip(wanted, middle - reach, middle + reach))
    _, (x, width) = _body_field(subject, CORONAL, index)
    return View(CORONAL, index, (middle, x), (min(height, LARGEST_FIELD), width), CORONAL.name)


def _middle_views(subject: Subject, focus: tuple[int, int, int]) -> list[View]:
    depth, step = subject.labels.shape[0], subject.spacing[0]
    sagittal = _sagittal_view(subject, focus, (0, depth - 1), min(depth * step, LARGEST_FIELD), SAGITTAL.name)
    return [_axial_view(subject, focus, AXIAL.name), sagittal]


def _kidney_views(subject: Subject, kidney: Kidney) -> list[View]:
    length = (kidney.high[0] - kidney.low[0] + 1) * subject.spacing[0]
    sagittal = _sagittal_view(subject, kidney.focus, (kidney.low[0], kidney.high[0]), length + 2 * KIDNEY_CONTEXT, _caption(SAGITTAL, kidney))
    return [_axial_view(subject, kidney.focus, _caption(AXIAL, kidney)), sagittal]


def _axial_view(subject: Subject, focus: tuple[int, int, int], caption: str) -> View:
    (y, height), (x, width) = _body_field(subject, AXIAL, focus[0])
    return View(AXIAL, focus[0], (y, x), (height, width), caption)


def _sagittal_view(subject: Subject, focus: tuple[int, int, int], slices: tuple[int, int], height: float, caption: str) -> View:
    """The body from front to back, `height` mm around the middle between two axial slices."""
    (y, width), _ = _body_field(subject, AXIAL, focus[0])
    return View(SAGITTAL, focus[2], (sum(slices) / 2 * subject.spacing[0], y), (height, width), caption)


def _caption(plane: Plane, kidney: Kidney) -> str:
    target = "tumor" if kidney.tumor_ml > 0 else "kidney"
    return f"{plane.name}, {target}" if kidney.side == "both" else f"{plane.name}, {kidney.side} {target}"


def _body_field(subject: Subject, plane: Plane, index: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Middle and extent in mm (down, along) of the largest connected thing in this slice that is no air: the body without its couch."""
    parts, count = ndimage.label(slice_of(subject.scan, plane, index) > BODY_HU)
    if count:
        largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
        rows, columns = ndimage.find_objects(parts)[largest - 1]
    else:
        rows, columns = (slice(0, length) for length in parts.shape)
    return _extent(rows, subject.spacing[plane.rows]), _extent(columns, subject.spacing[plane.columns])


def _extent(voxels: slice, step: float) -> tuple[float, float]:
    return (voxels.start + voxels.stop - 1) / 2 * step, (voxels.stop - voxels.start) * step + 2 * BODY_CONTEXT


def _findings(subject: Subject, kidneys: Sequence[Kidney]) -> list[str]:
    """A line per side, also for a side that was searched in vain."""
    if not kidneys:
        return ["No kidney found"]
    found = {kidney.side for kidney in kidneys}
    missing = [side for side, _ in _regions(subject) if side not in found]
    return [*map(_volumes_text, kidneys), *(f"{_named(side)}: no kidney found" for side in missing)]


def _volumes_text(kidney: Kidney) -> str:
    tumor = f"tumor {kidney.tumor_ml:.1f} ml" if kidney.tumor_ml > 0 else "no tumor found"
    return f"{_named(kidney.side)}: kidney {kidney.kidney_ml:.0f} ml, {tumor}"


def _named(side: str) -> str:
    return "Both sides" if side == "both" else side.capitalize()


# --- the picture -----------------------------------------------------------------------------------------------------------------------------


def _compose(subject: Subject, panels: Sequence[tuple[View, Frame]], title: str, lines: Sequence[str]) -> Image.Image:
    image_module, draw_module, _ = _pillow()
    right = max(frame.left + frame.width for _, frame in panels) + MARGIN
    bottom = max(frame.top + frame.height for _, frame in panels) + GAP
    wrapped = [piece for line in lines for piece in _wrap(line, right - 2 * MARGIN)]
    picture: Image.Image = image_module.new("RGB", (right, bottom + (len(wrapped) + 2) * (TEXT_SIZE + 8) + MARGIN), BACKGROUND)
    draw = draw_module.Draw(picture)
    draw.text((MARGIN, MARGIN), _shortened(title, right - 2 * MARGIN), font=_font(TITLE_SIZE), fill=TEXT_COLOR)
    for view, frame in panels:
        projection = Projection(view, frame)
        pixels = render_slice(subject.scan, subject.labels, subject.spacing, projection)
        picture.paste(image_module.fromarray(pixels), (frame.left, frame.top))
        _annotate(draw, subject, projection)
    _legend(draw, bottom, right, bool(subject.boxes))
    for number, line in enumerate(wrapped):
        draw.text((MARGIN, bottom + (number + 1) * (TEXT_SIZE + 8) + 8), line, font=_font(TEXT_SIZE), fill=TEXT_COLOR)
    return picture


def _annotate(draw: ImageDraw.ImageDraw, subject: Subject, projection: Projection) -> None:
    """Boxes, caption, orientation letters and scale bar of one panel."""
    frame = projection.frame
    for box in subject.boxes:
        _outline(draw, subject, projection, box)
    left, top, right, bottom = frame.left + 10, frame.top + 8, frame.left + frame.width - 10, frame.top + frame.height - 10
    middle_x, middle_y = frame.left + frame.width / 2, frame.top + frame.height / 2
    places = ((left, middle_y, "lm"), (right, middle_y, "rm"), (middle_x, top, "ma"), (middle_x, bottom, "md"))
    for letter, (x, y, anchor) in zip(projection.view.plane.letters, places, strict=True):
        _outlined_text(draw, (x, y), letter, TEXT_SIZE, anchor)
    _outlined_text(draw, (left, top), projection.view.caption, SMALL_SIZE, "la")
    length = SCALE_BAR_MM / projection.mm_per_pixel
    draw.line((right - length, bottom, right, bottom), fill=TEXT_COLOR, width=3)
    _outlined_text(draw, (right - length / 2, bottom - 6), f"{SCALE_BAR_MM / 10:.0f} cm", SMALL_SIZE, "md")


def _outline(draw: ImageDraw.ImageDraw, subject: Subject, projection: Projection, box: Box) -> None:
    """The box where this slice cuts it."""
    plane = projection.view.plane
    if not _inside(box, subject.geometry):
        return
    slices = box.slices(subject.geometry)
    if not slices[plane.axis].start <= projection.view.index < slices[plane.axis].stop:
        return
    rows, columns = slices[plane.rows], slices[plane.columns]
    down, along = subject.spacing[plane.rows], subject.spacing[plane.columns]
    first = projection.pixel((rows.start - 0.5) * down, (columns.start - 0.5) * along)
    second = projection.pixel((rows.stop - 0.5) * down, (columns.stop - 0.5) * along)
    frame = projection.frame
    low = np.maximum(np.minimum(first, second), (frame.left, frame.top))
    high = np.minimum(np.maximum(first, second), (frame.left + frame.width - 1, frame.top + frame.height - 1))
    if (low > high).any():
        return
    draw.rectangle((*low.round().tolist(), *high.round().tolist()), outline=BOX_COLOR, width=1)


def _legend(draw: ImageDraw.ImageDraw, top: int, right: int, boxes: bool) -> None:
    x: float = MARGIN
    entries = [("kidney", KIDNEY_COLOR), ("tumor", TUMOR_COLOR), *([("box", BOX_COLOR)] if boxes else [])]
    y = top + SMALL_SIZE / 2
    for name, color in entries:
        draw.line((x, y, x + 26, y), fill=color, width=3)
        draw.text((x + 34, y), name, font=_font(SMALL_SIZE), fill=DIM_COLOR, anchor="lm")
        x += 34 + _font(SMALL_SIZE).getlength(name) + 26
    draw.text((right - MARGIN, y), NOTICE, font=_font(SMALL_SIZE), fill=DIM_COLOR, anchor="rm")


def _outlined_text(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, anchor: str) -> None:
    draw.text(place, text, font=_font(size), fill=TEXT_COLOR, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _shortened(title: str, width: float) -> str:
    """The title, or as much of its beginning as fits the width in pixels."""
    if _font(TITLE_SIZE).getlength(title) <= width:
        return title
    kept = next(length for length in range(len(title), -1, -1) if _font(TITLE_SIZE).getlength(title[:length] + "...") <= width)
    return title[:kept] + "..."


def _wrap(line: str, width: float) -> list[str]:
    """The line in pieces that fit the width in pixels, broken at blanks."""
    pieces = [""]
    for word in line.split():
        longer = f"{pieces[-1]} {word}".strip()
        if pieces[-1] and _font(TEXT_SIZE).getlength(longer) > width:
            pieces.append(word)
        else:
            pieces[-1] = longer
    return pieces


@lru_cache
def _font(size: int) -> Any:
    return _pillow()[2].load_default(size)


def _pillow() -> tuple[Any, Any, Any]:
    """PIL's Image, ImageDraw and ImageFont."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise SetupError("A preview needs the package Pillow; install it with: pip install pillow") from error
    return Image, ImageDraw, ImageFont
