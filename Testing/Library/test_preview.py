"""The preview shows the right slices in true proportions, with contours where the labels are, and leaves its input alone."""

from __future__ import annotations

import itertools
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from KidneyTumorCascadeLib import preview as preview_module
from KidneyTumorCascadeLib.errors import SetupError
from KidneyTumorCascadeLib.geometry import Box, Geometry
from KidneyTumorCascadeLib.preview import BOX_COLOR, Subject, arrange, find_kidneys, preview, write_preview
from KidneyTumorCascadeLib.slice_picture import (
    AXIAL,
    CORONAL,
    KIDNEY_COLOR,
    SAGITTAL,
    TUMOR_COLOR,
    Frame,
    Plane,
    Projection,
    View,
    render_slice,
)
from KidneyTumorCascadeLib.volume import Volume

Array = NDArray[Any]
PLANES = (AXIAL, CORONAL, SAGITTAL)

GEOMETRY = Geometry((160, 100, 50), (1.5, 2.0, 4.0), (-119.25, -99.0, 300.0))
SPACING = (4.0, 2.0, 1.5)
RIGHT, LEFT = (-55.0, 10.0, 400.0), (55.0, 20.0, 380.0)
RADIUS = 28.0
TUMOR = (75.0, 20.0, 380.0)
TUMOR_RADIUS = 12.0


def distance_to(center: tuple[float, float, float]) -> Array:
    """mm (z, y, x) from each voxel's centre to a point in LPS."""
    index = np.stack(np.meshgrid(*(np.arange(length) for length in GEOMETRY.size), indexing="ij"), axis=-1)
    return np.asarray(np.linalg.norm(GEOMETRY.to_patient(index) - np.array(center), axis=-1).transpose(2, 1, 0))


@pytest.fixture(scope="module")
def scan() -> Volume:
    """An elliptic cylinder of soft tissue in air."""
    x, y = np.linspace(-1.1, 1.1, 160), np.linspace(-1.1, 1.1, 100)
    body = (x[None] ** 2 + y[:, None] ** 2) < 1
    voxels = np.where(body, 40, -1000).astype(np.int16)[None].repeat(50, axis=0)
    voxels.setflags(write=False)
    return Volume(voxels, GEOMETRY)


@pytest.fixture(scope="module")
def labels() -> Array:
    """Two balls of kidney; the left one carries a ball of tumor."""
    found = ((distance_to(RIGHT) < RADIUS) | (distance_to(LEFT) < RADIUS)).astype(np.uint8)
    found[distance_to(TUMOR) < TUMOR_RADIUS] = 2
    found.setflags(write=False)
    return found


@pytest.fixture(scope="module")
def boxes() -> list[Box]:
    return [Box(LEFT, (76.0, 72.0, 72.0), "left"), Box(RIGHT, (72.0, 72.0, 72.0), "right")]


@pytest.fixture(scope="module")
def picture(scan: Volume, labels: Array, boxes: list[Box]) -> Image.Image:
    return preview(scan, labels, boxes, "t")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is drawn."""
    texts: list[str] = []
    original = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, xy: Any, text: str, *arguments: Any, **options: Any) -> None:
        texts.append(text)
        original(self, xy, text, *arguments, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return texts


@pytest.fixture
def small_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests in which single pixels do not matter: a picture that is quickly drawn."""
    for name, value in (("CELL_WIDTH", 200), ("CELL_HEIGHT", 150), ("CORONAL_HEIGHT", 314), ("CORONAL_WIDTHS", (150, 200))):
        monkeypatch.setattr(preview_module, name, value)


def projection_through(point: tuple[float, float, float], plane: Plane, field: float = 120.0) -> Projection:
    """A square panel of this many mm around an LPS point."""
    zyx = np.rint(GEOMETRY.to_index(point)).astype(int)[::-1]
    middle = (float(zyx[plane.rows]) * SPACING[plane.rows], float(zyx[plane.columns]) * SPACING[plane.columns])
    return Projection(View(plane, int(zyx[plane.axis]), middle, (field, field), plane.name), Frame(30, 40, 240, 240))


def is_near(pixels: Array, color: tuple[int, int, int], tolerance: float = 60) -> Array:
    return np.asarray(np.abs(pixels.astype(float) - color).max(axis=-1) < tolerance)


