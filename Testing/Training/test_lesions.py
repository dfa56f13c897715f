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
from Training.kidney_changes import recontrasted, without_kidney
from Training.lesion_shapes import Shape, random_rotation, shape_of, shapes_of, turned
from Training.lesion_texture import mixed_texture, noise_sd, smooth_noise
from Training.lesion_tissue import KINDS, solid_hu, tumor_hu
from Training.lesions import CYST, grow, implanted, place

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
    assert np.mean([mixed_texture((24, 24, 24), 1.5, rng).std() for _ in range(8)]) == pytest.approx(1.0, abs=0.2)


def test_noise_of_a_tissue_is_measured_in_spite_of_edges() -> None:
    hu = np.random.default_rng(0).normal(0.0, 15.0, (30, 30, 30))
    hu[15:] += 500.0
    assert noise_sd(hu.astype(np.int16), np.ones(hu.shape, dtype=bool)) == pytest.approx(15.0, rel=0.1)
    assert noise_sd(hu.astype(np.int16), np.zeros(hu.shape, dtype=bool)) == 10.0


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
        covered += np.count_nonzero((body.labels == 1) & (case.labels == 2))
        lost += np.count_nonzero(body.labels == 1) - np.count_nonzero(case.labels == 1)
        beyond += np.count_nonzero((case.labels == 1) & (body.labels != 1))
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
        case = implanted(body, whole, distance, label, np.random.default_rng(seed))
        assert case is not None
        assert np.array_equal(case.hu[hard], body.hu[hard])
        assert not case.labels[hard].any()
        assert (case.hu != body.hu)[(distance < -4) & ~ndimage.binary_dilation(hard, iterations=2)].mean() > 0.9


def test_the_case_given_stays_as_it_was(body: Case, round_shape: Shape) -> None:
    hu, labels = body.hu.copy(), body.labels.copy()
    rng = np.random.default_rng(3)
    assert any(grow(body, round_shape, 18.0, TUMOR, rng) for _ in range(5))
    recontrasted(body, rng)
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
        result = recontrasted(body, np.random.default_rng(seed))
        assert np.array_equal(result.labels, body.labels)
        assert np.array_equal(result.hu[far], body.hu[far])
        medians.append(float(np.median(result.hu[kidney])))
    assert min(medians) < 80.0
    assert max(medians) > 170.0


def test_another_phase_of_no_kidneys_is_the_same(body: Case) -> None:
    case = replace(body, labels=np.zeros_like(body.labels))
    assert recontrasted(case, np.random.default_rng(0)) is case
