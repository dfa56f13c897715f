"""One scan of a batch: is its result there already, is there room for it, and if so, from its files to everything that is written of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.batch_records import DICOM, DONE, FAILED, SKIPPED, Case, CaseOptions, CaseOutcome, sha256_of
from KidneyTumorCascadeLib.bundle import Bundle, load_bundle, verify_hashes
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.device import Engine, choose_device
from KidneyTumorCascadeLib.earlier_results import answers, can_be_sent, has_files, is_complete, read_manifest
from KidneyTumorCascadeLib.errors import BundleError, CascadeError, MemoryShortage
from KidneyTumorCascadeLib.output_files import require_room
from KidneyTumorCascadeLib.report import DISK_FULL, output_stem
from KidneyTumorCascadeLib.scan_reading import checked_scan
from KidneyTumorCascadeLib.segment_file import (
    LABELS_BYTES,
    PREVIEW_BYTES,
    PROBABILITIES_BYTES,
    READING,
    Request,
    segment_file,
)
from KidneyTumorCascadeLib.volume import Volume


def bytes_per_case(options: CaseOptions) -> int:
    """Room on the disk that a case may need."""
    return LABELS_BYTES + PREVIEW_BYTES * options.preview + PROBABILITIES_BYTES * options.probabilities


@dataclass
class ReadCase:
    """A case up to where computing begins: read, or ended already, or stopped by an error that is no fault of the scan.

    Attributes:
        case: which.
        request: what its result is asked for with.
        seconds: that it took so far.
        scan: with what is odd about it; taken away when it is used, so that its memory can be free before the end.
        outcome: how it ended, if it did.
        error: what whoever goes on with the case must raise.
    """

    case: Case
    request: Mapping[str, Any]
    seconds: float = 0.0
    scan: tuple[Volume, list[str]] | None = None
    outcome: CaseOutcome | None = None
    error: Exception | None = None

    def take(self, cascade: Cascade) -> tuple[Volume, list[str]]:
        """The scan, whose reading counts as a stage of the cascade's run."""
        cascade.timer.seconds[READING] = self.seconds
        scan, self.scan = self.scan, None
        assert scan is not None
        return scan


class CaseRunner:
    """Does one case after the other with one cascade, whose weights are read when the first scan needs them.

    Args:
        options: how.
        output: folder for results.

    Raises:
        BundleError: the bundle is missing or damaged.
        InputError: it has no such preset.
    """

    def __init__(self, options: CaseOptions, output: Path) -> None:
        self.options, self.output = options, output
        self.bundle: Bundle = load_bundle(options.bundle)
        self.bundle.preset(options.preset)
        self._cascade: Cascade | None = None
        self._engine: Engine | None = None

    def run(self, case: Case) -> CaseOutcome:
        """From the first to the last; see `read` and `finish`."""
        return self.finish(self.read(case))

    def read(self, case: Case) -> ReadCase:
        """The case read and checked, unless its result is there already. May run in another thread than `finish`; raises nothing."""
        begin = time.monotonic()
        result = ReadCase(case, {})
        try:
            result.request = self.options.request(self.bundle.digest, case.sha256())
            result.outcome = earlier_outcome(case, self.output, result.request)
            if not result.outcome:
                require_room(self.output, bytes_per_case(self.options))
                result.scan = checked_scan(case.path)
        except Exception as error:
            result.error = error
        result.seconds = time.monotonic() - begin
        return result

    def finish(self, read: ReadCase) -> CaseOutcome:
        """Segment what was read, and write it; a case that cannot be done has failed, with the reason.

        Raises:
            BundleError, SetupError: nothing can be computed here at all.
            MemoryShortage: this scan needs more memory than there was.
            Exception: whatever should not have happened; nothing is known of this process's state then.
        """
        if read.outcome:
            return read.outcome
        begin = time.monotonic()
        cascade = None if read.error else self.cascade()
        try:
            manifest = self._segmented(read, cascade)
        except (MemoryShortage, BundleError):
            raise
        except CascadeError as error:
            return failed(read.case, str(error), read.seconds + time.monotonic() - begin)
        except OSError as error:
            return failed(read.case, sentence_of(read.case, self.output, error), read.seconds + time.monotonic() - begin)
        return outcome_of(read.case, self.output, DONE, manifest, read.seconds + time.monotonic() - begin)

    def cascade(self) -> Cascade:
        """The cascade, opened when there is none, and anew after a scan for which memory ran out: the next one may fit."""
        if self._engine is None:
            verify_hashes(self.bundle)
            self._engine = choose_device(self.options.device)
        if self._cascade is None or self._cascade.warnings:
            self._cascade = Cascade(self.bundle, self._engine, self.options.preset, self.options.merge)
            self._cascade.keep_probabilities = self.options.probabilities
        return self._cascade

    def _segmented(self, read: ReadCase, cascade: Cascade | None) -> dict[str, Any]:
        if read.error:
            raise read.error
        case = read.case
        labels = case.labels(self.output)
        labels.parent.mkdir(parents=True, exist_ok=True)
        earlier = read_manifest(case.manifest(self.output))
        preview = case.preview(self.output) if self.options.preview else None
        request = Request(case.path, labels, preset=self.options.preset, preview=preview, probabilities=self.options.probabilities)
        manifest = segment_file(
            request,
            cascade,
            read=read.take,
            notes=lambda files: {"request": dict(read.request), "files": {path.name: sha256_of(path) for path in files}},
        )
        remove_outdated(labels, earlier, manifest)
        return manifest


