"""NIfTI files: cut short, with flipped bits, with impossible headers."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from Testing.Corpus.nifti_files import nifti_bytes, write_nifti
from Testing.Corpus.patients import grid_of, noisy, scanned
from Testing.Corpus.registry import Family

NIFTI = Family("NIfTI")
# Its compressed file is larger than what readers take at once.
FINE = grid_of((112, 80, 80), (3.0, 3.0, 3.0))


@NIFTI.right("nifti plain", "an uncompressed .nii")
def plain(folder: Path) -> Path:
    return write_nifti(folder)


@NIFTI.right("nifti compressed", "a .nii.gz")
def compressed(folder: Path) -> Path:
    return write_nifti(folder, name="ct.nii.gz")


@NIFTI.right("nifti big-endian", "the byte order of old workstations")
def big_endian(folder: Path) -> Path:
    return write_nifti(folder, order=">")


@NIFTI.refused("nifti cut short", "a download of a .nii that stopped half-way", "is incomplete")
def cut(folder: Path) -> Path:
    path = write_nifti(folder)
    path.write_bytes(path.read_bytes()[:60_000])
    return path


@NIFTI.refused("nifti.gz cut short", "a download of a .nii.gz that stopped half-way", "is incomplete")
def cut_compressed(folder: Path) -> Path:
    path = write_nifti(folder, name="ct.nii.gz")
    path.write_bytes(path.read_bytes()[:-2000])
    return path


@NIFTI.refused("nifti.gz packed when cut", "a .nii cut short and compressed afterwards", "is incomplete")
def cut_and_compressed(folder: Path) -> Path:
    path = folder / "ct.nii.gz"
    path.write_bytes(gzip.compress(nifti_bytes()[:-9000]))
    return path


@NIFTI.refused("nifti header only", "348 bytes and nothing behind", "is incomplete")
def header_only(folder: Path) -> Path:
    path = folder / "ct.nii"
    path.write_bytes(nifti_bytes()[:348])
    return path


@NIFTI.refused("nifti.gz with a flipped bit", "one bit of the compressed voxels is wrong", "is damaged")
def flipped_compressed(folder: Path) -> Path:
    path = write_nifti(folder, noisy(scanned(grid=FINE)), FINE, name="ct.nii.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    return path


@NIFTI.refused("nifti.gz with a wrong checksum", "whole, but not what was compressed", "is damaged")
def wrong_checksum(folder: Path) -> Path:
    path = write_nifti(folder, noisy(scanned(grid=FINE)), FINE, name="ct.nii.gz")
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    return path


@NIFTI.refused("nifti with a flipped bit in its size", "one column became 16,452", "is incomplete")
def flipped_size(folder: Path) -> Path:
    return write_nifti(folder, dim1=68 | 1 << 14)


@NIFTI.refused("nifti with a wrong magic", "a text file under the name of a scan", "format is not known")
def wrong_magic(folder: Path) -> Path:
    path = folder / "ct.nii"
    path.write_text("Dear radiologist, please find enclosed. " * 500, encoding="utf-8")
    return path


@NIFTI.refused("nifti of another format", "a NRRD file renamed to .nii.gz", "format is not known")
def renamed(folder: Path) -> Path:
    path = folder / "ct.nii.gz"
    path.write_bytes(b"NRRD0004\ntype: short\ndimension: 3\nsizes: 68 48 48\nencoding: raw\n\n" + scanned().tobytes())
    return path


@NIFTI.refused("nifti empty", "a file of no bytes", "is empty")
def empty(folder: Path) -> Path:
    path = folder / "ct.nii.gz"
    path.touch()
    return path


@NIFTI.refused("nifti with a size of zero", "no slices", "size of 68 x 48 x 0")
def zero_size(folder: Path) -> Path:
    return write_nifti(folder, dim3=0)


@NIFTI.refused("nifti with a negative size", "minus 68 columns", "size of -68 x 48 x 48")
def negative_size(folder: Path) -> Path:
    return write_nifti(folder, dim1=-68)


@NIFTI.refused("nifti with a huge size", "32,767 voxels along each axis in a compressed file of a few kilobytes", "too large")
def huge_size(folder: Path) -> Path:
    return write_nifti(folder, name="ct.nii.gz", dim=(3, 32767, 32767, 32767, 1, 1, 1, 1))


@NIFTI.refused("nifti with an impossible number of dimensions", "minus three", "dimensions")
def impossible_rank(folder: Path) -> Path:
    return write_nifti(folder, dim0=-3)


@NIFTI.refused("nifti with a spacing of zero", "the slices have no thickness", "voxel spacing of 5 x 5 x 0 mm")
def zero_spacing(folder: Path) -> Path:
    return write_nifti(folder, pixdim3=0.0)


@NIFTI.refused("nifti with a negative spacing", "-5 mm from column to column", "voxel spacing of -5 x 5 x 5 mm")
def negative_spacing(folder: Path) -> Path:
    return write_nifti(folder, pixdim1=-5.0)


@NIFTI.refused("nifti with a spacing that is no number", "NaN from row to row", "voxel spacing of 5 x nan x 5 mm")
def nan_spacing(folder: Path) -> Path:
    return write_nifti(folder, pixdim2=float("nan"))


@NIFTI.refused("nifti of an unknown voxel type", "the type's code is 77", "cannot be read")
def unknown_type(folder: Path) -> Path:
    return write_nifti(folder, datatype=77)


@NIFTI.refused("nifti whose types disagree", "16-bit whole numbers of 8 bits each", "bits")
def contradictory_type(folder: Path) -> Path:
    return write_nifti(folder, bitpix=8)


@NIFTI.refused("nifti with an offset beyond its end", "the voxels are said to begin at byte 1e9", "is incomplete")
def far_offset(folder: Path) -> Path:
    return write_nifti(folder, vox_offset=1e9)


@NIFTI.right("nifti with a slope that is no number", "which all readers take for none")
def no_slope(folder: Path) -> Path:
    return write_nifti(folder, scl_slope=float("nan"))


@NIFTI.refused("nifti with an intercept that is no number", "a slope of 1 and an intercept of NaN", "rescale intercept of nan")
def no_intercept(folder: Path) -> Path:
    return write_nifti(folder, scl_slope=1.0, scl_inter=float("nan"))


@NIFTI.right("nifti with a rescale", "raw values with slope 1 and intercept -1024 in the header")
def rescaled(folder: Path) -> Path:
    return write_nifti(folder, (scanned() + 1024).astype(np.uint16), scl_slope=1.0, scl_inter=-1024.0)


@NIFTI.right("nifti in floats", "float64")
def floats(folder: Path) -> Path:
    return write_nifti(folder, scanned().astype(np.float64))
