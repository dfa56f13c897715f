"""summary.csv: one row for each scan, what was found by side, and nothing that a spreadsheet would compute."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from KidneyTumorCascadeLib.batch_records import DONE, FAILED, SKIPPED, CaseOutcome, LeftOut
from KidneyTumorCascadeLib.batch_summary import LEFT_OUT, WAITING, BatchOverview, safe_cell, summary_csv


def side(name: str, kidney_ml: float, tumor_ml: float = 0.0, tumors: int = 0, longest: float | None = None) -> dict[str, Any]:
    """A row of a manifest's measurements."""
    return {"side": name, "kidney_ml": kidney_ml, "tumor_ml": tumor_ml, "tumors": tumors, "longest_axial_mm": longest}


def done(name: str, *measurements: dict[str, Any], warnings: tuple[str, ...] = (), status: str = DONE) -> CaseOutcome:
    """The outcome of a scan that was segmented."""
    return CaseOutcome(name, status, 12.3456, 1, "", f"{name}.json", f"{name}.png", measurements, warnings)


def table(overview: BatchOverview) -> list[dict[str, str]]:
    """The summary as a program reads it."""
    return list(csv.DictReader(io.StringIO(summary_csv(overview), newline="")))


def test_a_row_says_what_was_found_on_each_side_and_in_all() -> None:
    outcome = done("a/one", side("right", 150.0), side("left", 160.25, 20.5, 2, 31.0), warnings=("First.", "Second."))
    [row] = table(BatchOverview(["a/one"], {"a/one": outcome}))
    assert (row["case"], row["state"], row["seconds"], row["attempts"]) == ("a/one", "done", "12.346", "1")
    assert (row["right_kidney_ml"], row["right_tumor_ml"], row["right_tumors"], row["right_longest_axial_mm"]) == ("150.0", "0.0", "0", "")
    assert (row["left_kidney_ml"], row["left_tumor_ml"], row["left_tumors"], row["left_longest_axial_mm"]) == ("160.25", "20.5", "2", "31.0")
    assert (row["both_kidney_ml"], row["both_tumor_ml"]) == ("", "")
    assert (row["kidney_ml"], row["tumor_ml"], row["tumors"], row["longest_axial_mm"]) == ("310.25", "20.5", "2", "31.0")
    assert (row["warnings"], row["warning_text"]) == ("2", "First. Second.")
    assert (row["labels"], row["manifest"], row["preview"]) == ("a/one.nii.gz", "a/one.json", "a/one.png")


def test_two_boxes_of_a_side_are_added_up() -> None:
    outcome = done("x", side("left", 100.0, 5.0, 1, 20.0), side("left", 60.0, 3.0, 1, 35.0))
    [row] = table(BatchOverview(["x"], {"x": outcome}))
    assert (row["left_kidney_ml"], row["left_tumor_ml"], row["left_tumors"], row["left_longest_axial_mm"]) == ("160.0", "8.0", "2", "35.0")


def test_rows_come_in_the_order_of_the_batch_whatever_order_they_ended_in() -> None:
    outcomes = {"c": CaseOutcome("c", FAILED, 1.0, 3, "It is damaged."), "a": done("a", status=SKIPPED)}
    rows = table(BatchOverview(["a", "b", "c"], outcomes, [LeftOut("notes", "It is no image.")]))
    assert [(row["case"], row["state"], row["reason"]) for row in rows] == [
        ("a", SKIPPED, ""),
        ("b", WAITING, ""),
        ("c", FAILED, "It is damaged."),
        ("notes", LEFT_OUT, "It is no image."),
    ]
    assert [row["attempts"] for row in rows] == ["1", "", "3", ""]
    assert [row["labels"] for row in rows] == ["a.nii.gz", "", "", ""]


def test_states_are_counted() -> None:
    overview = BatchOverview(["a", "b"], {"a": done("a")}, [LeftOut("c", "Why.")])
    assert overview.counts() == {"done": 1, "skipped": 0, "failed": 0, "waiting": 1, "left out": 1}


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("  =1", "'  =1"),
        ("＝1+1", "'＝1+1"),
        ("-12.5", "-12.5"),
        ("-1e-05", "-1e-05"),
        (-3.25, "-3.25"),
        (None, ""),
        ("a=b", "a=b"),
        ("-1\n=2", "'-1\n=2"),
        ("nul\x00 \udcff", "nul\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}"),
    ],
)
def test_cells_are_no_formulas(value: object, cell: str) -> None:
    assert safe_cell(value) == cell


@given(name=st.text(), reason=st.text(), warning=st.text())
def test_whatever_files_are_called_the_table_keeps_its_shape(name: str, reason: str, warning: str) -> None:
    failed, good = CaseOutcome(name, FAILED, 0.0, 1, reason), done("good", side("left", 1.0), warnings=(warning,))
    text = summary_csv(BatchOverview([name, "good"], {name: failed, "good": good}))
    text.encode("utf-8")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert not any(cell.lstrip(" ").startswith(tuple("=+-@\t\r\n＝＋－＠")) for row in rows for cell in row)
