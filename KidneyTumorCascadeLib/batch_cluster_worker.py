"""What a batch does in the workers of a Dask cluster: cases come as tasks, and a process of the worker's own does them, as on one computer.

PyTorch stays out of the Dask worker, which goes on answering its scheduler whatever a scan does, and whose death is its process's death. With
two threads a worker has two cases: one is computed while the next one is read.
"""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

from KidneyTumorCascadeLib import __version__
from KidneyTumorCascadeLib.batch_folder import LOCK, read_mark, touched
from KidneyTumorCascadeLib.batch_pool import Attempt, LocalPool, Message
from KidneyTumorCascadeLib.batch_records import BatchOptions, Case, CaseOptions, CaseOutcome
from KidneyTumorCascadeLib.batch_worker import FINISHED, LOST, UNUSABLE
from KidneyTumorCascadeLib.errors import BundleError, CascadeError, InputError, SetupError
from KidneyTumorCascadeLib.progress import Clock

# A batch whose lock was not touched for so long is dead; file systems of a network may show it late.
DEAD_AFTER_SECONDS, LOOK_SECONDS = 120.0, 5.0
# How often, and after how many seconds each, the lock of a batch that has just begun is looked for.
LOOKS, WAIT_SECONDS = 5, 2.0
END_SECONDS = 10.0
OVER = "The batch that it belongs to has ended."


def packed(job: Message, attempt: Attempt) -> bytes:
    """A task for a worker. Plain data, small although a case may name thousands of files."""
    return zlib.compress(json.dumps({"job": job, "case": attempt.case.to_dict(), "number": attempt.number}).encode("ascii"))


def do_case(task: bytes) -> Message:
    """What `packed` gave, done in this worker; returns one of the messages that a batch's process sends.

    Raises nothing: Dask would write the task's arguments, which name patients' files, into its log.
    """
    try:
        content = json.loads(zlib.decompress(task))
        require_here(content["job"])
        outcome = SERVICES.of(content["job"]).do(Attempt(Case.from_dict(content["case"]), content["number"]))
    except CascadeError as error:
        kind = next((kind for kind in (BundleError, SetupError, InputError) if isinstance(error, kind)), SetupError)
        return {"event": UNUSABLE, "kind": kind.__name__, "reason": str(error), "worker": own_address()}
    except Exception as error:
        return {"event": LOST, "reason": f"Something went wrong in a worker of the cluster ({type(error).__name__}); please report it."}
    if outcome.status == LOST:
        return {"event": LOST, "reason": outcome.reason, "seconds": outcome.seconds}
    return {"event": FINISHED, "outcome": outcome.to_dict()}


def own_address() -> str:
    """What the cluster calls this worker."""
    from distributed import get_worker

    address: str = get_worker().address
    return address


def leave(token: str) -> None:
    """End the process of a batch that has ended."""
    SERVICES.close(token)


def require_here(job: Message, wait: Callable[[float], None] = time.sleep) -> None:
    """Raise SetupError when this worker cannot take part in a batch: it has another version, or does not see its folders."""
    if job["version"] != __version__:
        raise SetupError(f"It has version {__version__} of the program, and the batch was started with {job['version']}; install the same one there.")
    for look in range(LOOKS):
        if has_lock(Path(job["output"]), job["token"]) and Path(job["input"]).is_dir():
            return
        wait(WAIT_SECONDS * (look + 1 < LOOKS))
    raise SetupError(
        f"It does not see {job['input']} and {job['output']} as the batch does; both must lie on a disk that all workers share, at the same paths."
    )


def has_lock(output: Path, token: str) -> bool:
    """Whether the batch with this lock is writing to the folder."""
    try:
        os.listdir(output)  # Has a network's file system ask its server what is new.
    except OSError:
        return False
    return (read_mark(output / LOCK) or {}).get("token") == token


class Pulse:
    """Whether a batch is alive, by its lock, which it touches.

    Args:
        output: its folder.
        token: of its lock.
        clock: seconds.
    """

    def __init__(self, output: Path, token: str, clock: Clock = time.monotonic) -> None:
        self._lock, self._token, self._clock = output / LOCK, token, clock
        self._touched, self._seen = 0, clock()

    def has_stopped(self) -> bool:
        """True when another batch is at its place, or when it was not heard of for long."""
        found = (read_mark(self._lock) or {}).get("token")
        if found not in (None, self._token):
            return True
        moment = touched(self._lock) if found else 0
        if moment not in (0, self._touched):
            self._touched, self._seen = moment, self._clock()
        return self._clock() - self._seen > DEAD_AFTER_SECONDS


class OneProcess(LocalPool):
    """A pool of one process that leaves it to the cluster whether and where a case is tried again."""

    def _after_loss(self, attempt: Attempt, seconds: float, reason: str) -> Iterator[CaseOutcome]:
        yield CaseOutcome(attempt.case.name, LOST, seconds, attempt.number, reason)


class Service:
    """Does the cases of one batch as they come, from any thread, until that batch has ended. Args: the job, seconds."""

    def __init__(self, job: Message, clock: Clock = time.monotonic) -> None:
        self.job = job
        output = Path(job["output"])
        self._pool = OneProcess(BatchOptions(CaseOptions(**job["options"]), workers=1, timeout=job["timeout"]), output)
        self._pulse, self._clock = Pulse(output, job["token"], clock), clock
        self._lock = threading.Lock()
        self._wanted: dict[str, Future[CaseOutcome]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether it takes no more cases."""
        return self._ended.is_set()

    def do(self, attempt: Attempt) -> CaseOutcome:
        """The outcome of a case, LOST when its process died. Raises SetupError, BundleError or InputError when nothing can be computed here."""
        with self._lock:
            if self._ended.is_set():
                return over(attempt)
            future = self._wanted.setdefault(attempt.case.name, Future())
            self._pool.add(attempt)
        return future.result()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._ended.set()
        self._thread.join(END_SECONDS)

    def _serve(self) -> None:
        problem: Exception | None = None
        try:
            self._serve_until_the_end()
        except Exception as error:
            problem = error
        self._pool.close()
        with self._lock:
            self._ended.set()
            for name, future in self._wanted.items():
                if problem:
                    future.set_exception(problem)
                else:
                    future.set_result(CaseOutcome(name, LOST, reason=OVER))

    def _serve_until_the_end(self) -> None:
        look_at = self._clock()
        while not self._ended.is_set():
            for outcome in self._pool.step():
                with self._lock:
                    self._wanted.pop(outcome.case).set_result(outcome)
            if self._clock() >= look_at:
                look_at = self._clock() + LOOK_SECONDS
                if self._pulse.has_stopped():
                    return


def over(attempt: Attempt) -> CaseOutcome:
    """Of a case that came too late."""
    return CaseOutcome(attempt.case.name, LOST, attempts=attempt.number, reason=OVER)


class Services:
    """The services of this Dask worker: one for each batch, of which each output folder has one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_output: dict[str, Service] = {}

    def of(self, job: Message) -> Service:
        """The service of a batch, begun when there is none; it ends that of an earlier run with the same folder."""
        with self._lock:
            service = self._by_output.get(job["output"])
            if service and (service.has_ended or service.job != job):
                service.close()
                service = None
            if service is None:
                service = self._by_output[job["output"]] = Service(job)
            return service

    def close(self, token: str) -> None:
        """End the service of the batch with this lock, if there is one."""
        with self._lock:
            for output, service in list(self._by_output.items()):
                if service.job["token"] == token:
                    del self._by_output[output]
                    service.close()


SERVICES = Services()
