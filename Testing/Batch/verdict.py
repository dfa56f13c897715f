"""What must hold of a disturbed batch beside an undisturbed one: nothing lost, nothing wrong, nothing half-done, nothing done for nothing."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.batch_folder import LOCK, leftovers
from KidneyTumorCascadeLib.batch_page import PAGE_NAME
from KidneyTumorCascadeLib.batch_summary import SUMMARY_NAME
from Testing.Batch.disturbed import Record

# What the clock and the moment decide.
OWN = ("seconds", "peak_memory_mb", "created", "output")


@dataclass(frozen=True)
class Sides:
    """Two batches of the same scans: their folders, their records, which scans are damaged, how many scans are computed at once."""

    calm: Path
    rough: Path
    calm_record: Record
    record: Record
    damaged: set[str]
    at_once: int


def problems(sides: Sides) -> list[str]:
    """Everything that does not hold, one sentence each; empty when all is well."""
    return [*wrong_results(sides), *wrong_failures(sides), *wrong_files(sides), *wasted_work(sides)]


def good_names(sides: Sides) -> list[str]:
    """The scans that have a result."""
    return sorted(set(sides.calm_record.outcomes) - sides.damaged)


def wrong_results(sides: Sides) -> Iterator[str]:
    """Results that are missing or differ."""
    for name in good_names(sides):
        if sides.record.outcomes.get(name, {}).get("status") not in ("done", "skipped"):
            yield f"{name} has no result."
        elif digest(sides.calm / f"{name}.nii.gz") != digest(sides.rough / f"{name}.nii.gz"):
            yield f"The label map of {name} differs."
        elif lasting(sides.calm / f"{name}.json") != lasting(sides.rough / f"{name}.json"):
            yield f"The manifest of {name} differs."


def wrong_failures(sides: Sides) -> Iterator[str]:
    """Failures that are missing, too many, or named otherwise."""
    for which, record in (("undisturbed", sides.calm_record), ("disturbed", sides.record)):
        failed = {name for name, outcome in record.outcomes.items() if outcome["status"] == "failed"}
        if failed != sides.damaged:
            yield f"The {which} batch names {sorted(failed)} as failed, not {sorted(sides.damaged)}."
    for name in sorted(sides.damaged):
        reasons = {record.outcomes.get(name, {}).get("reason") for record in (sides.calm_record, sides.record)}
        if len(reasons) != 1 or None in reasons or "" in reasons:
            yield f"The reasons for {name} are {reasons}."


def wrong_files(sides: Sides) -> Iterator[str]:
    """Files that are not wanted, or missing."""
    expected = {SUMMARY_NAME, PAGE_NAME, *(f"{name}{ending}" for name in good_names(sides) for ending in (".nii.gz", ".json"))}
    found = {path.relative_to(sides.rough).as_posix() for path in sides.rough.rglob("*")}
    if found != expected:
        yield f"Files too many: {sorted(found - expected)}; missing: {sorted(expected - found)}."
    if (sides.rough / LOCK).exists() or list(leftovers(sides.rough)):
        yield "Something unfinished is left."
    with (sides.rough / SUMMARY_NAME).open(encoding="utf-8", newline="") as file:
        states = {row["case"]: row["state"] for row in csv.DictReader(file)}
    told = {name: outcome["status"] for name, outcome in sides.record.outcomes.items()}
    if states != told:
        yield "The table says something else than the program."


def wasted_work(sides: Sides) -> Iterator[str]:
    """Scans that were computed more often than what was killed explains."""
    record = sides.record
    excess = len(record.begun) - len(good_names(sides))
    most = len(record.worker_kills) + record.run_kills * sides.at_once
    if excess > most:
        yield f"{excess} scans were begun again, but {most} at most were being computed when something was killed."
    if len(sides.calm_record.begun) != len(good_names(sides)):
        yield "The undisturbed batch computed something twice, or not at all."


def digest(path: Path) -> str:
    """Of a file; empty when there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def lasting(path: Path) -> dict[str, Any]:
    """What a manifest says of scan and result."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in content.items() if name not in OWN}
