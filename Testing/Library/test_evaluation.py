"""Scores against their definitions, KiTS's rules for what is empty, grids in other orders, and the pairing of files."""

from __future__ import annotations

import csv
import io
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from KidneyTumorCascadeLib.case_files import missing_predictions, pairs_of
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.evaluation import CaseScores, RegionScores, Scores, compare_label_maps, evaluate_paths, scores_csv, scores_table
from KidneyTumorCascadeLib.geometry import AxisOrder, Geometry, as_matrix
from KidneyTumorCascadeLib.volume import Volume, write_volume

SHAPE = (6, 8, 7)
SPACING = (0.7, 0.9, 3.0)
ORDERS = [
    AxisOrder((p[0], p[1], p[2]), (f[0], f[1], f[2])) for p in itertools.permutations(range(3)) for f in itertools.product((False, True), repeat=3)
]


def grid(shape: tuple[int, int, int] = SHAPE) -> Geometry:
    z, y, x = shape
    return Geometry((x, y, z), SPACING, (-20.0, 30.0, 500.0))


def label_map(labels: NDArray[np.uint8]) -> Volume:
    return Volume(labels, grid((labels.shape[0], labels.shape[1], labels.shape[2])))


def random_labels(seed: int, largest: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, largest + 1, SHAPE).astype(np.uint8)


def block(value: int, *slices: slice, shape: tuple[int, int, int] = (20, 20, 20)) -> NDArray[np.uint8]:
    labels = np.zeros(shape, dtype=np.uint8)
    labels[slices] = value
    return labels


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@given(st.integers(0, 1000), st.integers(0, 1000))
@settings(max_examples=30)
def test_kidney_has_tumor_and_cyst_and_tumor_is_label_2(a: int, b: int) -> None:
    prediction, reference = random_labels(a), random_labels(b)
    scores = compare_label_maps(label_map(prediction), label_map(reference))
    assert scores.kidney.dice == pytest.approx(dice(prediction > 0, reference > 0))
    assert scores.tumor.dice == pytest.approx(dice(prediction == 2, reference == 2))
    assert scores.mean_dice == pytest.approx((dice(prediction > 0, reference > 0) + dice(prediction == 2, reference == 2)) / 2)
    assert scores.kidney.prediction_ml == pytest.approx((prediction > 0).sum() * 0.7 * 0.9 * 3.0 / 1000)
    assert scores.tumor.reference_ml == pytest.approx((reference == 2).sum() * 0.7 * 0.9 * 3.0 / 1000)


def test_surfaces_are_measured_along_the_right_axes() -> None:
    reference = block(1, slice(5, 15), slice(5, 15), slice(5, 15))
    # Two voxels thicker towards superior: 6 mm.
    scores = compare_label_maps(label_map(block(1, slice(5, 17), slice(5, 15), slice(5, 15))), label_map(reference))
    assert scores.kidney.hd95_mm == pytest.approx(6.0)
    scores = compare_label_maps(label_map(block(1, slice(5, 15), slice(5, 15), slice(5, 17))), label_map(reference))
    assert scores.kidney.hd95_mm == pytest.approx(1.4)


def test_surface_dice_has_a_tolerance_for_kidney_and_one_for_tumor() -> None:
    geometry = replace(grid((20, 20, 20)), spacing=(1.1, 1.1, 1.1))
    reference = Volume(block(2, slice(5, 15), slice(5, 15), slice(5, 15)), geometry)
    prediction = Volume(block(2, slice(6, 15), slice(5, 15), slice(5, 15)), geometry)
    scores = compare_label_maps(prediction, reference)
    # 1.1 mm lies between KiTS23's 1.033 mm for kidney and 1.150 mm for tumor.
    assert scores.tumor.surface_dice == 1.0
    assert scores.kidney.surface_dice is not None
    assert 0.5 < scores.kidney.surface_dice < 1.0
    assert compare_label_maps(prediction, reference, kidney_tolerance_mm=1.11).kidney.surface_dice == 1.0
    assert compare_label_maps(prediction, reference, tumor_tolerance_mm=1.09).tumor.surface_dice == pytest.approx(scores.kidney.surface_dice)


