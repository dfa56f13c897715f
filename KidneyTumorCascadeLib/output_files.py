"""The files that a run writes: where they may go, and how all of them appear together or none does."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.report import DISK_FULL

NamedFile = tuple[str, Path]
UNFINISHED = ".unfinished-"


class FilesTogether:
    """A context in which files are written that appear together when it ends well, and not at all when it does not.

    Each is written in a hidden folder beside its place, under its own name, and moved from there at the end, in the order of `place`.
    Whatever interrupts the writing, files of an earlier run stay as they were. The last one, such as a manifest, vouches for the others: an
    earlier one is taken away before they are moved, so that it never stands beside files that it does not speak of.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}
        self._moves: list[tuple[Path, Path]] = []

    @property
    def waiting(self) -> list[Path]:
        """Where the files are until the end, in the order of `place`."""
        return [waiting for waiting, _ in self._moves]

    def place(self, path: Path) -> Path:
        """Where to write what is to become this file. Raises InputError when its folder cannot be written to."""
        # What a link points to, so that it goes on pointing there.
        target = Path(os.path.realpath(path))
        if target.parent not in self._folders:
            self._folders[target.parent] = new_folder_in(target.parent)
        waiting = self._folders[target.parent] / target.name
        self._moves.append((waiting, target))
        return waiting

    def __enter__(self) -> FilesTogether:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._move()
        finally:
            for folder in self._folders.values():
                shutil.rmtree(folder, ignore_errors=True)

    def _move(self) -> None:
        if len(self._moves) > 1:
            self._moves[-1][1].unlink(missing_ok=True)
        for waiting, target in self._moves:
            os.replace(waiting, target)


def new_folder_in(folder: Path) -> Path:
    """A hidden folder in that folder. Raises SetupError when the disk is full, InputError when nothing can be written there."""
    try:
        return Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder))
    except OSError as error:
        if error.errno in DISK_FULL:
            raise SetupError(f"The disk has no room left for anything in {folder}; free some space or write to another disk.") from error
        raise InputError(f"Nothing can be written in {folder} ({error.strerror or error}); use another folder or change its permissions.") from error


def require_apart(written: Sequence[NamedFile], read: Sequence[NamedFile] = ()) -> None:
    """Raise InputError when a file to be written is one that is read, or another one to be written.

    Args:
        written: the run's files, each with what it is, such as ("label map", path).
        read: the files that it needs, likewise.
    """
    for index, (what, path) in enumerate(written):
        for other, taken in [*read, *written[:index]]:
            if same_file(path, taken):
                raise InputError(f"The {what} {path} would overwrite the {other} {taken}; choose another name or folder.")


def same_file(a: Path, b: Path) -> bool:
    """Whether two paths lead to the same file, which need not exist."""
    if a.exists() and b.exists():
        return a.samefile(b)
    return os.path.normcase(os.path.realpath(a)) == os.path.normcase(os.path.realpath(b))


def require_ending(path: Path, ending: str, what: str) -> None:
    """Raise InputError when a file's name ends otherwise: what was meant may be a file that is there, such as a second scan."""
    if path.suffix.lower() != ending:
        raise InputError(f"The {what} {path} must have a name that ends with {ending}.")
