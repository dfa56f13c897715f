"""What a batch finds when it is started again: manifests of earlier results, and the lock of a run that died."""

from __future__ import annotations

import json
import os
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from KidneyTumorCascadeLib.batch_case import earlier_outcome, remove_outdated
from KidneyTumorCascadeLib.batch_folder import LOCK, OutputFolder
from KidneyTumorCascadeLib.batch_page import batch_page
from KidneyTumorCascadeLib.batch_records import IMAGE, Case, CaseOptions, CaseOutcome, sha256_of
from KidneyTumorCascadeLib.batch_summary import BatchOverview, summary_csv
from KidneyTumorCascadeLib.earlier_results import read_manifest
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.processes import host_name
from KidneyTumorCascadeLib.report import PRODUCT
from Testing.Fuzz.judge import Target
from Testing.Fuzz.mutations import mutated_bytes, mutated_json

REQUEST = CaseOptions().request("0" * 64, "1" * 64)
TUMOR = {"volume_ml": 2.5, "longest_diameter_mm": 20.0, "center_lps_mm": [1.0, 2.0, 3.0], "touches_border": False}
ROW = {"side": "left", "kidney_ml": 150.25, "tumor_ml": 2.5, "tumors": 1, "longest_mm": 20.0, "longest_axial_mm": None, "tumor_list": [TUMOR]}


def batch_targets(folder: Path) -> list[Target]:
    """Manifests on resume, and locks."""
    output = folder / "batch"
    (output / "sub").mkdir(parents=True)
    case = Case("sub/a", folder / "a.nii.gz", IMAGE, ())
    example = json.dumps(manifest_example(case, output)).encode()
    lock = json.dumps({"host": host_name(), "process": os.getpid(), "token": "0"}).encode()
    return [
        Target("manifest on resume", lambda random: mutated_json(random, example), partial(feed_manifest, case, output), 24),
        Target("lock of a batch", partial(make_lock, lock), partial(feed_lock, folder / "locked", count(1)), 4),
    ]


def manifest_example(case: Case, output: Path) -> dict[str, Any]:
    """The manifest of a result that is there."""
    files = (case.labels(output), case.preview(output))
    for path in files:
        path.write_bytes(path.name.encode())
    return {
        "schema": 1,
        "product": {"name": PRODUCT, "version": "1.0"},
        "request": REQUEST,
        "files": {path.name: sha256_of(path) for path in files},
        "measurements": [ROW, {**ROW, "side": "right", "tumors": 0, "longest_axial_mm": 12.5}],
        "seconds": {"reading": 0.5, "merging": 1.25},
        "warnings": ["The left kidney touches the superior border of the scan; its volume is incomplete."],
    }


def feed_manifest(case: Case, output: Path, data: bytes) -> None:
    """Ask whether the case is done; what comes of it goes to another process, into the table and onto the page."""
    case.manifest(output).write_bytes(data)
    outcome = earlier_outcome(case, output, REQUEST)
    remove_outdated(case.labels(output), read_manifest(case.manifest(output)), {"files": [path.name for path in (output / "sub").iterdir()]})
    if outcome is None:
        raise InputError("The case is done again.")
    sent = CaseOutcome.from_dict(json.loads(json.dumps(outcome.to_dict(), allow_nan=False)))
    overview = BatchOverview([case.name], {case.name: sent})
    for text in (summary_csv(overview), batch_page(overview)):
        text.encode("utf-8")


def make_lock(example: bytes, random: Random) -> bytes:
    """A lock with another content."""
    return mutated_json(random, example) if random.random() < 0.8 else mutated_bytes(random, example)


def feed_lock(folder: Path, moments: count[int], data: bytes) -> None:
    """Start a run in a folder with this lock, which another process touches unless its length is odd."""
    folder.mkdir(exist_ok=True)
    lock = folder / LOCK
    lock.write_bytes(data)

    def touch(_: float) -> None:
        if len(data) % 2 == 0:
            os.utime(lock, ns=(0, next(moments)))

    with OutputFolder(folder, touch):
        pass
