"""The worker's loop: one request after the other, cancelled from a second thread, and an end when nobody needs it any more.

PyTorch is imported with the first request that needs it, or right after hello: without it the worker can still say that it is missing.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from KidneyTumorCascadeLib import __version__
from KidneyTumorCascadeLib.errors import CascadeError, InputError, SetupError
from KidneyTumorCascadeLib.json_fields import reason
from KidneyTumorCascadeLib.progress import Clock
from KidneyTumorCascadeLib.report import to_plain
from KidneyTumorCascadeLib.worker_messages import require_known, text_of
from KidneyTumorCascadeLib.worker_protocol import (
    BUSY,
    CANCEL,
    ENDING,
    HELLO,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    METHODS,
    PARSE_ERROR,
    PROTOCOL,
    SHUTDOWN,
    Call,
    Id,
    ProtocolError,
    code_of,
    decode_call,
    encode_call,
    encode_error,
    encode_result,
    is_id,
)
from KidneyTumorCascadeLib.worker_results import require_folder
from KidneyTumorCascadeLib.worker_task import Say, Task

MOST_WAITING = 32


class Bench(Protocol):
    """What requests are worked on with; `worker_jobs.Workbench` is the real one."""

    def run(self, task: Task, folder: Path) -> Mapping[str, Any]:
        """The result of a request."""

    def release(self) -> None:
        """Give back memory that can be had again."""


class Inbox(Protocol):
    """Where requests wait; `queue.Queue` is the real one."""

    def put(self, item: Task | None) -> None:
        """Append a request, or None for the end."""

    def get(self, block: bool, timeout: float) -> Task | None:
        """The next one. Raises queue.Empty when none comes within so many seconds."""


@dataclass(frozen=True)
class Patience:
    """Seconds without a request after which memory is given back, and after which the worker ends."""

    release: float = 60.0
    end: float = 900.0


class Idleness:
    """How long there has been nothing to do, and what follows from it."""

    def __init__(self, patience: Patience, clock: Clock = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self.touch()

    def touch(self) -> None:
        """There was something to do until now."""
        self._since = self._clock()
        self._released = False

    def wait(self) -> float:
        """Seconds until something follows."""
        due = self._patience.end if self._released else min(self._patience.release, self._patience.end)
        return max(0.0, self._since + due - self._clock())

    @property
    def ends(self) -> bool:
        """Whether it lasted too long."""
        return self._clock() - self._since >= self._patience.end

    def release_is_due(self) -> bool:
        """True once when memory is to be given back."""
        due = not self._released and self._clock() - self._since >= self._patience.release
        self._released = self._released or due
        return due


class Server:
    """Answers a client's lines. `receive` and `hang_up` are called in the reading thread, `serve` in the one that works.

    Args:
        say: sends a line to the client; called from both threads.
        patience: when to give back memory and when to end.
        make_bench: makes what requests are worked on with, when it is first needed.
        clock, inbox: other ones for tests.
    """

    def __init__(
        self,
        say: Say,
        patience: Patience,
        make_bench: Callable[[], Bench],
        clock: Clock = time.monotonic,
        inbox: Inbox | None = None,
    ) -> None:
        self._say = say
        self._idleness = Idleness(patience, clock)
        self._make_bench = make_bench
        self._bench: Bench | None = None
        self._folder: Path | None = None
        self._inbox: Inbox = inbox or queue.Queue()
        self._tasks: dict[Id, Task] = {}
        self._lock = threading.Lock()

    # --- in the reading thread ---

    def receive(self, line: bytes | None) -> None:
        """Take in a line (None for one that was too long). Whatever it holds, nothing is raised."""
        if line is not None and not line.strip():
            return
        try:
            if line is None:
                raise ProtocolError(PARSE_ERROR, "The line is too long.")
            self._take(decode_call(line))
        except ProtocolError as error:
            self._say(encode_error(error.id, error.code, str(error)))

    def hang_up(self) -> None:
        """The client is gone: stop what is going on and end."""
        self._stop_all()
        self._inbox.put(None)

    def _take(self, call: Call) -> None:
        if call.method not in METHODS:
            if call.id is not None:
                raise ProtocolError(METHOD_NOT_FOUND, f"There is no method {call.method[:40]!r}.", call.id)
        elif call.method == CANCEL:
            self._cancel(call)
        elif call.method == SHUTDOWN and call.id is None:
            self.hang_up()
        elif call.id is not None:
            # Other notifications ask for something that nobody waits for.
            self._enqueue(Task(call, self._say))

    def _cancel(self, call: Call) -> None:
        wanted = call.params.get("id")
        with self._lock:
            task = self._tasks.get(wanted) if is_id(wanted) else None
        cancelled = task is not None and task.cancel()
        if call.id is not None:
            self._say(encode_result(call.id, {"cancelled": cancelled}))

    def _enqueue(self, task: Task) -> None:
        with self._lock:
            if task.id in self._tasks:
                raise ProtocolError(INVALID_REQUEST, "A request with this id is being worked on; give another id.", task.id)
            if len(self._tasks) >= MOST_WAITING and task.method != SHUTDOWN:
                raise ProtocolError(BUSY, f"{MOST_WAITING} requests are waiting already; wait for an answer.", task.id)
            self._tasks[task.id] = task
        if task.method == SHUTDOWN:
            self._stop_all(but=task)
        self._inbox.put(task)

    def _stop_all(self, but: Task | None = None) -> None:
        with self._lock:
            tasks = [task for task in self._tasks.values() if task is not but]
        for task in tasks:
            task.cancel()

    # --- in the working thread ---

    def serve(self) -> None:
        """Work until the client is gone or says so, or has wanted nothing for long."""
        while (task := self._next()) is not None:
            self._answer(task)
            self._idleness.touch()
            if task.method == SHUTDOWN:
                return
            if task.method == HELLO:
                self._warm_up()

    def _next(self) -> Task | None:
        while True:
            try:
                return self._inbox.get(True, self._idleness.wait())
            except queue.Empty:
                if self._idleness.ends:
                    self._say(encode_call(Call(ENDING, {"reason": "idle"})))
                    return None
                if self._idleness.release_is_due() and self._bench is not None:
                    self._bench.release()

    def _answer(self, task: Task) -> None:
        line = self._line_for(task)
        # Forgotten before it is said: the client may use the id again as soon as it has the answer.
        with self._lock:
            del self._tasks[task.id]
        self._say(line)

    def _line_for(self, task: Task) -> bytes:
        """The answer to a request, whatever goes wrong."""
        try:
            task.check()
            result = to_plain(self._result(task))
            task.settle()
            return encode_result(task.id, result)
        except CascadeError as error:
            return encode_error(task.id, code_of(error), str(error))
        except OSError as error:
            traceback.print_exc()
            refused = SetupError(f"The system refused what is needed for this ({reason(error)}); check the disk, its free space and the permissions.")
            return encode_error(task.id, code_of(refused), str(refused))
        except Exception as error:
            traceback.print_exc()
            return encode_error(
                task.id, INTERNAL_ERROR, f"Something went wrong that should not have ({type(error).__name__}: {error}); please report it."
            )

    def _result(self, task: Task) -> Mapping[str, Any]:
        if task.method == SHUTDOWN:
            return {}
        if task.method == HELLO:
            return self._hello(task)
        if self._folder is None:
            raise InputError("Say hello first, with the folder for results.")
        return self._ready_bench().run(task, self._folder)

    def _hello(self, task: Task) -> Mapping[str, Any]:
        require_known(task.params, ("protocol", "folder"))
        wanted = task.params.get("protocol")
        if type(wanted) is not int or wanted != PROTOCOL:
            raise InputError(f"This worker speaks version {PROTOCOL} of its protocol, the client another one; use both from the same installation.")
        self._folder = require_folder(Path(text_of(task.params, "folder")))
        return {"protocol": PROTOCOL, "library": __version__, "pid": os.getpid()}

    def _ready_bench(self) -> Bench:
        if self._bench is None:
            try:
                self._bench = self._make_bench()
            except ImportError as error:
                problem = f"A package is missing ({error}); install PyTorch, in 3D Slicer through the PyTorch extension, and start again."
                raise SetupError(problem) from error
        return self._bench

    def _warm_up(self) -> None:
        """Import what takes seconds before it is asked for. What is missing is said to the request that needs it."""
        try:
            self._ready_bench()
        except SetupError as error:
            sys.stderr.write(f"{error}\n")
