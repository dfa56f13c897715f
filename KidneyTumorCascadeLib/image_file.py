"""Reading one image file through SimpleITK, with the checks that ITK leaves out."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import describe_mm, describe_size, require_voxels
from KidneyTumorCascadeLib.metaimage_file import check_metaimage, has_directions
from KidneyTumorCascadeLib.nifti_file import open_nifti, read_voxels, rescaled
from KidneyTumorCascadeLib.nrrd_file import check_nrrd

sitk.ProcessObject.SetGlobalWarningDisplay(False)

# Formats that keep where the voxels are in the patient (pictures do not), and whose readers notice a missing end (GIPL's and VTK's do not).
NIFTI, NRRD, METAIMAGE = "NiftiImageIO", "NrrdImageIO", "MetaImageIO"
FORMATS = (NIFTI, NRRD, METAIMAGE, "GDCMImageIO", "HDF5ImageIO", "MINCImageIO")
# What ITK says of a NRRD file in any of the anatomical spaces, after turning it into its own; other spaces it passes on as they are.
ANATOMICAL_SPACE = "left-posterior-superior"
COMPLEX = (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)
PIXEL_TYPES = {
    "u1": sitk.sitkUInt8,
    "i1": sitk.sitkInt8,
    "u2": sitk.sitkUInt16,
    "i2": sitk.sitkInt16,
    "u4": sitk.sitkUInt32,
    "i4": sitk.sitkInt32,
    "u8": sitk.sitkUInt64,
    "i8": sitk.sitkInt64,
    "f4": sitk.sitkFloat32,
    "f8": sitk.sitkFloat64,
}


def read_image(path: Path) -> tuple[sitk.Image, list[str]]:
    """The image of one file, three-dimensional and scalar, with warnings (each a sentence that names the file without its folder).

    Raises:
        InputError: the file is incomplete or damaged, of an unknown format, or not one three-dimensional scalar image.
    """
    try:
        with quiet_stderr():
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            _check_format(path)
            reader.ReadImageInformation()
            _check_header(reader, path)
            is_nifti = sitk.ImageFileReader.GetImageIOFromFileName(str(path)) == NIFTI
            image = _nifti_image(reader, path) if is_nifti else _in_three_dimensions(reader.Execute())
            return image, _placement_warnings(reader, path)
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read as an image ({_reason(error)}); check the file, or export it again as .nii.gz.") from error


def require_input(path: Path) -> None:
    """Raise InputError when there is no such file or folder, or it is a file that is empty or closed to this user, or something else."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise InputError(f"There is no file or folder {path}; check the path.") from error
        raise InputError(f"{path} cannot be opened ({error.strerror or error}); check its name and its permissions.") from error
    if stat.S_ISREG(mode):
        require_readable(path)
    elif not stat.S_ISDIR(mode):
        raise InputError(f"{path} is neither a file nor a folder, but a pipe or a device; give an image file or a folder of DICOM slices.")


def require_readable(path: Path) -> None:
    """Raise InputError when a file is empty or closed to this user."""
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror or error}); check its permissions.") from error
    if empty:
        raise InputError(f"{path} is empty; copy or download it again.")


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep what ITK's C and C++ libraries print away from the user, who gets one sentence instead."""
    try:
        kept = os.dup(2)
    except OSError:
        yield  # A program without a standard error, such as one without a console on Windows.
        return
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _check_format(path: Path) -> None:
    image_format = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
    if image_format and image_format not in FORMATS:
        kind = image_format.removesuffix("ImageIO")
        raise InputError(f"{path} is a {kind} file, which does not keep a scan's geometry reliably; give a DICOM folder, NIfTI, NRRD or MetaImage.")
    if image_format == NIFTI:
        open_nifti(path)
    if image_format == METAIMAGE:
        check_metaimage(path)
    if image_format == NRRD:
        check_nrrd(path)


