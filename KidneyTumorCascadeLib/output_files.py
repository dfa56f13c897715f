"""The files that a run writes: where they may go, and how all of them appear together or none does."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.processes import host_name, process_exists, uninterrupted
from KidneyTumorCascadeLib.report import DISK_FULL, writing_error

NamedFile = tuple[str, Path]
UNFINISHED = ".unfinished-"
# What an earlier file is called while the new ones take its place.
EARLIER = ".earlier"


class FilesTogether:
    """A context in which files are written that appear together when it ends well, and not at all when it does not.

    Each is written in a hidden folder beside its place, under its own name, and moved from there at the end. Whatever stops the writing, or the
    moving, files of an earlier run stay as they were; only where the process or the computer dies in the midst of moving are some of them gone,
    and some of the new ones in place. The last one, such as a manifest, vouches for the others: an earlier one is the first to be taken away, and
    the new one is the last to come.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}
        self._moves: list[tuple[Path, Path]] = []

    @property
    def waiting(self) -> list[Path]:
        """Where the files are until the end, in the order of `place`."""
        return [waiting for waiting, _ in self._moves]

    def place(self, path: Path) -> Path:
        """Where to write what is to become this file. Raises InputError when its folder cannot be written to, SetupError when the disk is full."""
        # What a link points to, so that it goes on pointing there.
        target = Path(os.path.realpath(path))
        if target.parent not in self._folders:
            with uninterrupted():
                self._folders[target.parent] = new_folder_in(target.parent)
        waiting = self._folders[target.parent] / target.name
        self._moves.append((waiting, target))
        return waiting

    def __enter__(self) -> FilesTogether:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with uninterrupted():
            try:
                if kind is None:
                    move_together(self._moves)
            finally:
                for folder in self._folders.values():
                    shutil.rmtree(folder, ignore_errors=True)


def move_together(moves: Sequence[tuple[Path, Path]]) -> None:
    """Move files to their places, all of them or none.

    At no moment is a file of this run beside one of an earlier run: those are moved aside first, and back when something goes wrong.

    Args:
        moves: from where to where, in the same file system; the earlier file of the last one is moved aside first.

    Raises:
        SetupError: the disk is full.
        InputError: a file cannot be put there.
    """
    aside: list[tuple[Path, Path]] = []
    moved: list[Path] = []
    target = moves[-1][1] if moves else Path()
    try:
        for waiting, target in reversed(moves):
            if target.exists():
                earlier = waiting.with_name(f"{waiting.name}{EARLIER}")
                os.replace(target, earlier)
                aside.append((earlier, target))
        for waiting, target in moves:
            os.replace(waiting, target)
            moved.append(target)
    except OSError as error:
        put_back(aside, moved)
        raise writing_error(target, error) from error


def put_back(aside: Sequence[tuple[Path, Path]], moved: Sequence[Path]) -> None:
    """Take back what `move_together` did, as far as the disk lets it."""
    for target in moved:
        with suppress(OSError):
            target.unlink()
    for earlier, target in reversed(aside):
        with suppress(OSError):
            os.replace(earlier, target)


def new_folder_in(folder: Path) -> Path:
    """A hidden folder in that folder, whose name says whose it is.

    Raises SetupError when the disk is full, InputError when nothing can be written there.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{host_mark()}-{os.getpid()}-", dir=folder))
    except OSError as error:
        if error.errno in DISK_FULL:
            raise SetupError(f"The disk has no room left for anything in {folder}; free some space or write to another disk.") from error
        raise InputError(f"Nothing can be written in {folder} ({error.strerror or error}); use another folder or change its permissions.") from error


def host_mark() -> str:
    """Some letters for this computer, and for the part of it in which process numbers mean what they do here."""
    return hashlib.sha256(host_name().encode("utf-8", "surrogateescape")).hexdigest()[:8]


def remove_leftovers(folder: Path) -> int:
    """Remove what runs have left in a folder that were killed on this computer; returns how many there were."""
    owner = re.compile(rf"{re.escape(UNFINISHED)}{host_mark()}-(\d+)-\w+")
    found = [path for path in folder.glob(f"{UNFINISHED}*") if (match := owner.fullmatch(path.name)) and not process_exists(match[1])]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return len(found)


def require_room(folder: Path, size: int) -> None:
    """Raise SetupError when the disk of a folder has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise SetupError(f"The disk of {folder} has {free / 1e6:.0f} MB left, and results may need {size / 1e6:.0f} MB; free some space.")


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
