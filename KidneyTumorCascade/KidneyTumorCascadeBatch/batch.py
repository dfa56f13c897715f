"""All cases of a folder, one after the other: what is done is skipped, what fails is listed, and the rest goes on."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer

from KidneyTumorCascadeBatch.cases import Case, findCases
from KidneyTumorCascadeBatch.engine import Engine
from KidneyTumorCascadeBatch.reading import readCase
from KidneyTumorCascadeBatch.results import SEGMENTATION, Place, Segmentation, writeResult
from KidneyTumorCascadeBatch.summary import DONE, FAILED, SKIPPED, Outcome, asCsv
from KidneyTumorCascadeLib.errors import CascadeError, InputError
from KidneyTumorCascadeLib.report import write_text_atomically
from KidneyTumorCascadeLib.worker_messages import Options
from KidneyTumorCascadeScene.worker_process import workerCommand

SUMMARY = "summary.csv"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        input: folder with scans.
        output: folder for results; made when there is none.
        options: how to segment.
        form: "seg.nrrd" or "nii.gz".
        scene: write a scene for each case, too.
        pattern: which names of files are meant.
        command: starts the worker.
    """

    input: Path
    output: Path
    options: Options = field(default_factory=Options)
    form: str = SEGMENTATION
    scene: bool = False
    pattern: str = "*"
    command: Sequence[str] = field(default_factory=workerCommand)


def runJob(job: Job, say: Say = print) -> list[Outcome]:
    """Segment all scans of the folder; the summary is written after each.

    Raises:
        InputError, BundleError: for what was asked for; nothing is done then.
        CascadeError: when the worker cannot work at all.
    """
    cases = findCases(job.input, job.output, job.pattern)
    makeFolder(job.output)
    with tempfile.TemporaryDirectory(dir=slicer.app.temporaryPath) as folder, Engine(Path(folder), job.command) as engine:
        batch = Batch(job, engine, engine.request(job.options), say)
        for number, case in enumerate(cases, start=1):
            say(f"[{number}/{len(cases)}] {case.name}")
            batch.take(case)
        return batch.outcomes


def makeFolder(folder: Path) -> None:
    """Make the folder for outputs. Raises InputError when that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be made ({error.strerror or error}); choose another one.") from error


class Batch:
    """A job under way."""

    def __init__(self, job: Job, engine: Engine, request: Mapping[str, Any], say: Say) -> None:
        self.job, self.engine, self.request, self.say = job, engine, request, say
        self.outcomes: list[Outcome] = []

    def take(self, case: Case) -> None:
        """Do one case, whatever comes of it, and write the summary."""
        outcome = self._outcome(case)
        self.outcomes.append(outcome)
        write_text_atomically(self.job.output / SUMMARY, asCsv(self.outcomes))

    def _outcome(self, case: Case) -> Outcome:
        start = time.monotonic()
        try:
            status, manifest = self._result(case)
        except CascadeError as error:
            return self._failed(case, str(error))
        # One strange scan must not cost the others, which may take a night.
        except Exception as error:
            return self._failed(case, f"{type(error).__name__}: {error}")
        self.say(f"  {status} in {time.monotonic() - start:.0f} s" if status == DONE else "  is there already")
        return Outcome(case.name, status, manifest)

    def _failed(self, case: Case, error: str) -> Outcome:
        self.say(f"  FAILED: {error}")
        return Outcome(case.name, FAILED, error=error)

    def _result(self, case: Case) -> tuple[str, Mapping[str, Any]]:
        place = Place.of(case, self.job.output, self.job.form, self.job.scene)
        request = {**self.request, "input_sha256": case.sha256(), "format": self.job.form}
        done = place.manifestOf(request)
        return (SKIPPED, done) if done else (DONE, self._segmented(case, place, request))

    def _segmented(self, case: Case, place: Place, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Segment a case and write its files; returns the manifest."""
        scan, warnings = readCase(case)
        result = self.engine.segment(scan, case.publicName, self.job.options)
        try:
            manifest = {
                **result.manifest,
                "output": {"name": place.result.name},
                "request": dict(request),
                "warnings": [*warnings, *result.warnings],
            }
            writeResult(place, Segmentation(case.publicName, scan, result, self.job.options, manifest))
        finally:
            shutil.rmtree(result.folder, ignore_errors=True)
        return manifest
