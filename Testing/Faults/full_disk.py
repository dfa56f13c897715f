"""A disk that is full at a chosen moment, without having one: the n-th attempt to put something on it fails, or that one and all after it."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import SimpleITK as sitk

FOR_EVER = 10**9


class FullDisk:
    """Counts the attempts to make, fill, flush or rename something below a folder; those from `at` on fail, `times` of them.

    Attributes:
        attempts: so far.
        failed: how many of them did.
    """

    def __init__(self, folder: Path, at: int, times: int = FOR_EVER) -> None:
        self._folder, self._at, self._times = folder.resolve(), at, times
        self.attempts = self.failed = 0

    def has_room(self) -> bool:
        """Whether the next attempt succeeds."""
        self.attempts += 1
        full = self._at <= self.attempts < self._at + self._times
        self.failed += full
        return not full

    def is_here(self, path: Any) -> bool:
        """Whether a path is on this disk; open files, of which there are no others while it is full, are."""
        return isinstance(path, int) or Path(os.path.abspath(os.fspath(path))).is_relative_to(self._folder)

    def require_room(self, path: Any) -> None:
        """Raise what the system raises."""
        if self.is_here(path) and not self.has_room():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class WatchedFile:
    """A file that is written to."""

    def __init__(self, file: Any, disk: FullDisk) -> None:
        self._file, self._disk = file, disk

    def write(self, data: Any) -> int:
        """Half of it where the disk is full."""
        if not self._disk.has_room():
            self._file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self._file.write(data))

    def __enter__(self) -> WatchedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def full_disk(disk: FullDisk) -> Iterator[FullDisk]:
    """Within it, Python's ways to the disk and ITK's writer meet with it."""
    real_open, real_os_open = io.open, os.open
    real_write: Any = sitk.ImageFileWriter.Execute

    def opened(path: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if isinstance(path, int) or not set(mode) & set("wxa") or not disk.is_here(path):
            return real_open(path, mode, *rest, **more)
        disk.require_room(path)
        return WatchedFile(real_open(path, mode, *rest, **more), disk)

    def os_opened(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_CREAT:
            disk.require_room(path)
        return real_os_open(path, flags, *rest, **more)

    def written(writer: sitk.ImageFileWriter, *rest: Any) -> Any:
        result = real_write(writer, *rest)
        path = Path(writer.GetFileName())
        if disk.is_here(path) and not disk.has_room():
            os.truncate(path, path.stat().st_size // 2)  # Which is all that ITK does about it.
        return result

    with ExitStack() as stack:
        for owner, name, replacement in (
            (builtins, "open", opened),
            (io, "open", opened),
            (os, "open", os_opened),
            (sitk.ImageFileWriter, "Execute", written),
            *((os, name, asking(disk, getattr(os, name))) for name in ("fsync", "mkdir", "replace", "rename")),
        ):
            stack.enter_context(mock.patch.object(owner, name, replacement))
        yield disk


def asking(disk: FullDisk, real: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which needs room at its first argument."""

    def function(path: Any, *rest: Any, **more: Any) -> Any:
        disk.require_room(path)
        return real(path, *rest, **more)

    return function
