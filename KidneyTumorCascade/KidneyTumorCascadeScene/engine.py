"""Asks the worker for things, and never waits for it: answers come through callbacks, from Qt's event loop."""

from __future__ import annotations

import itertools
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from KidneyTumorCascadeLib.errors import Cancelled, CascadeError
from KidneyTumorCascadeLib.worker_client import WorkerGone
from KidneyTumorCascadeLib.worker_messages import Step
from KidneyTumorCascadeLib.worker_protocol import (
    CANCEL,
    ENDING,
    HELLO,
    LOG,
    PROGRESS,
    PROTOCOL,
    Answer,
    Call,
    ProtocolError,
    decode_message,
    encode_call,
    error_of,
)
from KidneyTumorCascadeScene.worker_process import WorkerProcess, workerCommand

# A worker that has not stopped by then is ended; the user waits no longer than a second.
CANCEL_MS = 800
# Longer than any step of the networks on a slow computer.
SILENCE_MS = 120_000
STOP_MS = 1000

OnDone = Callable[[Any], None]
OnFailed = Callable[[CascadeError], None]
OnStep = Callable[[Step], None]


@dataclass
class Request:
    """One that waits for its answer."""

    done: OnDone
    failed: OnFailed
    onStep: OnStep | None
    cancelled: bool = False


class Engine:
    """The worker, started when it is needed and again when it is gone.

    Args:
        command: starts the worker; Slicer's Python with the library's one by default.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self.onSilence: Callable[[], None] = lambda: None
        # How many workers there have been: what an earlier one knew, a new one does not.
        self.generation = 0
        self._command = command
        self._process: WorkerProcess | None = None
        # Kept until the next one goes: Qt ends a process whose object is gone, and waits for it.
        self._leaving: WorkerProcess | None = None
        self._requests: dict[int, Request] = {}
        self._ids = itertools.count(1)
        self._folder: Path | None = None
        self._silence = alarm(SILENCE_MS, self._tellSilence)
        self._patience = alarm(CANCEL_MS, self._killDeaf)
        slicer.app.connect("aboutToQuit()", self.stop)

    @property
    def folder(self) -> Path:
        """Where scans are handed over and results come back; gone after `stop`. Raises OSError when there is no place for it."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="KidneyTumorCascade-", dir=slicer.app.temporaryPath))
        return self._folder

    @property
    def pid(self) -> int | None:
        """The running worker's ID, once it is known."""
        return self._process.pid if self._process is not None else None

    def call(self, method: str, params: Mapping[str, Any], done: OnDone, failed: OnFailed, onStep: OnStep | None = None) -> int:
        """Asks for something; returns the request's ID. Just one of `done` and `failed` is called, later."""
        if self._process is None:
            self._start()
        return self._send(method, params, Request(done, failed, onStep))

    @property
    def alive(self) -> bool:
        """Whether there is a worker that can be asked."""
        return self._process is not None

    def cancel(self, requestId: int) -> None:
        """Makes a request fail with Cancelled within a second: by asking the worker to stop, or else by ending it."""
        request = self._requests.get(requestId)
        if request is None or self._process is None or request.cancelled:
            return
        request.cancelled = True
        self._process.send(encode_call(Call(CANCEL, {"id": requestId})))
        self._patience.start()

    def stop(self) -> None:
        """Ends the worker and forgets all requests, for when Slicer or the panel ends. The engine is of no more use."""
        slicer.app.disconnect("aboutToQuit()", self.stop)
        self._silence.stop()
        self._patience.stop()
        self._requests.clear()
        process, self._process = self._process, None
        if process is not None:
            process.stop(STOP_MS)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    # --- to the worker ---

    def _start(self) -> None:
        self.generation += 1
        self._process = WorkerProcess(self._command or workerCommand(), self._take, self._ended)
        greeting = Request(self._greeted, self._refused, None)
        self._send(HELLO, {"protocol": PROTOCOL, "folder": str(self.folder)}, greeting)

    def _send(self, method: str, params: Mapping[str, Any], request: Request) -> int:
        requestId = next(self._ids)
        self._requests[requestId] = request
        if self._process is not None:
            self._process.send(encode_call(Call(method, params, requestId)))
        self._silence.start()
        return requestId

    def _greeted(self, hello: Mapping[str, Any]) -> None:
        if self._process is not None:
            self._process.pid = int(hello["pid"])

    def _refused(self, error: CascadeError) -> None:
        logging.error("The worker refused to work: %s", error)

    def _killDeaf(self) -> None:
        """Ends a worker that has not answered a request that was cancelled."""
        if self._process is not None and any(request.cancelled for request in self._requests.values()):
            self._process.kill()

    # --- from the worker ---

    def _take(self, line: bytes) -> None:
        self._silence.start()
        try:
            message = decode_message(line)
        except ProtocolError as error:
            logging.warning("The worker said something that is no message: %s", error)
            return
        if isinstance(message, Answer):
            self._answer(message)
        elif message.method == PROGRESS:
            self._progress(message.params)
        elif message.method == LOG:
            logging.info("Kidney tumor cascade: %s", message.params.get("message"))
        elif message.method == ENDING:
            self._dismiss()

    def _progress(self, params: Mapping[str, Any]) -> None:
        try:
            step = Step.from_dict(params)
        except CascadeError as error:
            logging.warning("The worker said something of its progress that is none: %s", error)
            return
        request = self._requests.get(int(step.id))
        if request is not None and request.onStep is not None and not request.cancelled:
            request.onStep(step)

    def _answer(self, answer: Answer) -> None:
        request = self._requests.pop(int(answer.id), None) if answer.id is not None else None
        if not self._requests:
            self._silence.stop()
        if request is None:
            return
        if answer.code:
            request.failed(error_of(answer))
        elif request.cancelled:
            # It was too late to stop it; the user has changed their mind all the same.
            discard(answer.result)
            request.failed(Cancelled())
        else:
            request.done(answer.result)

    def _ended(self) -> None:
        """The process is gone: nothing that was asked will be answered."""
        process, self._process = self._process, None
        requests, self._requests = self._requests, {}
        self._silence.stop()
        if process is not None and process.details:
            logging.info("The worker's last words:\n%s", process.details)
        for request in requests.values():
            request.failed(Cancelled() if request.cancelled else WorkerGone(goneMessage()))

    def _dismiss(self) -> None:
        """The process will end by itself: what is asked from now on is asked of a new one, and its end concerns nobody any more."""
        if self._process is not None:
            self._process.release()
        self._leaving = self._process
        self._ended()

    def _tellSilence(self) -> None:
        if self._requests:
            self.onSilence()


def alarm(milliseconds: int, ring: Callable[[], None]) -> qt.QTimer:
    """A timer that rings once each time it is started."""
    timer = qt.QTimer()
    timer.singleShot = True
    timer.interval = milliseconds
    timer.connect("timeout()", ring)
    return timer


def goneMessage() -> str:
    """What the user is told of a worker that crashed or was killed."""
    return _("The segmentation process ended unexpectedly, perhaps for lack of memory. Nothing was changed; you can try again.")


def discard(result: Any) -> None:
    """Removes the files of a result that nobody wants."""
    if isinstance(result, dict) and "folder" in result and "parts" in result:
        shutil.rmtree(result["folder"], ignore_errors=True)
