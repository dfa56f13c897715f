"""Where voxels are: what is flipped, permuted, cropped or resampled stays in its place in the patient."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import AxisOrder, Box, Geometry, Matrix, as_matrix, as_vector, box_of_slices
from KidneyTumorCascadeLib.volume import Volume

ORDERS = [
    AxisOrder((a, b, c), (bool(flips & 1), bool(flips & 2), bool(flips & 4))) for a, b, c in itertools.permutations(range(3)) for flips in range(8)
]
lengths = st.floats(0.2, 9.0)
positions = st.floats(-2000.0, 2000.0)
sizes = st.tuples(*[st.integers(1, 9)] * 3)


@st.composite
def rotations(draw: st.DrawFn) -> NDArray[np.float64]:
    """Any rotation, from a quaternion."""
    # To nine digits: cosines of 1e-311, which no header holds, make the decomposition in ITK, which is the oracle here, answer NaN.
    q = np.array([round(draw(st.floats(-1, 1)), 9) for _ in range(4)])
    length = np.linalg.norm(q)
    w, x, y, z = q / length if length > 1e-3 else (1.0, 0.0, 0.0, 0.0)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Any grid: one of the 48 orientations, or turned freely, of either handedness."""
    axes = np.eye(3) if draw(st.booleans()) else draw(rotations())
    order = draw(st.sampled_from(ORDERS))
    axes = axes[:, order.permutation] * np.where(order.flips, -1.0, 1.0)
    return Geometry(draw(sizes), draw(st.tuples(*[lengths] * 3)), draw(st.tuples(*[positions] * 3)), as_matrix(axes))


def indices_zyx(geometry: Geometry) -> NDArray[Any]:
    """An array of the grid's shape whose elements name their voxel."""
    return np.arange(np.prod(geometry.size)).reshape(geometry.shape_zyx)


def places(geometry: Geometry) -> NDArray[np.float64]:
    """(z, y, x, 3): the patient position of every voxel, from the definition, one voxel at a time."""
    result = np.empty((*geometry.shape_zyx, 3))
    matrix = np.array(geometry.direction).reshape(3, 3)
    for k, j, i in np.ndindex(*geometry.shape_zyx):
        result[k, j, i] = geometry.origin + matrix @ (np.array([i, j, k]) * geometry.spacing)
    return result


