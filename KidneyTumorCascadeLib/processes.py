"""Processes of this computer: which are alive, and how one of them finishes what must not be left half-done before it heeds a signal."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

# Beside which this library lies.
LIBRARY_FOLDER = Path(__file__).resolve().parent.parent
# What ends a run and leaves it the time to tidy up.
POLITE_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def host_name() -> str:
    """This computer, and the part of it in which process numbers mean what they do here."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def environment_with_library() -> dict[str, str]:
    """The environment of another Python, which finds this library wherever it is started."""
    path = os.pathsep.join([str(LIBRARY_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Not what happens to lie in the current folder, where Python understands that (3.11).
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def process_exists(number: Any) -> bool:
    """Whether there is such a process here; True where that cannot be asked without harm."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, ValueError, TypeError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within it, Ctrl-C and SIGTERM wait until its end; for some milliseconds of work that should be done as a whole."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Signals do not reach other threads.
        return
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.getsignal(number) for number in POLITE_SIGNALS}
    try:
        for number in POLITE_SIGNALS:
            signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if came:
            signal.raise_signal(came[0])
