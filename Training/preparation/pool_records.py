"""What a pool holds already: which cases were made of which files, and where they lie."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.json_fields import load_json
from KidneyTumorCascadeLib.report import write_json
from Training.preparation.prepared_case import KINDS, STAGING, Job, unchanged
from Training.sources import SPLITS

RECORDS = "records"
PLACES = (STAGING, *SPLITS)


def record_path(pool: Path, name: str) -> Path:
    """Where it is written down how a case was made."""
    return pool / RECORDS / f"{name}.json"


def keep_record(pool: Path, name: str, record: dict[str, Any]) -> None:
    """Write down how a case was made: the last step of making it."""
    write_json(record_path(pool, name), record)


def read_record(pool: Path, name: str) -> dict[str, Any] | None:
    """How a case was made; None when it was not, or not to the end."""
    try:
        record = load_json(record_path(pool, name).read_bytes())
    except (OSError, ValueError):
        return None
    return record if is_record(record) else None


def is_record(record: Any) -> bool:
    """Whether this has all that `keep_record` writes."""
    if not isinstance(record, dict) or set(record) != {"options", "files", "facts"}:
        return False
    files, facts = record["files"], record["facts"]
    if not isinstance(files, dict) or set(files) != {"ct", "labels"} or not isinstance(facts, dict):
        return False
    return all(isinstance(state, dict) and set(state) == {"bytes", "mtime_ns", "sha256"} for state in files.values())


def done(job: Job) -> dict[str, Any] | None:
    """The record of a job whose files and options are as they were and whose cases are there; None when it is still to be done."""
    record = read_record(job.pool, job.candidate.name)
    if record is None or record["options"] != job.options:
        return None
    if not all(unchanged(path, record["files"][kind]) for kind, path in (("ct", job.candidate.ct), ("labels", job.candidate.labels))):
        return None
    return record if all(case_file(job.pool, job.candidate.name, kind) for kind in KINDS) else None


def case_file(pool: Path, name: str, kind: str) -> Path | None:
    """Where a case lies, if there is one."""
    return next((path for place in PLACES if (path := pool / place / kind / f"{name}.npz").is_file()), None)


def forget(pool: Path, name: str) -> None:
    """Remove a case and its record, the record first: what is interrupted here is done again."""
    record_path(pool, name).unlink(missing_ok=True)
    for place in PLACES:
        for kind in KINDS:
            (pool / place / kind / f"{name}.npz").unlink(missing_ok=True)


def put(pool: Path, name: str, place: str) -> None:
    """Move a case to one side of the split, or back to the staging folder."""
    for kind in KINDS:
        path, target = case_file(pool, name, kind), pool / place / kind / f"{name}.npz"
        if path is not None and path != target:
            os.replace(path, target)


def require_own(pool: Path, names: Iterable[str]) -> None:
    """Raises InputError when the pool holds cases that were not made of this data: they could lie on the wrong side of the split."""
    known = set(names)
    for path in sorted(pool.glob("*/*/*.npz")):
        staged = path.parts[-3] == STAGING
        if path.stem not in known or not (staged or record_path(pool, path.stem).is_file()):
            raise InputError(f"{pool} holds {path.relative_to(pool)}, which is not of this data; give an empty folder for a new pool.")


def sweep(pool: Path) -> None:
    """Remove what a killed run left half-written."""
    for part in [*(pool / STAGING).rglob(".*.part"), *(pool / RECORDS).glob(".*.part")]:
        with suppress(OSError):
            part.unlink()
