"""Labelled scans on a regular grid, ready to be cropped, deformed and changed: what all training data passes through.

A case is a scan along its own axes in LPS order, resampled to cubic voxels. Arrays are z, y, x.
"""

from __future__ import annotations

import errno
import io
import math
import mmap
import struct
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.geometry import Geometry, Slices, box_of_slices
from KidneyTumorCascadeLib.json_fields import reason
from KidneyTumorCascadeLib.report import write_bytes_atomically
from KidneyTumorCascadeLib.resampling import resample
from KidneyTumorCascadeLib.volume import Volume, read_label_map, read_volume

KIDNEY, TUMOR = 1, 2
AIR_HU, DENSEST_HU = -1024, 3071
# Cases whose HU take more than this are left on the disk and read as they are needed, so that a pool may be larger than memory.
MAPPED_BYTES = 64 * 2**20
# Large grids are resampled in slabs of at most so many voxels (or one slice), which bounds the memory that floating point numbers take.
SLAB_VOXELS = 32_000_000
# A header's rounding moves voxels by less than a tenth of their size; a label map of another grid, by more.
GRID_TOLERANCE = 0.1
# The arrays of a case's file, with their types and number of axes.
ARRAYS = {"hu": (("<i2",), 3), "labels": (("|u1",), 3), "spacing_mm": (("<f8", "<f4", "<i8"), 0)}


@dataclass(frozen=True)
class Case:
    """One labelled scan.

    Attributes:
        name: unique.
        hu: int16 (z, y, x).
        labels: uint8 (z, y, x), 0 background, 1 kidney, 2 tumor.
        spacing_mm: edge of a voxel.
    """

    name: str
    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: float

    def __post_init__(self) -> None:
        if self.hu.shape != self.labels.shape:
            raise ValueError(f"{self.name}: labels of shape {self.labels.shape} do not fit a scan of shape {self.hu.shape}")

    @property
    def geometry(self) -> Geometry:
        """Its grid, with the first voxel at the origin."""
        z, y, x = self.hu.shape
        return Geometry((x, y, z), (self.spacing_mm,) * 3)

    def cropped(self, slices: Slices) -> Case:
        """The part in the slices (z, y, x)."""
        return replace(self, hu=np.ascontiguousarray(self.hu[slices]), labels=np.ascontiguousarray(self.labels[slices]))

    def save(self, folder: Path) -> None:
        """Write folder/name.npz, whole or not at all. Raises InputError or SetupError when it cannot be written.

        Labels are compressed, two hundredfold in a real scan; HU are not, which would save a third and take a multiple of the time to read.
        In a case that is to be mapped nothing is compressed.
        """
        packed = zipfile.ZIP_STORED if self.hu.nbytes >= MAPPED_BYTES else zipfile.ZIP_DEFLATED
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            add_array(archive, "hu", self.hu, zipfile.ZIP_STORED)
            add_array(archive, "labels", self.labels, packed)
            add_array(archive, "spacing_mm", np.array(self.spacing_mm), zipfile.ZIP_STORED)
        write_bytes_atomically(folder / f"{self.name}.npz", content.getvalue())


def add_array(archive: zipfile.ZipFile, name: str, array: NDArray[Any], method: int) -> None:
    """Add an array to an .npz file, as numpy.savez does, with a compression of its own."""
    entry = zipfile.ZipInfo(f"{name}.npy")
    entry.compress_type = method
    with archive.open(entry, "w", force_zip64=True) as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)


def load_case(path: Path) -> Case:
    """Read what `Case.save` wrote; nothing is unpickled. Large cases are mapped: their arrays are read-only and lie on the disk until used.

    Raises InputError for any other file, SetupError when more files would be mapped than this system lets a program keep open.
    """
    try:
        require_arrays(path)
        with np.load(path, allow_pickle=False) as arrays:
            hu, labels = mapped_arrays(path) or (arrays["hu"], arrays["labels"])
            return Case(path.stem, hu, labels, float(arrays["spacing_mm"]))
    except MemoryError:
        raise
    except OSError as error:
        if error.errno == errno.EMFILE:
            raise SetupError(f"{path} cannot be opened beside all the others; allow more open files (ulimit -n 4096).") from error
        raise InputError(f"{path} is not a training case ({reason(error)}); write the pool again.") from error
    # Damaged archives and headers of arrays fail in many ways.
    except Exception as error:
        raise InputError(f"{path} is not a training case ({reason(error)}); write the pool again.") from error


