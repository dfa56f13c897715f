"""One picture of a result: a coronal slice of the body, and an axial and a sagittal slice of each side, with contours and boxes.

Everything is drawn from single slices, so no second scan is ever held in memory. Pillow is imported when a picture is made.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.geometry import Box, Geometry, Slices
from KidneyTumorCascadeLib.report import NOTICE, write_bytes_atomically
from KidneyTumorCascadeLib.volume import Volume

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

Array = NDArray[Any]
Color = tuple[int, int, int]

KIDNEY, TUMOR = 1, 2
KIDNEY_COLOR: Color = (250, 214, 60)
TUMOR_COLOR: Color = (255, 70, 70)
BOX_COLOR: Color = (60, 190, 215)
TEXT_COLOR: Color = (235, 235, 235)
DIM_COLOR: Color = (150, 152, 156)
BACKGROUND: Color = (14, 15, 17)

# Soft tissue, in HU.
WINDOW_LEVEL, WINDOW_WIDTH = 50.0, 400.0
BODY_HU = -300.0

# Pixels of the picture.
MARGIN, GAP = 28, 14
CELL_WIDTH, CELL_HEIGHT = 520, 400
CORONAL_WIDTHS = (480, 760)
CORONAL_HEIGHT = 2 * CELL_HEIGHT + GAP
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 28, 21, 16
CONTOUR_WIDTH = 2.0
SUPERSAMPLING = 2

# Of a voxel. With this width a single voxel keeps 0.52 at its centre, so that even specks get a contour at 0.5.
CONTOUR_SIGMA = 0.55
# mm of surroundings shown beside a kidney or the body.
KIDNEY_CONTEXT, BODY_CONTEXT = 30.0, 8.0
LARGEST_FIELD = 560.0
SCALE_BAR_MM = 50.0


@dataclass(frozen=True)
class Plane:
    """A slice through an array (z, y, x) in LPS order and how it is hung: the patient's right is on the left of the picture.

    Attributes:
        axis, rows, columns: axes of the array across the slice, down and along the picture.
        superior_up: whether the rows run against the array (superior on top).
        letters: at the picture's left, right, top and bottom.
    """

    name: str
    axis: int
    rows: int
    columns: int
    superior_up: bool
    letters: str


AXIAL = Plane("Axial", 0, 1, 2, False, "RLAP")
CORONAL = Plane("Coronal", 1, 0, 2, True, "RLSI")
SAGITTAL = Plane("Sagittal", 2, 0, 1, True, "APSI")


@dataclass(frozen=True)
class View:
    """What one panel shows: a slice, and the middle and extent of its field in mm (down, along), counted from the first voxel's centre."""

    plane: Plane
    index: int
    middle: tuple[float, float]
    field: tuple[float, float]
    caption: str


