"""A batch whose workers are killed one after the other, and which is itself killed and started again, until it comes to its end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from Testing.Batch.logged_batch import BRIGHT_VARIABLE
from Testing.Batch.logged_worker import BEGIN, END, LOG_VARIABLE

# How long a murderer waits for somebody at work.
AGAIN_SECONDS = 0.2


@dataclass(frozen=True)
class Disturbance:
    """What happens to a batch.

    Attributes:
        run_kills: how often the whole run is killed, each time when a further share of the scans is done.
        every_seconds: a worker is killed so often; None for never.
        after_scans: a worker is killed whenever so many scans have ended; None for never.
        parents: kill the Dask worker that a process belongs to instead of the process.
        bright: networks that find bright voxels.
    """

    run_kills: int = 0
    every_seconds: float | None = None
    after_scans: int | None = None
    parents: bool = False
    bright: bool = False


CALM = Disturbance()


@dataclass
class Record:
    """What became of it.

    Attributes:
        outcomes: the last run's, by case, as the program told them.
        runs: one for each start, with the number of scans that were done in it.
        worker_kills: names of the scans that were being computed.
        run_kills: how many.
        begun, ended: names of the scans that workers began to compute, or wrote, in this order.
        seconds: of all runs together.
    """

    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: list[int] = field(default_factory=list)
    worker_kills: list[str] = field(default_factory=list)
    run_kills: int = 0
    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    seconds: float = 0.0


class DisturbedBatch:
    """A batch under a disturbance.

    Args:
        words: of the command line, after `batch`.
        scans: how many there are.
        log: file in which workers note what they do; the Dask workers of a cluster must be started with it.
        what: happens to it.
        on_progress: is told the number of scans done so far, and may do harm of its own.
    """

    def __init__(
        self, words: Sequence[str], scans: int, log: Path, what: Disturbance = CALM, on_progress: Callable[[int], None] = lambda done: None
    ) -> None:
        self._words, self._scans, self._log, self._what, self._on_progress = words, scans, log, what, on_progress
        self._random = random.Random(0)
        self.record = Record()

    def run(self) -> Record:
        """From the first start to the end."""
        begin = time.monotonic()
        for turn in range(self._what.run_kills):
            self._run_once((turn + 1) * self._scans // (self._what.run_kills + 1))
        self._run_once(None)
        self.record.seconds = time.monotonic() - begin
        self.record.begun, self.record.ended = (self._noted(what) for what in (BEGIN, END))
        return self.record

    def _run_once(self, until: int | None) -> None:
        """A run, killed when so many scans have been done in all runs together."""
        self.record.runs.append(0)
        self.record.outcomes = {}
        with self._started() as process, self._murderer():
            for outcome in outcomes_in(process):
                self._take(outcome)
                if until is not None and sum(self.record.runs) >= until:
                    self.record.run_kills += 1
                    process.kill()
                    return
            if process.wait() not in (0, 1):
                raise RuntimeError(f"The batch ended with code {process.returncode}; {self._log.with_suffix('.out')} says more.")

    def _take(self, outcome: dict[str, Any]) -> None:
        self.record.outcomes[outcome["case"]] = outcome
        if outcome["status"] == "skipped":
            return
        self.record.runs[-1] += outcome["status"] == "done"
        self._on_progress(sum(self.record.runs))
        if self._what.after_scans and sum(self.record.runs) % self._what.after_scans == 0:
            self.kill_worker()

    @contextmanager
    def _started(self) -> Iterator[subprocess.Popen[str]]:
        environment = {**os.environ, LOG_VARIABLE: str(self._log), **({BRIGHT_VARIABLE: "1"} if self._what.bright else {})}
        command = [sys.executable, "-m", "Testing.Batch.logged_batch", "batch", *self._words, "--json"]
        with (
            self._log.with_suffix(".out").open("a", encoding="utf-8") as out,
            subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.PIPE, text=True) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def _murderer(self) -> Iterator[None]:
        """While this goes on a worker is killed now and then."""
        stop = threading.Event()
        thread = threading.Thread(target=self._murder, args=(stop,), daemon=True)
        if self._what.every_seconds:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            if thread.is_alive():
                thread.join()

    def _murder(self, stop: threading.Event) -> None:
        while not stop.wait(self._what.every_seconds):
            while not self.kill_worker() and not stop.wait(AGAIN_SECONDS):
                pass

    def kill_worker(self) -> bool:
        """Kill one of the workers in the middle of its scan; False when none is at work."""
        at_work = self._at_work()
        if not at_work:
            return False
        name, process, parent = self._random.choice(at_work)
        with suppress(ProcessLookupError):
            os.kill(parent if self._what.parents else process, signal.SIGKILL)
            self.record.worker_kills.append(name)
        return True

    def _at_work(self) -> list[tuple[str, int, int]]:
        """Scans that are being computed, with the process that does so, and the one that started that."""
        open_now: dict[int, tuple[str, int, int]] = {}
        for what, name, process, parent in self._lines():
            open_now.pop(process, None)
            if what == BEGIN and is_alive(process) and is_alive(parent):
                open_now[process] = (name, process, parent)
        return list(open_now.values())

    def _noted(self, wanted: str) -> list[str]:
        return [name for what, name, _, _ in self._lines() if what == wanted]

    def _lines(self) -> Iterator[tuple[str, str, int, int]]:
        for line in self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else ():
            what, name, process, parent = line.split("\t")
            yield what, name.removesuffix(".nii.gz"), int(process), int(parent)


def outcomes_in(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """What a batch tells of its scans, as it comes."""
    assert process.stderr is not None
    for line in process.stderr:
        with suppress(ValueError):
            content = json.loads(line)
            if "case" in content:
                yield content


def is_alive(process: int) -> bool:
    """Whether a process is there that has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
