"""One labelled scan becomes two training cases, fine and coarse, once everything about it has been checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.normalization import mean_and_sd
from KidneyTumorCascadeLib.scan_check import check_scan
from KidneyTumorCascadeLib.volume import Volume
from Training.cases import KIDNEY, TUMOR, case_around_kidneys, cubic_case

CYST = 3
# Raised when what is made of the same files changes: older cases are then made again.
FORMAT = 2
STAGING = "prepared"
KINDS = ("fine", "coarse")


@dataclass(frozen=True)
class Resolution:
    """Edges of a voxel, how far beyond the kidneys the fine case reaches, and how long it is at least where the scan is; mm."""

    fine_mm: float = 1.5
    fine_margin_mm: float = 70.0
    fine_least_mm: float = 250.0
    coarse_mm: float = 3.0


@dataclass(frozen=True)
class Candidate:
    """A scan and its label map."""

    name: str
    ct: Path
    labels: Path


@dataclass(frozen=True)
class LabelledScan:
    """What a reader made of a candidate: the scan, its labels (0, 1 kidney, 2 tumor, 3 cyst) on the same grid, and what is odd about them."""

    scan: Volume
    labels: Volume
    warnings: list[str]


Reader = Callable[[Candidate], LabelledScan]


@dataclass(frozen=True)
class Job:
    """Everything a worker needs; `settings` are what else the reader depends on, in plain JSON types."""

    candidate: Candidate
    reader: Reader
    settings: dict[str, Any]
    resolution: Resolution
    pool: Path

    @property
    def options(self) -> dict[str, Any]:
        """What, beside the files, decides what comes out, in plain JSON types."""
        return {"format": FORMAT, **asdict(self.resolution), **self.settings}


@dataclass(frozen=True)
class Outcome:
    """What came of a candidate: a record of what was made, or the reason why nothing was."""

    name: str
    record: dict[str, Any] | None
    reason: str | None = None


def prepare(job: Job) -> Outcome:
    """Check one candidate and write its cases to the pool's staging folder. What is wrong with its files becomes the reason."""
    try:
        return Outcome(job.candidate.name, record_of(job))
    except InputError as error:
        return Outcome(job.candidate.name, None, " ".join(str(error).split()))


def record_of(job: Job) -> dict[str, Any]:
    """Write the cases; returns what is to be remembered of them. Raises InputError when the files cannot be used."""
    candidate, resolution = job.candidate, job.resolution
    files = {"ct": file_state(candidate.ct), "labels": file_state(candidate.labels)}
    read = job.reader(candidate)
    warnings = [*read.warnings, *check_scan(read.scan, candidate.ct.name)]
    volumes = label_volumes(read.labels, candidate.labels)
    staging = job.pool / STAGING
    fine = case_around_kidneys(candidate.name, read.scan, read.labels, resolution.fine_mm, resolution.fine_margin_mm, resolution.fine_least_mm)
    fine.save(staging / "fine")
    coarse = cubic_case(candidate.name, read.scan, read.labels, resolution.coarse_mm)
    coarse.save(staging / "coarse")
    sizes = {"fine_size": list(reversed(fine.hu.shape)), "coarse_size": list(reversed(coarse.hu.shape))}
    return {"options": job.options, "files": files, "facts": {**scan_facts(read.scan), **sizes, **volumes, "warnings": warnings}}


def scan_facts(scan: Volume) -> dict[str, Any]:
    """Size and spacing (x, y, z along the scan's own axes in LPS order), whether the file's axes are in another order, and HU statistics."""
    geometry = scan.geometry.in_lps_order()
    mean, sd = mean_and_sd(scan.voxels)
    return {
        "size": list(geometry.size),
        "spacing_mm": [round(length, 6) for length in geometry.spacing],
        "permuted": scan.geometry.lps_order().permutation != (0, 1, 2),
        "hu_mean": round(mean, 3),
        "hu_sd": round(sd, 3),
    }


def label_volumes(labels: Volume, path: Path) -> dict[str, float]:
    """ml of kidney, tumor and cyst. Raises InputError for labels that mean nothing here, or when there are neither kidney nor tumor."""
    counts = label_counts(labels.voxels)
    strange = [label for label in counts if label not in (0, KIDNEY, TUMOR, CYST)]
    if strange:
        shown = ", ".join(map(str, strange[:5]))
        raise InputError(f"{path} holds labels ({shown}) that are none of 0 background, 1 kidney, 2 tumor and 3 cyst; give those numbers.")
    if not counts.get(KIDNEY) and not counts.get(TUMOR):
        raise InputError(f"{path} marks no voxel as kidney or tumor; complete the segmentation.")
    names = {"kidney_ml": KIDNEY, "tumor_ml": TUMOR, "cyst_ml": CYST}
    return {name: round(counts.get(label, 0) * labels.geometry.voxel_ml, 3) for name, label in names.items()}


def label_counts(voxels: NDArray[Any]) -> dict[int, int]:
    """How many voxels (z, y, x; whole numbers from 0) each label has."""
    total = np.zeros(1, dtype=np.int64)
    for plane in voxels:
        counts = np.bincount(plane.ravel(), minlength=total.size)
        counts[: total.size] += total
        total = counts
    return {int(label): int(total[label]) for label in np.flatnonzero(total)}


def file_state(path: Path) -> dict[str, Any]:
    """What tells whether a file has changed. Raises InputError when it cannot be read."""
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    return {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": digest.hexdigest()}


def unchanged(path: Path, known: dict[str, Any]) -> bool:
    """Whether a file is as it was. Only when its time differs is its content looked at: copies of a data set keep the one, not the other."""
    try:
        state = path.stat()
    except OSError:
        return False
    if state.st_size != known["bytes"]:
        return False
    return bool(state.st_mtime_ns == known["mtime_ns"] or file_state(path)["sha256"] == known["sha256"])
