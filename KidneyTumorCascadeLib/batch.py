"""A batch from its input folder to its end: scans are found, done by workers, and told of, one line each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from KidneyTumorCascadeLib.batch_case import bytes_per_case
from KidneyTumorCascadeLib.batch_cases import Found, find_cases
from KidneyTumorCascadeLib.batch_folder import OutputFolder, require_room_for
from KidneyTumorCascadeLib.batch_pool import LocalPool
from KidneyTumorCascadeLib.batch_records import DONE, FAILED, LABELS_ENDING, SKIPPED, BatchOptions, Case, CaseOutcome, LeftOut
from KidneyTumorCascadeLib.batch_report import BatchReport
from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.errors import CascadeError
from KidneyTumorCascadeLib.progress import Clock, describe_duration
from KidneyTumorCascadeLib.report import manifest_path

Engine = Callable[[Sequence[Case]], Iterator[CaseOutcome]]
Tell = Callable[[CaseOutcome, str], None]

OUTDATED = "What lies there under its name is an earlier result, made of other files or with other options."


@dataclass
class Batch:
    """What is to be done, and how far it is.

    Attributes:
        input, output: folders.
        options: how.
        pattern: which names are meant, see `find_cases`.
        dicom_names: call DICOM series by their folders.
        outcomes: so far, by the names of cases.
    """

    input: Path
    output: Path
    options: BatchOptions
    pattern: str = "*"
    dicom_names: bool = False
    found: Found = field(default_factory=Found)
    outcomes: dict[str, CaseOutcome] = field(default_factory=dict)

    def look(self) -> Sequence[LeftOut]:
        """Find the cases; returns what was left out. Raises InputError."""
        self.found = find_cases(self.input, self.output, self.pattern, self.dicom_names)
        return self.found.left_out

    def run(self, tell: Tell, engine: Engine | None = None, clock: Clock = time.monotonic) -> None:
        """Do the cases that were found; summary.csv and index.html in the output folder say how far it is.

        Args:
            tell: is given each outcome and a line that says it to people, with the time left.
            engine: does the cases; worker processes of this computer by default.
            clock: seconds.

        Raises:
            InputError: another run is writing to the folder, or nothing can be written there.
            SetupError, BundleError: nothing can be computed (any more), or the disk has no room.
        """
        engine = engine or LocalPool(self.options, self.output).outcomes
        with OutputFolder(self.output) as folder:
            to_do = sum(not case.manifest(self.output).exists() for case in self.found.cases)
            require_room_for(self.output, to_do, bytes_per_case(self.options.case))
            watch = Watch(len(self.found.cases), to_do, clock)
            with self._reporting(folder) as report:
                for outcome in map(self._with_leftovers, engine(self.found.cases)):
                    self.outcomes[outcome.case] = outcome
                    report.add(outcome)
                    tell(outcome, watch.line(outcome))
                    folder.require_own()

    @contextmanager
    def _reporting(self, folder: OutputFolder) -> Iterator[BatchReport]:
        """The table and the page, which say at the end how the run ended; one that came to nothing leaves those of earlier runs as they are."""
        bundle = load_bundle(self.options.case.bundle)
        names = [case.name for case in self.found.cases]
        report = BatchReport(self.output, names, self.found.left_out, f"{bundle.name} {bundle.version}", self.options.case.preset)
        try:
            yield report
        except BaseException:
            if self.outcomes and not folder.lost.is_set():
                with suppress(CascadeError):
                    report.finish(complete=False)
            raise
        report.finish()

    def _with_leftovers(self, outcome: CaseOutcome) -> CaseOutcome:
        """A failure says when an older result lies under its name, which nobody should take for a new one."""
        older = outcome.status == FAILED and manifest_path(self.output / f"{outcome.case}{LABELS_ENDING}").exists()
        return replace(outcome, reason=f"{outcome.reason} {OUTDATED}") if older else outcome

    def count(self, status: str) -> int:
        """How many cases have ended so."""
        return sum(outcome.status == status for outcome in self.outcomes.values())


class Watch:
    """Counts outcomes and guesses the time that the rest takes, by those that were computed; results that are there already take next to none.

    Args:
        total: cases.
        to_do: those of them that seem to have no result yet.
        clock: seconds.
    """

    def __init__(self, total: int, to_do: int, clock: Clock) -> None:
        self._total, self._to_do, self._clock = total, to_do, clock
        self._now = clock()
        self._spent = 0.0
        self._ended = self._computed = 0

    def line(self, outcome: CaseOutcome) -> str:
        """[12/200] case_00012: done in 34 s (about 1 h 45 min left)"""
        self._ended += 1
        before, self._now = self._now, self._clock()
        if outcome.status != SKIPPED:
            self._computed += 1
            self._spent += self._now - before
        return f"[{self._ended}/{self._total}] {printable(outcome.case)}: {described(outcome)}{self._time_left()}"

    def _time_left(self) -> str:
        left = self._total - self._ended
        # With other options than before, results that are there are made again.
        left = min(left, self._to_do - self._computed) if self._computed < self._to_do else left
        return f" (about {describe_duration(self._spent / self._computed * left)} left)" if left and self._computed else ""


def described(outcome: CaseOutcome) -> str:
    """How a case ended, in some words."""
    attempts = f" at attempt {outcome.attempts}" if outcome.attempts > 1 else ""
    if outcome.status == DONE:
        return f"done in {describe_duration(outcome.seconds)}{attempts}"
    return "is there already" if outcome.status == SKIPPED else f"FAILED{attempts}: {printable(outcome.reason)}"


def printable(text: str) -> str:
    """Text for one line, whatever a file's name holds."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def totals(batch: Batch) -> str:
    """180 done, 0 were there already, 20 failed"""
    return f"{batch.count(DONE)} done, {batch.count(SKIPPED)} were there already, {batch.count(FAILED)} failed"
