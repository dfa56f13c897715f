"""From labelled scans to a pool: in parallel, resumable, with a split and an index that says what was done and what was left out, and why."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.report import write_json
from Training.command_line import make_folder
from Training.preparation.pool_records import PLACES, RECORDS, done, forget, keep_record, put, require_own, sweep
from Training.preparation.prepared_case import KINDS, STAGING, Candidate, Job, Outcome, Reader, Resolution, prepare
from Training.preparation.splits import Split, assign, default_split, drawn_order, require_enough
from Training.preparation.worker_processes import worker_processes

INDEX, SCHEMA = "index.json", 1


@dataclass(frozen=True)
class DataSet:
    """What was found in a folder.

    Attributes:
        source: "kits19" or "pairs", for the index.
        folder: that was given; the index names files relative to it.
        candidates: scans with labels.
        left_out: names, with the reason why nothing can be made of them.
        reader: reads a candidate; it goes to other processes, so it must be a function of a module, or a `functools.partial` of one.
        settings: what the reader depends on, in plain JSON types.
    """

    source: str
    folder: Path
    candidates: Sequence[Candidate]
    left_out: dict[str, str]
    reader: Reader
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Where the pool goes, how it is resampled and divided, and how many processes work on it."""

    pool: Path
    resolution: Resolution
    split: Split | None
    seed: int
    workers: int


def build_pool(data: DataSet, plan: Plan) -> dict[str, Any]:
    """Make every case that the split takes, put it in its place, and write the index, which is returned.

    Cases that cannot be used are replaced by others where there are any, and are listed with the reason.

    Raises:
        InputError: too few cases are there or usable, or the pool is another data set's.
        SetupError: disk or memory run out.
    """
    names = [candidate.name for candidate in data.candidates]
    split = plan.split or default_split(len(names))
    require_enough(split, len(names), data.folder)
    require_own(plan.pool, names)
    make_folders(plan.pool)
    sweep(plan.pool)
    # Until the pool is whole again there is no index that says so.
    (plan.pool / INDEX).unlink(missing_ok=True)
    records, failed = make_cases(data, plan, split)
    sides = assign(records, split, plan.seed)
    if set(sides.values()) != {"train", "validation"}:
        raise InputError(f"Of {len(names)} cases {len(records)} could be used, too few for a split of {split}. {next(iter(failed.values()), '')}")
    spare = {name: f"It is not needed for the split {split}." for name in names if name not in sides and name not in failed}
    # Those of an earlier split too, which this one may not even have looked at.
    for name in names:
        put(plan.pool, name, sides.get(name, STAGING))
    tidy(plan.pool)
    index = index_of(data, plan, split, records, sides, {**data.left_out, **failed, **spare})
    write_json(plan.pool / INDEX, index)
    return index


def make_folders(pool: Path) -> None:
    """The pool's folders."""
    for place in PLACES:
        for kind in KINDS:
            make_folder(pool / place / kind)
    make_folder(pool / RECORDS)


def tidy(pool: Path) -> None:
    """Remove the staging folder unless it holds cases that the split has no place for."""
    for folder in (*(pool / STAGING / kind for kind in KINDS), pool / STAGING):
        with suppress(OSError):
            folder.rmdir()


def make_cases(data: DataSet, plan: Plan, split: Split) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Records of usable cases and reasons for the others, by name: as many as the split takes, in the order in which it draws them."""
    by_name = {candidate.name: candidate for candidate in data.candidates}
    waiting = drawn_order(by_name, plan.seed)
    wanted = len(waiting) if split.total is None else split.total
    records: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    while waiting and len(records) < wanted:
        count = wanted - len(records)
        jobs = [Job(by_name[name], data.reader, data.settings, plan.resolution, plan.pool) for name in waiting[:count]]
        del waiting[:count]
        for outcome in outcomes(jobs, plan.workers):
            print(progress_line(outcome, len(records) + len(failed) + 1, len(by_name)), flush=True)
            if outcome.record is None:
                failed[outcome.name] = shortened(outcome.reason or "", data.folder)
            else:
                records[outcome.name] = outcome.record
    return records, failed


def outcomes(jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """What comes of each job, in the order in which they are done; each is written down before it is told."""
    to_do = []
    for job in jobs:
        if record := done(job):
            yield Outcome(job.candidate.name, record)
        else:
            forget(job.pool, job.candidate.name)
            to_do.append(job)
    pool = jobs[0].pool if jobs else Path()
    for outcome in run(to_do, workers):
        if outcome.record is not None:
            keep_record(pool, outcome.name, outcome.record)
        yield outcome


def run(jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """Do the jobs, in this process or in several. Raises SetupError when memory runs out."""
    if workers == 1 or len(jobs) < 2:
        yield from map(prepare, jobs)
        return
    with worker_processes(min(workers, len(jobs)), "give the same command again") as executor:
        for future in as_completed([executor.submit(prepare, job) for job in jobs]):
            yield future.result()


def shortened(reason: str, folder: Path) -> str:
    """A reason with files named as in the index, relative to the folder."""
    return reason.replace(f"{folder}{os.sep}", "")


def progress_line(outcome: Outcome, number: int, count: int) -> str:
    """A line for the terminal about a case that is done."""
    if outcome.record is None:
        return f"[{number}/{count}] {outcome.name}  left out"
    facts = outcome.record["facts"]
    size = " x ".join(str(length) for length in facts["size"])
    warnings = "".join(f"\n    {warning}" for warning in facts["warnings"])
    return f"[{number}/{count}] {outcome.name}  {size}  kidney {facts['kidney_ml']:.1f} ml, tumor {facts['tumor_ml']:.1f} ml{warnings}"


def index_of(
    data: DataSet,
    plan: Plan,
    split: Split,
    records: dict[str, dict[str, Any]],
    sides: dict[str, str],
    left_out: dict[str, str],
) -> dict[str, Any]:
    """The content of POOL/index.json: everything needed to make the same pool again, and to find each case's original files."""
    files = {candidate.name: candidate for candidate in data.candidates}
    cases = [
        {
            "name": name,
            "split": sides[name],
            "ct": files[name].ct.relative_to(data.folder).as_posix(),
            "labels": files[name].labels.relative_to(data.folder).as_posix(),
            **records[name]["facts"],
            "files": records[name]["files"],
        }
        for name in sorted(sides)
    ]
    options = next(iter(records.values()))["options"]
    return {
        "schema": SCHEMA,
        "source": data.source,
        "seed": plan.seed,
        "split": str(split),
        "options": options,
        "cases": cases,
        "left_out": [{"name": name, "reason": reason} for name, reason in sorted(left_out.items())],
    }


def summary(index: dict[str, Any]) -> str:
    """What was made and what was left out, for the end of a command."""
    sides = [case["split"] for case in index["cases"]]
    lines = [f"{sides.count('train')} cases to train on, {sides.count('validation')} to validate with, {len(index['left_out'])} left out."]
    return "\n".join([*lines, *(f"{entry['name']}: {entry['reason']}" for entry in index["left_out"])])
