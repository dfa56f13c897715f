"""The header of a NIfTI-1 file, and what ITK passes over in silence in it.

A spacing of zero (it takes 1), a size of zero (it takes 1), an impossible quaternion (it takes another turn), two transforms that lay the
patient in different ways (it takes one of them), a sheared or contradictory affine (it takes the other one).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import describe_mm, describe_size, require_voxels
from KidneyTumorCascadeLib.gzip_pieces import first_bytes

# NIfTI-1, the only version that ITK reads: offsets in bytes and struct formats (nifti.nimh.nih.gov/nifti-1).
HEADER_BYTES, SINGLE_FILE_BYTES, NIFTI_2_HEADER_BYTES = 348, 352, 540
DIMENSIONS, DATATYPE, BITS_PER_VOXEL, SPACING = (40, "8h"), (70, "h"), (72, "h"), (76, "8f")
VOXEL_OFFSET, RESCALE = (108, "f"), (112, "2f")
QFORM_CODE, SFORM_CODE, QUATERNION, QUATERNION_OFFSET, AFFINE, MAGIC = (252, "h"), (254, "h"), (256, "3f"), (268, "3f"), (280, "12f"), (344, "4s")
SINGLE_FILE_MAGIC, PAIR_MAGIC = b"n+1\0", b"ni1\0"
# The codes of voxel types with one whole or real number a voxel; others (color, complex, 80 bits and more) are for ITK to name.
VOXEL_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
# The two transforms are meant to agree; one that was changed by a registration stays within this.
LARGEST_TURN_DEGREES = 10.0


@dataclass(frozen=True)
class NiftiHeader:
    """The fields that are checked or needed to read the voxels.

    Attributes:
        order: "<" or ">", the byte order of the file.
        rank, lengths: number of dimensions and voxels along them (i, j, k, ...), as they stand.
        datatype, bits_per_voxel: as they stand.
        spacing: along i, j, k in the file's own unit.
        qfac: -1 where the quaternion's third axis runs backwards, otherwise 1 or 0.
        voxel_offset: bytes before the first voxel, as it stands.
        slope, intercept: a voxel is worth stored * slope + intercept.
        quaternion: b, c, d of the qform, and offset its position; None when there is none.
        affine: the upper 3 x 4 of the sform, None when there is none.
        magic: four bytes.
    """

    order: str
    rank: int
    lengths: tuple[int, ...]
    datatype: int
    bits_per_voxel: int
    spacing: tuple[float, float, float]
    qfac: float
    voxel_offset: float
    slope: float
    intercept: float
    quaternion: tuple[float, ...] | None
    quaternion_offset: tuple[float, ...]
    affine: tuple[float, ...] | None
    magic: bytes

    @property
    def voxels(self) -> int:
        """How many there are."""
        return math.prod(self.lengths[: self.rank])

    @property
    def dtype(self) -> np.dtype[np.generic] | None:
        """The type of the stored voxels; None for types of several numbers and such that numpy has not."""
        return np.dtype(self.order + VOXEL_TYPES[self.datatype]) if self.datatype in VOXEL_TYPES else None

    @property
    def first_voxel(self) -> int:
        """Bytes before the first voxel of a header that `check_header` passes."""
        return max(int(self.voxel_offset), SINGLE_FILE_BYTES if self.magic == SINGLE_FILE_MAGIC else 0)

    @property
    def stored_bytes(self) -> int:
        """Bytes of header and voxels."""
        return self.first_voxel + self.voxels * self.bits_per_voxel // 8


def read_header(path: Path) -> NiftiHeader | None:
    """The header of a NIfTI-1 file of either byte order, compressed or not; None when it is no such file."""
    start = first_bytes(path, HEADER_BYTES)
    for order in "<>":
        if len(start) == HEADER_BYTES and struct.unpack_from(f"{order}i", start)[0] == HEADER_BYTES:
            return _parse(start, order)
    return None


def _parse(start: bytes, order: str) -> NiftiHeader:
    def field(place: tuple[int, str]) -> tuple[float, ...]:
        return struct.unpack_from(order + place[1], start, place[0])

    rank, *lengths = (int(value) for value in field(DIMENSIONS))
    qfac, x, y, z, *_ = field(SPACING)
    slope, intercept = field(RESCALE)
    magic: bytes = struct.unpack_from(MAGIC[1], start, MAGIC[0])[0]
    # What stands in the places of the codes in Analyze, the format before NIfTI, is something else.
    placed = magic in (SINGLE_FILE_MAGIC, PAIR_MAGIC)
    return NiftiHeader(
        order=order,
        rank=rank,
        lengths=tuple(lengths),
        datatype=int(field(DATATYPE)[0]),
        bits_per_voxel=int(field(BITS_PER_VOXEL)[0]),
        spacing=(x, y, z),
        qfac=qfac,
        voxel_offset=field(VOXEL_OFFSET)[0],
        slope=slope,
        intercept=intercept,
        quaternion=field(QUATERNION) if placed and field(QFORM_CODE)[0] > 0 else None,
        quaternion_offset=field(QUATERNION_OFFSET),
        affine=field(AFFINE) if placed and field(SFORM_CODE)[0] > 0 else None,
        magic=magic,
    )


def check_header(header: NiftiHeader, path: Path) -> None:
    """Raise InputError, naming the file, when the header is impossible or contradicts itself."""
    if header.magic not in (SINGLE_FILE_MAGIC, PAIR_MAGIC) and ".nii" in path.name.lower():
        raise InputError(f"{path} has no NIfTI header; it is damaged or another kind of file.")
    _check_size(header, path)
    _check_type(header, path)
    if not (np.isfinite(header.spacing).all() and min(header.spacing) > 0):
        raise InputError(f"{path} gives a voxel spacing of {describe_mm(header.spacing)}; all three must be above zero, so export the scan again.")
    _check_offset(header, path)
    _check_rescale(header, path)
    _check_affine(header, path)
    _check_quaternion(header, path)
    _check_agreement(header, path)


def _check_offset(header: NiftiHeader, path: Path) -> None:
    """Refuse voxels that begin inside the header of a single file; zero is what some programs write for right behind it."""
    least = SINGLE_FILE_BYTES if header.magic == SINGLE_FILE_MAGIC else 0
    if not (math.isfinite(header.voxel_offset) and (header.voxel_offset == 0 or header.voxel_offset >= least)):
        raise InputError(f"{path} says that its voxels begin at byte {header.voxel_offset:g}; its header is damaged, so export the scan again.")


def _check_size(header: NiftiHeader, path: Path) -> None:
    if not 1 <= header.rank <= len(header.lengths):
        raise InputError(f"{path} says that it has {header.rank} dimensions; its header is damaged, so export the scan again.")
    lengths = header.lengths[: header.rank]
    if min(lengths) < 1:
        raise InputError(f"{path} gives a size of {describe_size(lengths)} voxels; all must be above zero, so export the scan again.")
    require_voxels(lengths, str(path))


def _check_type(header: NiftiHeader, path: Path) -> None:
    dtype = header.dtype
    if dtype is not None and header.bits_per_voxel != 8 * dtype.itemsize:
        raise InputError(
            f"{path} says that its voxels have {header.bits_per_voxel} bits but are of a type of {8 * dtype.itemsize} bits; "
            "its header is damaged, so export the scan again."
        )


def _check_rescale(header: NiftiHeader, path: Path) -> None:
    if np.isfinite(header.slope) and header.slope != 0 and not np.isfinite(header.intercept):
        raise InputError(f"{path} gives a rescale intercept of {header.intercept:g}; its header is damaged, so export the scan again.")


def _check_affine(header: NiftiHeader, path: Path) -> None:
    if header.affine is None:
        return
    columns = np.array(header.affine).reshape(3, 4)[:, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not (np.isfinite(lengths).all() and lengths.min() > 0):
        raise InputError(f"The affine of {path} has an axis without a length; its header is damaged, so export the scan again.")
    if not np.isfinite(header.affine).all():
        raise InputError(f"The affine of {path} has a position that is not a number; its header is damaged, so export the scan again.")
    axes = columns / lengths
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise InputError(f"The axes of {path} are not at right angles (a sheared affine or a tilted gantry); resample it to a regular grid first.")
    if not np.allclose(lengths, header.spacing, rtol=0.01):
        found = describe_mm([float(length) for length in lengths])
        raise InputError(f"The header of {path} contradicts itself: spacing {describe_mm(header.spacing)}, affine {found}; export the scan again.")


def _check_quaternion(header: NiftiHeader, path: Path) -> None:
    if header.quaternion is None:
        return
    numbers = (*header.quaternion, *header.quaternion_offset, header.qfac)
    # Programs differ in which side a negative factor other than -1 turns the slices to.
    if not np.isfinite(numbers).all() or np.linalg.norm(header.quaternion) > 1.001 or (header.qfac < 0 and header.qfac != -1):
        raise InputError(f"The orientation of {path} (its qform) is impossible; its header is damaged, so export the scan again.")


def _check_agreement(header: NiftiHeader, path: Path) -> None:
    """Refuse two transforms that lay the patient in different ways: programs differ in which of them they take."""
    if header.affine is None or header.quaternion is None:
        return
    columns = np.array(header.affine).reshape(3, 4)[:, :3]
    cosines = (columns / np.linalg.norm(columns, axis=0) * _axes_of_quaternion(header)).sum(axis=0)
    if cosines.min() < math.cos(math.radians(LARGEST_TURN_DEGREES)):
        raise InputError(
            f"The header of {path} lays the patient in two different ways (its qform and its sform disagree), "
            "so right and left cannot be told; export the scan again."
        )


def _axes_of_quaternion(header: NiftiHeader) -> NDArray[np.float64]:
    """3 x 3, columns: unit vectors of i, j, k in RAS (nifti1.h, method 2)."""
    b, c, d = header.quaternion or (0.0, 0.0, 0.0)
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    axes = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    return axes * (1.0, 1.0, -1.0 if header.qfac < 0 else 1.0)
