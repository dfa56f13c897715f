"""The worst cases: which they are, which slice is shown, and what is drawn on it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from KidneyTumorCascadeLib.slice_picture import AXIAL, CORONAL, KIDNEY_COLOR, TUMOR_COLOR
from KidneyTumorCascadeLib.volume import Volume
from Training.cases import Case
from Training.measuring.worst_cases import CELL, GAP, MARGIN, TEXT_SIZE, WorstCases, lowest_dice, picture_of, worst_slice

TOP = MARGIN + 2 * (TEXT_SIZE + GAP)


def volume(case: Case, labels: np.ndarray) -> Volume:
    return Volume(labels, case.geometry)


def without(labels: np.ndarray, share: float) -> np.ndarray:
    """The label map with its upper slices emptied."""
    result = labels.copy()
    result[round(len(labels) * (1 - share)) :] = 0
    return result


def test_the_worst_are_kept_in_order_and_the_perfect_never(body_with_tumor: Case, tmp_path: Path) -> None:
    scan, labels = Volume(body_with_tumor.hu, body_with_tumor.geometry), body_with_tumor.labels
    worst = WorstCases(most=2)
    for name, share in (("fair", 0.3), ("perfect", 0.0), ("good", 0.25), ("poor", 0.5)):
        worst.see(name, scan, volume(body_with_tumor, without(labels, share)), volume(body_with_tumor, labels), "a note")
    assert [file.name for file in worst.write(tmp_path / "new")] == ["worst_1_poor.png", "worst_2_fair.png"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["worst_1_poor.png", "worst_2_fair.png"]


def test_the_lowest_dice_decides() -> None:
    reference = np.array([0, 1, 1, 1, 2, 2])
    assert lowest_dice(reference, reference) == 1.0
    assert lowest_dice(np.array([0, 1, 1, 1, 2, 0]), reference) == pytest.approx(2 / 3)
    assert lowest_dice(np.array([0, 1, 1, 0, 2, 2]), reference) == pytest.approx(4 / 5)
    # A tumor that is invented in a kidney is missing from it.
    assert lowest_dice(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 1])) == pytest.approx(1 / 2)
    assert lowest_dice(np.zeros(3), np.zeros(3)) == 1.0
    assert lowest_dice(np.array([0, 1, 0]), np.zeros(3)) == 0.0


def test_the_slice_with_most_wrong_voxels_is_shown(body_with_tumor: Case) -> None:
    found = body_with_tumor.labels.copy()
    found[33, 30:40, 14:26] = 1
    found[35, 30:33, 14:26] = 1
    assert worst_slice(found, body_with_tumor.labels, AXIAL) == 33
    assert worst_slice(found, body_with_tumor.labels, CORONAL) in (30, 31, 32)


def colored(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    """Pixels close to a colour."""
    return int((np.abs(picture.astype(int) - color).max(axis=2) < 40).sum())


def test_reference_and_finding_are_drawn_side_by_side(body_with_tumor: Case) -> None:
    found = (body_with_tumor.labels > 0).astype(np.uint8)
    scan = Volume(body_with_tumor.hu, body_with_tumor.geometry)
    picture = np.asarray(picture_of(scan, found, body_with_tumor.labels, "title"))
    for row in (0, 1):
        rows = slice(TOP + row * (CELL + GAP), TOP + row * (CELL + GAP) + CELL)
        left, right = (picture[rows, start : start + CELL] for start in (MARGIN, MARGIN + CELL + GAP))
        assert colored(left, TUMOR_COLOR) > 100
        assert colored(right, TUMOR_COLOR) == 0
        assert colored(left, KIDNEY_COLOR) > 100
        assert colored(right, KIDNEY_COLOR) > 100


def test_a_case_in_which_nothing_was_found_has_its_picture(body_with_tumor: Case) -> None:
    worst = WorstCases()
    empty = np.zeros_like(body_with_tumor.labels)
    scan = Volume(body_with_tumor.hu, body_with_tumor.geometry)
    worst.see("missed", scan, volume(body_with_tumor, empty), volume(body_with_tumor, body_with_tumor.labels), "")
    worst.see("invented", scan, volume(body_with_tumor, body_with_tumor.labels), volume(body_with_tumor, empty), "")
    assert [picture.rightness for picture in worst.pictures] == [0.0, 0.0]
    for picture in worst.pictures:
        with Image.open(io.BytesIO(picture.png)) as opened:
            assert opened.width == 2 * MARGIN + 2 * CELL + GAP