def test_empty_label_maps_score_as_kits_defines() -> None:
    empty, kidney = label_map(np.zeros(SHAPE, dtype=np.uint8)), label_map(np.ones(SHAPE, dtype=np.uint8))
    nothing = compare_label_maps(empty, empty)
    assert nothing.kidney == nothing.tumor == RegionScores(1.0, 1.0, None, 0.0, 0.0)
    assert nothing.mean_dice == 1.0
    for prediction, reference in ((empty, kidney), (kidney, empty)):
        scores = compare_label_maps(prediction, reference).kidney
        assert (scores.dice, scores.surface_dice, scores.hd95_mm) == (0.0, 0.0, float("inf"))
    healthy = compare_label_maps(kidney, kidney)
    assert (healthy.kidney.dice, healthy.tumor.dice, healthy.mean_dice) == (1.0, 1.0, 1.0)


def test_a_reference_of_kidneys_alone_says_nothing_about_tumors() -> None:
    reference = label_map(block(1, slice(2, 8)) + block(2, slice(12, 18)))
    prediction = label_map(block(1, slice(2, 8)) + block(1, slice(12, 18)) + block(1, slice(2, 4)))
    scores = compare_label_maps(prediction, reference, kidney_only=True)
    assert scores.kidney.dice == 1.0
    assert scores.tumor == RegionScores(None, None, None, pytest.approx(2 * 400 * 0.7 * 0.9 * 3.0 / 1000), None)  # type: ignore[arg-type]
    assert scores.mean_dice is None
    many = replace(reference, voxels=reference.voxels * 7)
    assert compare_label_maps(prediction, many, kidney_only=True).kidney.dice == 1.0


@given(st.sampled_from(ORDERS), st.floats(0, 360), st.integers(0, 100))
@settings(max_examples=48)
def test_a_prediction_in_another_order_of_axes_scores_the_same(order: AxisOrder, degrees: float, seed: int) -> None:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    geometry = replace(grid(), direction=as_matrix(turn))
    prediction, reference = Volume(random_labels(seed), geometry), Volume(random_labels(seed + 1), geometry)
    reordered = Volume(order.apply(prediction.voxels), geometry.reordered(order))
    expected, seen = compare_label_maps(prediction, reference), compare_label_maps(reordered, reference)
    assert seen == expected
    backwards = compare_label_maps(reference, reordered)
    assert backwards.kidney.dice == expected.kidney.dice
    assert backwards.kidney.hd95_mm == pytest.approx(expected.kidney.hd95_mm)