@dataclass(frozen=True)
class Frame:
    """Where a panel lies in the picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


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
    def spacing(self) -> tuple[float, float, float]:
        """z, y, x in mm."""
        x, y, z = self.geometry.spacing
        return z, y, x


def write_preview(path: str | Path, scan_lps: Volume, labels_lps: Array, boxes: Sequence[Box], title: str, notes: Sequence[str] = ()) -> None:
    """`preview` as a PNG file, whole or not at all. Raises what that and `write_bytes_atomically` raise."""
    content = io.BytesIO()
    preview(scan_lps, labels_lps, boxes, title, notes).save(content, format="PNG", optimize=True)
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
    return _compose(subject, panels, title, [*(_volumes_text(kidney) for kidney in kidneys), *notes], not kidneys)


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
    start = np.array([item.start for item in slices])
    # Slice by slice: a mask of the whole region would double the label map's memory.
    projections = [np.stack([(layer > 0).any(axis=axis) for layer in region]) for axis in (0, 1)]
    along_x, along_y = projections
    if not along_x.any():
        return None
    present = [np.flatnonzero(line) for line in (along_x.any(axis=1), along_y.any(axis=0), along_x.any(axis=0))]
    counts = np.array([[np.count_nonzero(layer == label) for label in (KIDNEY, TUMOR)] for layer in region])
    kidney_ml, tumor_ml = counts.sum(axis=0) * subject.geometry.voxel_ml
    return Kidney(
        side,
        float(kidney_ml),
        float(tumor_ml),
        focus=_three(np.add(start, _focus(region, counts))),
        low=_three(np.add(start, [line[0] for line in present])),
        high=_three(np.add(start, [line[-1] for line in present])),
    )


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
    columns: list[list[View]] = [[_axial_view(subject, kidney.focus[0], kidney), _sagittal_view(subject, kidney)] for kidney in kidneys]
    for number, views in enumerate(columns or [[_axial_view(subject, focus[0], None)]]):
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


def _axial_view(subject: Subject, index: int, kidney: Kidney | None) -> View:
    (y, height), (x, width) = _body_field(subject, AXIAL, index)
    return View(AXIAL, index, (y, x), (height, width), _caption(AXIAL, kidney))


def _sagittal_view(subject: Subject, kidney: Kidney) -> View:
    (y, width), _ = _body_field(subject, AXIAL, kidney.focus[0])
    step = subject.spacing[0]
    height = (kidney.high[0] - kidney.low[0] + 1) * step + 2 * KIDNEY_CONTEXT
    return View(SAGITTAL, kidney.focus[2], ((kidney.low[0] + kidney.high[0]) / 2 * step, y), (height, width), _caption(SAGITTAL, kidney))


def _caption(plane: Plane, kidney: Kidney | None) -> str:
    if kidney is None:
        return plane.name
    target = "tumor" if kidney.tumor_ml > 0 else "kidney"
    return f"{plane.name}, {target}" if kidney.side == "both" else f"{plane.name}, {kidney.side} {target}"


def _body_field(subject: Subject, plane: Plane, index: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Middle and extent in mm (down, along) of the largest connected thing in this slice that is no air: the body without its couch."""
    parts, count = ndimage.label(_slice_of(subject.scan, plane, index) > BODY_HU)
    if count:
        largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
        rows, columns = ndimage.find_objects(parts)[largest - 1]
    else:
        rows, columns = (slice(0, length) for length in parts.shape)
    return _extent(rows, subject.spacing[plane.rows]), _extent(columns, subject.spacing[plane.columns])


def _extent(voxels: slice, step: float) -> tuple[float, float]:
    return (voxels.start + voxels.stop - 1) / 2 * step, (voxels.stop - voxels.start) * step + 2 * BODY_CONTEXT


def _volumes_text(kidney: Kidney) -> str:
    tumor = f"tumor {kidney.tumor_ml:.1f} ml" if kidney.tumor_ml > 0 else "no tumor found"
    side = "Both sides" if kidney.side == "both" else kidney.side.capitalize()
    return f"{side}: kidney {kidney.kidney_ml:.0f} ml, {tumor}"


# --- one panel -------------------------------------------------------------------------------------------------------------------------------


def _slice_of(volume: Array, plane: Plane, index: int) -> Array:
    return np.asarray(np.moveaxis(volume, plane.axis, 0)[index])


