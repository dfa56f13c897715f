"""DICOM series written slice by slice with pydicom, so that any slice can be changed before it is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from Testing.Corpus.patients import AXIAL, STANDARD, Grid, Patient, scanned

# What CT scanners add to store unsigned numbers.
STORED_OFFSET = 1024
SERIES = "1.2.826.0.1.3680043.8.498.1"
# Changes a slice, told by its index along the scan.
Change = Callable[[int, Dataset], None]


def unchanged(_: int, __: Dataset) -> None:
    """Every slice as it should be."""


def write_dicom(
    folder: Path,
    change: Change = unchanged,
    grid: Grid = AXIAL,
    patient: Patient = STANDARD,
    series: str = SERIES,
    syntax: UID = ExplicitVRLittleEndian,
) -> Path:
    """The patient as a folder of slices, whose names run against their positions as those of archives do."""
    folder.mkdir(exist_ok=True)
    for index, hu in enumerate(scanned(patient, grid)):
        data = slice_of(index, hu, grid, series)
        change(index, data)
        save(data, file_of(folder, index, grid, series), syntax)
    return folder


def file_of(folder: Path, index: int, grid: Grid = AXIAL, series: str = SERIES) -> Path:
    """Where the slice of that index is written."""
    return folder / f"{series.rsplit('.', 1)[-1]}-{grid.size[2] - index:04d}.dcm"


def slice_of(index: int, hu: NDArray[np.int16], grid: Grid, series: str) -> Dataset:
    """The slice as a CT scanner writes it."""
    rows, columns = hu.shape
    x, y, _ = grid.spacing
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, f"{series}.{index + 1}"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.PatientName = "1.2.3", series, "Roe^Richard"
    data.Modality, data.SeriesDescription, data.ImageType = "CT", "Abdomen", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Rows, data.Columns, data.PixelSpacing = rows, columns, [f"{y:.6g}", f"{x:.6g}"]
    data.ImageOrientationPatient = [f"{value:.6f}" for value in grid.directions[:, :2].T.ravel()]
    data.ImagePositionPatient = [f"{value:.4f}" for value in grid.origin + index * grid.affine[:3, 2]]
    data.RescaleSlope, data.RescaleIntercept = 1, -STORED_OFFSET
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = (hu + STORED_OFFSET).astype("<u2").tobytes()
    return data


def stored(data: Dataset) -> NDArray[np.uint16]:
    """The slice's pixels (rows, columns) as they are stored."""
    return np.frombuffer(data.PixelData, "<u2").reshape(data.Rows, data.Columns)


def save(data: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> None:
    """Write one file with its preamble."""
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, data, enforce_file_format=True)
