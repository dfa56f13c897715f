"""Reading a scan and looking whether it can be worked on, also while the program is still getting ready.

Nothing here needs PyTorch, whose import takes longer than most scans take to read: a thread can read the scan meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from KidneyTumorCascadeLib.dicom import is_dicom
from KidneyTumorCascadeLib.scan_check import check_scan
from KidneyTumorCascadeLib.volume import Volume, read_scan

DICOM_NAME = "DICOM series"
Scan = tuple[Volume, list[str]]


def checked_scan(source: Path) -> Scan:
    """The scan and what is odd about it. Raises InputError when it cannot be used."""
    scan, warnings = read_scan(source)
    return scan, [*warnings, *check_scan(scan, public_name(source))]


def public_name(source: Path) -> str:
    """What results call a scan: the name of its file, but not that of a DICOM folder or file, which may be a patient's."""
    return DICOM_NAME if source.is_dir() or is_dicom(source) else source.name


class EarlyReading:
    """Reads a scan in a thread from the beginning of a `with` block on.

    The block does not end before the reading has: while a format's library reads, what it writes to standard error is kept back, and what the
    program has to say there would be as well.
    """

    def __init__(self, source: Path, read: Callable[[Path], Scan] = checked_scan) -> None:
        self._source, self._read = source, read
        self._scan: Scan | None = None
        self._error: BaseException | None = None
        # A second Ctrl-C while it reads ends the program.
        self._thread = threading.Thread(target=self._work, name="early reading", daemon=True)

    def __enter__(self) -> EarlyReading:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.join()

    def scan(self) -> Scan:
        """The scan, as soon as it is read; can be had once, so that nobody else holds on to its memory. Raises what reading it raised."""
        self._thread.join()
        scan, self._scan = self._scan, None
        if self._error is not None:
            raise self._error
        if scan is None:
            raise ValueError("the scan was handed over before")
        return scan

    def _work(self) -> None:
        try:
            self._scan = self._read(self._source)
        except BaseException as error:  # Whatever it is, it belongs to the thread that waits for the scan.
            self._error = error
