"""The card and its figures: every number is one of the evaluations', and an aim is reached only when it is."""

from __future__ import annotations

import re
import statistics
from typing import Any

import pytest

from Testing.Training.measured import WEIGHTS, evaluation, lesion, measured_case
from Training.measuring.evaluation_files import Evidence, evidence_for
from Training.measuring.figures import accuracy_of, aims
from Training.measuring.model_card import card

OTHERS = {stage: "abcdef" + digest[6:] for stage, digest in WEIGHTS.items()}
CONTENT: dict[str, Any] = {
    "name": "test",
    "version": "9.9.9",
    "description": "A test.",
    "licence": "CC0-1.0",
    "training_data": ["nothing"],
    "networks": {"roi": {"network": {"base_channels": 4, "kernel": 3}, "foreground": [1, 2], "spacing_mm": [4.0] * 3, "patch": [16] * 3}},
}
TABLE = {"voxels": [8, 0, 0, 0, 0, 0, 0, 0, 0, 2], "probabilities": [0.0, 0, 0, 0, 0, 0, 0, 0, 0, 2.0], "positives": [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]}
CASES = [
    measured_case("seen", trained_on=True, kidney_dice=0.123),
    measured_case("one", kidney_dice=0.95, tumor_ml=0.2, calibration={"kidney": TABLE}),
    measured_case("two", kidney_dice=0.93, tumor_ml=0.4, calibration={"kidney": TABLE}),
    measured_case("cut", kidney_dice=0.5, tumor_ml=3.0, whole=False, false_tumors=2),
    measured_case("sick", kidney_dice=0.91, tumor_dice=0.7135, tumor_ml=77.7, reference_tumor_ml=80.25, lesions=[lesion(53.0, True)]),
    measured_case("lung", kidney_dice=None, kidney_hd95_mm=None, whole=None, tumor_ml=0.0),
    measured_case("one_v000", kidney_dice=0.88, tumor_dice=0.8, reference_tumor_ml=9.0, lesions=[lesion(21.0, True), lesion(19.0, False)]),
    measured_case("one_v001", kidney_dice=0.87, tumor_dice=0.6, reference_tumor_ml=9.0, lesions=[lesion(20.0, False), lesion(45.0, True)]),
    measured_case("anatomy_00001", kidney_dice=0.96, tumor_dice=0.82, reference_tumor_ml=9.0),
    measured_case("anatomy_00002", kidney_dice=0.98, tumor_dice=0.70, reference_tumor_ml=9.0),
    measured_case("phantom_20000", kidney_dice=0.9111, tumor_dice=0.2, reference_tumor_ml=9.0),
]


def evidence(*extra: dict[str, Any]) -> Evidence:
    return evidence_for(WEIGHTS, [evaluation(CASES), *extra])


def written(found: Evidence, **about: Any) -> str:
    return card(CONTENT, about, found, WEIGHTS)


def section(text: str, title: str) -> str:
    """What stands under a heading."""
    return re.split(r"^#+ ", text.split(f"# {title}\n")[1], flags=re.MULTILINE)[0]


def test_the_aims_are_measured_on_the_cases_that_they_are_about() -> None:
    rows = aims(evidence().unseen)
    assert [aim.criterion for aim in rows] == list("aabbcdd")
    assert [list(aim.values) for aim in rows] == [
        [0.96, 0.98],
        [0.82, 0.70],
        [0.95, 0.93, 0.91],
        [0.95, 0.93, 0.91],
        [0.2, 0.4, 3.0],
        [1.0, 0.0, 1.0],
        [0.8, 0.6],
    ]
    assert [aim.value for aim in rows] == [pytest.approx(value) for value in (0.97, 0.76, 0.93, 0.91, 0.4, 2 / 3, 0.7)]
    assert [aim.target for aim in rows] == [0.95, 0.80, 0.93, 0.88, 0.5, 0.85, 0.75]
    assert [aim.verdict.strip("*") for aim in rows] == [
        "reached, but on 2 instead of 50",
        "not reached",
        "reached, but on 3 instead of 10",
        "reached, but on 3 instead of 10",
        "reached, but on 3 instead of 10",
        "not reached",
        "not reached",
    ]


def test_an_aim_that_nothing_was_measured_on_is_not_reached() -> None:
    assert {aim.verdict for aim in aims([])} == {"no case"}
    assert {aim.value for aim in aims([])} == {None}


