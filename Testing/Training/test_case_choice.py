"""Which cases are drawn more or less often."""

from __future__ import annotations

import numpy as np
import pytest

from Training.cases import Case
from Training.fitting.case_choice import CaseChoice, tumor_contrast_hu


def case_with(tumor_hu: int | None, edge: int = 10) -> Case:
    """A kidney of 150 HU of 1 mm voxels with a cubic tumor of that edge (mm)."""
    labels = np.zeros((40, 40, 40), dtype=np.uint8)
    labels[5:35, 5:35, 5:35] = 1
    hu = np.where(labels == 1, 150, 0).astype(np.int16)
    if tumor_hu is not None:
        labels[10 : 10 + edge, 10 : 10 + edge, 10 : 10 + edge] = 2
        hu[labels == 2] = tumor_hu
    return Case("case", hu, labels, 1.0)


def test_contrast_is_between_the_medians_and_has_no_sign() -> None:
    assert tumor_contrast_hu(case_with(110)) == 40.0
    assert tumor_contrast_hu(case_with(190)) == 40.0
    assert tumor_contrast_hu(case_with(None)) == float("inf")


def test_by_default_all_cases_are_drawn_alike() -> None:
    assert {CaseChoice().weight(case_with(hu, edge)) for hu, edge in ((None, 10), (150, 10), (60, 5), (60, 20))} == {1.0}


def test_faint_tumors_are_not_drawn() -> None:
    choice = CaseChoice(least_contrast_hu=20.0)
    assert [choice.weight(case_with(hu)) for hu in (None, 131, 130, 160)] == [1.0, 0.0, 1.0, 0.0]


def test_faint_tumors_that_are_large_enough_to_bulge_are_drawn() -> None:
    choice = CaseChoice(least_contrast_hu=20.0, faint_tumor_ml=2.0)
    assert [choice.weight(case_with(150, edge)) for edge in (12, 13)] == [0.0, 1.0]
    assert choice.weight(case_with(60, 5)) == 1.0


def test_small_tumors_are_drawn_more_often() -> None:
    choice = CaseChoice(small_tumor_ml=2.0, small_tumor_weight=3.0)
    assert [choice.weight(case_with(60, edge)) for edge in (10, 13)] == [3.0, 1.0]
    assert choice.weight(case_with(None)) == 1.0


def test_large_tumors_are_drawn_more_often() -> None:
    choice = CaseChoice(small_tumor_ml=0.5, small_tumor_weight=3.0, large_tumor_ml=2.0, large_tumor_weight=5.0)
    assert [choice.weight(case_with(60, edge)) for edge in (7, 12, 13)] == [3.0, 1.0, 5.0]
    assert choice.weight(case_with(None)) == 1.0


def test_a_large_tumor_that_is_too_faint_is_not_drawn() -> None:
    assert CaseChoice(least_contrast_hu=20.0, large_tumor_ml=2.0, large_tumor_weight=5.0).weight(case_with(150, 13)) == 0.0


IMPOSSIBLE = [
    {"least_contrast_hu": -1.0},
    {"faint_tumor_ml": -1.0},
    {"small_tumor_ml": -1.0},
    {"small_tumor_weight": 0.0},
    {"large_tumor_ml": -1.0},
    {"large_tumor_weight": 0.0},
    {"small_tumor_ml": 2.0, "large_tumor_ml": 1.0},
]


@pytest.mark.parametrize("settings", IMPOSSIBLE)
def test_impossible_numbers_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="unlike"):
        CaseChoice(**settings)
