"""NIfTI-1 files written byte by byte, so that any field can be wrong."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from Testing.Corpus.patients import AXIAL, Floats, Grid, scanned

# Offsets in bytes and struct formats (nifti.nimh.nih.gov/nifti-1).
FIELDS = {
    "sizeof_hdr": (0, "i"),
    "dim": (40, "8h"),
    "dim0": (40, "h"),
    "dim1": (42, "h"),
    "dim3": (46, "h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "qfac": (76, "f"),
    "pixdim1": (80, "f"),
    "pixdim2": (84, "f"),
    "pixdim3": (88, "f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow": (280, "12f"),
    "magic": (344, "4s"),
}
CODES = {"uint8": 2, "int16": 4, "int32": 8, "float32": 16, "float64": 64, "int8": 256, "uint16": 512, "uint32": 768, "int64": 1024, "uint64": 1280}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
HEADER_BYTES, VOXEL_OFFSET = 348, 352


def nifti_bytes(voxels: NDArray[Any] | None = None, grid: Grid = AXIAL, order: Literal["<", ">"] = "<", **fields: Any) -> bytes:
    """A .nii file: voxels (k, j, i) on a grid, with both transforms; `fields` are written over what the header should say."""
    voxels = scanned(grid=grid) if voxels is None else voxels
    header = bytearray(VOXEL_OFFSET)
    for name, value in {**plain_fields(voxels, grid), **fields}.items():
        offset, layout = FIELDS[name]
        struct.pack_into(order + layout, header, offset, *(value if isinstance(value, (tuple, list)) else (value,)))
    return bytes(header) + voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()


def plain_fields(voxels: NDArray[Any], grid: Grid) -> dict[str, Any]:
    """What a correct header says."""
    affine = LPS_TO_RAS @ grid.affine
    qfac, quaternion = quaternion_of(affine[:3, :3] / np.array(grid.spacing))
    return {
        "sizeof_hdr": HEADER_BYTES,
        "dim": (3, *grid.size, 1, 1, 1, 1),
        "datatype": CODES[voxels.dtype.name],
        "bitpix": 8 * voxels.dtype.itemsize,
        "pixdim": (qfac, *grid.spacing, 0, 0, 0, 0),
        "vox_offset": VOXEL_OFFSET,
        "xyzt_units": 2,
        "qform_code": 1,
        "sform_code": 1,
        "quatern": quaternion,
        "qoffset": tuple(affine[:3, 3]),
        "srow": tuple(affine[:3].ravel()),
        "magic": b"n+1\0",
    }


def quaternion_of(directions: Floats) -> tuple[float, tuple[float, float, float]]:
    """NIfTI's qfac and its b, c, d for three unit vectors (columns, RAS) at right angles."""
    qfac = 1.0 if np.linalg.det(directions) > 0 else -1.0
    turned = directions * (1.0, 1.0, qfac)
    # The eigenvector of this matrix for its largest eigenvalue is the quaternion (Bar-Itzhack 2000).
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turned
    matrix = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    a, b, c, d = np.linalg.eigh(matrix)[1][:, -1]
    sign = 1.0 if a >= 0 else -1.0
    return qfac, (float(sign * b), float(sign * c), float(sign * d))


def write_nifti(folder: Path, voxels: NDArray[Any] | None = None, grid: Grid = AXIAL, name: str = "ct.nii", **fields: Any) -> Path:
    """The same as a file, compressed when its name says so."""
    content = nifti_bytes(voxels, grid, **fields)
    path = folder / name
    path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    return path