def require_arrays(path: Path) -> None:
    """Raises ValueError when an array is of another type than it should be, or larger than the file: room for it would be made all the same.

    Other errors of zipfile and numpy come from damaged files.
    """
    with zipfile.ZipFile(path) as archive:
        for name, (kinds, rank) in ARRAYS.items():
            entry = archive.getinfo(f"{name}.npy")
            length, shape, _, kind = array_header(archive, entry)
            if kind.str not in kinds or len(shape) != rank or length + math.prod(shape) * kind.itemsize != entry.file_size:
                raise ValueError(f"{name} is {kind} of shape {shape} in {entry.file_size} bytes")


def mapped_arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """HU and labels of a large uncompressed case without reading them, through one open file; None for any other case."""
    with zipfile.ZipFile(path) as archive:
        entries = [archive.getinfo(f"{name}.npy") for name in ("hu", "labels")]
        if entries[0].file_size < MAPPED_BYTES or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            return None
        headers = [array_header(archive, entry) for entry in entries]
    with path.open("rb") as file:
        starts = [content_start(file, entry) for entry in entries]
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    hu, labels = (
        np.ndarray(shape, kind, content, start + length, order="F" if fortran else "C")
        for (length, shape, fortran, kind), start in zip(headers, starts, strict=True)
    )
    return hu, labels


def array_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[int, tuple[int, ...], bool, np.dtype[Any]]:
    """Length of an array's header in an .npz file, its shape, whether it is in Fortran's order, and its type (numpy.lib.format)."""
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, kind = read(stream)
        return stream.tell(), shape, fortran, kind


