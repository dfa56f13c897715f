"""The cascade as a server on standard input and output, kept warm for 3D Slicer's panel: `python -m KidneyTumorCascadeLib.worker`.

No port is opened and no shell is used. The client is the process that started it: when that is gone, so is the worker. docs/WORKER.md shows
the messages.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from KidneyTumorCascadeLib.allocator import keep_freed_memory
from KidneyTumorCascadeLib.worker_protocol import read_lines
from KidneyTumorCascadeLib.worker_server import Bench, Patience, Server

# What the reading thread grants the working one to come to an end after the client is gone.
GRACE_SECONDS = 10.0


class Output:
    """Sends whole lines through a file descriptor, from any thread. When nobody listens any more it calls `on_broken` and falls silent."""

    def __init__(self, descriptor: int) -> None:
        self.on_broken: Callable[[], None] = lambda: None
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._broken = False

    def __call__(self, line: bytes) -> None:
        """Send a line."""
        try:
            with self._lock:
                rest = b"" if self._broken else line
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self._broken = True
            self.on_broken()


def main(words: Sequence[str] | None = None) -> int:
    """Serve until the client is gone or wants nothing for long; returns the exit code."""
    patience = parse(words)
    keep_freed_memory()
    # Who started this decides when it ends, also when Ctrl-C in a terminal reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, target = take_streams()
    output = Output(target)
    server = Server(output, patience, make_bench)
    output.on_broken = server.hang_up
    ended = threading.Event()
    threading.Thread(target=listen, args=(source, server, ended), daemon=True).start()
    server.serve()
    ended.set()
    return 0


def parse(words: Sequence[str] | None) -> Patience:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m KidneyTumorCascadeLib.worker", description=__doc__, allow_abbrev=False)
    parser.add_argument("--release-seconds", type=float, default=Patience.release, help="idle seconds until memory is given back (%(default)s)")
    parser.add_argument("--idle-seconds", type=float, default=Patience.end, help="idle seconds until the worker ends (%(default)s)")
    options = parser.parse_args(words)
    return Patience(options.release_seconds, options.idle_seconds)


def take_streams() -> tuple[int, int]:
    """Descriptors of the client's messages and of the answers. Standard output becomes standard error: what libraries print is no message."""
    source, target = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    if sys.platform == "win32":
        import msvcrt

        for descriptor in (source, target):
            msvcrt.setmode(descriptor, os.O_BINARY)
    return source, target


def listen(source: int, server: Server, ended: threading.Event) -> None:
    """Hand the client's lines to the server until there are no more, then see to it that the process ends, even when a driver hangs."""
    # Not through a buffered reader: Python could not end while a thread waits in one.
    for line in read_lines(lambda most: read(source, most)):
        server.receive(line)
    server.hang_up()
    if not ended.wait(GRACE_SECONDS):
        os._exit(1)


def read(source: int, most: int) -> bytes:
    """What has come, at most so many bytes; nothing at the end, also when that came as an error."""
    try:
        return os.read(source, most)
    except OSError:
        return b""


def make_bench() -> Bench:
    """What requests are worked on with; brings PyTorch along."""
    from KidneyTumorCascadeLib.worker_jobs import Workbench

    return Workbench()


def leave(code: int) -> NoReturn:
    """End this process at once: for Python to take PyTorch apart takes seconds, in which a GPU's memory is still held."""
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
