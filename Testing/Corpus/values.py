"""Values that are no Hounsfield units, or are odd ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from Testing.Corpus.nifti_files import write_nifti
from Testing.Corpus.patients import BODY_HU, STANDARD, noisy, points_of, scanned
from Testing.Corpus.registry import Family

VALUES = Family("Voxel values")


def with_voxel(folder: Path, value: float) -> Path:
    """One voxel of that value."""
    voxels = scanned().astype(np.float32)
    voxels[20, 20, 20] = value
    return write_nifti(folder, voxels)


@VALUES.refused("one voxel NaN", "in floats", "voxels that are not numbers")
def nan(folder: Path) -> Path:
    return with_voxel(folder, float("nan"))


@VALUES.refused("one voxel infinite", "in floats", "voxels that are not numbers")
def infinite(folder: Path) -> Path:
    return with_voxel(folder, float("inf"))


@VALUES.refused("one voxel minus infinite", "in floats", "voxels that are not numbers")
def minus_infinite(folder: Path) -> Path:
    return with_voxel(folder, float("-inf"))


@VALUES.refused("NaN outside the field of view", "as some resampling leaves it", "with -1024 outside the field of view")
def nan_outside(folder: Path) -> Path:
    voxels = scanned().astype(np.float32)
    voxels[voxels < -500] = np.nan
    return write_nifti(folder, voxels)


@VALUES.refused("unsigned wrap-around", "Hounsfield units stored as unsigned 16-bit numbers: air is 64,536", "wrapped round")
def wrapped(folder: Path) -> Path:
    return write_nifti(folder, scanned().view(np.uint16))


@VALUES.refused("unsigned wrap-around in 12 bits", "air is 3,096", "hardly a value below zero")
def wrapped_12_bits(folder: Path) -> Path:
    return write_nifti(folder, scanned() & 0xFFF)


@VALUES.refused("wrapped to 8 bits", "Hounsfield units cast to signed bytes", "8-bit picture")
def wrapped_8_bits(folder: Path) -> Path:
    return write_nifti(folder, noisy(scanned()).astype(np.int8))


@VALUES.refused("missing rescale", "stored values, 1024 above Hounsfield units", "without the rescale intercept")
def raw(folder: Path) -> Path:
    return write_nifti(folder, scanned() + np.int16(1024))


@VALUES.refused("negative values cut off", "everything below water is zero", "hardly a value below zero")
def cut_at_zero(folder: Path) -> Path:
    return write_nifti(folder, scanned().clip(0))


@VALUES.refused("grey picture", "windowed to 0 to 255", "8-bit picture")
def grey(folder: Path) -> Path:
    return write_nifti(folder, ((scanned().clip(-160, 240) + 160) * 0.6375).astype(np.uint8))


@VALUES.refused("grey picture around zero", "windowed to -128 to 127", "8-bit picture")
def grey_around_zero(folder: Path) -> Path:
    return write_nifti(folder, ((scanned().clip(-160, 240) + 160) * 0.6375 - 128).astype(np.int8))


@VALUES.warned("windowed", "cut off at -160 and 400 HU, as viewers export it", "has nothing below -160")
def windowed(folder: Path) -> Path:
    return write_nifti(folder, scanned().clip(-160, 400))


@VALUES.refused("label map", "the segmentation given instead of the CT", "label map")
def labels(folder: Path) -> Path:
    return write_nifti(folder, STANDARD.labels_at(points_of((68, 48, 48), np.diag([5.0, 5.0, 5.0, 1.0]))))


@VALUES.refused("one single value", "zeros", "is empty")
def constant(folder: Path) -> Path:
    return write_nifti(folder, np.zeros_like(scanned()))


@VALUES.refused("normalized", "mean 0, standard deviation 1", "too little contrast")
def normalized(folder: Path) -> Path:
    voxels = scanned().astype(np.float32)
    return write_nifti(folder, (voxels - voxels.mean()) / voxels.std())


@VALUES.refused("attenuation", "1/cm instead of Hounsfield units: water is 0.19", "8-bit picture")
def attenuation(folder: Path) -> Path:
    return write_nifti(folder, (0.19 * (1 + scanned() / 1000)).astype(np.float32))


@VALUES.refused("upside-down contrast", "the sign of all values changed", "upside down")
def negated(folder: Path) -> Path:
    return write_nifti(folder, -scanned())


@VALUES.refused("magnetic resonance in NIfTI", "signal from 5 to 900, noise", "hardly a value below zero")
def magnetic_resonance(folder: Path) -> Path:
    signal = np.where(scanned() < -500, 20, 300 + scanned())
    return write_nifti(folder, np.abs(noisy(signal)))


@VALUES.refused("air only", "the scanner without a patient", "hardly any soft tissue")
def air(folder: Path) -> Path:
    return write_nifti(folder, noisy(np.full_like(scanned(), -1000), 60.0).clip(-1100, -700))


@VALUES.right("padding of a scanner", "-3024 outside the round field of view")
def padding(folder: Path) -> Path:
    voxels = scanned()
    voxels[:, :, :4] = -3024
    return write_nifti(folder, voxels)


@VALUES.warned("padding of a program", "-32,768 outside the field of view", "lower than air can be")
def low_padding(folder: Path) -> Path:
    voxels = scanned()
    voxels[:, :, :4] = -32768
    return write_nifti(folder, voxels)


@VALUES.right("metal", "a screw of 30,000 HU in a vertebra, on an extended scale")
def metal(folder: Path) -> Path:
    voxels = scanned()
    voxels[24, 36, 33] = 30_000
    return write_nifti(folder, voxels)


@VALUES.right("noise", "a low dose: 25 HU, which smooths away nothing that is looked for")
def noise(folder: Path) -> Path:
    voxels = scanned()
    return write_nifti(folder, np.where(voxels == BODY_HU, noisy(voxels, 25.0), voxels).astype(np.int16))
