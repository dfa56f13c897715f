"""Lesions grown into kidneys, and kidneys changed: as large and as dense as asked, and nothing else touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.volume import Volume, write_volume
from Training.cases import TUMOR, Case
from Training.lesion.lesion_displacement import displacement, lost_noise, pushed
from Training.lesion.lesion_shapes import Shape, random_rotation, shape_of, shapes_of, turned
from Training.lesion.lesion_surroundings import with_stranding, with_vessels
from Training.lesion.lesion_texture import crisp, noise_sd, power_noise, scan_grain, smooth_noise
from Training.lesion.lesion_tissue import KINDS, solid_hu, tumor_hu
from Training.lesion.lesions import CYST, best_center, grow, grow_described, implanted_described, place
from Training.variation.contrast_phases import draw_uptake
from Training.variation.kidney_changes import with_kidney_phase, without_kidney

KIDNEY_HU = 150.0


def ball(diameter: int) -> np.ndarray:
    z, y, x = np.mgrid[:diameter, :diameter, :diameter] - (diameter - 1) / 2
    return np.asarray(z**2 + y**2 + x**2 <= (diameter / 2) ** 2)


@pytest.fixture(scope="module")
def round_shape() -> Shape:
    return shape_of(ball(20), "ball")


def ml_of_ball(diameter_mm: float) -> float:
    return np.pi / 6.0 * diameter_mm**3 / 1000.0


def grown_cases(case: Case, shape: Shape, diameter_mm: float, label: int, wanted: int = 6) -> Iterator[Case]:
    """Some lesions that fit."""
    found = (grow(case, shape, diameter_mm, label, np.random.default_rng(seed)) for seed in range(200))
    for _, grown in zip(range(wanted), (result for result in found if result is not None), strict=False):
        yield grown


def new_voxels(before: Case, after: Case, label: int) -> np.ndarray:
    """Where a lesion is. Of a cyst only what bulges out of the kidney shows in the labels."""
    return np.asarray((after.labels == label) & (before.labels != label))


# --- form ------------------------------------------------------------------------------------------------------------------------------------


def test_a_shape_knows_its_diameter(round_shape: Shape) -> None:
    assert round_shape.diameter_mm == pytest.approx(20.0, rel=0.02)
    assert round_shape.distance_mm.min() == pytest.approx(-9.0, abs=1.0)
    assert round_shape.distance_mm[0, 0, 0] > 5.0


@pytest.mark.parametrize("diameter", [12.0, 30.0, 55.0])
def test_a_turned_shape_has_the_volume_asked_for(round_shape: Shape, diameter: float) -> None:
    distance = turned(round_shape, 1.5, diameter, np.random.default_rng(1))
    assert (distance < 0).sum() * 1.5**3 / 1000.0 == pytest.approx(ml_of_ball(diameter), rel=0.1)
    assert len(set(distance.shape)) == 1
    assert (distance[0] > 0).all()
    assert (distance[:, :, -1] > 0).all()


def test_rotations_keep_lengths() -> None:
    for seed in range(5):
        matrix = random_rotation(np.random.default_rng(seed))
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 3.0)])
def test_shapes_are_taken_from_label_maps_of_any_spacing(tmp_path: Path, spacing: tuple[float, float, float]) -> None:
    size = tuple(round(80 / step) for step in spacing)
    x, y, z = (np.arange(length) * step for length, step in zip(size, spacing, strict=True))
    labels = np.zeros(size[::-1], dtype=np.uint8)
    labels[(z[:, None, None] - 40) ** 2 + (y[None, :, None] - 30) ** 2 + (x - 25) ** 2 < 12**2] = 2
    labels[(z[:, None, None] - 40) ** 2 + (y[None, :, None] - 60) ** 2 + (x - 60) ** 2 < 9**2] = 2
    labels[0, 0, :2] = 2
    labels[-6:, -6:, -6:] = 3
    write_volume(Volume(labels, Geometry((size[0], size[1], size[2]), spacing)), tmp_path / "case_00001.nii.gz")
    shapes = shapes_of(tmp_path / "case_00001.nii.gz", 2)
    assert sorted(shape.diameter_mm for shape in shapes) == pytest.approx([18.0, 24.0], rel=0.04)
    assert {shape.source.rsplit(":", 1)[0] for shape in shapes} == {"case_00001:2"}


# --- tissue ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_tissue_is_within_the_limits_of_its_kind(kind: str, round_shape: Shape) -> None:
    inside = round_shape.distance_mm < 0
    lowest, highest = {"fatty": (-110.0, 220.0), "cystic": (-20.0, 220.0)}.get(kind, (-40.0, 260.0))
    for seed in range(6):
        hu = tumor_hu(kind, round_shape.distance_mm, 1.0, KIDNEY_HU, np.random.default_rng(seed))
        assert lowest < np.percentile(hu[inside], 1)
        assert np.percentile(hu[inside], 99) < highest


def test_kinds_differ_as_they_do_in_patients(round_shape: Shape) -> None:
    deep = round_shape.distance_mm < -2

    def mean(kind: str) -> float:
        return float(
            np.mean([tumor_hu(kind, round_shape.distance_mm, 1.0, KIDNEY_HU, np.random.default_rng(seed))[deep].mean() for seed in range(12)])
        )

    assert mean("fatty") < mean("papillary") < mean("oncocytoma")
    assert mean("cystic") < mean("chromophobe")


def test_without_contrast_medium_all_solid_kinds_look_alike() -> None:
    for kind in KINDS:
        mean, spread = solid_hu(kind, 35.0, np.random.default_rng(0))
        assert 18.0 <= mean <= 48.0
        assert spread <= 8.0


def test_noise_has_unit_deviation() -> None:
    rng = np.random.default_rng(0)
    assert smooth_noise((20, 20, 20), 1.5, rng).std() == pytest.approx(1.0, abs=1e-4)


def test_noise_of_a_tissue_is_measured_in_spite_of_edges() -> None:
    hu = np.random.default_rng(0).normal(0.0, 15.0, (30, 30, 30))
    hu[15:] += 500.0
    assert noise_sd(hu.astype(np.int16), np.ones(hu.shape, dtype=bool)) == pytest.approx(15.0, rel=0.1)
    assert noise_sd(hu.astype(np.int16), np.zeros(hu.shape, dtype=bool)) == 10.0


def test_power_falls_with_frequency_as_asked() -> None:
    field = power_noise((64, 64, 64), 1.5, 4.0, 200.0, np.random.default_rng(0))
    power = np.abs(np.fft.fftn(field)) ** 2
    frequency = np.sqrt(sum(part**2 for part in np.meshgrid(*[np.fft.fftfreq(64, 1.5)] * 3)))
    means = [power[(frequency > 0.8 * middle) & (frequency < 1.25 * middle)].mean() for middle in (0.04, 0.16)]
    assert np.log(means[0] / means[1]) / np.log(4.0) == pytest.approx(4.0, abs=0.4)
    assert field.std() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("width", [2.0, 6.0])
def test_shores_are_as_wide_as_asked_however_steep_the_field(width: float) -> None:
    """The field falls evenly from the middle. From 12 to 88 % is what a logistic function's width is called."""
    for steepness in (1.0, 7.0):
        share = crisp(np.float32(-steepness) * ball_distance(81, 14.0, 0.5), 0.0, width, 0.5)[40, 40]
        between = 0.25 * np.count_nonzero((share > 0.119) & (share < 0.881))
        assert between == pytest.approx(width, abs=0.6)


