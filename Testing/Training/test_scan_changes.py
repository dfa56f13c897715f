"""Contrast phases of the whole scan, the abdomen's contents, and all changes together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from Training.cases import AIR_HU, DENSEST_HU, Case, read_case
from Training.variation import scan_changes
from Training.variation.abdomen_changes import gas_pockets, with_ascites, with_bowel_contents
from Training.variation.contrast_phases import PHASES, draw_uptake
from Training.variation.phase_changes import closed_in_plane, find_spine, interpolated, is_enhanced, moved_along_hu, with_phase
from Training.variation.scan_changes import changed_patient, changed_scanner

AORTA, LIVER, MUSCLE, SPINE, GAS, FAT, KIDNEY = range(1, 8)
WITHOUT = {AORTA: 42, LIVER: 55, MUSCLE: 52, SPINE: 500, GAS: -980, FAT: -100, KIDNEY: 35}
PORTAL = {**WITHOUT, AORTA: 160, LIVER: 110, MUSCLE: 60, KIDNEY: 170}


@pytest.fixture(scope="module")
def tissues() -> np.ndarray:
    """What an abdomen of 3 mm voxels consists of; 0 is air."""
    y, x = np.mgrid[:80, :110]
    plane = np.zeros((80, 110), dtype=np.uint8)
    for tissue, row, column, height, width in (
        (FAT, 40, 55, 38, 52),
        (MUSCLE, 40, 55, 33, 47),
        (FAT, 36, 55, 27, 41),
        (LIVER, 32, 32, 17, 15),
        (MUSCLE, 66, 40, 7, 10),
        (MUSCLE, 66, 70, 7, 10),
        (SPINE, 57, 55, 8, 8),
        (AORTA, 44, 59, 3.5, 3.5),
        (GAS, 20, 65, 5, 9),
        (KIDNEY, 54, 34, 8, 6),
        (KIDNEY, 54, 77, 8, 6),
    ):
        plane[((y - row) / height) ** 2 + ((x - column) / width) ** 2 < 1] = tissue
    result = np.repeat(plane[None], 48, axis=0)
    result[:12][result[:12] == KIDNEY] = FAT
    result[-12:][(result[-12:] == KIDNEY) | (result[-12:] == GAS)] = FAT
    result[:10][result[:10] == GAS] = FAT
    return result


def abdomen(tissues: np.ndarray, hu: dict[int, int]) -> Case:
    """An abdomen of those tissues, with noise."""
    table = np.array([-1000] + [hu[tissue] for tissue in range(1, 8)])
    noisy = table[tissues] + np.random.default_rng(0).normal(0, 6, tissues.shape)
    return Case("abdomen", noisy.round().astype(np.int16), (tissues == KIDNEY).astype(np.uint8), 3.0)


def core(tissues: np.ndarray, tissue: int) -> np.ndarray:
    """A tissue without its border."""
    return np.asarray(ndimage.binary_erosion(tissues == tissue, structure=np.ones((1, 3, 3)), iterations=1))


def median(case: Case, tissues: np.ndarray, tissue: int) -> float:
    return float(np.median(case.hu[core(tissues, tissue)]))


@pytest.mark.parametrize("phase", list(PHASES))
def test_an_enhanced_scan_gets_the_hu_of_any_phase(tissues: np.ndarray, phase: str) -> None:
    uptake = draw_uptake(np.random.default_rng(1), phase)
    case = abdomen(tissues, PORTAL)
    result = with_phase(case, uptake, np.random.default_rng(1))
    assert median(result, tissues, AORTA) == pytest.approx(uptake.blood, abs=15)
    assert median(result, tissues, LIVER) == pytest.approx(uptake.organ, abs=8)
    assert median(result, tissues, MUSCLE) == pytest.approx(uptake.muscle, abs=8)
    assert np.array_equal(result.labels, case.labels)


@pytest.mark.parametrize("phase", [name for name in PHASES if name != "none"])
def test_a_scan_without_contrast_takes_it_up_where_blood_is(tissues: np.ndarray, phase: str) -> None:
    uptake = draw_uptake(np.random.default_rng(1), phase)
    result = with_phase(abdomen(tissues, WITHOUT), uptake, np.random.default_rng(1))
    assert median(result, tissues, LIVER) == pytest.approx(uptake.organ, abs=18)
    assert median(result, tissues, MUSCLE) < uptake.muscle + 8
    before_spine = result.hu[:, 36:50, 48:64]
    assert np.percentile(before_spine, 98) > 0.75 * uptake.blood


@pytest.mark.parametrize("before", [WITHOUT, PORTAL])
def test_gas_fat_bone_and_kidneys_stay_in_any_phase(tissues: np.ndarray, before: dict[int, int]) -> None:
    case = abdomen(tissues, before)
    for phase in PHASES:
        result = with_phase(case, draw_uptake(np.random.default_rng(0), phase), np.random.default_rng(0))
        assert (result.hu[tissues == 0] < -900).all()
        for tissue in (GAS, FAT, SPINE, KIDNEY):
            assert median(result, tissues, tissue) == pytest.approx(before[tissue], abs=3), (phase, tissue)


def test_no_contrast_in_a_scan_without_is_the_same_scan(tissues: np.ndarray) -> None:
    case = abdomen(tissues, WITHOUT)
    assert with_phase(case, draw_uptake(np.random.default_rng(0), "none"), np.random.default_rng(0)) is case
    assert is_enhanced(case) is False
    assert is_enhanced(abdomen(tissues, PORTAL)) is True
    unknown = replace(case, labels=np.zeros_like(case.labels))
    assert is_enhanced(unknown) is None
    assert with_phase(unknown, draw_uptake(np.random.default_rng(0), "portal"), np.random.default_rng(0)) is unknown


def test_the_same_uptake_moves_nothing() -> None:
    uptake = replace(draw_uptake(np.random.default_rng(0), "portal"), organ=110.0, blood=160.0, muscle=60.0)
    assert torch.allclose(moved_along_hu(torch.linspace(-1000, 3000, 500), uptake, (110.0, 160.0)), torch.zeros(500))


def test_a_table_is_as_good_as_interpolation() -> None:
    values = np.linspace(-200, 400, 301)
    knots, results = [-50.0, 20.0, 60.0, 300.0], [0.0, 10.0, 5.0, 100.0]
    assert np.allclose(interpolated(torch.from_numpy(values), knots, results), np.interp(values, knots, results), atol=1.0)


def test_the_spine_is_found(tissues: np.ndarray) -> None:
    spine = find_spine(torch.from_numpy(abdomen(tissues, WITHOUT).hu.astype(np.float32)), 3.0, 105.0)
    assert spine is not None
    assert np.abs(spine.front - 49.5).max() < 2.0
    assert np.abs(spine.middle - 55).max() < 1.0
    assert find_spine(torch.full((10, 20, 20), 50.0), 6.0, 105.0) is None


def test_closing_bridges_gaps_within_slices() -> None:
    mask = np.zeros((3, 20, 20), dtype=bool)
    mask[1, 5:15, 5:9] = mask[1, 5:15, 11:15] = True
    closed = closed_in_plane(mask, 2)
    assert closed[1, 7:13, 5:15].all()
    assert not closed[0].any()
    assert (closed >= mask).all()


def test_gas_becomes_fluid_behind_a_level_and_walls_stay(tissues: np.ndarray) -> None:
    case = abdomen(tissues, PORTAL)
    assert len(gas_pockets(case)) == 1
    filled = 0
    for seed in range(8):
        result = with_bowel_contents(case, np.random.default_rng(seed))
        near = ndimage.binary_dilation(tissues == GAS, iterations=2)
        assert np.array_equal(result.hu[~near], case.hu[~near])
        # What borders on gas counts as gas by as much as it is darker than a wall.
        assert result.hu[near & (tissues == FAT)].max() < 230
        fluid = (result.hu > -200) & core(tissues, GAS)
        rows = np.arange(80)[None, :, None] * np.ones_like(tissues)
        gas = (result.hu < -700) & core(tissues, GAS)
        if fluid.any() and gas.any():
            assert rows[fluid].min() >= rows[gas].max() - 1
        filled += bool(fluid.any())
    assert 2 <= filled <= 8


def test_the_air_around_the_patient_is_no_bowel(tissues: np.ndarray) -> None:
    hu = abdomen(tissues, PORTAL).hu.copy()
    hu[tissues == GAS] = -800
    assert gas_pockets(replace(abdomen(tissues, PORTAL), hu=hu)) == []


def test_free_fluid_replaces_fat_inside_alone(tissues: np.ndarray) -> None:
    case = abdomen(tissues, PORTAL)
    result = with_ascites(case, np.random.default_rng(0))
    changed = np.abs(result.hu.astype(int) - case.hu) > 25
    assert changed.sum() > 500
    assert (tissues[changed] == FAT).mean() > 0.95
    assert not changed[:, :8].any()
    assert not changed[ndimage.distance_transform_edt(case.labels == 0) < 5].any()


def changed(case: Case, rng: np.random.Generator) -> Case:
    """Another patient in another scanner, as copies of scans are."""
    return changed_scanner(changed_patient(case, rng), rng)


def test_all_changes_together_keep_labels_or_take_them_away(body_with_tumor: Case) -> None:
    before = body_with_tumor.hu.copy()
    for seed in range(6):
        result = changed(body_with_tumor, np.random.default_rng(seed))
        assert result.hu.dtype == np.int16
        assert result.labels.dtype == np.uint8
        assert result.hu.shape == before.shape
        assert AIR_HU <= result.hu.min() <= result.hu.max() <= DENSEST_HU
        assert ((result.labels == body_with_tumor.labels) | (result.labels == 0)).all()
    assert np.array_equal(body_with_tumor.hu, before)


def test_the_same_seed_makes_the_same_scan(body: Case) -> None:
    first, again, other = (changed(body, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.hu, other.hu)


def test_without_chances_nothing_changes(body: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in vars(scan_changes).items():
        if name.isupper() and isinstance(value, float):
            monkeypatch.setattr(scan_changes, name, 0.0)
    assert changed_patient(body, np.random.default_rng(0)) is body
    assert changed_scanner(body, np.random.default_rng(0)) is body


def test_scans_of_few_slices_are_changed_too(body: Case) -> None:
    thin = body.cropped((slice(35, 37), slice(0, 72), slice(0, 72)))
    for seed in range(4):
        assert changed(thin, np.random.default_rng(seed)).hu.shape == thin.hu.shape


def test_a_real_scan_loses_its_contrast(shared_data: Path) -> None:
    folder = shared_data / "real" / "cptac_pda_c3l_00189"
    case = read_case("real", folder / "ct.nii.gz", folder / "kidney.nii.gz", 5.0, (1, 2))
    result = with_phase(case, draw_uptake(np.random.default_rng(0), "none"), np.random.default_rng(0))
    far = ndimage.distance_transform_edt(case.labels == 0) > 4
    organs, air, bone = ((case.hu > 85) & (case.hu < 130) & far, case.hu < -300, case.hu > 600)
    assert np.median(result.hu[organs]) < 70
    assert np.abs(result.hu[air].astype(int) - case.hu[air]).max() <= 1
    assert np.abs(result.hu[bone].astype(int) - case.hu[bone]).mean() < 5
