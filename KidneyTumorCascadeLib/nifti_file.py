"""Checking and reading the voxels of NIfTI files.

ITK reads voxels that are missing as zeros, and what a damaged compressed file decompresses to as if it were right; so they are read here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.gzip_pieces import Inflated, holds_bytes, is_gzip, may_hold_bytes
from KidneyTumorCascadeLib.nifti_header import NiftiHeader, check_header, read_header


def check_nifti(path: Path) -> None:
    """Raise InputError when the header is impossible or voxels are missing from the file (or from the .img beside a .hdr)."""
    header, voxel_path = open_nifti(path)
    if not holds_bytes(voxel_path, header.stored_bytes):
        raise _incomplete(voxel_path)


def open_nifti(path: Path) -> tuple[NiftiHeader, Path]:
    """The checked header, and the file that the voxels are in. Raises InputError when it is impossible, or the file clearly too small."""
    header_path, voxel_path = _files_of(path)
    header = read_header(header_path)
    if header is None:
        raise InputError(f"{header_path} has no NIfTI header; it is damaged or another kind of file.")
    check_header(header, path)
    if not may_hold_bytes(voxel_path, header.stored_bytes):
        raise _incomplete(voxel_path)
    return header, voxel_path


def read_voxels(header: NiftiHeader, path: Path, voxels: NDArray[Any]) -> None:
    """Fill an array with the voxels as they are stored, in this machine's byte order; nothing else is held in memory.

    Args:
        header: checked.
        path: the file that the voxels are in.
        voxels: (k, j, i), C-contiguous, of the header's size and type.

    Raises:
        InputError: the end is missing, or what is compressed is damaged.
    """
    content = voxels.data.cast("B")
    if is_gzip(path):
        _inflate(path, header.first_voxel, content)
    else:
        _read(path, header.first_voxel, content)
    if header.dtype is not None and not header.dtype.isnative:
        voxels.byteswap(inplace=True)


def rescaled(voxels: NDArray[Any], header: NiftiHeader) -> NDArray[Any] | None:
    """The voxels by the header's slope and intercept, float32; None where they are worth what is stored."""
    slope, intercept = header.slope, header.intercept
    # A slope of zero means none by the standard, and one that is no number is taken so by all readers.
    if not np.isfinite(slope) or slope == 0 or (slope, intercept) == (1, 0):
        return None
    result = voxels.astype(np.float32)
    result *= np.float32(slope)
    result += np.float32(intercept)
    return result


def _read(path: Path, start: int, content: memoryview) -> None:
    with path.open("rb") as file:
        file.seek(start)
        done = 0
        while done < len(content):
            count = file.readinto(content[done:])
            if not count:
                raise _incomplete(path)
            done += count


def _inflate(path: Path, start: int, content: memoryview) -> None:
    done = -start
    with path.open("rb") as file:
        pieces = Inflated(file)
        for piece in pieces:
            useful = memoryview(piece)[max(0, -done) : max(0, len(content) - done)]
            first = max(0, done)
            content[first : first + len(useful)] = useful
            done += len(piece)
    if pieces.broken:
        raise InputError(f"{path} is damaged: it cannot be decompressed to what was packed; copy or download it again.")
    if not pieces.whole or done < len(content):
        raise _incomplete(path)


def _incomplete(path: Path) -> InputError:
    return InputError(f"{path} is incomplete: its end is missing; copy or download it again.")


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