def test_grain_is_as_strong_and_as_coarse_as_the_scans() -> None:
    rng = np.random.default_rng(0)
    hu = (60.0 + 14.0 * smooth_noise((48, 48, 48), 0.8, rng)).astype(np.float32)
    hu[:, :, 30:] += 400.0
    grain = scan_grain(hu, (70, 60, 50), rng)
    assert grain is not None
    assert grain.shape == (70, 60, 50)
    assert grain.std() == pytest.approx(14.0, rel=0.25)
    for axis in range(3):
        neighbours = [
            np.corrcoef(field.take(range(1, 25), axis).ravel(), field.take(range(24), axis).ravel())[0, 1] for field in (grain, hu[:, :, :29])
        ]
        assert neighbours[0] == pytest.approx(neighbours[1], abs=0.15)


def test_a_scan_without_soft_tissue_lends_no_grain() -> None:
    assert scan_grain(np.full((40, 40, 40), -900.0, np.float32), (40, 40, 40), np.random.default_rng(0)) is None


# --- room ------------------------------------------------------------------------------------------------------------------------------------


def ball_distance(size: int, radius_mm: float, spacing_mm: float) -> np.ndarray:
    z, y, x = (np.mgrid[:size, :size, :size] - (size - 1) / 2) * spacing_mm
    return np.asarray(np.sqrt(z**2 + y**2 + x**2) - radius_mm, dtype=np.float32)