def test_rounded_headers_are_the_same_grid() -> None:
    labels = random_labels(1)
    rounded = replace(grid(), origin=(-20.0001, 30.0001, 500.0), spacing=(0.7000001, 0.9, 3.0))
    assert compare_label_maps(Volume(labels, rounded), label_map(labels)).mean_dice == 1.0


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        (replace(grid(), origin=(-20.0, 30.0, 503.0)), "3 mm apart"),
        (replace(grid(), spacing=(0.7, 0.9, 2.5)), "0.7 x 0.9 x 2.5 mm against 0.7 x 0.9 x 3 mm"),
        (replace(grid(), direction=(0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)), "different directions"),
    ],
)
def test_label_maps_of_different_grids_are_refused(geometry: Geometry, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        compare_label_maps(Volume(random_labels(1), geometry), label_map(random_labels(1)), names=("a.nii.gz", "b.nii.gz"))
    assert "a.nii.gz and b.nii.gz" in str(error.value)


def test_label_maps_of_different_size_are_refused() -> None:
    with pytest.raises(InputError, match="7 x 8 x 5 against 7 x 8 x 6 voxels"):
        compare_label_maps(label_map(random_labels(1)[:5]), label_map(random_labels(1)))


def test_unknown_labels_are_refused_with_the_file_that_has_them() -> None:
    odd = label_map(np.full(SHAPE, 4, dtype=np.uint8))
    with pytest.raises(InputError, match=r"^ref\.nrrd has the label 4"):
        compare_label_maps(label_map(random_labels(1)), odd, names=("pred.nrrd", "ref.nrrd"))
    with pytest.raises(InputError, match=r"^pred\.nrrd has the label 4"):
        compare_label_maps(odd, label_map(random_labels(1)), names=("pred.nrrd", "ref.nrrd"))


# --- files -----------------------------------------------------------------------------------------------------------------------------------


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_two_files_are_a_pair_whatever_their_names(tmp_path: Path) -> None:
    prediction, reference = touch(tmp_path / "mine.seg.nrrd"), touch(tmp_path / "truth.nii.gz")
    assert pairs_of(prediction, reference) == [("mine", prediction, reference)]
    assert missing_predictions(prediction, reference) == []


def test_kits_names_pair_up(tmp_path: Path) -> None:
    predictions = [touch(tmp_path / "out" / name) for name in ("prediction_00210.nii.gz", "case_00007.nii.gz", "prediction_00001.mha")]
    truths = [
        touch(tmp_path / "kits" / name)
        for name in ("case_00210/segmentation.nii.gz", "case_00007/segmentation.nii.gz", "case_00001_segmentation.nii.gz")
    ]
    touch(tmp_path / "kits" / "case_00007" / "imaging.nii.gz")
    touch(tmp_path / "kits" / "case_00003" / "segmentation.nii.gz")
    touch(tmp_path / "kits" / "kits.json")
    touch(tmp_path / "out" / ".hidden.nii.gz")
    touch(tmp_path / "out" / "prediction_00210_left_kidney_probability.nii.gz")
    touch(tmp_path / "out" / "prediction_00210.json")
    pairs = pairs_of(tmp_path / "out", tmp_path / "kits")
    assert [name for name, _, _ in pairs] == ["case_00001", "case_00007", "case_00210"]
    assert {prediction for _, prediction, _ in pairs} == set(predictions)
    assert {reference for _, _, reference in pairs} == set(truths)
    assert missing_predictions(tmp_path / "out", tmp_path / "kits") == ["case_00003"]


def test_other_files_pair_up_by_name(tmp_path: Path) -> None:
    a, b = touch(tmp_path / "out" / "a.seg.nrrd"), touch(tmp_path / "out" / "b.1.nii.gz")
    truth_a, truth_b = touch(tmp_path / "truth" / "a" / "kidney.nii.gz"), touch(tmp_path / "truth" / "b.1.NII.GZ")
    assert pairs_of(tmp_path / "out", tmp_path / "truth") == [("a", a, truth_a), ("b.1", b, truth_b)]


def test_a_prediction_without_reference_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "out" / "a.nii.gz"), touch(tmp_path / "out" / "stranger.nii.gz"), touch(tmp_path / "truth" / "a.nii.gz")
    with pytest.raises(InputError, match=r"no label map for stranger\.nii\.gz"):
        pairs_of(tmp_path / "out", tmp_path / "truth")


def test_a_long_list_of_names_is_cut(tmp_path: Path) -> None:
    for number in range(9):
        touch(tmp_path / "out" / f"{number}.nii")
    touch(tmp_path / "truth" / "a.nii")
    with pytest.raises(InputError, match=r"4\.nii and 4 more"):
        pairs_of(tmp_path / "out", tmp_path / "truth")


