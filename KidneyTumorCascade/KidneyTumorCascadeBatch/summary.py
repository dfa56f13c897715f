"""The summary: one table for all cases."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DONE, SKIPPED, FAILED = "done", "skipped", "failed"
MEASURES = ("kidney_ml", "tumor_ml", "tumors", "longest_mm", "longest_axial_mm", "mean_hu")
COLUMNS = ("case", "status", "side", *MEASURES, "warnings", "error")


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        case: its name.
        status: DONE, SKIPPED or FAILED.
        manifest: of the result, also of an earlier run; empty when it failed.
        error: one sentence when it failed.
    """

    case: str
    status: str
    manifest: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each side; one alone when there is none."""
        common = {"case": self.case, "status": self.status, "error": self.error, "warnings": " ".join(self.manifest.get("warnings", ()))}
        for side in self.manifest.get("measurements") or [{}]:
            yield {**common, "side": side.get("side"), **{name: rounded(side.get(name)) for name in MEASURES}}


def rounded(value: Any) -> Any:
    """As many digits as mean something."""
    return round(value, 2) if isinstance(value, float) else value


def asCsv(outcomes: Sequence[Outcome]) -> str:
    """The table, a row for each side of each case."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(row for outcome in outcomes for row in outcome.rows())
    return text.getvalue()