def test_what_lies_around_a_ball_comes_from_nearer_its_middle() -> None:
    """Next to the ball as the formula has it; outwards and nothing beyond its reach."""
    distance, push = ball_distance(81, 30.0, 1.5), 0.6
    inward = displacement(distance, np.zeros(distance.shape, bool), 1.5, push)
    middle = 40
    along = inward[:, middle, middle, :] * 1.5
    at = middle + 21
    r = 21 * 1.5
    expected = r - np.cbrt(r**3 - push * 30.0**3)
    assert along[2, at] == pytest.approx(expected, rel=0.15)
    assert along[2, 2 * middle - at] == pytest.approx(-expected, rel=0.15)
    assert np.abs(along[:2, at]).max() < 0.5
    assert np.abs(inward[:, 0, 0]).max() < 0.05


def test_nothing_near_bone_gives_way() -> None:
    distance = ball_distance(61, 20.0, 1.5)
    rigid = np.zeros(distance.shape, bool)
    rigid[:, :, 50:] = True
    inward = displacement(distance, rigid, 1.5, 0.7)
    assert np.abs(inward[:, :, :, 51:]).max() < 0.05
    assert np.abs(inward[:, 30, 30, 14]).max() > 1.0


def test_fields_are_taken_from_where_the_displacement_says() -> None:
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(2, 12, 14, 16)).astype(np.float32)
    inward = np.zeros((3, 12, 14, 16), dtype=np.float32)
    inward[0], inward[2] = 1.0, -2.0
    moved = pushed(fields, inward)
    np.testing.assert_allclose(moved[:, 1:, :, :-2], fields[:, :-1, :, 2:], atol=1e-4)
    inward = rng.uniform(-2, 2, inward.shape).astype(np.float32)
    places = np.mgrid[:12, :14, :16] - inward
    np.testing.assert_allclose(pushed(fields, inward)[0], ndimage.map_coordinates(fields[0], places, order=1, mode="nearest"), atol=1e-4)


def test_noise_that_interpolation_loses_is_known() -> None:
    white = np.random.default_rng(0).normal(size=(1, 40, 40, 40)).astype(np.float32)
    inward = np.zeros((3, 40, 40, 40), dtype=np.float32)
    assert lost_noise(inward).max() == 0.0
    inward[0], inward[1] = 0.5, 0.25
    kept = pushed(white, inward)[0, 2:-2, 2:-2, 2:-2].std()
    assert kept**2 + lost_noise(inward).mean() ** 2 == pytest.approx(1.0, abs=0.03)


def test_strands_and_vessels_lie_in_fat_near_the_tumor() -> None:
    distance = ball_distance(50, 15.0, 1.5)
    hu = np.full(distance.shape, -100.0, dtype=np.float32)
    fat = np.zeros(distance.shape, bool)
    fat[:, :, 25:] = True
    for seed in range(3):
        rng = np.random.default_rng(seed)
        for result in (with_stranding(hu, distance, fat, 1.5, rng), with_vessels(hu, distance, fat, 1.5, 150.0, rng)):
            more = result - hu
            assert more.min() >= 0.0
            assert not more[~fat].any()
            shares = [(more[fat & (distance > near) & (distance < far)] > 15.0).mean() for near, far in ((0.0, 10.0), (22.0, 40.0))]
            assert shares[0] < 0.6
            assert shares[1] <= 0.02


# --- growing ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diameter", [14.0, 24.0])
def test_a_tumor_is_as_large_as_asked(body: Case, round_shape: Shape, diameter: float) -> None:
    volumes = [(case.labels == 2).sum() * 8.0 / 1000.0 for case in grown_cases(body, round_shape, diameter, TUMOR)]
    assert len(volumes) == 6
    assert max(volumes) <= 1.1 * ml_of_ball(diameter)
    assert np.median(volumes) == pytest.approx(ml_of_ball(diameter), rel=0.15)


