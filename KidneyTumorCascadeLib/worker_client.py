"""A client of the worker in plain Python: for tests, for scripts, and to read beside docs/WORKER.md. Needs no PyTorch in its own process.

with tempfile.TemporaryDirectory() as folder, WorkerClient(Path(folder)) as worker:
    scan_id = worker.open_scan(voxels, geometry)
    result = worker.segment(scan_id, on_step=print)
    labels = result.label_map(geometry.shape_zyx)
"""

from __future__ import annotations

import itertools
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import CascadeError
from KidneyTumorCascadeLib.geometry import Box, Geometry
from KidneyTumorCascadeLib.processes import environment_with_library
from KidneyTumorCascadeLib.worker_messages import UNNAMED, Found, Options, ScanFile, Segmented, Step
from KidneyTumorCascadeLib.worker_protocol import (
    CANCEL,
    CLOSE_SCAN,
    FIND_KIDNEYS,
    HELLO,
    LOG,
    MAX_ANSWER_BYTES,
    OPEN_SCAN,
    PROGRESS,
    PROTOCOL,
    SEGMENT,
    SEGMENT_BOXES,
    Answer,
    Call,
    Id,
    ProtocolError,
    decode_message,
    encode_call,
    error_of,
    read_lines,
)

SECONDS_TO_END = 5.0

OnStep = Callable[[Step], None]
OnLog = Callable[[str], None]


class WorkerGone(CascadeError):
    """The worker ended, or was killed, before it answered."""

    def __init__(self, message: str = "The worker ended before it answered; try again, as a new one may be started at any time.") -> None:
        super().__init__(message)


class WorkerClient:
    """Starts a worker and talks to it, one request at a time; only `cancel` may be called from another thread or from a callback.

    Args:
        folder: for the scans that are handed over and for results; the worker writes nowhere else.
        command: starts the worker; this Python by default.
        on_log: told what may interest a curious user.
        stderr: where the worker's details of errors go; this process's standard error by default.

    Raises:
        WorkerGone: in all methods, when the worker is.
        CascadeError: of the kind that the worker reports.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str] = (sys.executable, "-m", "KidneyTumorCascadeLib.worker"),
        on_log: OnLog = lambda message: None,
        stderr: int | IO[bytes] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self._on_log = on_log
        self._ids = itertools.count(1)
        self._copies: dict[str, Path] = {}
        self._write_lock = threading.Lock()
        self.process = start(command, stderr)
        self._lines = lines_of(self.process)
        try:
            self.hello: Mapping[str, Any] = self.call(HELLO, {"protocol": PROTOCOL, "folder": str(self.folder)})
        except BaseException:
            self.close()
            raise

    # --- what one asks for ---

    def open_scan(self, voxels: NDArray[Any], geometry: Geometry, name: str = UNNAMED) -> str:
        """Hand over a CT (z, y, x of its own order, HU); returns its id. Its copy in the folder stays until the scan is closed."""
        path = self.folder / f"scan-{secrets.token_hex(8)}.npy"
        np.save(path, voxels, allow_pickle=False)
        scan_id = self.open_file(ScanFile(path, geometry, name))
        self._copies[scan_id] = path
        return scan_id

    def open_file(self, file: ScanFile) -> str:
        """Hand over a CT that lies in a .npy file already."""
        scan_id: str = self.call(OPEN_SCAN, file.to_dict())["scan_id"]
        return scan_id

    def close_scan(self, scan_id: str) -> None:
        """Let go of a scan."""
        self.call(CLOSE_SCAN, {"scan_id": scan_id})
        if scan_id in self._copies:
            self._copies.pop(scan_id).unlink(missing_ok=True)

    def find_kidneys(self, scan_id: str, options: Options | None = None, on_step: OnStep | None = None) -> Found:
        """Boxes around the kidneys."""
        return Found.from_dict(self.call(FIND_KIDNEYS, self._params(scan_id, options), on_step))

    def segment_boxes(self, scan_id: str, boxes: Sequence[Box], options: Options | None = None, on_step: OnStep | None = None) -> Segmented:
        """Kidney and tumor in these boxes, wherever they came from."""
        params = {**self._params(scan_id, options), "boxes": [box.to_dict() for box in boxes]}
        return Segmented.from_dict(self.call(SEGMENT_BOXES, params, on_step))

    def segment(self, scan_id: str, options: Options | None = None, on_step: OnStep | None = None) -> Segmented:
        """Find the kidneys and segment them."""
        return Segmented.from_dict(self.call(SEGMENT, self._params(scan_id, options), on_step))

    def _params(self, scan_id: str, options: Options | None) -> dict[str, Any]:
        return {"scan_id": scan_id, "options": (options or Options()).to_dict()}

    # --- how it is asked ---

    def call(self, method: str, params: Mapping[str, Any] | None = None, on_step: OnStep | None = None) -> Any:
        """Send a request and wait for its result; what the worker says meanwhile goes to the callbacks."""
        request_id = next(self._ids)
        self._send(Call(method, params or {}, request_id))
        for message in self._messages():
            if isinstance(message, Call):
                self._tell(message, on_step)
            elif message.id == request_id:
                if message.code:
                    raise error_of(message)
                return message.result
        raise WorkerGone()

    def cancel(self, request_id: Id) -> None:
        """Stop a request, such as `step.id` of a step; it then raises Cancelled where it was called."""
        self._send(Call(CANCEL, {"id": request_id}))

    def _send(self, call: Call) -> None:
        stream = self.process.stdin
        try:
            if stream is None:
                raise WorkerGone()
            with self._write_lock:
                rest = encode_call(call)
                while rest:
                    rest = rest[stream.write(rest) :]
        except (OSError, ValueError) as error:
            raise WorkerGone() from error

    def _messages(self) -> Iterator[Call | Answer]:
        for line in self._lines:
            if line:
                try:
                    yield decode_message(line)
                except ProtocolError as error:
                    raise CascadeError(f"The worker said something that is no message ({error}); take worker and client of one version.") from error

    def _tell(self, message: Call, on_step: OnStep | None) -> None:
        if message.method == PROGRESS and on_step is not None:
            on_step(Step.from_dict(message.params))
        elif message.method == LOG:
            self._on_log(str(message.params.get("message")))

    # --- how it ends ---

    def close(self) -> int:
        """End the worker, by force where it does not end by itself; returns its exit code."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        try:
            return self.process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def start(command: Sequence[str], stderr: int | IO[bytes] | None) -> subprocess.Popen[bytes]:
    """The worker's process; it finds this library wherever it is started. Raises WorkerGone when it cannot be started."""
    environment = environment_with_library()
    try:
        return subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environment, bufsize=0)
    except OSError as error:
        raise WorkerGone(f"The worker cannot be started ({error.strerror or error}); check {command[0]}.") from error


def lines_of(process: subprocess.Popen[bytes]) -> Iterator[bytes | None]:
    """What the worker says, line by line."""
    stream = process.stdout
    return iter(()) if stream is None else read_lines(stream.read, MAX_ANSWER_BYTES)