@dataclass(frozen=True)
class Projection:
    """From mm in a slice to pixels of its frame: the same scale both ways, so that a circle stays one."""

    view: View
    frame: Frame

    @property
    def mm_per_pixel(self) -> float:
        """So that the whole field fits."""
        return max(self.view.field[0] / self.frame.height, self.view.field[1] / self.frame.width)

    def positions(self, spacing: tuple[float, float, float], fine: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Continuous voxel indices (down, along) of the centres of `fine` samples per pixel."""
        plane = self.view.plane
        down = self._millimetres(self.frame.height, fine) * (-1.0 if plane.superior_up else 1.0) + self.view.middle[0]
        along = self._millimetres(self.frame.width, fine) + self.view.middle[1]
        return down / spacing[plane.rows], along / spacing[plane.columns]

    def _millimetres(self, pixels: int, fine: int) -> NDArray[np.float64]:
        return ((np.arange(pixels * fine) + 0.5) / fine - pixels / 2) * self.mm_per_pixel

    def pixel(self, down_mm: float, along_mm: float) -> tuple[float, float]:
        """x, y in the picture."""
        down = (down_mm - self.view.middle[0]) / self.mm_per_pixel * (-1.0 if self.view.plane.superior_up else 1.0)
        along = (along_mm - self.view.middle[1]) / self.mm_per_pixel
        return self.frame.left + self.frame.width / 2 + along, self.frame.top + self.frame.height / 2 + down


def render_panel(subject: Subject, view: View, frame: Frame) -> NDArray[np.uint8]:
    """(height, width, 3): the windowed slice with kidney and tumor contours."""
    projection = Projection(view, frame)
    picture = _windowed(subject, projection)[..., None].repeat(3, axis=2)
    labels = _slice_of(subject.labels, view.plane, view.index)
    for mask, color in ((labels > 0, KIDNEY_COLOR), (labels == TUMOR, TUMOR_COLOR)):
        alpha = contour(mask, projection, subject.spacing)[..., None]
        picture += alpha * (np.array(color, dtype=np.float32) - picture)
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)


def _windowed(subject: Subject, projection: Projection) -> NDArray[np.float32]:
    """Grey values 0 to 255; black outside the scan."""
    slice_2d = _slice_of(subject.scan, projection.view.plane, projection.view.index).astype(np.float32)
    grey = np.clip((slice_2d - (WINDOW_LEVEL - WINDOW_WIDTH / 2)) / WINDOW_WIDTH, 0, 1) * 255
    down, along = projection.positions(subject.spacing)
    rows, columns = _cubic_weights(down, grey.shape[0]), _cubic_weights(along, grey.shape[1])
    return np.asarray(rows @ grey @ columns.T, dtype=np.float32)


def contour(mask: Array, projection: Projection, spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    """Opacity (height, width), 0 to 1, of a thin antialiased line along the mask's smoothed edge."""
    if not mask.any():
        return np.zeros((projection.frame.height, projection.frame.width), np.float32)
    down, along = projection.positions(spacing, SUPERSAMPLING)
    rows, columns = _gaussian_weights(down, mask.shape[0]), _gaussian_weights(along, mask.shape[1])
    inside = rows @ mask.astype(np.float32) @ columns.T > 0.5
    if not inside.any():
        return np.zeros((projection.frame.height, projection.frame.width), np.float32)
    # Distance to the edge in fine samples, zero between the last sample inside and the first outside.
    distance = ndimage.distance_transform_edt(inside) + ndimage.distance_transform_edt(~inside) - 0.5
    line = np.clip(SUPERSAMPLING * CONTOUR_WIDTH / 2 + 0.5 - distance, 0, 1)
    height, width = projection.frame.height, projection.frame.width
    return np.asarray(line.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING).mean(axis=(1, 3)), dtype=np.float32)


def _gaussian_weights(positions: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """(positions, count): the share of each sample at each position; rows outside the samples' extent are zero."""
    distance = positions[:, None] - np.arange(count)[None]
    return _normalized(np.exp(-0.5 * np.square(distance / CONTOUR_SIGMA)), positions, count)


def _cubic_weights(positions: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """The same with Catmull-Rom's kernel (Keys 1981, a = -1/2), widened when samples are denser than positions, against moire."""
    step = max(1.0, float(abs(positions[-1] - positions[0])) / max(1, len(positions) - 1))
    distance = np.abs(positions[:, None] - np.arange(count)[None]) / step
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return _normalized(np.where(distance < 1, near, np.where(distance < 2, far, 0.0)), positions, count)


def _normalized(weights: NDArray[np.float64], positions: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    inside = (positions >= -0.5) & (positions <= count - 0.5)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True).clip(1e-9) * inside[:, None], dtype=np.float32)


# --- the picture -----------------------------------------------------------------------------------------------------------------------------


def _compose(subject: Subject, panels: Sequence[tuple[View, Frame]], title: str, lines: Sequence[str], nothing_found: bool) -> Image.Image:
    image_module, draw_module, _ = _pillow()
    right = max(frame.left + frame.width for _, frame in panels) + MARGIN
    bottom = max(frame.top + frame.height for _, frame in panels) + GAP
    wrapped = [piece for line in lines for piece in _wrap(line, right - 2 * MARGIN)]
    picture: Image.Image = image_module.new("RGB", (right, bottom + (len(wrapped) + 2) * (TEXT_SIZE + 8) + MARGIN), BACKGROUND)
    draw = draw_module.Draw(picture)
    draw.text((MARGIN, MARGIN), title, font=_font(TITLE_SIZE), fill=TEXT_COLOR)
    for view, frame in panels:
        picture.paste(image_module.fromarray(render_panel(subject, view, frame)), (frame.left, frame.top))
        _annotate(draw, subject, Projection(view, frame))
    if nothing_found:
        frame = panels[0][1]
        draw.text((frame.left + frame.width / 2, frame.top + 60), "No kidney found", font=_font(TITLE_SIZE), fill=TUMOR_COLOR, anchor="mm")
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


def _font(size: int) -> Any:
    return _pillow()[2].load_default(size)


def _pillow() -> tuple[Any, Any, Any]:
    """PIL's Image, ImageDraw and ImageFont."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise SetupError("A preview needs the package Pillow; install it with: pip install pillow") from error
    return Image, ImageDraw, ImageFont