def _check_header(reader: sitk.ImageFileReader, path: Path) -> None:
    size, spacing = reader.GetSize(), reader.GetSpacing()
    if reader.GetPixelID() in COMPLEX or reader.GetNumberOfComponents() != 1:
        count = reader.GetNumberOfComponents()
        raise InputError(f"{path} holds {count} numbers per voxel (a color, vector or complex image); a scan with one is needed.")
    if len(size) != 3 and not (len(size) > 3 and all(length == 1 for length in size[3:])):
        raise InputError(f"{path} is an image of {describe_size(size)}, of {len(size)} dimensions; one three-dimensional scan is needed.")
    require_voxels(size, str(path))
    if not min(spacing[:3]) > 0:
        raise InputError(f"{path} gives a voxel spacing of {describe_mm(spacing[:3])}; all three must be above zero, so export the scan again.")


def _placement_warnings(reader: sitk.ImageFileReader, path: Path) -> list[str]:
    """Whether the header leaves open how the voxels lie in the patient; ITK then takes their axes for the patient's in silence."""
    missing = _missing_placement(reader, path)
    return [f"{path.name} does not say how the patient lies (no {missing}); right and left may be swapped."] if missing else []


def _missing_placement(reader: sitk.ImageFileReader, path: Path) -> str:
    """What the file lacks, if anything."""
    image_format = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
    codes = (int(_text(reader, key) or 0) for key in ("qform_code", "sform_code"))
    if image_format == NIFTI and max(codes) <= 0:
        return "qform or sform"
    if image_format == NRRD and not _text(reader, "NRRD_space").startswith(ANATOMICAL_SPACE):
        return "anatomical space"
    if image_format == METAIMAGE and not has_directions(path):
        return "TransformMatrix"
    return ""


def _text(reader: sitk.ImageFileReader, key: str) -> str:
    return str(reader.GetMetaData(key)) if reader.HasMetaDataKey(key) else ""


class _ImageBuffer:
    """An image's voxels for numpy; an array made of it keeps this object, and so the image whose memory it shares."""

    def __init__(self, image: sitk.Image) -> None:
        self.image = image
        interface = dict(sitk.GetArrayViewFromImage(image).__array_interface__)
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def shared_voxels(image: sitk.Image) -> NDArray[Any]:
    """The image's voxels (z, y, x) without a copy: writing to one writes to the other, and the array keeps the image alive."""
    return np.asarray(_ImageBuffer(image))


def _nifti_image(reader: sitk.ImageFileReader, path: Path) -> sitk.Image:
    """The image whose place ITK has read from the header; the voxels are read here, because ITK notices no damage to them."""
    header, voxel_path = open_nifti(path)
    dtype = header.dtype
    if dtype is None:
        raise InputError(f"{path} has voxels of a type that cannot be read (its code is {header.datatype}); export the scan again as 16-bit numbers.")
    image = sitk.Image(reader.GetSize()[:3], PIXEL_TYPES[dtype.str[1:]])
    read_voxels(header, voxel_path, shared_voxels(image))
    values = rescaled(shared_voxels(image), header)
    image = image if values is None else sitk.GetImageFromArray(values)
    rank = len(reader.GetSize())
    image.SetSpacing(reader.GetSpacing()[:3])
    image.SetOrigin(reader.GetOrigin()[:3])
    image.SetDirection(np.reshape(reader.GetDirection(), (rank, rank))[:3, :3].ravel().tolist())
    return image


def _in_three_dimensions(image: sitk.Image) -> sitk.Image:
    while image.GetDimension() > 3:
        image = image[(slice(None),) * (image.GetDimension() - 1) + (0,)]
    return image


def _reason(error: RuntimeError) -> str:
    """What ITK found, in words, as far as its messages can be told apart."""
    text = str(error)
    if "orthonormal" in text or "Bad direction" in text:
        return "its axes are not at right angles to each other"
    if "Zero-valued spacing" in text:
        return "its voxel spacing is zero"
    if "Unable to determine ImageIO" in text:
        return "its format is not known, or its start is damaged"
    return "it is damaged or incomplete"
