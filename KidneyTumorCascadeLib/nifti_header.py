"""What ITK passes over in silence in a NIfTI file.

A spacing of zero (it takes 1), missing voxels (it takes 0), a sheared or contradictory affine (it takes the other one).
"""

from __future__ import annotations

import contextlib
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import describe_mm

GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 20


# NIfTI-1, the only version that ITK reads: offsets in bytes and struct formats (nifti.nimh.nih.gov/nifti-1).
HEADER_BYTES = 348
DIMENSIONS, BITS_PER_VOXEL, SPACING, VOXEL_OFFSET = (40, "8h"), (72, "h"), (76, "8f"), (108, "f")
AFFINE_CODE, AFFINE = (254, "h"), (280, "12f")


@dataclass(frozen=True)
class NiftiHeader:
    """The fields that are checked; `spacing` in the file's own unit, `affine` the upper 3 x 4 of the sform or None."""

    voxels: int
    bits_per_voxel: int
    spacing: tuple[float, float, float]
    voxel_offset: int
    affine: tuple[float, ...] | None

    @property
    def stored_bytes(self) -> int:
        """Bytes of header and voxels."""
        return self.voxel_offset + self.voxels * self.bits_per_voxel // 8


def check_nifti(path: Path) -> None:
    """Raise InputError when the header is impossible or voxels are missing from the file (or from the .img beside a .hdr)."""
    header_path, voxel_path = _files_of(path)
    header = read_header(header_path)
    if header is None:
        raise InputError(f"{header_path} has no NIfTI header; it is damaged or another kind of file.")
    if not (np.isfinite(header.spacing).all() and min(header.spacing) > 0):
        raise InputError(f"{path} gives a voxel spacing of {describe_mm(header.spacing)}; all three must be above zero, so export the scan again.")
    _check_affine(header, path)
    if not _holds_bytes(voxel_path, header.stored_bytes):
        raise InputError(f"{voxel_path} is incomplete: its end is missing; copy or download it again.")


def read_header(path: Path) -> NiftiHeader | None:
    """The header of a NIfTI-1 file of either byte order, compressed or not; None when it is no such file."""
    start = _first_bytes(path, HEADER_BYTES)
    for order in "<>":
        if len(start) == HEADER_BYTES and struct.unpack_from(f"{order}i", start)[0] == HEADER_BYTES:
            return _parse(start, order)
    return None


def _parse(start: bytes, order: str) -> NiftiHeader:
    def field(place: tuple[int, str]) -> tuple[float, ...]:
        return struct.unpack_from(order + place[1], start, place[0])

    rank, *lengths = (int(value) for value in field(DIMENSIONS))
    _, x, y, z, *_ = field(SPACING)
    offset = field(VOXEL_OFFSET)[0]
    return NiftiHeader(
        voxels=math.prod(max(length, 1) for length in lengths[: max(rank, 0)]),
        bits_per_voxel=int(field(BITS_PER_VOXEL)[0]),
        spacing=(x, y, z),
        voxel_offset=int(offset) if math.isfinite(offset) else 0,
        affine=field(AFFINE) if field(AFFINE_CODE)[0] > 0 else None,
    )


def _check_affine(header: NiftiHeader, path: Path) -> None:
    if header.affine is None:
        return
    columns = np.array(header.affine).reshape(3, 4)[:, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not (np.isfinite(lengths).all() and lengths.min() > 0):
        raise InputError(f"The affine of {path} has an axis without a length; its header is damaged, so export the scan again.")
    axes = columns / lengths
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise InputError(f"The axes of {path} are not at right angles (a sheared affine or a tilted gantry); resample it to a regular grid first.")
    if not np.allclose(lengths, header.spacing, rtol=0.01):
        found = describe_mm([float(length) for length in lengths])
        raise InputError(f"The header of {path} contradicts itself: spacing {describe_mm(header.spacing)}, affine {found}; export the scan again.")


def _files_of(path: Path) -> tuple[Path, Path]:
    """Header and voxel file: the same for .nii and .nii.gz, two for the .hdr and .img pair."""
    name = path.name.lower()
    if ".nii" in name:
        return path, path
    stem = path.name[: name.rindex(".hdr" if ".hdr" in name else ".img")]
    return _existing(path, stem, ".hdr"), _existing(path, stem, ".img")


def _existing(path: Path, stem: str, ending: str) -> Path:
    for candidate in (path, *(path.with_name(stem + each) for each in (ending, f"{ending}.gz"))):
        if ending in candidate.name[len(stem) :].lower() and candidate.is_file():
            return candidate
    raise InputError(f"{path} lacks its other half {stem}{ending}; put both files in the same folder.")


def _first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        start = file.read(2)
        file.seek(0)
        if start != GZIP_MAGIC:
            return file.read(count)
        result = b""
        for piece in _Inflated(file):
            result += piece
            if len(result) >= count:
                break
        return result[:count]


def _holds_bytes(path: Path, wanted: int) -> bool:
    """Whether the file, or what it decompresses to, has that many bytes."""
    with path.open("rb") as file:
        if file.read(2) != GZIP_MAGIC:
            return path.stat().st_size >= wanted
        # The last four bytes of a gzip file say its length modulo 2^32 (RFC 1952): enough to trust it without decompressing it twice.
        file.seek(-4, 2)
        if struct.unpack("<I", file.read(4))[0] == wanted % (1 << 32):
            return True
        file.seek(0)
        pieces = _Inflated(file)
        return sum(len(piece) for piece in pieces) >= wanted and pieces.whole


class _Inflated:
    """The decompressed pieces of a gzip file of one or several members; `whole` says afterwards whether its end and checksum are there."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.whole = False

    def __iter__(self) -> Iterator[bytes]:
        stream = zlib.decompressobj(wbits=31)
        with contextlib.suppress(zlib.error):
            while piece := self.file.read(CHUNK):
                while piece:
                    stream = zlib.decompressobj(wbits=31) if stream.eof else stream
                    # At most so much at a time: air compresses a thousandfold.
                    yield stream.decompress(piece, CHUNK)
                    piece = stream.unused_data or stream.unconsumed_tail
            self.whole = stream.eof
