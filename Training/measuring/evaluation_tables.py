"""An evaluation's cases as a table for a terminal and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from KidneyTumorCascadeLib.report import aligned, to_plain
from Training.measuring.scoring import Row

CSV_FIELDS = (
    "name",
    "origin",
    "trained_on",
    "whole",
    "kidney_dice",
    "tumor_dice",
    "mean_dice",
    "kidney_hd95_mm",
    "tumor_hd95_mm",
    "kidney_ml",
    "reference_kidney_ml",
    "tumor_ml",
    "reference_tumor_ml",
)
HEADER = ("case", "origin", "weights", "kidney", "tumor", "mean", "HD95 k", "HD95 t", "tumor ml", "there ml", "found", "false")


def line(row: Row) -> str:
    """What is told of a case as soon as it is done."""
    found = f"{row.tumor_ml:.1f} ml " + ("invented" if not row.reference_tumor_ml else f"of {row.reference_tumor_ml:.1f}")
    seen = "trained on" if row.trained_on else "unseen"
    dices = f"kidney {cell(row.kidney_dice, 3):<7}tumor {cell(row.tumor_dice, 3):<7}"
    return f"{row.name:<28}{seen:<12}{dices}{found:<22}{row.seconds:6.1f} s  {'; '.join(row.warnings)}".rstrip()


def table(rows: Sequence[Row]) -> str:
    """All cases, one a line: Dice as in KiTS19, HD95 in mm, lesions found of those there, false ones; a dash for what the reference lacks."""
    return aligned([HEADER, *(cells(row) for row in rows)])


def cells(row: Row) -> list[str]:
    """One line of the table."""
    numbers = [(row.kidney_dice, 3), (row.tumor_dice, 3), (row.mean_dice, 3), (row.kidney_hd95_mm, 1), (row.tumor_hd95_mm, 1)]
    volumes = [(row.tumor_ml, 1), (row.reference_tumor_ml, 1)]
    lesions = f"{sum(lesion.found for lesion in row.lesions)}/{len(row.lesions)}" if row.lesions else "-"
    seen = "trained on" if row.trained_on else "unseen"
    return [row.name, row.origin, seen, *(cell(*number) for number in numbers + volumes), lesions, str(row.false_tumors)]


def cell(value: float | None, digits: int) -> str:
    """A number; a dash for none."""
    return "-" if value is None else f"{value:.{digits}f}"


def as_csv(rows: Sequence[Row]) -> str:
    """One line a case. What the reference lacks is left empty; an HD95 of something that was not found at all is inf."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*CSV_FIELDS, "lesions", "lesions_found", "false_tumors", "seconds"])
    for row in rows:
        values = asdict(row)
        counts = [len(row.lesions), sum(lesion.found for lesion in row.lesions), row.false_tumors, f"{row.seconds:.1f}"]
        writer.writerow([*(csv_cell(values[name]) for name in CSV_FIELDS), *counts])
    return text.getvalue()


def csv_cell(value: Any) -> str:
    """A value of a row."""
    if isinstance(value, float):
        return "inf" if math.isinf(value) else f"{value:.6g}"
    return "" if value is None else str(to_plain(value))