def test_an_aim_is_missed_by_however_little() -> None:
    (_, _, mean, lowest, invented, _, _) = aims([measured_case("a", kidney_dice=0.8799999, tumor_ml=0.5001)])
    assert [aim.verdict for aim in (mean, lowest, invented)] == ["**not reached**"] * 3
    (_, _, _, lowest, invented, _, _) = aims([measured_case("a", kidney_dice=0.88, tumor_ml=0.5)] * 10)
    assert [aim.verdict for aim in (lowest, invented)] == ["reached"] * 2


def test_the_card_shows_aims_with_their_targets_and_verdicts() -> None:
    rows = [line.split(" | ") for line in section(written(evidence()), "Against the aims").splitlines() if line.startswith("| ")][1:]
    assert rows[0][2:] == ["2", "0.970 (median 0.970, lowest 0.960)", "at least 0.95", "reached, but on 2 instead of 50 |"]
    assert rows[4][2:] == ["3", "0.40 (largest 3.00)", "at most 0.5", "reached, but on 3 instead of 10 |"]
    assert rows[6][2:] == ["2", "0.700 (median 0.700, lowest 0.600)", "at least 0.75", "**not reached** |"]


def test_every_case_is_in_the_card_and_says_whether_it_was_trained_on() -> None:
    rows = [line.split(" | ") for line in section(written(evidence()), "Every case").splitlines() if line.startswith("| ")][1:]
    assert [row[0].strip("| ") for row in rows] == [case["name"] for case in CASES]
    for row, case in zip(rows, CASES, strict=True):
        assert row[1] == ("yes" if case["trained_on"] else "no")
        keys = ("kidney_dice", "kidney_hd95_mm", "tumor_dice", "tumor_ml", "reference_tumor_ml", "false_tumors")
        for cell, key, digits in zip(row[2:], keys, (3, 1, 3, 1, 1, 0), strict=True):
            assert cell.strip("| ") == ("-" if case[key] is None else f"{case[key]:.{digits}f}")


def test_groups_sizes_and_calibration_are_those_of_unseen_cases() -> None:
    text = written(evidence())
    real = next(line for line in section(text, "By kind of case").splitlines() if line.startswith("| real CT"))
    dices = [0.95, 0.93, 0.5, 0.91]
    assert f"| 5 | {statistics.fmean(dices):.3f}, median {statistics.median(dices):.3f}, lowest 0.500 (n = 4) |" in real
    assert "| 0.40, 3.00 (n = 3) | 0.40 |" in real
    sizes = section(text, "Tumors found, by size")
    assert "| real CT | 0 of 0 | 0 of 0 | 1 of 1 |" in sizes
    assert "| tumors grown or transplanted into real CT | 0 of 1 | 1 of 2 | 1 of 1 |" in sizes
    assert "| real CT | 0.1000 | 0.2500 | - | - |" in section(text, "Calibration of the probabilities")
    assert "0.123" not in text.split("### Every case")[0]


def test_tumors_that_can_be_told_from_the_kidney_are_counted_apart() -> None:
    faint = measured_case("one_v002", tumor_dice=0.1, reference_tumor_ml=9.0, lesions=[lesion(33.0, False, 4.0), lesion(22.0, True, -33.0)])
    text = section(written(evidence_for(WEIGHTS, [evaluation([faint])])), "Tumors found, by contrast with the kidney")
    assert "| cases | 20 HU and more | under 20 HU |" in text
    assert "| tumors grown or transplanted into real CT | 1 of 1 | 0 of 1 |" in text
    none = written(evidence_for(WEIGHTS, [evaluation([measured_case("seen")])]))
    assert section(none, "Tumors found, by contrast with the kidney").strip() == "No case has tumors."


def test_single_real_slices_count_for_tumors_alone_and_not_as_volumes() -> None:
    found = {"kidney_dice": None, "tumor_dice": 0.62, "kidney_hd95_mm": None, "reference_tumor_ml": 40.0, "lesions": [lesion(42.0, True)]}
    slab = measured_case("slice_10026_60f", **found)
    text = written(evidence_for(WEIGHTS, [evaluation([measured_case("one_v002"), slab])]))
    kinds = section(text, "By kind of case")
    assert "| single real slices as slabs | 1 | - | - | 0.620, median 0.620, lowest 0.620 (n = 1) | - | 0.00 |" in kinds
    assert "the kidneys are not labelled in all" in kinds
    for title in ("With and without contrast", "Tumors found, by size", "Tumors found, by contrast with the kidney"):
        assert "slabs" not in section(text, title)
    assert "the kidneys are not labelled in all" not in written(evidence_for(WEIGHTS, [evaluation([measured_case("one_v002")])]))
    assert accuracy_of([slab], []) == {"real_slice_tumor_dice": 0.62}