def earlier_outcome(case: Case, output: Path, request: Mapping[str, Any]) -> CaseOutcome | None:
    """The outcome of an earlier run whose result is there, whole, and answers the same request; None when the case is to be done."""
    manifest = read_manifest(case.manifest(output))
    if not (answers(manifest.get("request"), request) and is_complete(manifest) and has_files(manifest, case.labels(output))):
        return None
    outcome = outcome_of(case, output, SKIPPED, manifest, sum(manifest["seconds"].values()))
    return outcome if can_be_sent(outcome) else None


def remove_outdated(labels: Path, earlier: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Remove files beside the label map that an earlier run of the case wrote and this one did not, such as maps of a box that it did not find."""
    written = earlier.get("files")
    for name in set(written if isinstance(written, dict) else ()) - set(manifest["files"]):
        if name == Path(name).name and name.startswith(output_stem(labels)):
            with suppress(OSError, ValueError):  # There is no such file, or the name is none that a file can have.
                (labels.parent / name).unlink()


def outcome_of(case: Case, output: Path, status: str, manifest: Mapping[str, Any], seconds: float) -> CaseOutcome:
    """The outcome of a case that has a manifest."""
    preview = case.preview(output)
    return CaseOutcome(
        case=case.name,
        status=status,
        seconds=seconds,
        manifest=case.manifest(output).relative_to(output).as_posix(),
        preview=preview.relative_to(output).as_posix() if preview.name in manifest["files"] else None,
        measurements=tuple(manifest["measurements"]),
        warnings=tuple(manifest["warnings"]),
    )


def failed(case: Case, reason: str, seconds: float = 0.0, attempts: int = 1) -> CaseOutcome:
    """The outcome of a case that cannot be done."""
    return CaseOutcome(case.name, FAILED, seconds, attempts, case.public(" ".join(reason.split())))


def sentence_of(case: Case, output: Path, error: OSError) -> str:
    """What the system refused, for people."""
    if error.errno in DISK_FULL:
        return f"The disk of {output} has no room for the results; free some space."
    what = "The DICOM series" if case.kind == DICOM else case.path
    return f"{what} or its results cannot be read or written ({error.strerror or error}); check the disk and the permissions."
