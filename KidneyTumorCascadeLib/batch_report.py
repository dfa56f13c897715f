"""summary.csv and index.html in the output folder, kept up to date while a batch goes on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from KidneyTumorCascadeLib.batch_page import PAGE_NAME, batch_page
from KidneyTumorCascadeLib.batch_records import CaseOutcome, LeftOut
from KidneyTumorCascadeLib.batch_summary import SUMMARY_NAME, BatchOverview, summary_csv
from KidneyTumorCascadeLib.errors import CascadeError
from KidneyTumorCascadeLib.progress import Clock
from KidneyTumorCascadeLib.report import write_text_atomically

# The share of the time of a run that may go into writing: with thousands of scans the two files have megabytes.
WRITING_SHARE = 0.05


class BatchReport:
    """Collects outcomes and writes both files: after each scan while that is quick, at moments farther and farther apart when it is not.

    Args:
        output: folder of the batch, which exists.
        names: of all cases, in the order in which they are shown.
        left_out: what is no case.
        bundle: name and version of the model bundle.
        preset: with which the scans are segmented.
        clock: seconds, always forward.
    """

    def __init__(
        self,
        output: Path,
        names: Sequence[str],
        left_out: Sequence[LeftOut] = (),
        bundle: str = "",
        preset: str = "",
        clock: Clock = time.monotonic,
    ) -> None:
        self._output = output
        self._outcomes: dict[str, CaseOutcome] = {}
        self._overview = BatchOverview(names, self._outcomes, left_out, bundle, preset)
        self._clock = clock
        self._next_at = clock()

    def add(self, outcome: CaseOutcome) -> None:
        """Take in how a case ended. That the files cannot be written now costs nothing: they are written again, and `finish` says so."""
        self._outcomes[outcome.case] = outcome
        if self._clock() >= self._next_at:
            with suppress(CascadeError):
                self._write(self._overview)

    def finish(self, complete: bool = True) -> BatchOverview:
        """Write both files for the last time; `complete` is False when the run was stopped. Returns what they say.

        Raises:
            SetupError: the disk is full.
            InputError: the folder cannot be written to.
        """
        overview = replace(self._overview, outcomes=dict(self._outcomes), finished=complete)
        self._write(overview)
        return overview

    def _write(self, overview: BatchOverview) -> None:
        begin = self._clock()
        try:
            write_text_atomically(self._output / SUMMARY_NAME, summary_csv(overview))
            write_text_atomically(self._output / PAGE_NAME, batch_page(overview))
        finally:
            end = self._clock()
            self._next_at = end + (end - begin) * (1.0 / WRITING_SHARE - 1.0)