def test_scans_without_contrast_are_told_from_those_with_it() -> None:
    """Exactly 70 HU still counts as contrast; scans without kidneys count nowhere."""
    plain = measured_case("one_v002", kidney_hu=69.9, kidney_dice=0.5, tumor_dice=0.1, reference_tumor_ml=9.0, lesions=[lesion(33.0, False)])
    edge = measured_case("one_v003", kidney_hu=70.0, kidney_dice=0.89, tumor_dice=0.7, reference_tumor_ml=9.0, lesions=[lesion(20.0, True)])
    lung = measured_case("lung", kidney_hu=None, kidney_dice=None)
    rows = section(written(evidence_for(WEIGHTS, [evaluation([*CASES, plain, edge, lung])])), "With and without contrast").splitlines()
    assert "| tumors grown or transplanted into real CT, without contrast | 1 | 0.500 | 0.100 | 0 of 1 |" in rows
    assert "| tumors grown or transplanted into real CT, with contrast | 3 | 0.880 | 0.700 | 3 of 4 |" in rows
    assert "| phantoms, with contrast | 1 | 0.911 | 0.200 | 0 of 0 |" in rows
    assert not any("phantoms, without contrast" in row for row in rows)


def test_the_card_says_how_to_measure_again_what_was_measured() -> None:
    other = {**evaluation(CASES), "measured_on": "--data DATA --index POOL/index.json --split validation"}
    steps = section(written(evidence_for(WEIGHTS, [evaluation(CASES), other, other])), "How to reproduce")
    command = "python Training/evaluate.py EVALUATION.json --bundle BUNDLE --preset standard"
    assert f"`{command} --sources SOURCES.json --split all`, `{command} --data DATA --index POOL/index.json --split validation`." in steps
    assert steps.count(command) == 2


def test_left_out_patients_have_their_section_with_their_weights() -> None:
    other = evaluation([measured_case("seen", kidney_dice=0.897, tumor_ml=0.0), measured_case("one", kidney_dice=0.111)], OTHERS)
    found = evidence(other)
    text = written(found)
    left_out = section(text, "Left-out patients")
    assert "trained by a recipe of the same kind, without that patient" in left_out
    assert f"roi {OTHERS['roi'][:12]}" in left_out
    assert "| seen | no | 0.897 |" in left_out
    assert "0.111" not in text
    assert f"on {len(CASES)} cases that the measured weights were not trained on (1 of them" in text
    whole = next(aim for aim in aims(found.unseen) if aim.criterion == "b")
    assert list(whole.values) == [0.95, 0.93, 0.91, 0.897]
    assert "Left-out patients" not in written(evidence())


def test_without_evaluations_the_card_says_so() -> None:
    text = written(evidence_for(WEIGHTS, []))
    assert section(text, "Measured").strip() == "Not measured."
    assert "Against the aims" not in text


def test_the_configurations_limits_and_steps_are_in_the_card() -> None:
    text = written(evidence(), limits=["It knows no children."], reproduce=["First this."])
    assert "- It knows no children." in section(text, "Limits")
    assert "- First this." in section(text, "How to reproduce")
    assert f"- tumor: `{WEIGHTS['tumor']}`" in section(text, "How to reproduce")
    for title in ("Intended use", "Training data", "Networks", "Licence"):
        assert section(text, title).strip()


def test_tables_have_as_many_cells_in_every_row() -> None:
    other = evaluation([measured_case("seen", kidney_dice=0.897)], OTHERS)
    for block in written(evidence(other)).split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            assert len({line.count("|") for line in lines}) == 1
            assert re.fullmatch(r"\|(---\|)+", lines[1])


def test_the_bundles_accuracy_counts_unseen_cases_and_keeps_left_out_ones_apart() -> None:
    unseen = [case for case in CASES if not case["trained_on"]]
    assert accuracy_of(unseen, [measured_case("seen", kidney_dice=0.89712)]) == {
        "real_kidney_dice": pytest.approx((0.95 + 0.93 + 0.5 + 0.91) / 4, abs=1e-4),
        "real_tumor_dice": 0.7135,
        "real_invented_tumor_ml_median": 0.4,
        "left_out_real_kidney_dice": 0.8971,
        "synthetic_kidney_dice": pytest.approx((0.88 + 0.87 + 0.96 + 0.98 + 0.9111) / 5, abs=1e-4),
        "synthetic_tumor_dice": pytest.approx((0.8 + 0.6 + 0.82 + 0.7 + 0.2) / 5, abs=1e-4),
    }
    assert accuracy_of([], []) == {}
