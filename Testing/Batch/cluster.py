"""A Dask cluster on this computer for a while: scheduler and workers in processes of their own, as `dask scheduler` and `dask worker` are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

SCHEDULER, WORKER = ("distributed.cli.dask_scheduler", "distributed.cli.dask_worker")
ADDRESS = re.compile(rb"Scheduler at:\s+(tcp://\S+)")


class Cluster:
    """A context with a running scheduler, at `address`.

    Args:
        folder: for what Dask writes.
        workers: how many.
        preload: a module that each worker imports at its start; none when empty.
        nanny: start each worker anew when it dies.
        environment: more variables for all of them.
    """

    def __init__(self, folder: Path, workers: int = 2, preload: str = "", nanny: bool = False, environment: Mapping[str, str] | None = None) -> None:
        self._folder, self._count, self._preload, self._nanny = folder, workers, preload, nanny
        self._environment = {**os.environ, **(environment or {})}
        self.scheduler: subprocess.Popen[bytes]
        self.workers: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def __enter__(self) -> Cluster:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.scheduler = self._start(SCHEDULER, "--host", "127.0.0.1", "--port", "0", "--no-dashboard", stderr=subprocess.PIPE)
        self.address = self._said_address()
        for _ in range(self._count):
            self.add_worker()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in [*self.workers, self.scheduler]:
            end(process)

    def add_worker(self, threads: int = 2, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """One more worker, which comes by itself."""
        words = ["--nthreads", str(threads), "--no-dashboard", "--local-directory", str(self._folder)]
        words += ["--preload", self._preload] if self._preload else []
        words += [] if self._nanny else ["--no-nanny"]
        worker = self._start(WORKER, self.address, *words, stderr=subprocess.DEVNULL, environment=environment)
        self.workers.append(worker)
        return worker

    def _start(self, module: str, *words: str, stderr: int, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module, *words]
        return subprocess.Popen(command, env={**self._environment, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=stderr)

    def _said_address(self) -> str:
        """What the scheduler says of itself; the rest of its words is passed over."""
        stream = self.scheduler.stderr
        assert stream is not None
        said: list[bytes] = []
        for line in stream:
            said.append(line)
            found = ADDRESS.search(line)
            if found:
                threading.Thread(target=stream.read, daemon=True).start()
                return found[1].decode()
        raise RuntimeError(b"".join(said).decode(errors="replace"))


def family(process: subprocess.Popen[bytes]) -> Sequence[psutil.Process]:
    """A process and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        head = psutil.Process(process.pid)
        return [head, *head.children(recursive=True)]
    return []


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it has started."""
    for member in family(process):
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    if process.stderr is not None:
        with suppress(OSError):
            process.stderr.close()
