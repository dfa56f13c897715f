"""A scan: voxels and where they are; reading and writing it through SimpleITK."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from KidneyTumorCascadeLib.dicom import is_dicom, read_series
from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.geometry import Geometry, as_matrix, as_vector
from KidneyTumorCascadeLib.image_file import read_image, require_readable

# Longest first: the ending that is kept on the temporary name decides the format.
COMPOUND_ENDINGS = (".seg.nrrd", ".nii.gz", ".img.gz", ".gipl.gz")


@dataclass(frozen=True)
class Volume:
    """Voxels (z, y, x) with the grid they lie on. `voxels.shape == geometry.shape_zyx`, HU for a CT."""

    voxels: NDArray[Any]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.voxels.shape != self.geometry.shape_zyx:
            raise ValueError(f"voxels of shape {self.voxels.shape} do not fit a grid of shape {self.geometry.shape_zyx}")

    def in_lps_order(self) -> Volume:
        """A view of this scan along its own axes in LPS order; nothing is copied or interpolated."""
        order = self.geometry.lps_order()
        return Volume(order.apply(self.voxels), self.geometry.reordered(order))


def read_scan(path: str | Path) -> tuple[Volume, list[str]]:
    """A scan and what is odd about it, each a sentence.

    Args:
        path: an image file SimpleITK reads, a folder with one DICOM series, or any one file of a DICOM series (the others are found beside it).

    Raises:
        InputError: there is no such file, it is damaged, or it is not one three-dimensional scalar image.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file or folder {path}; check the path.")
    if path.is_file():
        require_readable(path)
    image, warnings = read_series(path) if path.is_dir() or is_dicom(path) else (read_image(path), [])
    return Volume(_plain_voxels(image), _geometry_of(image, path)), warnings


def read_volume(path: str | Path) -> Volume:
    """The scan of `read_scan` without its warnings."""
    return read_scan(path)[0]


def read_label_map(path: str | Path) -> Volume:
    """A label map (NIfTI, .seg.nrrd, ...); voxels uint8, or uint16 when a label is above 255.

    Raises:
        InputError: as `read_scan`, or a voxel is not a whole number from 0 to 65535.
    """
    volume = read_volume(path)
    return Volume(_labels(volume.voxels, Path(path)), volume.geometry)


def write_volume(volume: Volume, path: str | Path) -> None:
    """Write a scan or label map in the format of its ending, whole or not at all.

    The file appears under a temporary name in the same folder and is renamed when it is complete and on the disk.

    Raises:
        InputError: the folder is missing or cannot be written, or no format has this ending.
        SetupError: the disk is full.
    """
    path = Path(path)
    _require_writable(path)
    temporary = path.with_name(f".{secrets.token_hex(6)}{_ending(path)}")
    try:
        _write_image(_image_of(volume), temporary, path)
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _geometry_of(image: sitk.Image, path: Path) -> Geometry:
    try:
        x, y, z = image.GetSize()
        return Geometry((x, y, z), as_vector(image.GetSpacing()), as_vector(image.GetOrigin()), as_matrix(image.GetDirection()))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _plain_voxels(image: sitk.Image) -> NDArray[Any]:
    """The voxels in a type that torch and numpy both compute with, copied once: whole numbers up to 32 bits, or float32."""
    view = sitk.GetArrayViewFromImage(image)
    if view.dtype == np.uint16 and view.max() <= np.iinfo(np.int16).max:
        return np.array(view, dtype=np.int16)
    if view.dtype in (np.uint16, np.uint32, np.int64, np.uint64):
        limits = np.iinfo(np.int32)
        fits = view.min() >= limits.min and view.max() <= limits.max
        return np.array(view, dtype=np.int32 if fits else np.float32)
    return np.array(view, dtype=np.float32 if view.dtype == np.float64 else view.dtype)


def _labels(voxels: NDArray[Any], path: Path) -> NDArray[Any]:
    largest = voxels.max()
    if not (voxels.min() >= 0 and largest <= np.iinfo(np.uint16).max):
        raise InputError(f"{path} is not a label map: its values run from {voxels.min():g} to {largest:g}; labels are whole numbers from 0.")
    labels = voxels.astype(np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16, copy=False)
    if not np.array_equal(labels, voxels):
        raise InputError(f"{path} is not a label map: it holds values between whole numbers; give the segmentation, not a probability map.")
    return labels


def _image_of(volume: Volume) -> sitk.Image:
    voxels = volume.voxels
    image = sitk.GetImageFromArray(voxels.view(np.uint8) if voxels.dtype == np.bool_ else voxels)
    image.SetSpacing(volume.geometry.spacing)
    image.SetOrigin(volume.geometry.origin)
    image.SetDirection(volume.geometry.direction)
    return image


def _ending(path: Path) -> str:
    name = path.name.lower()
    return next((ending for ending in COMPOUND_ENDINGS if name.endswith(ending)), path.suffix)


def _require_writable(path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} to write {path.name} in; make it first.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file to write.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"The folder {path.parent} cannot be written to; choose another one.")


def _write_image(image: sitk.Image, temporary: Path, path: Path) -> None:
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(temporary))
    writer.UseCompressionOn()
    try:
        writer.Execute(image)
    except RuntimeError as error:
        raise InputError(f"{path} cannot be written in a format of the ending {path.suffix!r}; use .nii.gz, .nrrd or .mha.") from error


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _write_error(path: Path, error: OSError) -> InputError | SetupError:
    if error.errno == errno.ENOSPC:
        return SetupError(f"The disk is full: {path} was not written; free some space and try again.")
    return InputError(f"{path} cannot be written ({error.strerror or error}); choose another folder.")
