"""Scans of unusual sizes and numbers of dimensions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from Testing.Corpus.nifti_files import write_nifti
from Testing.Corpus.patients import AXIAL, Grid, grid_of, scanned
from Testing.Corpus.registry import Family

SIZES = Family("Sizes and dimensions")
RGB, RGBA, COMPLEX = (128, 24), (2304, 32), (32, 64)


def described(folder: Path, voxels: int, kind: tuple[int, int]) -> Path:
    """Zeros of a type that numpy has not, named by NIfTI's code and its bits."""
    code, bits = kind
    return write_nifti(folder, np.zeros(voxels * bits // 8, np.uint8), datatype=code, bitpix=bits)


@SIZES.refused("two dimensions", "a single slice as a picture", "of 2 dimensions")
def flat(folder: Path) -> Path:
    return write_nifti(folder, dim=(2, 68, 48, 1, 1, 1, 1, 1))


@SIZES.refused("four dimensions", "two phases in one file", "of 4 dimensions")
def phases(folder: Path) -> Path:
    return write_nifti(folder, np.concatenate((scanned(), scanned())), dim=(4, *AXIAL.size, 2, 1, 1, 1))


@SIZES.right("a fourth dimension of one", "as some converters write it")
def fourth(folder: Path) -> Path:
    return write_nifti(folder, dim=(4, *AXIAL.size, 1, 1, 1, 1))


@SIZES.refused("vectors", "three numbers a voxel in a fifth dimension, as a deformation has", "of 5 dimensions")
def vectors(folder: Path) -> Path:
    return write_nifti(folder, np.concatenate((scanned(),) * 3), dim=(5, *AXIAL.size, 1, 3, 1, 1))


@SIZES.refused("color", "RGB voxels", "3 numbers per voxel")
def color(folder: Path) -> Path:
    return described(folder, 68 * 48 * 48, RGB)


@SIZES.refused("color with opacity", "RGBA voxels", "4 numbers per voxel")
def opacity(folder: Path) -> Path:
    return described(folder, 68 * 48 * 48, RGBA)


@SIZES.refused("complex", "two numbers a voxel, as raw MR data has", "2 numbers per voxel")
def complex_numbers(folder: Path) -> Path:
    return described(folder, 68 * 48 * 48, COMPLEX)


@SIZES.refused("one slice in NIfTI", "a scout or a key image", "is too small")
def one_slice(folder: Path) -> Path:
    return write_nifti(folder, grid=grid_of((68, 48, 1)))


@SIZES.refused("seven slices", "too few to tell a kidney", "at least 8 voxels")
def few_slices(folder: Path) -> Path:
    return write_nifti(folder, grid=grid_of((68, 48, 7), (5.0, 5.0, 10.0)))


@SIZES.refused("four centimetres", "80 slices of 0.5 mm", "50 mm along each axis")
def thin(folder: Path) -> Path:
    return write_nifti(folder, grid=grid_of((68, 48, 80), (5.0, 5.0, 0.5)))


@SIZES.right("2,000 slices", "the whole body in slices of 0.6 mm")
def long(folder: Path) -> Path:
    return write_nifti(folder, grid=grid_of((68, 48, 2000), (5.0, 5.0, 0.6)), name="ct.nii.gz")


@SIZES.warned("thick slices", "of 10 mm", "has slices of 10 mm")
def thick(folder: Path) -> Path:
    return write_nifti(folder, grid=grid_of((68, 48, 24), (5.0, 5.0, 10.0)))


@SIZES.refused("voxels of 3 cm", "a resampled overview, or a header in the wrong unit", "too coarse for a kidney")
def coarse(folder: Path) -> Path:
    return write_nifti(folder, grid=grid_of((16, 12, 16), (30.0, 30.0, 30.0)))


@SIZES.refused("voxels of a micrometre", "a header in the wrong unit", "is too small")
def fine(folder: Path) -> Path:
    return write_nifti(folder, scanned(), grid_of(spacing=(0.001, 0.001, 0.001)))


@SIZES.refused("voxels of 1e30 mm", "a damaged header", "too coarse for a kidney")
def endless(folder: Path) -> Path:
    return write_nifti(folder, scanned(), grid_of(spacing=(1e30, 1e30, 1e30)))


@SIZES.warned(
    "a short scan",
    "10 cm, in which no kidney is whole",
    "covers only 100 mm",
    "The right kidney touches the inferior border",
    "The left kidney touches the inferior and superior borders",
)
def short(folder: Path) -> Path:
    affine = AXIAL.affine.copy()
    affine[2, 3] = -30.0
    return write_nifti(folder, grid=Grid((68, 48, 20), affine))
