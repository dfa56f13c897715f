"""Hands volumes over to the worker as files that it maps into its memory, and remembers which it has open."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import qt
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _

from KidneyTumorCascadeLib.errors import Cancelled, CascadeError, SetupError
from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.worker_messages import ScanFile
from KidneyTumorCascadeLib.worker_protocol import CLOSE_SCAN, OPEN_SCAN
from KidneyTumorCascadeScene.engine import Engine, OnFailed
from KidneyTumorCascadeScene.volumes import geometryOf

# Bytes written at once: some milliseconds of the event loop's time.
AT_ONCE = 8 * 2**20


class Handover:
    """Writes an array (z, y, x) to a .npy file, some slices in each turn of the event loop.

    Raises OSError, from the constructor, when the file cannot be made.
    """

    def __init__(self, voxels: NDArray[Any], path: Path, done: Callable[[], None], failed: Callable[[OSError], None]) -> None:
        self._voxels = voxels
        self._done = done
        self._failed = failed
        self._slice = 0
        self._step = max(1, AT_ONCE // max(1, voxels[0].nbytes))
        self._file: IO[bytes] = path.open("wb")
        np.lib.format.write_array_header_1_0(self._file, np.lib.format.header_data_from_array_1_0(voxels))
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._write)
        self._timer.start(0)

    def stop(self) -> None:
        """Writes no more."""
        self._timer.stop()
        self._file.close()

    def _write(self) -> None:
        try:
            self._file.write(np.ascontiguousarray(self._voxels[self._slice : self._slice + self._step]).data)
            self._slice += self._step
            if self._slice >= len(self._voxels):
                self.stop()
                self._done()
        except OSError as error:
            self._timer.stop()
            self._failed(error)


@dataclass
class Scan:
    """A volume that was handed over. `state` changes with its voxels and its grid; `generation` is the worker's that has it open."""

    state: tuple[Any, ...]
    file: ScanFile
    scanId: str = ""
    generation: int = 0


class OpenScans:
    """The scan that the worker has open: the last one that was asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._scan: Scan | None = None
        self._handover: Handover | None = None
        self._failed: OnFailed | None = None
        self._request: int | None = None

    def open(self, volume: Any, done: Callable[[str], None], failed: OnFailed) -> None:
        """Opens a volume and tells its scan's ID, at once when the worker has it open already.

        Raises InputError for a volume that has no voxels or a sheared grid.
        """
        geometry = geometryOf(volume)
        state = stateOf(volume, geometry)
        if self._scan is not None and self._scan.state == state and self._scan.file.path.exists():
            self._announce(self._scan, done, failed)
            return
        self.close()
        self._failed = failed
        try:
            path = self._engine.folder / f"scan-{secrets.token_hex(8)}.npy"
            scan = Scan(state, ScanFile(path, geometry))
            self._handover = Handover(slicer.util.arrayFromVolume(volume), path, lambda: self._written(scan, done, failed), self._refuse)
        except OSError as error:
            self._refuse(error)

    def cancel(self) -> None:
        """Opens no more; `failed` is told Cancelled."""
        if self._handover is not None:
            self._handover.stop()
            self._handover = None
            self._fail(Cancelled())
        elif self._request is not None:
            self._engine.cancel(self._request)

    def close(self) -> None:
        """Lets the worker close the last scan, and removes its file."""
        scan, self._scan = self._scan, None
        if scan is None:
            return

        def remove(_answer: object) -> None:
            with suppress(OSError):
                scan.file.path.unlink(missing_ok=True)

        if scan.generation == self._engine.generation and self._engine.alive:
            self._engine.call(CLOSE_SCAN, {"scan_id": scan.scanId}, remove, remove)
        else:
            remove(None)

    def _written(self, scan: Scan, done: Callable[[str], None], failed: OnFailed) -> None:
        self._handover = None
        self._scan = scan
        self._announce(scan, done, failed)

    def _announce(self, scan: Scan, done: Callable[[str], None], failed: OnFailed) -> None:
        """Makes sure that the running worker knows the file."""
        if scan.generation and scan.generation == self._engine.generation and self._engine.alive:
            done(scan.scanId)
            return
        self._failed = failed

        def opened(answer: Mapping[str, Any]) -> None:
            self._request = None
            scan.scanId, scan.generation = str(answer["scan_id"]), self._engine.generation
            done(scan.scanId)

        self._request = self._engine.call(OPEN_SCAN, scan.file.to_dict(), opened, self._fail)

    def _refuse(self, error: OSError) -> None:
        self._handover = None
        message = _("The scan cannot be handed over ({problem}); free some disk space for temporary files and try again.")
        self._fail(SetupError(message.format(problem=error.strerror or error)))

    def _fail(self, error: CascadeError) -> None:
        self._request = None
        failed, self._failed = self._failed, None
        if failed is not None:
            failed(error)


def stateOf(volume: Any, geometry: Geometry) -> tuple[Any, ...]:
    """Changes whenever the worker would see another scan."""
    return volume.GetID(), volume.GetImageData().GetMTime(), geometry