# --- slices ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plane", PLANES)
def test_a_ball_stays_round_and_keeps_its_size(scan: Volume, labels: Array, plane: Plane) -> None:
    projection = projection_through(RIGHT, plane)
    pixels = render_slice(scan.voxels, labels, SPACING, projection)
    rows, columns = np.nonzero(is_near(pixels, KIDNEY_COLOR))
    expected = 2 * RADIUS / projection.mm_per_pixel
    # Half a voxel at both ends is as true as a label map can be.
    slack = max(SPACING[plane.rows], SPACING[plane.columns]) / projection.mm_per_pixel + 2
    assert np.ptp(rows) == pytest.approx(expected, abs=slack)
    assert np.ptp(columns) == pytest.approx(expected, abs=slack)
    radii = np.hypot(rows - rows.mean(), columns - columns.mean()) * projection.mm_per_pixel
    assert radii.min() > RADIUS - 4
    assert radii.max() < RADIUS + 4
    assert radii.std() < 1.2, "a circle without stairs, though slices are 4 mm apart"


@pytest.mark.parametrize("plane", PLANES)
def test_only_the_edge_is_coloured(scan: Volume, labels: Array, plane: Plane) -> None:
    projection = projection_through(RIGHT, plane)
    pixels = render_slice(scan.voxels, labels, SPACING, projection).astype(int)
    coloured = np.ptp(pixels, axis=-1) > 3
    rows, columns = np.indices(coloured.shape)
    radii = np.hypot(rows - 119.5, columns - 119.5) * projection.mm_per_pixel
    assert not coloured[radii < RADIUS - 5].any()
    assert not coloured[radii > RADIUS + 5].any()
    angles = np.degrees(np.arctan2(rows - 119.5, columns - 119.5)).astype(int)
    assert len(np.unique(angles[coloured])) >= 359, "the contour is closed"


def test_a_contour_is_thin_and_antialiased(scan: Volume, labels: Array) -> None:
    pixels = render_slice(scan.voxels, labels, SPACING, projection_through(RIGHT, AXIAL))
    coloured = np.ptp(pixels.astype(int), axis=-1)
    length = 2 * np.pi * RADIUS / 0.5
    assert 1.0 < (coloured > 3).sum() / length < 4.5, "pixels of width"
    assert len(np.unique(coloured)) > 10, "shades between line and ground"


def test_tumor_is_red_over_the_kidney(scan: Volume, labels: Array) -> None:
    projection = projection_through(TUMOR, AXIAL)
    pixels = render_slice(scan.voxels, labels, SPACING, projection)
    rows, columns = np.nonzero(is_near(pixels, TUMOR_COLOR))
    radii = np.hypot(rows - 119.5, columns - 119.5) * projection.mm_per_pixel
    assert len(rows) > 100
    assert np.abs(radii - TUMOR_RADIUS).max() < 3
    yellow_rows, yellow_columns = np.nonzero(is_near(pixels, KIDNEY_COLOR))
    inside = np.hypot(yellow_rows - 119.5, yellow_columns - 119.5) * projection.mm_per_pixel < TUMOR_RADIUS - 3
    assert not inside.any(), "no outline of the kidney inside the tumor"


@pytest.mark.parametrize("plane", PLANES)
def test_directions(plane: Plane) -> None:
    """A bright corner in the array appears at the letters that it belongs to."""
    low, high = {0: "I", 1: "A", 2: "R"}, {0: "S", 1: "P", 2: "L"}
    for ends in itertools.product((0, -1), repeat=3):
        voxels = np.full((20, 20, 20), -1000, np.int16)
        voxels[tuple(slice(0, 8) if end == 0 else slice(12, 20) for end in ends)] = 300
        index = 2 if ends[plane.axis] == 0 else 17
        view = View(plane, index, (9.5, 9.5), (20, 20), "")
        pixels = render_slice(voxels, np.zeros_like(voxels), (1.0, 1.0, 1.0), Projection(view, Frame(0, 0, 100, 100)))
        row, column = (int(where.mean()) for where in np.nonzero(pixels[..., 0] > 200))
        left, right, top, bottom = tuple(plane.letters)
        assert (left if column < 50 else right) == (low if ends[plane.columns] == 0 else high)[plane.columns]
        assert (top if row < 50 else bottom) == (low if ends[plane.rows] == 0 else high)[plane.rows]


@pytest.mark.parametrize(("hu", "grey"), [(-1000, 0), (-150, 0), (50, 128), (150, 191), (250, 255), (3000, 255)])
def test_soft_tissue_window(hu: int, grey: int) -> None:
    voxels = np.full((4, 30, 30), hu, np.int16)
    view = View(AXIAL, 1, (14.5, 14.5), (40.0, 40.0), "")
    pixels = render_slice(voxels, np.zeros_like(voxels), (1.0, 1.0, 1.0), Projection(view, Frame(0, 0, 80, 80)))
    assert np.abs(pixels[10:70, 10:70].astype(int) - grey).max() <= 1
    assert (pixels[:9] == 0).all(), "black beyond the scan"


