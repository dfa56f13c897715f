"""A scan: voxels and where they are; reading and writing it through SimpleITK."""

from __future__ import annotations

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
from KidneyTumorCascadeLib.image_file import quiet_stderr, read_image, require_input, shared_voxels
from KidneyTumorCascadeLib.nifti_file import check_nifti

# Formats of one file (one of two cannot appear whole) that keep the geometry.
WRITABLE_ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")


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
    """A scan and what is odd about it: sentences that name an image file without its folder, and a DICOM series not at all.

    Args:
        path: an image file SimpleITK reads, a folder with one DICOM series, or any one file of a DICOM series (the others are found beside it).

    Raises:
        InputError: there is no such file, it is damaged, or it is not one three-dimensional scalar image.
    """
    path = Path(path)
    require_input(path)
    image, warnings = read_series(path) if path.is_dir() or is_dicom(path) else read_image(path)
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
    """Write a scan or label map as .nii.gz, .nii, .nrrd, .seg.nrrd or .mha, compressed, whole or not at all.

    It is written under a temporary name in the same folder, checked, flushed to the disk, and renamed. Spacing, origin and direction are
    those of the volume: to the last bit in NRRD and MetaImage, to single precision (1e-7) in NIfTI, whose header holds no more.

    Raises:
        InputError: the folder is missing or cannot be written, or the ending is none of these.
        SetupError: the disk is full.
    """
    path = Path(path)
    temporary = _temporary_beside(path)
    try:
        _write_image(_image_of(volume), temporary)
        temporary.replace(path)
    except (OSError, RuntimeError, InputError) as error:
        raise SetupError(f"{path} could not be written whole; the disk or your share of it may be full, so free some space.") from error
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(path: str | Path) -> None:
    """Raise what `write_volume` would raise for this path, before the work of a run is done in vain."""
    _temporary_beside(Path(path)).unlink()


def _geometry_of(image: sitk.Image, path: Path) -> Geometry:
    try:
        x, y, z = image.GetSize()
        return Geometry((x, y, z), as_vector(image.GetSpacing()), as_vector(image.GetOrigin()), as_matrix(image.GetDirection()))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _plain_voxels(image: sitk.Image) -> NDArray[Any]:
    """The voxels in the smallest type that holds them and that torch computes with: 8, 16 or 32 bits, or float32.

    Whole numbers are narrowed by their values: DICOM with unsigned pixels arrives as 32 bits although a CT needs 16. What needs no change
    is not copied: a second copy of the scan would be the largest thing in memory.
    """
    view = shared_voxels(image)
    if view.dtype.kind == "f":
        return view.astype(np.float32, copy=False)
    if view.dtype.itemsize == 1 or view.dtype == np.int16:
        return view
    lowest, highest = view.min(), view.max()
    narrow = (kind for kind in (np.int16, np.int32) if lowest >= np.iinfo(kind).min and highest <= np.iinfo(kind).max)
    return np.array(view, dtype=next(narrow, np.float32))


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


def _temporary_beside(path: Path) -> Path:
    """A new, empty file beside the path, with the same ending because that decides the format."""
    ending = next((ending for ending in WRITABLE_ENDINGS if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise InputError(f"{path} has no ending of a format that can be written; use one of {', '.join(sorted(WRITABLE_ENDINGS))}.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} to write {path.name} in; make it first.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file to write.")
    temporary = path.with_name(f".{secrets.token_hex(6)}{ending}")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SetupError(f"The disk is full: {path} cannot be written; free some space.") from error
        raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another folder.") from error
    return temporary


def _write_image(image: sitk.Image, path: Path) -> None:
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    with quiet_stderr():
        writer.Execute(image)
    if ".nii" in path.suffixes:
        check_nifti(path)  # ITK writes NIfTI to a full disk without an error.
    with path.open("rb+") as file:
        os.fsync(file.fileno())
