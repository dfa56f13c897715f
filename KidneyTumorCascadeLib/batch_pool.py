"""Worker processes of a batch on this computer: each does one case and reads the next; one that dies is replaced, and its case done again."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from KidneyTumorCascadeLib.batch_records import DONE, FAILED, SKIPPED, BatchOptions, Case, CaseOutcome
from KidneyTumorCascadeLib.batch_worker import FINISHED, LOST, READY, UNUSABLE
from KidneyTumorCascadeLib.errors import BundleError, CascadeError, InputError, SetupError
from KidneyTumorCascadeLib.processes import environment_with_library
from KidneyTumorCascadeLib.progress import Clock

COMMAND = (sys.executable, "-m", "KidneyTumorCascadeLib.batch_worker")
DEBUG_VARIABLE = "KIDNEY_TUMOR_CASCADE_DEBUG"
# A worker that has not said after so long that it is ready never will; after so many in a row there is no point in a next one.
START_SECONDS, MOST_FAILED_STARTS = 600.0, 3
# How often time limits are looked at.
TICK_SECONDS = 0.5
ERRORS = {kind.__name__: kind for kind in (BundleError, SetupError, InputError)}

Message = dict[str, Any]


@dataclass
class Attempt:
    """A case that waits or is being done.

    Attributes:
        case: which.
        number: of the attempt, from 1.
    """

    case: Case
    number: int = 1

    @property
    def alone(self) -> bool:
        """Whether no other scan may be in its worker: after a death it must be plain whose fault the next one is."""
        return self.number > 1


@dataclass
class Worker:
    """A process at work.

    Attributes:
        process: itself.
        place: its number among those at work at the same time.
        held: what it does first, then what it reads ahead.
        since: when it began with the first, or was started.
        ready: whether it has said that it can work.
        last_words: why it ends, if it said so, or was killed by this program.
        overdue: what took too long, for which it was killed.
    """

    process: subprocess.Popen[bytes]
    place: int
    since: float
    held: deque[Attempt] = field(default_factory=deque)
    ready: bool = False
    last_words: str = ""
    overdue: Attempt | None = None

    def send(self, content: Mapping[str, Any]) -> None:
        """A line to it; whether it is still there shows when it is listened to."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.write(json.dumps(content).encode("ascii") + b"\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """Kill it and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


class LocalPool:
    """Does cases in processes of this computer.

    Args:
        options: how many, how often, how long.
        output: folder for results.
        command: starts a worker; COMMAND by default.
        clock: seconds.
    """

    def __init__(self, options: BatchOptions, output: Path, command: Sequence[str] | None = None, clock: Clock = time.monotonic) -> None:
        self.options, self.output = options, output
        self._command, self._clock = command or COMMAND, clock
        self._events: queue.SimpleQueue[tuple[Worker | None, Message | None]] = queue.SimpleQueue()
        self._waiting: deque[Attempt] = deque()
        self._workers: list[Worker] = []
        self._failed_starts = 0

    def outcomes(self, cases: Sequence[Case]) -> Iterator[CaseOutcome]:
        """The outcome of each case as soon as it has one; every worker is gone when this ends, however it does.

        Raises:
            InputError, BundleError, SetupError: nothing can be computed here.
        """
        self._waiting = deque(Attempt(case) for case in cases)
        try:
            while self._waiting or any(worker.held for worker in self._workers):
                yield from self.step()
        finally:
            self.close()

    def add(self, attempt: Attempt) -> None:
        """One more case, from any thread, while another one steps."""
        self._waiting.append(attempt)
        self._events.put((None, None))

    def step(self) -> Iterator[CaseOutcome]:
        """Start workers, hand out cases, and wait a moment for what comes of them. Same errors as `outcomes`."""
        self._start_workers()
        self._hand_out()
        yield from self._next_outcomes()

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _start_workers(self) -> None:
        busy = sum(bool(worker.held) for worker in self._workers)
        while len(self._workers) < min(self.options.workers, busy + len(self._waiting)):
            self._workers.append(self._started(free_place(self._workers)))

    def _started(self, place: int) -> Worker:
        """A new worker, with a thread that listens to it."""
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get(DEBUG_VARIABLE) else subprocess.DEVNULL,
            env=worker_environment(self.options),
        )
        worker = Worker(process, place, self._clock())
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        worker.send({"options": asdict(self.options.case), "output": str(self.output), "threads": threads_each(self.options.workers), "place": place})
        return worker

    def _listen(self, worker: Worker) -> None:
        """Pass on what a worker says, and that it is gone."""
        assert worker.process.stdout is not None
        for message in messages_in(worker.process.stdout):
            self._events.put((worker, message))
        worker.process.wait()
        self._events.put((worker, None))

    def _hand_out(self) -> None:
        """A case for each worker without one; then, while there are cases enough for all, a next one to be read ahead."""
        for worker in self._workers:
            if self._waiting and worker.ready and not worker.held:
                worker.since = self._clock()
                self._give(worker)
        for worker in self._workers:
            reads_ahead = len(self._waiting) >= len(self._workers) and not self._waiting[0].alone
            if reads_ahead and len(worker.held) == 1 and not worker.held[0].alone:
                self._give(worker)

    def _give(self, worker: Worker) -> None:
        attempt = self._waiting.popleft()
        worker.held.append(attempt)
        worker.send(attempt.case.to_dict())

    def _next_outcomes(self) -> Iterator[CaseOutcome]:
        """What comes of the next thing that a worker says, or of none having said anything for a moment."""
        self._kill_overtime()
        try:
            worker, message = self._events.get(timeout=TICK_SECONDS)
        except queue.Empty:
            return
        if worker is None:
            return
        if message is None:
            yield from self._after_death(worker)
        elif message["event"] == READY:
            worker.ready, self._failed_starts = True, 0
        elif message["event"] == FINISHED:
            yield self._finished(worker, CaseOutcome.from_dict(message["outcome"]))
        elif message["event"] == LOST:
            worker.last_words = message["reason"]
        elif message["event"] == UNUSABLE:
            raise error_of(message)

    def _finished(self, worker: Worker, outcome: CaseOutcome) -> CaseOutcome:
        attempt = worker.held.popleft()
        worker.since = self._clock()
        # Its worker died between writing the result and saying so.
        status = DONE if outcome.status == SKIPPED and attempt.number > 1 else outcome.status
        return replace(outcome, status=status, attempts=attempt.number)

    def _kill_overtime(self) -> None:
        for worker in self._workers:
            if worker.held and self.options.timeout is not None and self._clock() - worker.since > self.options.timeout:
                worker.overdue = worker.held[0]
                worker.process.kill()
            elif not worker.ready and self._clock() - worker.since > START_SECONDS:
                worker.process.kill()

    def _after_death(self, worker: Worker) -> Iterator[CaseOutcome]:
        """Give back what a dead worker held: the first to be tried again after all others, the rest as if nothing had been."""
        self._workers.remove(worker)
        worker.end()
        if not worker.ready:
            self._count_failed_start(worker)
        if not worker.held:
            return
        first, *ahead = worker.held
        self._waiting.extendleft(reversed(ahead))
        if worker.overdue is first:
            reason = f"It took longer than the limit of {self.options.timeout:g} s; give it more time."
            yield CaseOutcome(first.case.name, FAILED, self._clock() - worker.since, first.number, reason)
        else:
            yield from self._after_loss(first, self._clock() - worker.since, cause_of_death(worker))

    def _after_loss(self, attempt: Attempt, seconds: float, reason: str) -> Iterator[CaseOutcome]:
        """What comes of a case whose worker died: the next attempt, or a failure."""
        if attempt.number > self.options.retries:
            yield CaseOutcome(attempt.case.name, FAILED, seconds, attempt.number, reason)
        else:
            self._waiting.append(Attempt(attempt.case, attempt.number + 1))

    def _count_failed_start(self, worker: Worker) -> None:
        self._failed_starts += 1
        if self._failed_starts >= MOST_FAILED_STARTS:
            raise SetupError(
                f"No worker process can be started (the last one ended with code {worker.process.returncode}); "
                f"with {DEBUG_VARIABLE}=1 set, they say why."
            )


def messages_in(stream: IO[bytes]) -> Iterator[Message]:
    """What a worker says until it is gone; a line that it died over is dropped."""
    with suppress(OSError, ValueError):
        for line in stream:
            yield json.loads(line)


def error_of(message: Message) -> CascadeError:
    """What a worker that cannot work at all has raised."""
    kind = ERRORS[message["kind"]]
    return kind(message["reason"])


def cause_of_death(worker: Worker) -> str:
    """Why a case could not be done, as a sentence."""
    if worker.last_words:
        return worker.last_words
    code = worker.process.returncode
    if code == -getattr(signal, "SIGKILL", 9):
        return "Its worker process was killed, as the system does when memory runs out; close other programs or use fewer workers, and start again."
    name = signal.Signals(-code).name if code < 0 and -code in set(signal.Signals) else f"code {code}"
    return f"Its worker process ended unexpectedly ({name}); if it does so again, please report it."


def free_place(workers: Sequence[Worker]) -> int:
    """The smallest number that none of them has."""
    taken = {worker.place for worker in workers}
    return next(place for place in range(len(workers) + 1) if place not in taken)


def threads_each(workers: int) -> int:
    """Threads for one of that many workers: what the environment says, else its share of the processors that this program may use."""
    wish = os.environ.get("OMP_NUM_THREADS", "")
    if wish.isdigit() and int(wish) > 0:
        return int(wish)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // workers)


def worker_environment(options: BatchOptions) -> dict[str, str]:
    """The environment of a worker: its number of threads, and where this library lies."""
    threads = str(threads_each(options.workers))
    return {**environment_with_library(), "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