@given(geometries())
def test_voxels_are_where_simpleitk_has_them(geometry: Geometry) -> None:
    image = sitk.Image(geometry.size, sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    corner = tuple(length - 1 for length in geometry.size)
    for index in ((0, 0, 0), corner, (corner[0], 0, 0), (0, corner[1], 0)):
        np.testing.assert_allclose(geometry.to_patient(index), image.TransformIndexToPhysicalPoint(index), atol=1e-9)
    point = geometry.to_patient((1.25, -0.5, 3.75))
    np.testing.assert_allclose(geometry.to_index(point), image.TransformPhysicalPointToContinuousIndex(point.tolist()), atol=1e-6)


@given(geometries())
def test_index_and_patient_are_each_other_s_inverse(geometry: Geometry) -> None:
    index = np.random.default_rng(0).uniform(-5, 5, (4, 2, 3))
    np.testing.assert_allclose(geometry.to_index(geometry.to_patient(index)), index, atol=1e-7)


# Direction cosines as headers of three digits give them: 2 degrees about the long axis, then also 20 degrees about the transverse one.
THREE_DIGITS = [(0.999, -0.034, 0, 0.034, 0.999, 0, 0, 0, 1), (0.999, -0.033, 0.012, 0.035, 0.939, -0.342, 0, 0.342, 0.94)]


@pytest.mark.parametrize("direction", THREE_DIGITS)
def test_rounded_direction_cosines_move_nothing(direction: Matrix) -> None:
    geometry = Geometry((512, 512, 300), (0.7, 0.7, 1.0), (-180.0, -170.0, -900.0), direction)
    index = np.array([[400.0, 300.0, 100.0], [0.0, 511.0, 299.0]])
    np.testing.assert_allclose(geometry.to_index(geometry.to_patient(index)), index, atol=1e-9)
    slices = (slice(250, 299), slice(300, 512), slice(400, 511))
    box = box_of_slices(slices, geometry, "left", "network")
    assert Box.from_dict(box.to_dict()).slices(geometry) == slices
    for order in ORDERS:
        reordered = geometry.reordered(order)
        assert reordered.cropped(box.slices(reordered)).matches(geometry.cropped(slices).reordered(order), 1e-9)


@pytest.mark.parametrize("order", ORDERS)
def test_an_axis_order_can_be_undone(order: AxisOrder) -> None:
    array = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    there = order.apply(array)
    assert np.shares_memory(there, array)
    np.testing.assert_array_equal(undoing(order).apply(there), array)


def undoing(order: AxisOrder) -> AxisOrder:
    """The order that leads back."""
    x, y, z = (order.permutation.index(axis) for axis in range(3))
    return AxisOrder((x, y, z), (order.flips[x], order.flips[y], order.flips[z]))


@given(geometries(), st.sampled_from(ORDERS))
def test_a_reordered_grid_keeps_every_voxel_in_its_place(geometry: Geometry, order: AxisOrder) -> None:
    reordered = geometry.reordered(order)
    moved = order.apply(indices_zyx(geometry))
    assert moved.shape == reordered.shape_zyx
    np.testing.assert_allclose(places(geometry).reshape(-1, 3)[moved], places(reordered), atol=1e-8)
    back = reordered.reordered(undoing(order))
    assert back.matches(geometry, 1e-8)
    np.testing.assert_allclose(back.direction, geometry.direction, atol=1e-12)


@given(geometries())
def test_in_lps_order_each_axis_runs_as_its_name_says(geometry: Geometry) -> None:
    axes = geometry.in_lps_order().axes
    trace = np.trace(axes)
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            assert trace >= np.trace(axes[:, order] * np.array(signs)) - 1e-9, "no other order fits the patient better"


@pytest.mark.parametrize("order", ORDERS)
def test_all_48_orientations_become_the_same_scan(order: AxisOrder) -> None:
    scan = Volume(np.random.default_rng(0).integers(0, 99, (4, 5, 6)), Geometry((6, 5, 4), (0.7, 0.8, 2.5), (-10.0, 20.0, 300.0)))
    seen = Volume(order.apply(scan.voxels), scan.geometry.reordered(order)).in_lps_order()
    np.testing.assert_array_equal(seen.voxels, scan.voxels)
    assert seen.geometry.matches(scan.geometry, 1e-9)
    np.testing.assert_array_equal(seen.geometry.axes, np.eye(3))


@given(rotations(), st.sampled_from(ORDERS))
def test_an_oblique_scan_stays_oblique_and_becomes_the_same(rotation: NDArray[np.float64], order: AxisOrder) -> None:
    scan = Geometry((6, 5, 4), (0.7, 0.8, 2.5), (-10.0, 20.0, 300.0), as_matrix(rotation)).in_lps_order()
    fits = sorted(np.trace(np.abs(scan.axes)[:, order]) for order in itertools.permutations(range(3)))
    assume(fits[-1] - fits[-2] > 1e-6)  # Turned half way, two orders fit alike, and either is right.
    assume(np.diag(scan.axes).min() > 1e-6)
    seen = scan.reordered(order).in_lps_order()
    assert seen.matches(scan, 1e-8)
    np.testing.assert_allclose(seen.direction, scan.direction, atol=1e-12)


@given(geometries(), st.data())
def test_a_cropped_grid_keeps_its_voxels_in_place(geometry: Geometry, data: st.DataObject) -> None:
    slices = data.draw(st.tuples(*[slices_within(length) for length in geometry.shape_zyx]))
    cropped = geometry.cropped(slices)
    np.testing.assert_allclose(places(cropped), places(geometry)[slices], atol=1e-8)
    assert (cropped.spacing, cropped.direction) == (geometry.spacing, geometry.direction)


@st.composite
def slices_within(draw: st.DrawFn, length: int) -> slice:
    start = draw(st.integers(0, length - 1))
    return slice(start, draw(st.integers(start + 1, length)))


@given(geometries(), st.tuples(*[lengths] * 3))
def test_a_resampled_grid_keeps_its_outer_faces(geometry: Geometry, spacing: tuple[float, float, float]) -> None:
    resampled = geometry.resampled(spacing)
    for face in (np.zeros(3), np.ones(3)):
        ours, theirs = (grid.to_patient(face * grid.size - 0.5) for grid in (geometry, resampled))
        np.testing.assert_allclose(theirs, ours, atol=1e-8)
    assert resampled.direction == geometry.direction
    for count, exact, wanted, extent in zip(resampled.size, resampled.spacing, spacing, geometry.extent, strict=True):
        assert abs(count - extent / wanted) <= 0.5 + 1e-9 or count == 1
        assert exact * count == pytest.approx(extent)


@given(geometries())
def test_extent_and_volume_are_those_of_the_voxels(geometry: Geometry) -> None:
    edges = geometry.to_patient(np.eye(3) * geometry.size) - geometry.to_patient(np.zeros(3))
    np.testing.assert_allclose(np.linalg.norm(edges, axis=1), geometry.extent)
    assert geometry.voxel_ml * np.prod(geometry.size) == pytest.approx(abs(np.linalg.det(edges)) / 1000)


@given(geometries(), st.integers(0, 7), st.floats(-1, 1))
def test_a_match_is_measured_at_the_corners(geometry: Geometry, corner: int, shift: float) -> None:
    moved = Geometry(geometry.size, geometry.spacing, as_vector(np.add(geometry.origin, (0, shift, 0))), geometry.direction)
    assert geometry.matches(moved, abs(shift) + 1e-6)
    assert abs(shift) < 2e-6 or not geometry.matches(moved, abs(shift) - 1e-6)
    assert not geometry.matches(Geometry((*geometry.size[:2], geometry.size[2] + 1), geometry.spacing, geometry.origin, geometry.direction))


def test_a_turned_grid_of_the_same_origin_does_not_match() -> None:
    one = Geometry((100, 100, 100), (1, 1, 1))
    angle = 1e-3
    turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    assert not one.matches(Geometry(one.size, one.spacing, one.origin, as_matrix(turned)))


@given(geometries(), st.tuples(*[st.floats(-0.3, 1.3)] * 3), st.tuples(*[st.floats(0.05, 40.0)] * 3))
def test_a_box_on_the_grid_s_axes_holds_the_voxels_whose_centres_lie_in_it(
    geometry: Geometry, place: tuple[float, ...], size: tuple[float, float, float]
) -> None:
    center = geometry.to_patient(np.multiply(place, geometry.size))
    box = Box(as_vector(center), size, "left", direction=geometry.direction)
    offset = (places(geometry) - center) @ geometry.axes
    distance = np.abs(offset) - np.divide(size, 2)
    slack = 1e-3 * np.array(geometry.spacing)
    inside, surely_inside = (distance <= slack).all(axis=-1), (distance <= -slack).all(axis=-1)
    try:
        slices = box.slices(geometry)
    except InputError:
        assert not surely_inside.any(), "a box that holds a voxel does not lie outside"
        return
    held = np.zeros(geometry.shape_zyx, bool)
    held[slices] = True
    assert held.any()
    assert held[surely_inside].all()
    if surely_inside.any():
        assert not (held & ~inside).any()
    else:
        assert held.sum() <= np.max(np.ceil(np.divide(size, geometry.spacing)) + 1) ** 3


@given(geometries(), rotations(), st.tuples(*[st.floats(1.0, 30.0)] * 3))
def test_a_turned_box_is_enclosed(geometry: Geometry, rotation: NDArray[np.float64], size: tuple[float, float, float]) -> None:
    center = geometry.to_patient((np.array(geometry.size) - 1) / 2)
    box = Box(as_vector(center), size, "right", direction=as_matrix(rotation))
    held = np.zeros(geometry.shape_zyx, bool)
    held[box.slices(geometry)] = True
    inside = (np.abs((places(geometry) - center) @ rotation) <= np.divide(size, 2) - 1e-3 * max(geometry.spacing)).all(axis=-1)
    assert held[inside].all()


@given(geometries(), st.data())
def test_a_box_of_slices_gives_the_slices_back(geometry: Geometry, data: st.DataObject) -> None:
    slices = data.draw(st.tuples(*[slices_within(length) for length in geometry.shape_zyx]))
    box = box_of_slices(slices, geometry, "left", "network")
    assert box.slices(geometry) == slices
    np.testing.assert_allclose(box.size, geometry.cropped(slices).extent)
    order = data.draw(st.sampled_from(ORDERS))
    reordered = geometry.reordered(order)
    np.testing.assert_array_equal(marked(reordered, box.slices(reordered)), order.apply(marked(geometry, slices)))


def marked(geometry: Geometry, slices: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
    array = np.zeros(geometry.shape_zyx, bool)
    array[slices] = True
    return array


@pytest.mark.parametrize(
    ("center", "size"), [((-60.0, 0.0, 0.0), 10.0), ((0.0, 60.0, 0.0), 10.0), ((500.0, 500.0, 500.0), 300.0), ((1e300, 0.0, 0.0), 10.0)]
)
def test_a_box_outside_the_scan_is_refused(center: tuple[float, float, float], size: float) -> None:
    geometry = Geometry((51, 51, 51), (1, 1, 1), (-25.0, -25.0, -25.0))
    with pytest.raises(InputError, match="left side lies outside"):
        Box(center, (size, size, size), "left").slices(geometry)


def test_a_box_far_larger_than_the_scan_holds_all_of_it() -> None:
    geometry = Geometry((5, 6, 7), (1, 1, 1))
    assert Box((0.0, 0.0, 0.0), (1e300, 1e30, 1e3), "left").slices(geometry) == (slice(0, 7), slice(0, 6), slice(0, 5))


def test_a_box_thinner_than_a_voxel_holds_the_nearest() -> None:
    geometry = Geometry((10, 10, 10), (1, 1, 1))
    assert Box((3.4, 5.0, 7.6), (0.1, 3.0, 0.1), "left").slices(geometry) == (slice(8, 9), slice(4, 7), slice(3, 4))


def test_boxes_that_share_a_face_share_no_voxel() -> None:
    geometry = Geometry((10, 4, 4), (1, 1, 1))
    right, left = Box((2.0, 1.5, 1.5), (6.0, 4.0, 4.0), "right"), Box((8.0, 1.5, 1.5), (6.0, 4.0, 4.0), "left")
    assert (right.slices(geometry)[2], left.slices(geometry)[2]) == (slice(0, 5), slice(5, 10))


def test_a_box_goes_through_json() -> None:
    box = Box((1.5, -2.25, 3.0), (100.0, 110.0, 120.5), "right", "user", as_matrix(np.eye(3)[:, [1, 0, 2]]))
    assert Box.from_dict(json.loads(json.dumps(box.to_dict()))) == box
    plain = {"side": "left", "center_lps_mm": [0, 0, 0], "size_mm": [1, 2, 3]}
    assert Box.from_dict(plain) == Box((0, 0, 0), (1, 2, 3), "left", "user")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"side": "middle"}, "right, left, both, not 'middle'"),
        ({"side": None}, "not None"),
        ({"center_lps_mm": [0, 0]}, "center_lps_mm must be a list of 3 numbers"),
        ({"center_lps_mm": [0, 0, "x"]}, "center_lps_mm"),
        ({"center_lps_mm": [0, 0, True]}, "center_lps_mm"),
        ({"center_lps_mm": None}, "center_lps_mm"),
        ({"size_mm": [1, 2, 0]}, "impossible"),
        ({"size_mm": [1, 2, -3]}, "impossible"),
        ({"size_mm": [1, 2, float("nan")]}, "impossible"),
        ({"center_lps_mm": [float("inf"), 0, 0]}, "impossible"),
        ({"center_lps_mm": [10**400, 0, 0]}, "center_lps_mm holds a number too large"),
        ({"size_mm": [1, 2, 10**400]}, "size_mm holds a number too large"),
        ({"direction_lps": [1, 0, 0]}, "direction_lps must be a list of 9 numbers"),
    ],
)
def test_an_impossible_box_is_refused_by_field(change: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        Box.from_dict({"side": "left", "center_lps_mm": [0, 0, 0], "size_mm": [1, 2, 3]} | change)


@pytest.mark.parametrize("values", [None, [], "left", 3])
def test_a_box_that_is_no_object_is_refused(values: object) -> None:
    with pytest.raises(InputError, match="must be an object"):
        Box.from_dict(values)


@pytest.mark.parametrize("direction", [[0] * 9, [1, 0.3, 0, 0, 1, 0, 0, 0, 1], [2, 0, 0, 0, 1, 0, 0, 0, 1]])
def test_a_box_needs_axes_at_right_angles(direction: list[float]) -> None:
    with pytest.raises(InputError, match="left side"):
        Box.from_dict({"side": "left", "center_lps_mm": [0, 0, 0], "size_mm": [1, 2, 3], "direction_lps": direction})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"size": (0, 5, 5)}, "0 x 5 x 5 voxels has no content"),
        ({"spacing": (1.0, 0.0, 1.0)}, "1 x 0 x 1 mm is impossible"),
        ({"spacing": (1.0, -2.0, 1.0)}, "impossible"),
        ({"spacing": (1.0, float("nan"), 1.0)}, "not a number"),
        ({"origin": (float("inf"), 0.0, 0.0)}, "not a number"),
        ({"direction": (1, 0.3, 0, 0, 1, 0, 0, 0, 1)}, "right angles"),
        ({"direction": (1, 0, 0, 1, 0, 0, 0, 0, 1)}, "right angles"),
    ],
)
def test_an_impossible_grid_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        Geometry(**({"size": (5, 5, 5), "spacing": (1.0, 1.0, 1.0)} | change))