def test_a_tumor_grows_out_of_a_kidney(body: Case, round_shape: Shape) -> None:
    for case in grown_cases(body, round_shape, 20.0, TUMOR):
        tumor = case.labels == 2
        assert (tumor & (body.labels == 1)).sum() >= 0.04 * tumor.sum()


def test_a_cyst_counts_as_kidney_and_is_dark(body: Case, round_shape: Shape) -> None:
    for case in grown_cases(body, round_shape, 20.0, CYST):
        assert set(np.unique(case.labels)) == {0, 1}
        bulge = new_voxels(body, case, 1)
        deep = ndimage.binary_erosion(bulge)
        if deep.sum() > 30:
            assert -25.0 < case.hu[deep].mean() < 45.0


def test_only_what_lies_near_a_lesion_gives_way(body: Case, round_shape: Shape) -> None:
    for case in grown_cases(body, round_shape, 20.0, TUMOR):
        distance_mm = ndimage.distance_transform_edt(case.labels != 2) * case.spacing_mm
        far = distance_mm > 25.0
        assert np.array_equal(case.hu[far], body.hu[far])
        assert np.array_equal(case.labels[far], body.labels[far])
        assert (case.hu != body.hu)[case.labels == 2].mean() > 0.9


def test_a_kidney_is_pushed_aside_rather_than_painted_over(body: Case, round_shape: Shape) -> None:
    """Painted over, it would lose all that the tumor covers; pushed aside, it keeps a good part of that, outside of where it was."""
    covered = lost = beyond = 0
    for case in grown_cases(body, round_shape, 30.0, TUMOR):
        covered += int(np.count_nonzero((body.labels == 1) & (case.labels == 2)))
        lost += int(np.count_nonzero(body.labels == 1) - np.count_nonzero(case.labels == 1))
        beyond += int(np.count_nonzero((case.labels == 1) & (body.labels != 1)))
    assert lost < 0.95 * covered
    assert beyond > 0.05 * covered


def test_bone_and_gas_are_spared(body: Case) -> None:
    """A ball that reaches from one kidney to the other, over the bone and the gas between them."""
    hard = ndimage.binary_opening((body.hu > 300) | (body.hu < -250))
    z, y, x = (np.mgrid[:72, :72, :72] - 36) * body.spacing_mm
    distance = (np.sqrt(z**2 + y**2 + x**2) - 55.0).astype(np.float32)
    assert (distance[hard] < 0).any()
    whole = (slice(0, 72), slice(0, 72), slice(0, 72))
    for seed, label in enumerate((TUMOR, TUMOR, TUMOR, CYST, CYST)):
        grown = implanted_described(body, whole, distance, label, np.random.default_rng(seed))
        assert grown is not None
        case = grown.case
        assert np.array_equal(case.hu[hard], body.hu[hard])
        assert not case.labels[hard].any()
        assert (case.hu != body.hu)[(distance < -4) & ~ndimage.binary_dilation(hard, iterations=2)].mean() > 0.9


def test_the_case_given_stays_as_it_was(body: Case, round_shape: Shape) -> None:
    hu, labels = body.hu.copy(), body.labels.copy()
    rng = np.random.default_rng(3)
    assert any(grow(body, round_shape, 18.0, TUMOR, rng) for _ in range(5))
    with_kidney_phase(body, draw_uptake(rng), rng)
    without_kidney(body, rng)
    assert np.array_equal(body.hu, hu)
    assert np.array_equal(body.labels, labels)


def test_the_same_seed_grows_the_same_lesion(body: Case, round_shape: Shape) -> None:
    first, again = (grow(body, round_shape, 18.0, TUMOR, np.random.default_rng(2)) for _ in range(2))
    assert first is not None
    assert again is not None
    assert np.array_equal(first.hu, again.hu)


def test_tumors_do_not_grow_into_tumors(body: Case, round_shape: Shape) -> None:
    labels = np.where(body.labels == 1, 2, 0).astype(np.uint8)
    labels[:, :, :20][body.labels[:, :, :20] == 1] = 1
    half_tumor = replace(body, labels=labels)
    for case in grown_cases(half_tumor, round_shape, 20.0, TUMOR, wanted=3):
        assert (case.labels == 2).sum() > (labels == 2).sum()
        body_of_old = ndimage.binary_erosion(labels == 2, iterations=3)
        assert (case.labels[body_of_old] == 2).mean() > 0.98


