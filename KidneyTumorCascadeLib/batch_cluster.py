"""The cases of a batch on a Dask cluster: its scheduler spreads them, and gives those of lost workers to others. The client listens on no port."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from KidneyTumorCascadeLib import __version__
from KidneyTumorCascadeLib.batch_cluster_worker import do_case, leave, packed
from KidneyTumorCascadeLib.batch_folder import LOCK, read_mark, touched
from KidneyTumorCascadeLib.batch_pool import DEBUG_VARIABLE, ERRORS, TICK_SECONDS, Attempt, Message
from KidneyTumorCascadeLib.batch_records import DONE, FAILED, SKIPPED, BatchOptions, Case, CaseOutcome
from KidneyTumorCascadeLib.batch_worker import FINISHED, LOST
from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.progress import Clock

if TYPE_CHECKING:
    from distributed import Client, Future

ADDRESS = re.compile(r"(?:tcp|tls)://[^\s/]+:\d+")
CONNECT_SECONDS, END_SECONDS, LOOK_SECONDS = 30.0, 15.0, 5.0

Say = Callable[[str], None]


@dataclass
class Task:
    """A case that was given to the scheduler.

    Attributes:
        attempt: the case, and how often it was begun.
        future: what becomes of it.
        only: the workers that may do it; None for any.
        written: when the manifest was that lay there before.
    """

    attempt: Attempt
    future: Future[Message]
    only: frozenset[str] | None
    written: int


class ClusterPool:
    """Does cases on a cluster.

    Args:
        address: of the scheduler, tcp://HOST:PORT or tls://HOST:PORT.
        options: how; the number of workers is the cluster's.
        input, output: folders, which all workers see at the same paths.
        say: is given a line about the cluster now and then.
        clock: seconds.

    Raises InputError, from the constructor, for an address that is none.
    """

    def __init__(self, address: str, options: BatchOptions, input: Path, output: Path, say: Say, clock: Clock = time.monotonic) -> None:
        if not ADDRESS.fullmatch(address):
            raise InputError(f"{address} is no address of a scheduler; give one such as tcp://192.168.1.10:8786, as the scheduler says.")
        self.address, self.options = address, options
        self.input, self.output = input.absolute(), output.absolute()
        self._say, self._clock = say, clock
        self._events: queue.SimpleQueue[Future[Message]] = queue.SimpleQueue()
        self._tasks: dict[str, Task] = {}
        # Workers that cannot compute, with what they said.
        self._unfit: dict[str, Message] = {}
        self._submitted = 0
        self._look_at, self._workers = clock(), -1
        self._known: set[str] = set()

    def outcomes(self, cases: Sequence[Case]) -> Iterator[CaseOutcome]:
        """The outcome of each case as soon as it has one. The output folder must be locked by this process.

        Raises:
            SetupError, BundleError, InputError: the scheduler cannot be reached (any more), or no worker can compute.
        """
        self._job = self._described()
        with connected(self.address) as self._client:
            try:
                for case in cases:
                    self._submit(Attempt(replace(case, path=case.path.absolute(), files=tuple(path.absolute() for path in case.files))))
                while self._tasks:
                    yield from self._next_outcomes()
            except (OSError, CancelledError) as error:
                raise self._gone() from error
            finally:
                self._end()

    def _described(self) -> Message:
        """What every worker is told."""
        mark = read_mark(self.output / LOCK) or {}
        return {
            "version": __version__,
            "token": mark.get("token"),
            "input": str(self.input),
            "output": str(self.output),
            "options": asdict(self.options.case),
            "timeout": self.options.timeout,
        }

    def _submit(self, attempt: Attempt) -> None:
        """Give a case to the scheduler. Its key, which dashboard and logs show, tells nothing of it."""
        only = frozenset(self._fit()) if self._unfit else None
        self._submitted += 1
        key = f"segment-{self._job['token']}-{self._submitted}"
        where = {"workers": sorted(only), "allow_other_workers": False} if only else {}
        future = self._client.submit(do_case, packed(self._job, attempt), key=key, pure=False, **where)
        self._tasks[key] = Task(attempt, future, only, touched(attempt.case.manifest(self.output)))
        future.add_done_callback(self._events.put)

    def _fit(self) -> set[str]:
        """The workers that there are, without those that cannot compute. Raises the error of these when there are no others."""
        fit = self._there() - set(self._unfit)
        if not fit and self._unfit:
            last = list(self._unfit.values())[-1]
            raise ERRORS[last["kind"]](f"No worker of {self.address} can segment. {last['reason']}")
        return fit

    def _there(self) -> set[str]:
        """The workers that there are; those that there were while the scheduler is too busy to answer."""
        with suppress(OSError):
            self._known = set(self._client.nthreads())
        return self._known

    def _next_outcomes(self) -> Iterator[CaseOutcome]:
        """What comes of the next task that ends, or of none having ended for a moment."""
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_SECONDS
            self._look_after_workers()
        try:
            future = self._events.get(timeout=TICK_SECONDS)
        except queue.Empty:
            return
        task = self._tasks.pop(str(future.key), None)
        if task is None:
            return
        message = self._message_of(future)
        if message["event"] == FINISHED:
            yield self._finished(task, CaseOutcome.from_dict(message["outcome"]))
        elif message["event"] == LOST:
            yield from self._after_loss(task.attempt, message)
        else:
            self._leave_out(message)
            self._submit(task.attempt)

    def _message_of(self, future: Future[Message]) -> Message:
        """What a task came to. Raises SetupError when the scheduler or the workers are not what they should be."""
        from distributed import KilledWorker

        if future.status == "finished":
            message: Message = future.result()
            return message
        if future.status != "error":
            raise self._gone()
        error = future.exception()
        if isinstance(error, KilledWorker):
            tries = error.allowed_failures + 1
            return {"event": LOST, "tries": tries, "reason": f"{tries} workers that were doing it were lost one after the other; see to the workers."}
        raise SetupError(
            f"The workers of {self.address} cannot do cases ({type(error).__name__}: {error}); "
            f"install kidney-tumor-cascade {__version__} and the same version of Dask in the environment of each."
        )

    def _gone(self) -> SetupError:
        return SetupError(f"The scheduler {self.address} is gone or dropped the batch; see to it and start the batch again: what is done stays done.")

    def _finished(self, task: Task, outcome: CaseOutcome) -> CaseOutcome:
        # Its worker was lost between writing the result and saying so.
        own = outcome.status == SKIPPED and touched(task.attempt.case.manifest(self.output)) != task.written
        return replace(outcome, status=DONE if own else outcome.status, attempts=task.attempt.number)

    def _after_loss(self, attempt: Attempt, message: Message) -> Iterator[CaseOutcome]:
        """What comes of a case whose process or whose workers died: the next attempt, or a failure."""
        begun = attempt.number + message.get("tries", 1) - 1
        if begun > self.options.retries:
            yield CaseOutcome(attempt.case.name, FAILED, message.get("seconds", 0.0), begun, message["reason"])
        else:
            self._submit(Attempt(attempt.case, begun + 1))

    def _leave_out(self, message: Message) -> None:
        """Give a worker no more cases: each would only come back."""
        if message["worker"] not in self._unfit:
            self._unfit[message["worker"]] = message
            self._say(f"The worker {message['worker']} gets no scans: {message['reason']}")

    def _look_after_workers(self) -> None:
        """Say how many workers there are when that has changed, and free cases that wait for workers which are gone."""
        if self._client.status != "running":
            raise self._gone()
        there = self._there()
        if len(there) != self._workers:
            self._workers = len(there)
            self._say(f"Workers at {self.address}: {self._workers or 'none yet; the batch waits for them'}")
        for key, task in list(self._tasks.items()):
            if task.only is not None and not task.only & there:
                del self._tasks[key]
                self._client.cancel([task.future])
                self._submit(task.attempt)

    def _end(self) -> None:
        """Let no worker go on, without waiting long for one that does not answer."""
        self._tasks.clear()
        if self._client.status != "running":
            return
        ending = threading.Thread(target=self._let_workers_leave, daemon=True)
        ending.start()
        ending.join(END_SECONDS)

    def _let_workers_leave(self) -> None:
        with suppress(Exception):  # Workers find out by themselves that a batch has ended.
            self._client.run(leave, self._job["token"], on_error="ignore")


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A connection to the scheduler, and to nothing else. Raises SetupError."""
    client = client_of(address)
    try:
        yield client
    finally:
        with suppress(OSError):  # That saying goodbye took long costs no result.
            client.close(timeout=END_SECONDS)


def client_of(address: str) -> Client:
    """A client of the scheduler, by the certificates that Dask's configuration names for tls. Raises SetupError."""
    try:
        from distributed import Client
    except ImportError as error:
        raise SetupError(f"For --scheduler Dask is missing ({error}); pip install 'kidney-tumor-cascade[cluster]' brings it.") from error
    if not os.environ.get(DEBUG_VARIABLE):
        # What goes wrong is said by this program, in a sentence.
        for name in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        # A client whose constructor fails waits for a minute at its end.
        asyncio.run(probe(address))
        return Client(address, set_as_default=False, direct_to_workers=False, name="kidney-tumor-cascade", timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise SetupError(f"The scheduler {address} cannot be reached ({problem}); check the address, that it runs, and its certificates.") from error


async def probe(address: str) -> None:
    """Connect once. Raises OSError, or TypeError, ValueError or RuntimeError when the certificates are not what is needed."""
    from distributed.comm.core import connect
    from distributed.security import Security

    there = await connect(address, timeout=CONNECT_SECONDS, **Security().get_connection_args("client"))
    await there.close()
