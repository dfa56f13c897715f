"""Finding and reading the series in a DICOM folder."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from KidneyTumorCascadeLib.errors import InputError


def find_series_of(path: Path) -> str | None:
    """The series UID of a DICOM file; None for any other file."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return None
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    reader.ReadImageInformation()
    return str(reader.GetMetaData("0020|000e")).strip()


def read_series(folder: Path, series: str | None = None) -> tuple[sitk.Image, list[str]]:
    """The image of a DICOM series, sorted by position, and warnings."""
    found = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not found:
        raise InputError(f"The folder {folder} holds no DICOM series; give the folder with the slices, or an image file.")
    if series is None and len(found) > 1:
        raise InputError(f"The folder {folder} holds {len(found)} DICOM series; give a file of the one that is meant.")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series or found[0]))
    return reader.Execute(), []
