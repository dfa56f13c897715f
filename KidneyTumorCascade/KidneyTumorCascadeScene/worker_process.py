"""The worker as a process of Qt: started with Slicer's own Python, heard line by line, and ended for good when it must be."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import qt

import KidneyTumorCascadeLib

LIBRARY_FOLDER = Path(KidneyTumorCascadeLib.__file__).resolve().parents[1]
MOST_DETAILS = 20_000


def workerCommand() -> list[str]:
    """Slicer's Python with the worker; this very Python outside of Slicer."""
    return [shutil.which("PythonSlicer") or sys.executable, "-m", "KidneyTumorCascadeLib.worker"]


class WorkerProcess:
    """One process. Nothing here waits for it, except `stop`.

    Args:
        command: program and arguments.
        onLine: told each line of its standard output.
        onEnded: told once, when it ended or could not be started.
    """

    def __init__(self, command: Sequence[str], onLine: Callable[[bytes], None], onEnded: Callable[[], None]) -> None:
        # Its own ID, once it has said it: PythonSlicer may be a launcher, and to kill that leaves the worker alive.
        self.pid: int | None = None
        self.details = ""
        self._onLine = onLine
        self._onEnded: Callable[[], None] | None = onEnded
        self._rest = b""
        self._process = qt.QProcess()
        self._process.setProcessEnvironment(environment())
        self._process.connect("readyReadStandardOutput()", self._read)
        self._process.connect("readyReadStandardError()", self._readDetails)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._end)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._fail)
        self._process.start(command[0], list(command[1:]))

    @property
    def running(self) -> bool:
        """Whether it is there, or on its way."""
        return bool(self._process.state() != qt.QProcess.NotRunning)

    def send(self, line: bytes) -> None:
        """Sends a line; Qt keeps it until the process takes it."""
        self._process.write(line)

    def kill(self) -> None:
        """Ends it by force, with whatever it started."""
        if not self.running:
            return
        if sys.platform == "win32":
            qt.QProcess.startDetached("taskkill", ["/F", "/T", "/PID", str(self.pid or self._process.processId())])
        elif self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        # A worker that has not said its ID yet ends when nobody can talk to it any more.
        self._process.closeWriteChannel()
        self._process.kill()

    def release(self) -> None:
        """Tells nobody anything any more."""
        self._onEnded = None

    def stop(self, milliseconds: int) -> None:
        """Ends it: by itself within that time, else by force. Tells nobody."""
        self.release()
        self._process.closeWriteChannel()
        if self.running and not self._process.waitForFinished(milliseconds):
            self.kill()
            self._process.waitForFinished(milliseconds)

    def _read(self) -> None:
        *lines, self._rest = (self._rest + self._process.readAllStandardOutput().data()).split(b"\n")
        for line in lines:
            if line and self._onEnded is not None:
                self._onLine(line)

    def _readDetails(self) -> None:
        text = self._process.readAllStandardError().data().decode("utf-8", "replace")
        self.details = (self.details + text)[-MOST_DETAILS:]

    def _fail(self, error: int) -> None:
        if error == qt.QProcess.FailedToStart:
            self._end()

    def _end(self) -> None:
        onEnded, self._onEnded = self._onEnded, None
        if onEnded is not None:
            onEnded()


def environment() -> qt.QProcessEnvironment:
    """That of Slicer; the library is found wherever Slicer was started."""
    values = qt.QProcessEnvironment.systemEnvironment()
    path = os.pathsep.join(filter(None, [str(LIBRARY_FOLDER), values.value("PYTHONPATH", "")]))
    values.insert("PYTHONPATH", path)
    values.insert("PYTHONSAFEPATH", "1")
    values.insert("PYTHONUNBUFFERED", "1")
    return values