def test_paths_that_cannot_pair_are_refused(tmp_path: Path) -> None:
    file = touch(tmp_path / "truth" / "case_00001.nii.gz")
    with pytest.raises(InputError, match="no file or folder"):
        pairs_of(tmp_path / "nothing", file)
    with pytest.raises(InputError, match="is a folder, but"):
        pairs_of(file, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no label maps"):
        pairs_of(tmp_path / "empty", tmp_path / "truth")
    touch(tmp_path / "truth" / "prediction_00001.nii.gz")
    with pytest.raises(InputError, match="are both case_00001"):
        pairs_of(tmp_path / "truth", tmp_path / "truth")


def test_folders_are_evaluated_case_by_case(tmp_path: Path) -> None:
    for name in ("out", "truth"):
        (tmp_path / name).mkdir()
    for number, seed in ((1, 5), (2, 6)):
        write_volume(label_map(random_labels(seed, 2)), tmp_path / "out" / f"prediction_0000{number}.nii.gz")
        write_volume(label_map(random_labels(5, 2)).in_lps_order(), tmp_path / "truth" / f"case_0000{number}.nrrd")
    seen: list[tuple[int, int, str]] = []
    rows = evaluate_paths(tmp_path / "out", tmp_path / "truth", on_case=lambda done, total, name: seen.append((done, total, name)))
    assert [row.name for row in rows] == ["case_00001", "case_00002"]
    assert rows[0].scores.mean_dice == 1.0
    assert rows[1].scores == compare_label_maps(label_map(random_labels(6, 2)), label_map(random_labels(5, 2)))
    assert seen == [(0, 2, "case_00001"), (1, 2, "case_00002")]
    kidney = evaluate_paths(tmp_path / "out" / "prediction_00001.nii.gz", tmp_path / "truth" / "case_00001.nrrd", kidney_only=True)
    assert kidney[0].scores.tumor.dice is None


def test_kits_own_label_files_score_one_against_themselves(shared_data: Path) -> None:
    file = shared_data / "kits_raw" / "case_00011_segmentation.nii.gz"
    (row,) = evaluate_paths(file, file)
    assert (row.name, row.scores.mean_dice, row.scores.tumor.surface_dice, row.scores.kidney.hd95_mm) == ("case_00011", 1.0, 1.0, 0.0)


# --- tables ----------------------------------------------------------------------------------------------------------------------------------


def rows_for_tables() -> list[CaseScores]:
    return [
        CaseScores("case_00001", Scores(RegionScores(0.9, 0.8, 2.0, 150.0, 160.0), RegionScores(0.7, 0.6, 4.0, 10.0, 12.0))),
        CaseScores("b", Scores(RegionScores(0.8, 0.6, 4.0, 50.0, 40.0), RegionScores(0.0, 0.0, float("inf"), 0.0, 2.0))),
    ]


def test_the_table_is_aligned_and_ends_with_the_mean() -> None:
    lines = scores_table(rows_for_tables()).splitlines()
    assert len({len(line) for line in lines[:5]}) == 1
    assert " ".join(lines[2].split()) == "case_00001 0.900 0.700 0.800 0.800 0.600 2.00 4.00 150.0 160.0 10.0 12.0"
    assert " ".join(lines[3].split()) == "b 0.800 0.000 0.400 0.600 0.000 4.00 inf 50.0 40.0 0.0 2.0"
    assert " ".join(lines[4].split()) == "mean 0.850 0.350 0.600 0.700 0.300 3.00 4.00 100.0 100.0 5.0 7.0"
    assert "inf" in lines[5]


def test_the_table_leaves_out_columns_without_a_value() -> None:
    kidneys = [CaseScores(row.name, Scores(row.scores.kidney, RegionScores(None, None, None, 0.5, None))) for row in rows_for_tables()]
    lines = scores_table(kidneys).splitlines()
    assert " ".join(lines[0].split()) == "kidney kidney kidney kidney kidney tumor"
    assert " ".join(lines[2].split()) == "case_00001 0.900 0.800 2.00 150.0 160.0 0.5"
    assert len(lines) == 5
    assert "-" in scores_table([*kidneys, *rows_for_tables()]).splitlines()[2]


def test_the_csv_has_every_column_and_no_mean() -> None:
    absent = CaseScores("c, d", Scores(RegionScores(1.0, 1.0, None, 0.0, 0.0), RegionScores(None, None, None, 0.0, None)))
    table = list(csv.DictReader(io.StringIO(scores_csv([*rows_for_tables(), absent]))))
    assert [row["case"] for row in table] == ["case_00001", "b", "c, d"]
    assert (table[0]["kidney_dice"], table[0]["tumor_reference_ml"], table[1]["tumor_hd95_mm"]) == ("0.9", "12", "inf")
    assert (table[2]["tumor_dice"], table[2]["kidney_hd95_mm"], table[2]["mean_dice"]) == ("", "", "")