def content_start(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Where the content of a zip file's entry begins: after a header of 30 bytes, a name and extra fields, whose lengths the header tells."""
    file.seek(entry.header_offset + 26)
    name, extra = struct.unpack("<HH", file.read(4))
    return int(entry.header_offset + 30 + name + extra)


def load_cases(folder: Path) -> list[Case]:
    """All cases of a folder, by name. Raises InputError when there are none."""
    cases = [load_case(path) for path in sorted(folder.glob("*.npz"))]
    if not cases:
        raise InputError(
            f"There are no cases (*.npz) in {folder}; write a pool first, with Training/prepare_kits19.py, prepare_pairs.py or synthesis.py."
        )
    return cases


def read_labels(path: Path, kidney_labels: Sequence[int] = ()) -> Volume:
    """A label map: 0 background, 2 tumor, anything else kidney. `kidney_labels`, if there are any, become label 1 and all others 0.

    They are for label maps that number the right and the left kidney, or other organs too.
    """
    labels = read_label_map(path)
    return replace(labels, voxels=np.isin(labels.voxels, kidney_labels).astype(np.uint8)) if kidney_labels else labels


def read_case(name: str, ct: Path, label_path: Path | None, spacing_mm: float, kidney_labels: Sequence[int] = ()) -> Case:
    """The case of a CT and its label map (None: nothing to find). Raises InputError when one cannot be read or they do not fit together."""
    scan = read_volume(ct)
    if label_path is None:
        return cubic_case(name, scan, None, spacing_mm)
    labels = read_labels(label_path, kidney_labels)
    require_same_grid(scan, labels, ct, label_path)
    return cubic_case(name, scan, labels, spacing_mm)


def require_same_grid(scan: Volume, labels: Volume, ct: Path, label_path: Path) -> None:
    """Raises InputError, which names the files, when the label map lies on other voxels than the scan. The order of axes may differ."""
    if not labels.in_lps_order().geometry.matches(scan.in_lps_order().geometry, GRID_TOLERANCE * min(scan.geometry.spacing)):
        raise InputError(f"{label_path} does not lie on the grid of {ct}; give the label map that was drawn on this scan.")


def cubic_case(name: str, scan: Volume, labels: Volume | None, spacing_mm: float) -> Case:
    """A scan and its label map (None: nothing to find) as a case. Any label but 2 counts as kidney; 2 counts as tumor.

    Label borders are resampled as fractions and cut at one half, so that they move by less than half a voxel. The grid has a whole number of
    voxels over the scan's extent, so that its spacing is off from `spacing_mm` by at most half a voxel in all.
    """
    return case_on(name, scan, labels, spacing_mm, scan.geometry.in_lps_order().resampled((spacing_mm,) * 3))


def case_around_kidneys(name: str, scan: Volume, labels: Volume, spacing_mm: float, margin_mm: float, least_mm: float = 0.0) -> Case:
    """The part of `cubic_case` around everything labelled, widened as by `widened` and clipped to the scan. Raises ValueError without labels.

    Only that part is ever computed, as a whole scan on small voxels would need many gigabytes.
    """
    reference = labels.in_lps_order()
    grid = scan.geometry.in_lps_order().resampled((spacing_mm,) * 3)
    used = box_of_slices(around(reference.voxels > 0, 0), reference.geometry, "both", "labels").slices(grid)
    margin, least = round(margin_mm / spacing_mm), round(least_mm / spacing_mm)
    z, y, x = (widened(part, length, margin, least) for part, length in zip(used, grid.shape_zyx, strict=True))
    return case_on(name, scan, labels, spacing_mm, grid.cropped((z, y, x)))


def case_on(name: str, scan: Volume, labels: Volume | None, spacing_mm: float, grid: Geometry) -> Case:
    """The case on a grid along the scan's axes in LPS order."""
    scan, reference = scan.in_lps_order(), labels.in_lps_order() if labels else None
    hu = np.empty(grid.shape_zyx, dtype=np.int16)
    result = np.zeros(grid.shape_zyx, dtype=np.uint8)
    for where in slabs(grid):
        part = grid.cropped(where)
        hu[where] = resample(scan.voxels, scan.geometry, part).round_().clamp_(AIR_HU, DENSEST_HU).numpy()
        if reference is not None:
            result[where] = labels_on(reference, part)
    return Case(name, hu, result, spacing_mm)


def slabs(grid: Geometry) -> Iterator[Slices]:
    """The grid's slices (z, y, x) in parts of at most SLAB_VOXELS, or one slice."""
    depth, height, width = grid.shape_zyx
    thick = max(1, SLAB_VOXELS // (height * width))
    for start in range(0, depth, thick):
        yield slice(start, min(depth, start + thick)), slice(0, height), slice(0, width)


def labels_on(reference: Volume, grid: Geometry) -> NDArray[np.uint8]:
    """A label map (in LPS order) on another grid along the same axes: 0, 1 kidney, 2 tumor."""
    result = np.zeros(grid.shape_zyx, dtype=np.uint8)
    result[fraction(reference.voxels > 0, reference.geometry, grid) > 0.5] = KIDNEY
    result[fraction(reference.voxels == TUMOR, reference.geometry, grid) > 0.5] = TUMOR
    return result


def fraction(mask: NDArray[np.bool_], source: Geometry, target: Geometry) -> NDArray[np.float32]:
    """How much of each voxel of the target grid lies in the mask of the source grid."""
    return np.asarray(resample(mask.astype(np.uint8), source, target).numpy())


def around(mask: NDArray[np.bool_], margin_voxels: int, least_voxels: int = 0) -> Slices:
    """The bounding box (z, y, x) of a mask, widened as by `widened` and clipped to the array. Raises ValueError for an empty mask."""
    z, y, x = (widened(extent_along(axis, mask), mask.shape[axis], margin_voxels, least_voxels) for axis in range(3))
    return z, y, x


def extent_along(axis: int, mask: NDArray[np.bool_]) -> slice:
    """The indices along one axis that a mask uses. Raises ValueError for an empty mask."""
    used = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
    if not used.size:
        raise ValueError("an empty mask has no bounding box")
    return slice(int(used[0]), int(used[-1]) + 1)


def widened(part: slice, length: int, margin: int, least: int = 0) -> slice:
    """A part of `length` voxels with the margin on both sides where there is room, and further until it has `least` voxels or all there are.

    Where a scan ends in the kidneys, what is missing on that side is added on the other: patches are larger than what is left of such kidneys, and
    in use they show what lies beyond them, not air.
    """
    start, stop = max(0, part.start - margin), min(length, part.stop + margin)
    missing = max(0, min(least, length) - (stop - start))
    start = min(max(0, start - missing // 2), length - (stop - start) - missing)
    return slice(start, max(stop, start + min(least, length)))


def coarser(case: Case, spacing_mm: float) -> Case:
    """The same case on larger voxels."""
    return cubic_case(case.name, Volume(case.hu, case.geometry), Volume(case.labels, case.geometry), spacing_mm)


def as_hu(values: NDArray[Any]) -> NDArray[np.int16]:
    """Rounded and clipped to what a CT stores."""
    return np.asarray(np.clip(np.rint(values), AIR_HU, DENSEST_HU), dtype=np.int16)
