"""Kidneys in other phases, with stones, and none at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from Training.cases import Case
from Training.variation.contrast_phases import PHASES, WEIGHTS, draw_uptake
from Training.variation.kidney_changes import depth_mm, enlarged, with_kidney_phase, with_stones, without_kidneys

SEEDS = range(4)


def inside(case: Case, voxels: int = 2) -> np.ndarray:
    """Kidney, that far from its border."""
    return np.asarray(ndimage.binary_erosion(case.labels == 1, iterations=voxels))


def in_another_phase(case: Case, rng: np.random.Generator) -> Case:
    """With its kidneys in a phase drawn at random."""
    return with_kidney_phase(case, draw_uptake(rng), rng)


@pytest.mark.parametrize("phase", list(PHASES))
def test_cortex_has_the_hu_of_its_phase(body: Case, phase: str) -> None:
    for seed in SEEDS:
        uptake = draw_uptake(np.random.default_rng(seed), phase)
        result = with_kidney_phase(body, uptake, np.random.default_rng(seed))
        outer = inside(body, 1) & ~inside(body, 2)
        assert np.median(result.hu[outer]) == pytest.approx(uptake.cortex, abs=12.0)
        low, high = PHASES[phase].cortex
        assert low <= uptake.cortex <= high
        assert np.array_equal(result.labels, body.labels)


def test_the_pyramids_are_dark_only_before_the_nephrographic_phase(body: Case) -> None:
    shares = {}
    for phase in ("corticomedullary", "nephrographic"):
        uptake = draw_uptake(np.random.default_rng(0), phase)
        hu = with_kidney_phase(body, uptake, np.random.default_rng(1)).hu[inside(body, 4)]
        shares[phase] = float((hu < 0.75 * uptake.cortex).mean())
    assert shares["corticomedullary"] > 0.15
    assert shares["nephrographic"] < 0.1


def test_urine_is_bright_in_the_excretory_phase_alone(body: Case) -> None:
    for phase in PHASES:
        uptakes = [draw_uptake(np.random.default_rng(seed), phase) for seed in SEEDS]
        kidneys = [with_kidney_phase(body, uptake, np.random.default_rng(2)).hu[inside(body)] for uptake in uptakes]
        brightest = max(float(np.percentile(hu, 99.5)) for hu in kidneys)
        assert (brightest > 300.0) == (phase == "excretory")


def test_cysts_fat_and_stones_in_a_kidney_keep_their_hu(body: Case) -> None:
    hu = body.hu.copy()
    places = {"cyst": ((30, 36), 5), "fat": ((38, 44), -100), "stone": ((46, 50), 900)}
    for (low, high), value in places.values():
        hu[low:high, 33:39, 17:23] = value
    result = with_kidney_phase(replace(body, hu=hu), draw_uptake(np.random.default_rng(0), "corticomedullary"), np.random.default_rng(0))
    for (low, high), value in places.values():
        assert result.hu[low + 1 : high - 1, 34:38, 18:22].mean() == pytest.approx(value, abs=15.0)


def test_noise_stays_in_another_phase(body: Case) -> None:
    result = with_kidney_phase(body, draw_uptake(np.random.default_rng(0), "nephrographic"), np.random.default_rng(0))
    before, after = (float(np.diff(hu.astype(float), axis=0)[inside(body)[1:]].std()) for hu in (body.hu, result.hu))
    assert after == pytest.approx(before, rel=0.35)


def test_phases_are_drawn_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_uptake(rng).phase for _ in range(2000)]
    assert {name: drawn.count(name) / 2000 for name in PHASES} == pytest.approx(WEIGHTS, abs=0.04)


def test_the_same_seed_makes_the_same_kidney(body: Case) -> None:
    first, again, other = (in_another_phase(body, np.random.default_rng(seed)).hu for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_depth_is_measured_from_the_outline_across_the_hilum() -> None:
    z, y, x = np.mgrid[:48, :48, :48] - 23.5
    ball = z**2 + y**2 + x**2 < 20**2
    notched = ball & ~((np.abs(y) < 3) & (x > 5))
    depth = depth_mm(ball, 1.5)
    assert depth[24, 24, 24] == pytest.approx(30.0, abs=3.0)
    expected = ndimage.distance_transform_edt(ball) * 1.5
    assert np.abs(depth - expected)[ball].mean() < 2.0
    # Beside the notch, deep in the closed outline, although next to a border of the mask.
    assert depth_mm(notched, 1.5)[24, 20, 34] > 8.0


def test_enlarging_joins_by_lines() -> None:
    values = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((1, 3, 2), dtype=np.float32)
    assert np.allclose(enlarged(values, (7, 5, 4))[:, 0, 0], [0, 0.5, 1, 1.5, 2, 2.5, 3])
    assert enlarged(values, (8, 6, 3)).shape == (8, 6, 3)


def test_stones_lie_in_kidneys_and_count_as_kidney(body: Case) -> None:
    for seed in SEEDS:
        result = with_stones(body, np.random.default_rng(seed))
        changed = result.hu != body.hu
        assert changed.any()
        assert not changed[~ndimage.binary_dilation(body.labels > 0)].any()
        assert result.hu[changed].max() > 180
        assert np.array_equal(result.labels, body.labels)


def test_without_both_kidneys_there_is_fat_and_no_label(body_with_tumor: Case) -> None:
    result = without_kidneys(body_with_tumor, np.random.default_rng(0))
    assert not result.labels.any()
    gone = ndimage.binary_erosion(body_with_tumor.labels > 0, iterations=2)
    assert -110.0 < result.hu[gone].mean() < -60.0
    far = ndimage.distance_transform_edt(body_with_tumor.labels == 0) > 6
    assert np.array_equal(result.hu[far], body_with_tumor.hu[far])


def test_no_trace_of_a_removed_kidney_is_left(body: Case) -> None:
    hu = body.hu.copy()
    hu[:, :, :36][body.labels[:, :, :36] == 1] += 300
    results = [without_kidneys(case, np.random.default_rng(0)).hu.astype(float) for case in (body, replace(body, hu=hu))]
    assert np.abs(results[0] - results[1])[inside(body, 1)].mean() < 6.0


@pytest.mark.parametrize("change", [in_another_phase, with_stones, without_kidneys])
def test_a_case_without_kidneys_is_left_alone(body: Case, change) -> None:  # type: ignore[no-untyped-def]
    case = replace(body, labels=np.zeros_like(body.labels))
    assert change(case, np.random.default_rng(0)) is case
