"""The output folder of a batch: one run at a time, room enough, and nothing left of runs that were killed."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from KidneyTumorCascadeLib.errors import CascadeError, InputError, SetupError
from KidneyTumorCascadeLib.json_fields import load_json, one_line
from KidneyTumorCascadeLib.output_files import UNFINISHED
from KidneyTumorCascadeLib.processes import host_name, process_exists
from KidneyTumorCascadeLib.report import DISK_FULL

LOCK = ".batch.lock"
# A run touches its lock this often; one that was not touched for as long as the other is that of a run which is dead.
HEARTBEAT_SECONDS, DEAD_AFTER_SECONDS = 4.0, 15.0
# Characters of a strange lock that are shown.
SHOWN = 80
# Files under the names that they are written under, see report.py and volume.py; folders begin with UNFINISHED.
LEFTOVER = re.compile(r"\.(?:[0-9a-f]{16}\.part|[0-9a-f]{12}\.(?:nii\.gz|nii|seg\.nrrd|nrrd|mha))")


class OutputFolder:
    """A context in which this run alone writes to the folder, which is made when there is none.

    The lock is a file with the run's host and process. A lock of a process that is dead is taken over; whether one of another host (or of
    another container) is alive shows in its being touched.

    Args:
        folder: for the results.
        wait: like time.sleep.

    Raises:
        InputError: the folder cannot be made or written to, or another run is using it.
        SetupError: the disk is full.
    """

    def __init__(self, folder: Path, wait: Callable[[float], None] = time.sleep) -> None:
        self.path = folder
        self.lock = folder / LOCK
        self.lost = threading.Event()
        self._wait = wait
        self._mark = {"host": host_name(), "process": os.getpid(), "token": secrets.token_hex(8)}
        self._ended = threading.Event()

    def __enter__(self) -> OutputFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._take()
        except OSError as error:
            raise folder_error(self.path, error) from error
        threading.Thread(target=self._beat, daemon=True).start()
        sweep(self.path)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        if self._is_mine():
            sweep(self.path)
            with suppress(OSError):
                self.lock.unlink()

    def require_own(self) -> None:
        """Raise InputError when another run has taken this one for dead, as after the computer slept."""
        if self.lost.is_set():
            raise InputError(f"Another run has taken over {self.path} while this one stood still; let that one go on.")

    def _take(self) -> None:
        while not self._created():
            found = read_mark(self.lock)
            if found is not None and self._is_alive(found):
                raise InputError(f"Another run ({describe(found)}) is writing to {self.path}; wait for it, or choose another folder.")
            discard(self.lock, found)

    def _created(self) -> bool:
        """Make the lock; False when there is one."""
        try:
            file = self.lock.open("x", encoding="utf-8")
        except FileExistsError:
            return False
        try:
            with file:
                file.write(json.dumps(self._mark))
        except BaseException:
            self.lock.unlink(missing_ok=True)
            raise
        return True

    def _is_alive(self, found: dict[str, Any]) -> bool:
        """Whether the run of a lock goes on: its process exists here, or else it touches its lock."""
        if found.get("host") == self._mark["host"] and not process_exists(found.get("process")):
            return False
        before = touched(self.lock)
        self._wait(DEAD_AFTER_SECONDS)
        return touched(self.lock) != before

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            if not self._is_mine():
                self.lost.set()
                return
            with suppress(OSError):
                os.utime(self.lock)

    def _is_mine(self) -> bool:
        return read_mark(self.lock) == self._mark


def read_mark(lock: Path) -> dict[str, Any] | None:
    """What a lock says; None when there is none (any more), nothing when it says nothing."""
    try:
        content = load_json(lock.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def describe(mark: dict[str, Any]) -> str:
    """Whose lock it is, for people."""
    process, host = mark.get("process"), str(mark.get("host")).partition(" ")[0]
    return f"process {one_line(str(process))[:SHOWN]} on {one_line(host)[:SHOWN]}"


def touched(lock: Path) -> int:
    """When a lock was touched, in ns; 0 when it is gone."""
    try:
        return lock.stat().st_mtime_ns
    except OSError:
        return 0


def discard(lock: Path, mark: dict[str, Any] | None) -> None:
    """Take a dead run's lock away, but not the one that somebody quicker has put in its place."""
    aside = lock.with_name(f".{secrets.token_hex(8)}.part")
    try:
        os.rename(lock, aside)
    except FileNotFoundError:
        return
    if read_mark(aside) != mark:
        os.replace(aside, lock)
    aside.unlink(missing_ok=True)


def folder_error(folder: Path, error: OSError) -> CascadeError:
    """The sentence for the user about a folder that cannot be used."""
    if error.errno in DISK_FULL:
        return SetupError(f"The disk of {folder} is full; free some space or write to another disk.")
    return InputError(f"The folder {folder} cannot be made or written to ({error.strerror or error}); choose another one.")


def leftovers(folder: Path) -> Iterator[Path]:
    """What runs that were killed have left: unfinished files and folders, anywhere below."""
    for name, folders, files in os.walk(folder):
        for inner in [inner for inner in folders if inner.startswith(UNFINISHED)]:
            folders.remove(inner)
            yield Path(name, inner)
        yield from (Path(name, file) for file in files if LEFTOVER.fullmatch(file))


def sweep(folder: Path) -> None:
    """Remove what killed runs have left."""
    for path in list(leftovers(folder)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def require_room_for(folder: Path, count: int, size: int) -> None:
    """Raise SetupError when the folder's disk has no room for that many cases, each of which may take so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < count * size:
        raise SetupError(
            f"{count} scans need up to {count * size / 1e6:,.0f} MB, and the disk of {folder} has {free / 1e6:,.0f} MB left; free some space, "
            "or write to another disk."
        )