def test_a_place_free_of_bone_is_chosen(body: Case) -> None:
    """Bone is a column at y 55 to 67, x 30 to 41; gas one at y 14 to 21."""
    distance = ball_distance(19, 12.0, 2.0)
    in_kidney, in_bone, beside_bone = (np.array([36, *place]) for place in ((36, 20), (60, 36), (60, 46)))
    chosen = best_center(body, distance, [in_bone, in_kidney, beside_bone])
    assert chosen is in_kidney
    assert best_center(body, distance, [in_bone, in_bone]) is None
    assert best_center(body, distance, [beside_bone]) is None
    assert best_center(body, distance, [np.array([36, 18, 36])]) is None


def test_what_has_grown_is_described(body: Case, round_shape: Shape) -> None:
    found = [grow_described(body, round_shape, 20.0, TUMOR, np.random.default_rng(seed)) for seed in range(8)]
    assert {grown.kind for grown in found if grown is not None} <= set(KINDS)
    for grown in found:
        if grown is not None:
            tumor = grown.case.labels == 2
            assert grown.contrast_hu == pytest.approx(grown.case.hu[tumor].mean() - KIDNEY_HU, abs=8.0)
    cysts = [grow_described(body, round_shape, 20.0, CYST, np.random.default_rng(seed)) for seed in range(3)]
    assert {grown.kind for grown in cysts if grown is not None} == {"cyst"}
    assert max(grown.contrast_hu for grown in cysts if grown is not None) < -80.0


def test_without_a_kidney_nothing_grows(body: Case, round_shape: Shape) -> None:
    assert grow(replace(body, labels=np.zeros_like(body.labels)), round_shape, 20.0, TUMOR, np.random.default_rng(0)) is None


def test_a_lesion_mostly_outside_the_scan_does_not_fit(body: Case) -> None:
    distance = np.zeros((21, 21, 21), dtype=np.float32)
    assert place(body, distance, np.array([-3, 30, 30])) is None
    fit = place(body, distance, np.array([3, 30, 70]))
    assert fit is not None
    assert fit[0] == (slice(0, 14), slice(20, 41), slice(60, 72))
    assert fit[1] == (slice(7, 21), slice(0, 21), slice(0, 12))


# --- kidneys ---------------------------------------------------------------------------------------------------------------------------------


def test_nephrectomy_removes_exactly_one_kidney(body_with_tumor: Case) -> None:
    labels = body_with_tumor.labels.copy()
    labels[2:4, 2:4, 2:4] = 1
    case = replace(body_with_tumor, labels=labels)
    sides = slice(0, 36), slice(36, 72)
    removed = []
    for seed in range(16):
        result = without_kidney(case, np.random.default_rng(seed))
        empty = [not (result.labels[8:, :, side] > 0).any() for side in sides]
        assert sorted(empty) == [False, True]
        gone, kept = sides[empty.index(True)], sides[empty.index(False)]
        assert np.array_equal(result.labels[8:, :, kept], labels[8:, :, kept])
        assert np.array_equal(result.hu[:, :, kept], case.hu[:, :, kept])
        place_of_kidney = ndimage.binary_erosion(labels[:, :, gone] > 0)[8:]
        assert -125.0 < result.hu[8:, :, gone][place_of_kidney].mean() < -70.0
        removed.append(empty.index(True))
    assert set(removed) == {0, 1}


def test_nephrectomy_without_kidneys_changes_nothing(body: Case) -> None:
    case = replace(body, labels=np.zeros_like(body.labels))
    assert without_kidney(case, np.random.default_rng(0)) is case


def test_another_phase_changes_kidneys_alone(body: Case) -> None:
    kidney = body.labels == 1
    far = ndimage.distance_transform_edt(~kidney) > 4
    medians = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        result = with_kidney_phase(body, draw_uptake(rng), rng)
        assert np.array_equal(result.labels, body.labels)
        assert np.array_equal(result.hu[far], body.hu[far])
        medians.append(float(np.median(result.hu[kidney])))
    assert min(medians) < 80.0
    assert max(medians) > 170.0


def test_another_phase_of_no_kidneys_is_the_same(body: Case) -> None:
    case = replace(body, labels=np.zeros_like(body.labels))
    rng = np.random.default_rng(0)
    assert with_kidney_phase(case, draw_uptake(rng), rng) is case
