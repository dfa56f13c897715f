"""Scans that a client has opened: mapped into memory once, and what is worth keeping of them between two requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.bundle_format import Bundle
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import describe_size
from KidneyTumorCascadeLib.normalization import FixedNormalization, Normalization, for_scan
from KidneyTumorCascadeLib.scan_check import check_scan
from KidneyTumorCascadeLib.volume import Volume
from KidneyTumorCascadeLib.worker_messages import UNNAMED, ScanFile
from KidneyTumorCascadeLib.worker_protocol import InvalidParams

MOST_SCANS = 16


@dataclass
class OpenScan:
    """A scan in use.

    Attributes:
        volume: in its own order; the voxels are mapped from the client's file, which must stay as it is.
        name: what messages call it.
        warnings: what is odd about it.
    """

    volume: Volume
    name: str
    warnings: list[str]
    _normalizations: dict[Normalization, FixedNormalization] = field(default_factory=dict)

    @property
    def in_lps_order(self) -> Volume:
        """A view along the scan's own axes in LPS order."""
        return self.volume.in_lps_order()

    def settled(self, bundle: Bundle) -> Bundle:
        """The bundle with the normalizations that it means for this scan, so that the scan's statistics are taken once and not for every box."""
        stages = {name: replace(stage, normalization=self._normalization(stage.normalization)) for name, stage in bundle.stages.items()}
        return replace(bundle, stages=stages)

    def _normalization(self, general: Normalization) -> FixedNormalization:
        if general not in self._normalizations:
            self._normalizations[general] = for_scan(general, self.in_lps_order.voxels)
        return self._normalizations[general]


class Scans:
    """The scans that are open, by the ids that the worker gave them."""

    def __init__(self) -> None:
        self._open: dict[str, OpenScan] = {}
        self._count = 0

    def open(self, file: ScanFile) -> tuple[str, OpenScan]:
        """Map a scan into memory and check it. Raises InputError when it cannot be used, or too many are open."""
        if len(self._open) >= MOST_SCANS:
            raise InputError(f"{MOST_SCANS} scans are open already; close one first.")
        volume = Volume(mapped(file), file.geometry)
        warnings = check_scan(volume, "The CT" if file.name == UNNAMED else file.name)
        self._count += 1
        scan_id = f"scan-{self._count}"
        self._open[scan_id] = OpenScan(volume, file.name, warnings)
        return scan_id, self._open[scan_id]

    def get(self, scan_id: Any) -> OpenScan:
        """The scan of that id. Raises InvalidParams when none has it."""
        return self._open[self._known(scan_id)]

    def close(self, scan_id: Any) -> None:
        """Forget a scan and let go of its file. Raises InvalidParams when there is none of that id."""
        del self._open[self._known(scan_id)]

    def _known(self, scan_id: Any) -> str:
        if not isinstance(scan_id, str) or scan_id not in self._open:
            raise InvalidParams("No scan is open under this scan_id; open it first.")
        return scan_id


def mapped(file: ScanFile) -> NDArray[Any]:
    """The voxels (z, y, x, in the scan's own order) of a .npy file. Raises InputError when it is none, or does not fit the geometry."""
    if not file.path.is_file():
        raise InputError(f"There is no file {file.path}; write the scan's voxels there first.")
    try:
        with np.errstate(over="ignore"):  # of sizes that no file has; they are refused
            voxels = np.lib.format.open_memmap(file.path, mode="r")
    # A damaged header fails in many ways: text that is no literal, sizes beyond the file, types that are none.
    except Exception as error:
        raise InputError(f"{file.path} is not a whole .npy file of numbers; write it again.") from error
    if voxels.dtype.kind not in "iuf":
        raise InputError(f"{file.path} holds values of type {voxels.dtype}, which a CT cannot have; write whole numbers or floating point ones.")
    if voxels.shape != file.geometry.shape_zyx:
        shapes = " and not ".join(describe_size(shape) for shape in (voxels.shape, file.geometry.shape_zyx))
        raise InputError(f"{file.path} holds {shapes} voxels (z, y, x) as its geometry says; write it again.")
    return computable(voxels)


def computable(voxels: NDArray[Any]) -> NDArray[Any]:
    """The voxels in a type that the library computes with; nothing is copied unless that is needed."""
    whole = voxels.dtype.kind in "iu" and voxels.dtype.itemsize <= 4
    return voxels if whole else voxels.astype(np.float32, copy=False)


def scan_answer(scan_id: str, scan: OpenScan) -> Mapping[str, Any]:
    """The answer to open_scan."""
    return {"scan_id": scan_id, "warnings": scan.warnings}
