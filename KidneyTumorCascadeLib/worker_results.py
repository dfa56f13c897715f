"""Results as raw files for a client to map into its memory: a folder for each, which appears whole or not at all.

They lie in the folder that the client named and nowhere else. Arrays are z, y, x.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.geometry import Geometry, Size
from KidneyTumorCascadeLib.labelled_box import LabelledBox


class ResultFolder:
    """A context in which a result's files are written. They stay when `keep` was called, else nothing of them remains.

    Until then they lie in a folder whose name says that it is unfinished, so that a killed worker leaves nothing that looks whole.

    Args:
        parent: the client's folder.

    Raises SetupError when the disk is full or the folder cannot be written to.
    """

    def __init__(self, parent: Path) -> None:
        token = secrets.token_hex(8)
        self.path = parent / f"result-{token}"
        self._unfinished = parent / f".unfinished-{token}"

    def save(self, name: str, array: NDArray[Any]) -> Path:
        """Write an array as .npy; returns the path that it will have in the end."""
        try:
            with (self._unfinished / f"{name}.npy").open("xb") as file:
                np.save(file, np.ascontiguousarray(array), allow_pickle=False)
        except OSError as error:
            raise self._problem(error) from error
        return self.path / f"{name}.npy"

    def keep(self) -> None:
        """Let the files appear, all at once."""
        try:
            os.rename(self._unfinished, self.path)
        except OSError as error:
            raise self._problem(error) from error

    def __enter__(self) -> ResultFolder:
        try:
            self._unfinished.mkdir(mode=0o700)
        except OSError as error:
            raise self._problem(error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        shutil.rmtree(self._unfinished, ignore_errors=True)

    def _problem(self, error: OSError) -> SetupError:
        return SetupError(f"The result cannot be written in {self.path.parent} ({error.strerror or error}); free some space or check the folder.")


def require_folder(path: Path) -> Path:
    """The client's folder. Raises InputError when it is none, or cannot be written to."""
    if not path.is_absolute() or not path.is_dir():
        raise InputError(f"There is no folder {path}; give the full path of a folder for results.")
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"Nothing can be written in {path}; give another folder for results.")
    return path


def in_own_order(part: LabelledBox, geometry: Geometry) -> tuple[Size, NDArray[np.uint8]]:
    """A box's labels in the order of the scan as stored, and where they begin there; `geometry` is the scan's own."""
    order = geometry.lps_order()
    flips = order.flips[::-1]
    # For each axis of the LPS array (z, y, x) the axis of the stored array that it shows.
    shown = [2 - axis for axis in reversed(order.permutation)]
    start = [0, 0, 0]
    for item, own, flip in zip(part.slices, shown, flips, strict=True):
        start[own] = geometry.shape_zyx[own] - item.stop if flip else item.start
    labels = part.labels[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return (start[0], start[1], start[2]), labels.transpose(np.argsort(shown))