@given(st.integers(0, 11), st.integers(0, 9), st.floats(0.5, 5.0), st.floats(0.5, 5.0))
def test_even_a_single_voxel_gets_its_contour(row: int, column: int, down: float, along: float) -> None:
    mask = np.zeros((1, 12, 10), np.uint8)
    mask[0, row, column] = 2
    view = View(AXIAL, 0, (5.5 * down, 4.5 * along), (14 * down, 12 * along), "")
    projection = Projection(view, Frame(0, 0, 150, 150))
    pixels = render_slice(np.zeros_like(mask, np.int16), mask, (1.0, down, along), projection)
    rows, columns = np.nonzero(is_near(pixels, TUMOR_COLOR))
    x, y = projection.pixel(row * down, column * along)
    assert rows.size
    assert abs(rows.mean() + 0.5 - y) < 2
    assert abs(columns.mean() + 0.5 - x) < 2


def test_a_label_map_full_to_the_border(scan: Volume) -> None:
    full = np.ones_like(scan.voxels, np.uint8)
    view = View(AXIAL, 3, (99.0, 119.25), (260.0, 260.0), "")
    pixels = render_slice(scan.voxels, full, SPACING, Projection(view, Frame(0, 0, 260, 260)))
    rows, columns = np.nonzero(is_near(pixels, KIDNEY_COLOR))
    assert np.ptp(rows) == pytest.approx(200, abs=3)
    assert np.ptp(columns) == pytest.approx(240, abs=3)


# --- what is shown ---------------------------------------------------------------------------------------------------------------------------


def test_kidneys_are_measured_and_told_apart(scan: Volume, labels: Array, boxes: list[Box]) -> None:
    for used in (boxes, []):
        right, left = find_kidneys(Subject(scan.voxels, labels, GEOMETRY, used))
        assert (right.side, left.side) == ("right", "left")
        assert right.kidney_ml == pytest.approx(np.count_nonzero(labels[:, :, :80] == 1) * 0.012)
        assert left.tumor_ml == pytest.approx(np.count_nonzero(labels == 2) * 0.012)
        assert right.tumor_ml == 0
        assert np.abs(GEOMETRY.to_patient(right.focus[::-1]) - RIGHT).max() < 3
        assert np.abs(GEOMETRY.to_patient(left.focus[::-1]) - TUMOR).max() < 3, "slices go through the tumor"
        occupied = np.argwhere(labels[:, :, :80])
        assert right.low == tuple(occupied.min(axis=0))
        assert right.high == tuple(occupied.max(axis=0))


def test_slices_go_through_the_largest_tumor(scan: Volume, labels: Array) -> None:
    two = labels.copy()
    two[20, 30:34, 110:114] = 2
    (_, left) = find_kidneys(Subject(scan.voxels, two, GEOMETRY, []))
    assert two[left.focus] == 2
    assert np.abs(GEOMETRY.to_patient(left.focus[::-1]) - TUMOR).max() < 3


def test_panels_are_inside_the_picture_and_apart(scan: Volume, labels: Array, boxes: list[Box], picture: Image.Image) -> None:
    subject = Subject(scan.voxels, labels, GEOMETRY, boxes)
    panels = arrange(subject, find_kidneys(subject))
    assert [view.plane.name for view, _ in panels] == ["Coronal", "Axial", "Sagittal", "Axial", "Sagittal"]
    assert panels[0][0].index == find_kidneys(subject)[1].focus[1], "the coronal slice shows the tumor"
    width, height = picture.size
    for (_, a), (_, b) in itertools.combinations(panels, 2):
        assert a.left + a.width <= b.left or b.left + b.width <= a.left or a.top + a.height <= b.top or b.top + b.height <= a.top
    for _, frame in panels:
        assert frame.left >= 0
        assert frame.top >= 0
        assert frame.left + frame.width <= width
        assert frame.top + frame.height <= height


def test_the_picture_has_contours_boxes_and_words(scan: Volume, labels: Array, boxes: list[Box], written: list[str]) -> None:
    picture = preview(scan, labels, boxes, "case 7", ["Slices are 4 mm thick."])
    pixels = np.asarray(picture)
    for color in (KIDNEY_COLOR, TUMOR_COLOR, BOX_COLOR):
        assert is_near(pixels, color, 20).sum() > 200
    volume = np.count_nonzero(labels[:, :, :80]) * 0.012
    kidney, tumor = (np.count_nonzero(labels[:, :, 80:] == label) * 0.012 for label in (1, 2))
    assert f"Right: kidney {volume:.0f} ml, no tumor found" in written
    assert f"Left: kidney {kidney:.0f} ml, tumor {tumor:.1f} ml" in written
    assert {"case 7", "Slices are 4 mm thick.", "5 cm", "Axial, right kidney", "Sagittal, left tumor"} <= set(written)
    assert any("Not for clinical use" in text for text in written)
    for plane in PLANES:
        assert set(plane.letters) <= set(written)


