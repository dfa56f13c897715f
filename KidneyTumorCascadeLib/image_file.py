"""Reading one image file through SimpleITK, with the checks that ITK leaves out."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import describe_size

sitk.ProcessObject.SetGlobalWarningDisplay(False)


def read_image(path: Path) -> sitk.Image:
    """The image of one file, three-dimensional and scalar.

    Raises:
        InputError: the file is damaged, no image, or not one three-dimensional scalar image.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _require_scalar_volume(reader, path)
        return _in_three_dimensions(reader.Execute())
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read as an image; it is damaged, incomplete or of an unknown format.") from error


def _require_scalar_volume(reader: sitk.ImageFileReader, path: Path) -> None:
    size = reader.GetSize()
    if reader.GetNumberOfComponents() != 1:
        raise InputError(f"{path} holds {reader.GetNumberOfComponents()} values a voxel (a colour or vector image); a scan with one is needed.")
    if len(size) < 3 or any(length != 1 for length in size[3:]):
        raise InputError(f"{path} is an image of {describe_size(size)}; a three-dimensional scan is needed.")


def _in_three_dimensions(image: sitk.Image) -> sitk.Image:
    return image if image.GetDimension() == 3 else image[:, :, :, 0]
