"""A batch at one moment, and summary.csv: one row for each scan, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from KidneyTumorCascadeLib.batch_records import DONE, FAILED, LABELS_ENDING, SKIPPED, CaseOutcome, LeftOut

SUMMARY_NAME = "summary.csv"
# How a row reads besides the states of an outcome.
WAITING, LEFT_OUT = "waiting", "left out"
STATES = (DONE, SKIPPED, FAILED, WAITING, LEFT_OUT)
SIDES = ("right", "left", "both")
# Spreadsheets compute a cell that begins so; the last ones are the same signs in the width of East Asian text.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
# What neither CSV nor HTML may hold, with the lone halves that stand for bytes of file names that are no UTF-8.
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class BatchOverview:
    """How far a batch is.

    Attributes:
        names: of all cases, in the order of the batch.
        outcomes: by name, of those that have ended; the others are waiting or being worked on.
        left_out: what is no case.
        bundle: name and version of the model bundle, for people.
        preset: with which the scans are segmented.
        finished: nothing more will come in this run.
    """

    names: Sequence[str]
    outcomes: Mapping[str, CaseOutcome]
    left_out: Sequence[LeftOut] = ()
    bundle: str = ""
    preset: str = ""
    finished: bool = False

    def counts(self) -> dict[str, int]:
        """How many are in each state, in the order of `STATES`."""
        states = [row.state for row in self.rows()]
        return {state: states.count(state) for state in STATES}

    def rows(self) -> Iterator[Row]:
        """All cases in the order of the batch, then what was left out."""
        for name in self.names:
            yield Row.of_outcome(self.outcomes[name]) if name in self.outcomes else Row(name, WAITING)
        for item in self.left_out:
            yield Row(item.name, LEFT_OUT, reason=item.reason)


@dataclass(frozen=True)
class SideSum:
    """All boxes of one side together: volumes and tumors are added up, the diameter is the longest. None without a tumor."""

    kidney_ml: float
    tumor_ml: float
    tumors: int
    longest_axial_mm: float | None

    @classmethod
    def of(cls, measurements: Iterable[Mapping[str, Any]]) -> SideSum | None:
        """Of a manifest's rows; None when there is none."""
        rows = list(measurements)
        if not rows:
            return None
        longest = [row["longest_axial_mm"] for row in rows if row.get("longest_axial_mm") is not None]
        return cls(
            kidney_ml=sum(row.get("kidney_ml") or 0.0 for row in rows),
            tumor_ml=sum(row.get("tumor_ml") or 0.0 for row in rows),
            tumors=sum(row.get("tumors") or 0 for row in rows),
            longest_axial_mm=max(longest, default=None),
        )


@dataclass(frozen=True)
class Row:
    """One line of the summary and of the page.

    Attributes:
        name: of the case.
        state: one of `STATES`.
        reason: why it failed or was left out.
        sides: what was found, by "right", "left" and "both" (a mass across the midline); a side without a box is missing.
        total: of all sides; None without any.
        warnings: one sentence each.
        seconds, attempts: of its outcome, None where there is none.
        labels, manifest, preview: files relative to the output folder, with /; None where there is none.
    """

    name: str
    state: str
    reason: str = ""
    sides: Mapping[str, SideSum] = field(default_factory=dict)
    total: SideSum | None = None
    warnings: Sequence[str] = ()
    seconds: float | None = None
    attempts: int | None = None
    labels: str | None = None
    manifest: str | None = None
    preview: str | None = None

    @classmethod
    def of_outcome(cls, outcome: CaseOutcome) -> Row:
        """The row of a case that has ended."""
        by_side = {side: SideSum.of(row for row in outcome.measurements if row.get("side") == side) for side in SIDES}
        return cls(
            name=outcome.case,
            state=outcome.status,
            reason=outcome.reason,
            sides={side: found for side, found in by_side.items() if found},
            total=SideSum.of(outcome.measurements),
            warnings=outcome.warnings,
            seconds=outcome.seconds,
            attempts=outcome.attempts,
            labels=f"{outcome.case}{LABELS_ENDING}" if outcome.manifest else None,
            manifest=outcome.manifest,
            preview=outcome.preview,
        )


def summary_csv(overview: BatchOverview) -> str:
    """The table as CSV text (UTF-8, a header, decimal points). Volumes in ml, diameters in mm; a cell is empty where there is nothing to say."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_case_cells(Row("", "")), *_side_columns(), *_end_cells(Row("", ""))])
    for row in overview.rows():
        cells = [*_case_cells(row).values(), *_side_values(row), *_end_cells(row).values()]
        writer.writerow([safe_cell(cell) for cell in cells])
    return text.getvalue()


def _case_cells(row: Row) -> dict[str, object]:
    return {"case": row.name, "state": row.state}


def _side_columns() -> list[str]:
    places = [f"{side}_" for side in SIDES] + [""]
    return [f"{place}{key}" for place in places for key in ("kidney_ml", "tumor_ml", "tumors", "longest_axial_mm")]


def _side_values(row: Row) -> Iterator[object]:
    for found in [*(row.sides.get(side) for side in SIDES), row.total]:
        if found is None:
            yield from (None,) * 4
        else:
            yield from (_rounded(found.kidney_ml), _rounded(found.tumor_ml), found.tumors, _rounded(found.longest_axial_mm))


def _end_cells(row: Row) -> dict[str, object]:
    return {
        "warnings": len(row.warnings) if row.attempts is not None else None,
        "warning_text": " ".join(row.warnings),
        "reason": row.reason,
        "seconds": _rounded(row.seconds),
        "attempts": row.attempts,
        "labels": row.labels,
        "manifest": row.manifest,
        "preview": row.preview,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def safe_cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe before it, numbers stay as they are."""
    if value is None:
        return ""
    text = writable(str(value))
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text) else text


def writable(text: str) -> str:
    """The text with a replacement character for what no text file may hold, and one kind of line end, which the table's writer quotes."""
    return UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))
