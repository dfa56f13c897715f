"""Boxes around the kidneys: the published ones against a literal transcription, the adaptive ones by what they promise."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.box_rules import BoxRules
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import AxisOrder, Box, Geometry, Matrix
from KidneyTumorCascadeLib.kidney_boxes import CROSSING, NOTHING_FOUND, SIDE_UNKNOWN, FoundKidneys, adaptive_boxes, fixed_boxes
from KidneyTumorCascadeLib.kidney_groups import Fragment, clusters_of, distance_and_nearest, fragments_of, numbered_parts

Probability = NDArray[np.float32]
Bounds = list[tuple[int, int]]

# ---------------------------------------------------------------- fixed boxes


def published_boxes(mask: NDArray[np.bool_], edge: int) -> list[tuple[Bounds, bool]]:
    """The publication's steps, one after the other, in 1-based voxels (first, last) along z, y, x; and whether the half is empty.

    The mask (z, y, x) is on the scan's own grid. Slow on purpose: nothing is taken from the library.
    """
    zf, yf, xf = mask.shape
    boxes = []
    for first, last in ((1, xf // 2), (xf // 2 + 1, xf)):
        half = mask[:, :, first - 1 : last].astype(int)
        coronal = plain_median(half.sum(axis=1), 10, 25)
        axial = plain_median(half.sum(axis=0), 25, 25)
        width = last - first + 1
        if coronal.max() == 0 or axial.max() == 0:
            boxes.append(([(1, zf), (1, yf), (first, last)], True))
            continue
        middles = (midpoint(coronal.max(axis=1)), midpoint(axial.max(axis=1)), midpoint(axial.max(axis=0)))
        before = (edge + 1) // 2 - 1  # 127 of 256
        after = edge - before - 1  # 128 of 256
        z, y, x = ((max(1, middle - before), min(middle + after, size)) for middle, size in zip(middles, (zf, yf, width), strict=True))
        boxes.append(([z, y, (x[0] + first - 1, x[1] + first - 1)], False))
    return boxes


def plain_median(picture: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Median of the rows x columns pixels around each pixel (the upper one of two), the picture mirrored at its borders."""
    padded = np.pad(picture, ((rows // 2, rows - rows // 2 - 1), (columns // 2, columns - columns // 2 - 1)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns)).reshape(*picture.shape, rows * columns)
    return np.asarray(np.sort(windows, axis=-1)[..., rows * columns // 2])


def midpoint(profile: NDArray[Any]) -> int:
    """1-based middle of the extent of what is above zero."""
    found = [index + 1 for index, value in enumerate(profile) if value > 0]
    return (found[0] + found[-1]) // 2


def one_based(box: Box, geometry: Geometry) -> Bounds:
    return [(item.start + 1, item.stop) for item in box.slices(geometry)]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(41, 66), st.integers(26, 40), st.integers(20, 44)),
    coarser=st.sampled_from([(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (1.5, 3.0, 1.0)]),
    edge=st.sampled_from([7, 16, 30, 256]),
)
def test_fixed_boxes_are_the_published_ones(seed: int, size: tuple[int, int, int], coarser: tuple[float, float, float], edge: int) -> None:
    scan = Geometry(size, (0.8, 0.8, 3.0), (10.0, -20.0, 30.0))
    grid = scan.resampled((0.8 * coarser[0], 0.8 * coarser[1], 3.0 * coarser[2]))
    mask = random_mask(grid.shape_zyx, seed)
    boxes = fixed_boxes(mask, grid, scan, edge)
    expected = published_boxes(on_grid(mask, scan.shape_zyx), edge)
    assert [box.side for box in boxes] == ["right", "left"]
    assert [one_based(box, scan) for box in boxes] == [bounds for bounds, _ in expected]
    assert [box.source for box in boxes] == ["whole half" if empty else "network" for _, empty in expected]


def random_mask(shape: tuple[int, int, int], seed: int) -> NDArray[np.bool_]:
    """Up to two blocks in each half, and specks."""
    generator = np.random.default_rng(seed)
    mask = generator.random(shape) < 0.002
    for _ in range(generator.integers(0, 4)):
        start = [int(generator.integers(0, length)) for length in shape]
        extent = [int(generator.integers(1, 1 + length // 2)) for length in shape]
        mask[tuple(slice(first, first + many) for first, many in zip(start, extent, strict=True))] = True
    return np.asarray(mask)


def on_grid(mask: NDArray[np.bool_], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Each voxel of the new grid takes the voxel that its centre lies in."""
    index = [
        [math.floor((voxel + 0.5) / length * present + 1e-9) for voxel in range(length)] for length, present in zip(shape, mask.shape, strict=True)
    ]
    return mask[np.ix_(*index)]


def test_fixed_boxes_of_a_scan_have_256_voxels_and_ignore_specks() -> None:
    scan = Geometry((512, 512, 300), (0.78, 0.78, 1.0))
    grid = scan.resampled((3.0, 3.0, 3.0))
    mask = np.zeros(grid.shape_zyx, dtype=bool)
    block(mask, grid, (100, 210, 120), (60, 60, 110))
    block(mask, grid, (300, 200, 150), (60, 60, 110))
    mask[2, 2, 2] = mask[-2, -2, -2] = True
    right, left = fixed_boxes(mask, grid, scan)
    # From the middle of each block 127 voxels to one side and 128 to the other; half a voxel of the mask is 2 of the scan.
    expected = {right: ((0, 248), (142, 398), (1, 256)), left: ((22, 278), (128, 384), (257, 512))}
    for box, spans in expected.items():
        for item, (start, stop) in zip(box.slices(scan), spans, strict=True):
            assert abs(item.start - start) <= 2
            assert abs(item.stop - stop) <= 2
    assert right.slices(scan)[1].stop - right.slices(scan)[1].start == 256


def block(mask: NDArray[Any], grid: Geometry, centre: Sequence[float], size: Sequence[float], value: Any = True) -> None:
    """Fills the voxels whose centres lie in a block; x, y, z mm from the grid's first outer faces."""
    z, y, x = (
        slice(max(0, round((middle - edge / 2) / step)), round((middle + edge / 2) / step))
        for middle, edge, step in zip(centre[::-1], size[::-1], grid.spacing[::-1], strict=True)
    )
    mask[z, y, x] = value


def test_empty_half_is_a_box_of_its_own() -> None:
    scan = Geometry((61, 50, 40), (1.0, 1.0, 1.0))
    mask = np.zeros(scan.shape_zyx, dtype=bool)
    mask[8:30, 10:40, 35:60] = True
    right, left = fixed_boxes(mask, scan, scan)
    assert (right.side, right.source) == ("right", "whole half")
    assert right.slices(scan) == (slice(0, 40), slice(0, 50), slice(0, 30))
    assert (left.side, left.source) == ("left", "network")
    assert left.slices(scan)[2] == slice(30, 61)


def test_ten_is_superior_inferior() -> None:
    """Something 6 slices tall and 25 pixels wide passes the coronal filter; 25 slices tall and 6 pixels wide does not."""
    scan = Geometry((100, 60, 60), (0.8, 0.8, 3.0))
    flat, thin = np.zeros(scan.shape_zyx, dtype=bool), np.zeros(scan.shape_zyx, dtype=bool)
    flat[20:26, 10:40, 10:40] = True
    thin[20:45, 10:40, 10:16] = True
    assert fixed_boxes(flat, scan, scan)[0].source == "network"
    assert fixed_boxes(thin, scan, scan)[0].source == "whole half"


def test_fixed_boxes_need_two_voxels_and_the_same_extent() -> None:
    narrow = Geometry((1, 5, 5), (1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="halved"):
        fixed_boxes(np.zeros((5, 5, 1)), narrow, narrow)
    with pytest.raises(ValueError, match="covers"):
        fixed_boxes(np.zeros((5, 5, 1)), narrow, Geometry((2, 5, 5), (1.0, 1.0, 1.0)))


def test_fixed_boxes_in_any_orientation() -> None:
    lps = Geometry((90, 50, 40), (0.9, 0.9, 3.0), (-40.0, -30.0, 100.0), tilted(20))
    mask = np.zeros(lps.shape_zyx, dtype=bool)
    mask[10:30, 10:40, 8:38] = True
    mask[5:20, 12:42, 50:80] = True
    expected = [box.corners() for box in fixed_boxes(mask, lps, lps, edge=20)]
    for view, voxels in orientations(lps, mask):
        boxes = fixed_boxes(view.lps_order().apply(voxels), view.in_lps_order(), view.in_lps_order(), edge=20)
        np.testing.assert_allclose([box.corners() for box in boxes], expected, atol=1e-6)


def tilted(degrees: float) -> Matrix:
    """A direction turned about the patient's long axis."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0


def orientations(geometry: Geometry, voxels: NDArray[Any]) -> list[tuple[Geometry, NDArray[Any]]]:
    """The same voxels in the same places, listed in several orders."""
    flips = ((False, True, False), (True, False, False), (True, True, True))
    orders = [AxisOrder(permutation, flip) for permutation in ((0, 1, 2), (2, 0, 1)) for flip in flips]
    return [(geometry.reordered(order), order.apply(voxels)) for order in orders]


# ---------------------------------------------------------------- adaptive boxes

GRID = Geometry((90, 70, 80), (4.0, 4.0, 4.0), (-178.0, -138.0, -500.0))
MIDLINE = 0.0  # LPS x, the middle of that grid
NO_MARGIN = BoxRules(margin_mm=(0.0, 0.0, 0.0))
RIGHT, LEFT = (110.0, 160.0, 160.0), (250.0, 160.0, 160.0)
KIDNEY = (56.0, 56.0, 104.0)


def empty(geometry: Geometry = GRID) -> Probability:
    return np.zeros(geometry.shape_zyx, dtype=np.float32)


def ellipsoid(probability: Probability, geometry: Geometry, centre: Sequence[float], size: Sequence[float], value: float = 0.95) -> None:
    """Raises the probability to `value` in an ellipsoid; x, y, z mm from the grid's first outer faces."""
    x, y, z = (
        ((np.arange(length) + 0.5) * step - middle) / (edge / 2)
        for length, step, middle, edge in zip(geometry.size, geometry.spacing, centre, size, strict=True)
    )
    inside = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 <= 1
    np.maximum(probability, np.float32(value), out=probability, where=inside)


def two_kidneys() -> Probability:
    probability = empty()
    ellipsoid(probability, GRID, RIGHT, KIDNEY)
    ellipsoid(probability, GRID, LEFT, KIDNEY)
    return probability


def inside_boxes(found: FoundKidneys, geometry: Geometry) -> NDArray[np.intp]:
    """In how many boxes each voxel lies."""
    count = np.zeros(geometry.shape_zyx, dtype=np.intp)
    for box in found.boxes:
        count[box.slices(geometry)] += 1
    return count


def sides(found: FoundKidneys) -> list[str]:
    return [box.side for box in found.boxes]


def extent(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    (slices,) = ndimage.find_objects(mask.astype(int))
    return tuple(slices)


def test_two_kidneys_get_a_box_each_with_its_margin() -> None:
    probability = two_kidneys()
    found = adaptive_boxes(probability, GRID, BoxRules(margin_mm=(4.0, 8.0, 15.0)))
    assert sides(found) == ["right", "left"]
    assert found.warnings == []
    assert found.dropped == {"small": 0, "faint": 0, "elsewhere": 0}
    for box, columns in zip(found.boxes, (slice(0, 45), slice(45, 90)), strict=True):
        alone = np.zeros(GRID.shape_zyx, dtype=bool)
        alone[:, :, columns] = probability[:, :, columns] > 0.5
        z, y, x = extent(alone)
        # 15 mm are 4 voxels of 4 mm: a margin is rounded up.
        assert box.slices(GRID) == (slice(z.start - 4, z.stop + 4), slice(y.start - 2, y.stop + 2), slice(x.start - 1, x.stop + 1))
        assert box.source == "network"


@st.composite
def patients(draw: st.DrawFn) -> tuple[Geometry, Probability]:
    """Two kidneys of any size and place, a faint rim, tumors, specks, on a grid of any spacing."""
    spacing = tuple(draw(st.sampled_from([4.0, 5.0, 6.5])) for _ in range(3))
    size = tuple(round(length / step) for length, step in zip((340, 240, 300), spacing, strict=True))
    geometry = Geometry(size, spacing, (-100.0, 50.0, 7.0))  # type: ignore[arg-type]
    probability = empty(geometry)
    for middle in (draw(st.floats(70, 120)), draw(st.floats(220, 270))):
        centre = (middle, draw(st.floats(60, 180)), draw(st.floats(60, 240)))
        edges = (draw(st.floats(40, 70)), draw(st.floats(40, 70)), draw(st.floats(70, 130)))
        ellipsoid(probability, geometry, centre, [edge + 12 for edge in edges], 0.3)
        ellipsoid(probability, geometry, centre, edges, draw(st.sampled_from([0.7, 0.99])))
        if draw(st.booleans()):
            beside = [place + draw(st.floats(-40, 40)) for place in centre]
            ellipsoid(probability, geometry, beside, [draw(st.floats(15, 60))] * 3, 0.8)
    specks = np.random.default_rng(draw(st.integers(0, 999))).random(probability.shape) < draw(st.sampled_from([0.0, 0.0005]))
    probability[specks] = 0.9
    return geometry, probability


def kidneys_of(geometry: Geometry, probability: Probability) -> NDArray[np.bool_]:
    """Every connected part above one half that is large enough to be a kidney."""
    numbered, count = ndimage.label(probability > 0.5, np.ones((3, 3, 3)))
    volumes = ndimage.sum_labels(probability > 0.5, numbered, np.arange(count + 1)) * geometry.voxel_ml
    return np.asarray((volumes >= 20)[numbered] & (numbered > 0))


@settings(max_examples=20)
@given(patient=patients())
def test_nothing_is_cut_and_sides_are_disjoint(patient: tuple[Geometry, Probability]) -> None:
    geometry, probability = patient
    found = adaptive_boxes(probability, geometry)
    count = inside_boxes(found, geometry)
    assert count.max() == 1
    if not found.dropped["elsewhere"]:
        kidneys = kidneys_of(geometry, probability)
        assert count[kidneys].min() == 1
        numbered, _ = ndimage.label(probability > 0.2, np.ones((3, 3, 3)))
        faint = np.isin(numbered, np.unique(numbered[kidneys])) & (ndimage.distance_transform_edt(~kidneys, sampling=geometry.spacing[::-1]) <= 40)
        assert count[faint].min() == 1
    assert len(found.boxes) == len(set(sides(found))) > 0


@settings(max_examples=8)
@given(patient=patients())
def test_mirroring_the_patient_swaps_the_sides(patient: tuple[Geometry, Probability]) -> None:
    geometry, probability = patient
    found = adaptive_boxes(probability, geometry)
    mirrored = adaptive_boxes(probability[:, :, ::-1], geometry)
    swap = {"right": "left", "left": "right", "both": "both"}
    width = geometry.size[0]
    expected = {}
    for box in found.boxes:
        z, y, x = box.slices(geometry)
        expected[swap[box.side]] = (z, y, slice(width - x.stop, width - x.start))
    assert {box.side: box.slices(geometry) for box in mirrored.boxes} == expected
    assert mirrored.dropped == found.dropped


def test_any_orientation_gives_the_same_boxes() -> None:
    grid = Geometry(GRID.size, GRID.spacing, GRID.origin, tilted(15))
    probability = two_kidneys()
    expected = adaptive_boxes(probability, grid)
    for view, voxels in orientations(grid, probability):
        found = adaptive_boxes(view.lps_order().apply(voxels), view.in_lps_order())
        assert sides(found) == ["right", "left"]
        np.testing.assert_allclose([box.corners() for box in found.boxes], [box.corners() for box in expected.boxes], atol=1e-6)


def test_nothing_found() -> None:
    found = adaptive_boxes(empty() + np.float32(0.4), GRID)
    assert found.boxes == []
    assert found.warnings == [NOTHING_FOUND]


def test_specks_are_dropped_and_counted() -> None:
    probability = empty()
    probability[::8, ::8, ::8] = 1.0
    found = adaptive_boxes(probability, GRID)
    assert found.boxes == []
    assert found.dropped == {"small": 10 * 9 * 12, "faint": 0, "elsewhere": 0}


def test_specks_do_not_move_the_boxes() -> None:
    clean = two_kidneys()
    speckled = clean.copy()
    speckled[2::72, 2::16, 2::16] = 1.0
    speckled[0:1, 0:3, 0:3] = 1.0
    kept, expected = adaptive_boxes(speckled, GRID), adaptive_boxes(clean, GRID)
    assert kept.boxes == expected.boxes
    assert kept.dropped["small"] > 20


@pytest.mark.parametrize(("centre", "side", "missing"), [(RIGHT, "right", "left"), (LEFT, "left", "right")])
def test_single_kidney_has_a_side_and_a_warning(centre: tuple[float, float, float], side: str, missing: str) -> None:
    probability = empty()
    ellipsoid(probability, GRID, centre, KIDNEY)
    found = adaptive_boxes(probability, GRID, midline_x_mm=MIDLINE)
    assert sides(found) == [side]
    assert found.warnings == [f"No kidney was found on the {missing} side."]


@pytest.mark.parametrize(("centre", "side"), [(RIGHT, "right"), (LEFT, "left")])
def test_without_a_midline_the_side_of_a_single_kidney_is_uncertain(centre: tuple[float, float, float], side: str) -> None:
    probability = empty()
    ellipsoid(probability, GRID, centre, KIDNEY)
    found = adaptive_boxes(probability, GRID)
    assert sides(found) == [side]
    assert found.warnings == [SIDE_UNKNOWN]


def test_without_a_midline_a_wide_kidney_in_the_middle_is_not_said_to_cross_it() -> None:
    """As in a field of view that was laid around one kidney."""
    probability = empty()
    ellipsoid(probability, GRID, (180.0, 140.0, 160.0), (80.0, 60.0, 110.0))
    assert adaptive_boxes(probability, GRID).warnings == [SIDE_UNKNOWN]
    assert adaptive_boxes(probability, GRID, midline_x_mm=MIDLINE).warnings == [CROSSING]


@pytest.mark.parametrize(
    ("midline", "warnings"),
    [
        (-130.0, ["Both regions found lie on the patient's left of the middle; one of them may not be a kidney, check the sides."]),
        (-80.0, []),
        (MIDLINE, []),
        (80.0, []),
        (130.0, ["Both regions found lie on the patient's right of the middle; one of them may not be a kidney, check the sides."]),
        (None, []),
    ],
)
def test_two_kidneys_on_one_side_are_odd(midline: float | None, warnings: list[str]) -> None:
    """Their centres are 70 mm right and left of the grid's middle."""
    found = adaptive_boxes(two_kidneys(), GRID, midline_x_mm=midline)
    assert sides(found) == ["right", "left"]
    assert found.warnings == warnings


@pytest.mark.parametrize(("shift", "midline"), [(0.0, MIDLINE), (0.0, None), (-40.0, None), (40.0, None)])
def test_the_side_of_something_left_out_is_that_of_the_kidney_beside_it(shift: float, midline: float | None) -> None:
    """Without a midline the middle is between the kidneys, wherever they lie in the field of view."""
    probability = empty()
    for x, y, edges in ((-70.0, 160.0, KIDNEY), (-30.0, 60.0, (30.0, 30.0, 60.0)), (70.0, 160.0, KIDNEY)):
        ellipsoid(probability, GRID, (180.0 + shift + x, y, 160.0), edges)
    found = adaptive_boxes(probability, GRID, midline_x_mm=midline)
    assert sides(found) == ["right", "left"]
    assert [" on the right side " in warning for warning in found.warnings] == [True]


@pytest.mark.parametrize("degrees", [0, 40])
def test_side_of_a_single_kidney_follows_the_given_midline(degrees: float) -> None:
    grid = Geometry(GRID.size, GRID.spacing, GRID.origin, tilted(degrees))
    probability = empty()
    ellipsoid(probability, grid, (228.0, 140.0, 160.0), (40.0, 40.0, 40.0))
    # LPS x of the point on the grid's middle line, beside the kidney: 48 mm from the centre along the grid's own axis.
    beside = grid.to_patient((np.array(grid.size) - 1) / 2)[0] + 48.0 * math.cos(math.radians(degrees))
    assert sides(adaptive_boxes(probability, grid, midline_x_mm=beside + 4)) == ["right"]
    assert sides(adaptive_boxes(probability, grid, midline_x_mm=beside - 4)) == ["left"]


def test_patient_far_from_the_middle_of_the_image() -> None:
    """Both kidneys lie in the left half of the image."""
    probability = empty()
    ellipsoid(probability, GRID, (205.0, 140.0, 160.0), (40.0, 50.0, 100.0))
    ellipsoid(probability, GRID, (325.0, 140.0, 160.0), (40.0, 50.0, 100.0))
    found = adaptive_boxes(probability, GRID)
    assert sides(found) == ["right", "left"]
    assert found.boxes[0].center[0] < found.boxes[1].center[0]
    assert found.warnings == []


def test_horseshoe_kidney_gets_one_box() -> None:
    probability = two_kidneys()
    ellipsoid(probability, GRID, (180.0, 150.0, 125.0), (150.0, 30.0, 30.0))
    found = adaptive_boxes(probability, GRID, NO_MARGIN, MIDLINE)
    assert sides(found) == ["both"]
    assert found.warnings == [CROSSING]
    assert found.boxes[0].slices(GRID) == extent(probability > 0.5)


def test_kidney_reaching_a_little_across_the_midline_keeps_its_side() -> None:
    probability = empty()
    ellipsoid(probability, GRID, (130.0, 140.0, 160.0), (150.0, 80.0, 100.0))
    assert sides(adaptive_boxes(probability, GRID)) == ["right"]
    assert sides(adaptive_boxes(probability, GRID, BoxRules(crossing_mm=15.0))) == ["both"]


def test_pelvic_kidney_is_found() -> None:
    probability = empty()
    ellipsoid(probability, GRID, (165.0, 120.0, 30.0), (60.0, 50.0, 50.0))
    found = adaptive_boxes(probability, GRID)
    assert sides(found) == ["right"]
    assert found.boxes[0].slices(GRID)[0].start == 0


def test_kidney_in_two_parts_is_one_kidney() -> None:
    probability = two_kidneys()
    probability[39:41, :, :45] = 0.0  # 8 mm of nothing
    found = adaptive_boxes(probability, GRID, NO_MARGIN)
    assert sides(found) == ["right", "left"]
    assert found.dropped["elsewhere"] == 0
    assert inside_boxes(found, GRID)[probability > 0.5].min() == 1


def test_kidney_in_pieces_too_small_alone_is_found() -> None:
    probability = two_kidneys()
    probability[:, :, :45][::5] = 0.0
    rules = BoxRules(min_kidney_ml=60.0)
    found = adaptive_boxes(probability, GRID, rules)
    assert sides(found) == ["right", "left"]
    assert inside_boxes(found, GRID)[probability > 0.5].min() == 1


def test_small_parts_near_a_kidney_belong_to_it_and_far_ones_do_not() -> None:
    probability = two_kidneys()
    z, y, x = extent(probability[:, :, :45] > 0.5)
    near, far = probability.copy(), probability.copy()
    middle = ((z.start + z.stop) // 2, (y.start + y.stop) // 2)
    near[(*middle, x.start - 3)] = 0.9
    far[(*middle, x.start - 4)] = 0.9
    kidney, nearer, farther = (adaptive_boxes(item, GRID, NO_MARGIN) for item in (probability, near, far))
    assert nearer.boxes[0].slices(GRID)[2].start == x.start - 3
    assert nearer.dropped["small"] == 0
    assert farther.boxes == kidney.boxes
    assert farther.dropped["small"] == 1


@pytest.mark.parametrize(("axis", "step"), [(0, 8.0), (1, 4.0), (2, 3.0)])
def test_gaps_are_measured_in_mm_along_every_axis(axis: int, step: float) -> None:
    grid = Geometry((60, 60, 40), (3.0, 4.0, 8.0))
    probability = empty(grid)
    probability[15:25, 25:35, 20:40] = 0.9
    rules = BoxRules(join_mm=25.0, margin_mm=(0.0, 0.0, 0.0))
    for gap, joined in ((math.floor(25 / step), True), (math.floor(25 / step) + 1, False)):
        with_speck, place = probability.copy(), [20, 30, 30]
        place[axis] = (25, 35, 40)[axis] - 1 + gap
        with_speck[tuple(place)] = 0.9
        found = adaptive_boxes(with_speck, grid, rules)
        assert inside_boxes(found, grid)[tuple(place)] == joined
        assert found.dropped["small"] == 1 - joined


@pytest.mark.parametrize(("axis", "near", "far"), [(0, 2, 4), (1, 5, 8), (2, 7, 10)])
def test_halves_of_a_kidney_are_joined_in_mm_along_every_axis(axis: int, near: int, far: int) -> None:
    """So many empty layers of 8, 4 or 3 mm."""
    grid = Geometry((60, 60, 40), (3.0, 4.0, 8.0))
    for layers, joined in ((near, True), (far, False)):
        probability = empty(grid)
        probability[10:30, 20:40, 20:50] = 0.9
        gap = [slice(None)] * 3
        gap[axis] = slice((20, 30, 30)[axis], (20, 30, 30)[axis] + layers)
        probability[tuple(gap)] = 0.0
        found = adaptive_boxes(probability, grid, BoxRules(join_mm=25.0))
        assert found.dropped["elsewhere"] == 1 - joined


@pytest.mark.parametrize(("axis", "reach"), [(0, 2), (1, 5), (2, 6)])
def test_growing_is_measured_in_mm_along_every_axis(axis: int, reach: int) -> None:
    grid = Geometry((60, 60, 40), (3.0, 4.0, 8.0))
    probability = empty(grid)
    line: list[Any] = [20, 30, 30]
    line[axis] = slice(5, 35)
    probability[tuple(line)] = 0.3
    probability[15:25, 25:35, 20:40] = 0.9
    (box,) = adaptive_boxes(probability, grid, BoxRules(margin_mm=(0.0, 0.0, 0.0), grow_mm=20.0)).boxes
    assert box.slices(grid)[axis].start == max(5, (15, 25, 20)[axis] - reach)


def test_chain_of_specks_does_not_tie_kidneys_together() -> None:
    probability = two_kidneys()
    probability[40, 40, 20:70:3] = 0.9
    found = adaptive_boxes(probability, GRID)
    assert sides(found) == ["right", "left"]


def test_faint_parts_are_enclosed_as_far_as_allowed() -> None:
    probability = two_kidneys()
    z, y, x = extent(probability[:, :, :45] > 0.5)
    probability[40, 40, 2 : x.start] = 0.3
    rules = BoxRules(margin_mm=(0.0, 0.0, 0.0), grow_mm=20.0)
    assert adaptive_boxes(probability, GRID, NO_MARGIN).boxes[0].slices(GRID) == (z, y, slice(x.start - 10, x.stop))
    assert adaptive_boxes(probability, GRID, rules).boxes[0].slices(GRID) == (z, y, slice(x.start - 5, x.stop))
    probability[40, 40, x.start - 1] = 0.1
    assert adaptive_boxes(probability, GRID, NO_MARGIN).boxes[0].slices(GRID) == (z, y, x)


@pytest.mark.parametrize("gap", [1, 2, 5, 6])
def test_margins_share_the_gap(gap: int) -> None:
    probability = empty()
    probability[30:50, 30:40, 24:44] = 0.9
    probability[30:50, 30:40, 44 + gap : 64 + gap] = 0.9
    found = adaptive_boxes(probability, GRID, BoxRules(margin_mm=(40.0, 40.0, 40.0), join_mm=0.0))
    assert sides(found) == ["right", "left"]
    right, left = (box.slices(GRID)[2] for box in found.boxes)
    assert (right.stop, left.start) == (44 + gap // 2, 44 + gap - gap // 2)


def test_faint_bridge_between_kidneys_is_shared_out() -> None:
    probability = two_kidneys()
    probability[40, 40, 30:60] = np.maximum(probability[40, 40, 30:60], 0.3)
    found = adaptive_boxes(probability, GRID)
    assert sides(found) == ["right", "left"]
    assert (inside_boxes(found, GRID)[probability > 0.2] == 1).all()


def test_kidneys_one_above_the_other_are_split_across() -> None:
    """A crossed kidney: its extent overlaps the other's along left-right, but not along superior-inferior."""
    probability = empty()
    ellipsoid(probability, GRID, (130.0, 140.0, 230.0), (150.0, 60.0, 80.0))
    ellipsoid(probability, GRID, (230.0, 140.0, 90.0), (150.0, 60.0, 80.0))
    found = adaptive_boxes(probability, GRID, BoxRules(margin_mm=(40.0, 40.0, 40.0)))
    assert sides(found) == ["right", "left"]
    right, left = found.boxes
    assert right.center[0] < left.center[0]
    assert right.center[2] > left.center[2]
    count = inside_boxes(found, GRID)
    assert count.max() == 1
    assert count[probability > 0.5].min() == 1


def test_kidneys_whose_boxes_would_overlap_get_one() -> None:
    """A left mass that reaches in front of the right kidney: no plane along the axes lies between them."""
    probability = empty()
    probability[30:50, 30:50, 24:44] = 0.9
    probability[30:50, 10:50, 52:72] = 0.9
    probability[30:50, 10:24, 30:72] = 0.9
    found = adaptive_boxes(probability, GRID, NO_MARGIN)
    assert sides(found) == ["both"]
    assert found.warnings == [CROSSING]
    assert found.boxes[0].slices(GRID) == extent(probability > 0.5)


def test_third_region_is_left_out_with_a_warning() -> None:
    probability = two_kidneys()
    ellipsoid(probability, GRID, (260.0, 60.0, 40.0), (45.0, 45.0, 45.0))
    found = adaptive_boxes(probability, GRID)
    assert sides(found) == ["right", "left"]
    assert found.dropped["elsewhere"] == 1
    (warning,) = found.warnings
    assert "left side" in warning
    assert f"{np.count_nonzero(probability[:20] > 0.5) * GRID.voxel_ml:.0f} ml" in warning


def test_faint_region_is_no_kidney() -> None:
    probability = empty()
    ellipsoid(probability, GRID, RIGHT, KIDNEY)
    ellipsoid(probability, GRID, LEFT, KIDNEY, 0.55)
    found = adaptive_boxes(probability, GRID)
    assert sides(found) == ["right"]
    assert found.dropped["faint"] == 1


def test_two_regions_on_one_side_are_no_pair() -> None:
    """A left kidney and something beside it, as a spleen taken for kidney."""
    probability = empty()
    ellipsoid(probability, GRID, LEFT, KIDNEY)
    ellipsoid(probability, GRID, (305.0, 160.0, 260.0), (50.0, 50.0, 50.0))
    found = adaptive_boxes(probability, GRID)
    assert sides(found) == ["left"]
    assert len(found.warnings) == 2


def test_boxes_end_with_the_scan() -> None:
    probability = empty()
    ellipsoid(probability, GRID, (30.0, 140.0, 20.0), (60.0, 60.0, 100.0))
    (box,) = adaptive_boxes(probability, GRID).boxes
    z, _, x = box.slices(GRID)
    assert (z.start, x.start) == (0, 0)
    assert (np.abs(GRID.to_index(box.corners()) - (np.array(GRID.size) - 1) / 2) <= np.array(GRID.size) / 2 + 1e-6).all()


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("case_00000", ["right", "left"]),
        ("case_00040", ["right", "left"]),
        ("case_00056", ["right", "left"]),
        ("case_00088", ["right", "left"]),
        ("case_00005", ["left"]),
        ("case_00165", ["right"]),
        ("case_00151", ["both"]),
    ],
)
def test_real_patients(shared_data: Path, case: str, expected: list[str]) -> None:
    """Displaced kidneys (40, 56, 88), one kidney only (5, 165), and one mass across the midline (151)."""
    image = sitk.ReadImage(str(shared_data / "kits_labels" / f"{case}.nii.gz"))
    labels = sitk.GetArrayViewFromImage(image)[::4, ::4, ::4]
    spacing = tuple(4 * step for step in image.GetSpacing())
    grid = Geometry(labels.shape[::-1], spacing, image.GetOrigin(), image.GetDirection())
    probability = (labels > 0).astype(np.float32)
    found = adaptive_boxes(probability, grid, midline_x_mm=midline_of(shared_data, case))
    assert sides(found) == expected
    count = inside_boxes(found, grid)
    assert count.max() == 1
    numbered, many = ndimage.label(probability, np.ones((3, 3, 3)))
    volumes = ndimage.sum_labels(probability, numbered, np.arange(many + 1)) * grid.voxel_ml
    assert count[volumes[numbered] > 2].min() == 1


def midline_of(shared_data: Path, case: str) -> float:
    index = json.loads((shared_data / "kits_labels" / "index.json").read_text())
    return float(next(entry["scan_centre_lps_mm"][0] for entry in index if entry["case"] == case))


# ---------------------------------------------------------------- distances


@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    share=st.floats(0.001, 0.2),
    most=st.floats(0.0, 20.0),
    spacing=st.tuples(*[st.floats(0.5, 4.0)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_distances_are_those_of_the_whole_grid_as_far_as_they_count(
    seed: int, shape: tuple[int, int, int], share: float, most: float, spacing: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < share
    mask[tuple(rng.integers(0, shape))] = True
    numbered = np.where(mask, rng.integers(1, 9, shape), 0).astype(np.int32)
    geometry = Geometry(shape[::-1], spacing)
    distance, number = distance_and_nearest(mask, numbered, geometry, most)
    expected = ndimage.distance_transform_edt(~mask, sampling=spacing[::-1])
    near = expected <= most
    assert np.array_equal(distance <= most, near)
    assert np.allclose(distance[near], expected[near])
    for index in np.argwhere(near):
        gaps = np.sqrt((((np.argwhere(mask) - index) * spacing[::-1]) ** 2).sum(axis=1))
        nearest = numbered[tuple(np.argwhere(mask).T)][np.isclose(gaps, gaps.min())]
        assert number[tuple(index)] in nearest


# ---------------------------------------------------------------- rules


def test_rules_survive_json() -> None:
    rules = BoxRules("fixed", 0.6, 0.3, 30.0, (10.0, 11.0, 12.0), 25.0, 0.7, 8.0, 60.0, 25.0, 128)
    assert BoxRules.from_dict(rules.to_dict()) == rules
    assert BoxRules.from_dict({}) == BoxRules()
    assert rules.to_dict()["margin_mm"] == [10.0, 11.0, 12.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "round"}, "kind"),
        ({"margin_mm": [1, 2]}, "margin_mm"),
        ({"margin_mm": "123"}, "margin_mm"),
        ({"margin_mm": 15}, "margin_mm"),
        ({"margin_mm": [1, 2, -3]}, "margin_mm z"),
        ({"threshold": 1.0}, "thresholds"),
        ({"threshold": 0.1}, "thresholds"),
        ({"join_mm": float("inf")}, "join_mm"),
        ({"edge_voxels": 0}, "edge_voxels"),
        ({"edge_voxels": 25.5}, "edge_voxels"),
        ({"min_kidney_ml": "20"}, "min_kidney_ml"),
        ({"margin": 3}, "unknown box rules: margin"),
    ],
)
def test_impossible_rules_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoxRules.from_dict(settings)


@given(seed=st.integers(0, 10_000), density=st.floats(0.0, 0.4))
def test_parts_are_numbered_as_scipy_numbers_them(seed: int, density: float) -> None:
    mask = np.zeros((9, 10, 11), dtype=bool)
    mask[1:7, 2:9, 3:10] = np.random.default_rng(seed).random((6, 7, 7)) < density
    assert np.array_equal(numbered_parts(mask), ndimage.label(mask, np.ones((3, 3, 3)))[0])


@given(seed=st.integers(0, 10_000), join_mm=st.floats(0.0, 25.0))
def test_what_is_far_apart_is_not_joined_and_needs_no_distances(seed: int, join_mm: float) -> None:
    random = np.random.default_rng(seed)
    grid = Geometry((22, 18, 14), (2.0, 3.0, 4.0))
    probability = np.where(random.random(grid.shape_zyx) < 0.004, 0.9, 0.0).astype(np.float32)
    numbered = numbered_parts(probability > 0.5)
    fragments = fragments_of(probability, numbered, grid)
    distance = ndimage.distance_transform_edt(numbered == 0, sampling=grid.spacing[::-1]) if fragments else np.zeros(grid.shape_zyx)
    joined, _ = ndimage.label(distance <= join_mm / 2, np.ones((3, 3, 3)))
    expected: dict[int, list[Fragment]] = {}
    for fragment in fragments:
        expected.setdefault(int(joined[numbered == fragment.number][0]), []).append(fragment)
    assert clusters_of(fragments, numbered, grid, join_mm) == list(expected.values())