def test_boxes_are_outlined_at_their_faces(scan: Volume, labels: Array, boxes: list[Box], picture: Image.Image) -> None:
    subject = Subject(scan.voxels, labels, GEOMETRY, boxes)
    view, frame = arrange(subject, find_kidneys(subject))[0]
    projection = Projection(view, frame)
    pixels = np.asarray(picture)
    z, _, x = boxes[1].slices(GEOMETRY)
    for end in (x.start - 0.5, x.stop - 0.5):
        across, down = projection.pixel((z.start + z.stop - 1) / 2 * SPACING[0], end * SPACING[2])
        assert is_near(pixels[round(down), round(across) - 1 : round(across) + 2], BOX_COLOR, 2).any()


@pytest.mark.usefixtures("small_panels")
def test_no_kidney_found(scan: Volume, boxes: list[Box], written: list[str]) -> None:
    pixels = np.asarray(preview(scan, np.zeros_like(scan.voxels, np.uint8), boxes, "empty"))
    assert "No kidney found" in written
    assert {"Coronal", "Axial"} <= set(written)
    assert not is_near(pixels[:-200], KIDNEY_COLOR).any()


@pytest.mark.usefixtures("small_panels")
def test_a_side_searched_in_vain_is_named(scan: Volume, labels: Array, boxes: list[Box], written: list[str]) -> None:
    one = labels.copy()
    one[:, :, 80:] = 0
    preview(scan, one, boxes, "one kidney")
    assert "Left: no kidney found" in written
    assert "Axial, left kidney" not in written


@pytest.mark.usefixtures("small_panels")
def test_one_mass_across_the_midline(scan: Volume, labels: Array, written: list[str]) -> None:
    preview(scan, labels, [Box((0.0, 15.0, 390.0), (200.0, 90.0, 110.0), "both")], "horseshoe")
    assert any(text.startswith("Both sides: kidney") for text in written)
    assert "Axial, tumor" in written


@pytest.mark.usefixtures("small_panels")
def test_odd_scans_get_a_picture(labels: Array) -> None:
    for size, spacing in (((3, 3, 3), (1.0, 1.0, 1.0)), ((40, 40, 1), (1.0, 1.0, 5.0)), ((8, 8, 300), (1.0, 1.0, 5.0))):
        geometry = Geometry(size, spacing)
        air = Volume(np.full(geometry.shape_zyx, -1000, np.int16), geometry)
        full = np.full(geometry.shape_zyx, 2, np.uint8)
        # Beyond the scan, and in the tallest scan beyond the field that the coronal panel shows.
        low, high, outside = (Box((4.0, 4.0, z), (5.0, 5.0, 50.0), side) for z, side in ((20.0, "right"), (1400.0, "left"), (-900.0, "both")))
        assert preview(air, full, [low, high, outside], "x" * 500, ["word " * 100]).size[0] > 300


# --- manners ---------------------------------------------------------------------------------------------------------------------------------


def test_input_is_left_alone_and_views_are_as_good_as_copies(scan: Volume, labels: Array, boxes: list[Box], picture: Image.Image) -> None:
    flipped = scan.voxels[::-1, :, ::-1].copy()[::-1, :, ::-1]
    writable = np.array(labels, order="F")
    again = preview(Volume(flipped, GEOMETRY), writable, boxes, "t")
    assert np.array_equal(np.asarray(picture), np.asarray(again))
    assert np.array_equal(labels, writable)
    assert np.array_equal(flipped, scan.voxels)


def test_labels_of_another_shape_are_refused(scan: Volume, labels: Array) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        preview(scan, labels[1:], [], "")


def test_memory_does_not_grow_with_the_scan() -> None:
    layer = np.full((400, 400), 40, np.int16)
    spots = np.zeros((400, 400), np.uint8)
    spots[180:220, 80:130] = 1
    geometry = Geometry((400, 400, 500), (0.9, 0.9, 1.0))
    # Views of one layer: the scan itself takes no memory, so whatever is counted is the picture's.
    scan = Volume(np.broadcast_to(layer, geometry.shape_zyx), geometry)
    tracemalloc.start()
    preview(scan, np.broadcast_to(spots, geometry.shape_zyx), [], "")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.75 * 400 * 400 * 500, "less than a mask of the scan"


def test_png_file_whole_or_not_at_all(
    tmp_path: Path, scan: Volume, labels: Array, boxes: list[Box], picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "preview.png"
    write_preview(path, scan, labels, boxes, "t")
    with Image.open(path) as stored:
        assert stored.format == "PNG"
        assert np.array_equal(np.asarray(stored), np.asarray(picture))
    content = path.read_bytes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_preview(path, scan, labels, [], "other")
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_without_pillow_there_is_a_sentence(scan: Volume, labels: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(SetupError, match="pip install pillow"):
        preview(scan, labels, [], "")
