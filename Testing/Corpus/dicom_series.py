"""DICOM folders: what lies in them together, slices too many or too few, other modalities."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage, SecondaryCaptureImageStorage

from Testing.Corpus.dicom_damage import with_values
from Testing.Corpus.dicom_files import SERIES, STORED_OFFSET, file_of, save, slice_of, stored, write_dicom
from Testing.Corpus.patients import AXIAL, STANDARD, Patient, grid_of, scanned
from Testing.Corpus.registry import Family

DICOM_SERIES = Family("DICOM series")
OTHER_SERIES = f"{SERIES[:-2]}.2"
MIDDLE = 20
# A field of view as small as that of cone-beam scanners on a therapy linac's gantry, which still shows both kidneys.
CONE_BEAM = grid_of((50, 42, 34))


@DICOM_SERIES.refused("two series in a folder", "arterial and venous phase side by side", "holds 2 DICOM series; choose one")
def two_series(folder: Path) -> Path:
    write_dicom(folder / "ct")
    return write_dicom(folder / "ct", series=OTHER_SERIES)


@DICOM_SERIES.right("one series of two", "a file of the series that is meant, of a folder with two")
def one_of_two(folder: Path) -> Path:
    write_dicom(folder / "ct", with_values(None, PixelData=bytes(2 * 68 * 48)), series=OTHER_SERIES)
    return file_of(write_dicom(folder / "ct"), MIDDLE)


@DICOM_SERIES.refused("two phases in one series", "every position twice, with different pixels", "at a position already taken")
def two_phases(folder: Path) -> Path:
    write_dicom(folder / "ct")
    (folder / "ct").rename(folder / "venous")
    write_dicom(folder / "ct")
    for path in (folder / "venous").iterdir():
        path.rename(folder / "ct" / f"venous-{path.name}")
    return folder / "ct"


@DICOM_SERIES.refused("a slice twice", "a copy of one file under another name", "has 1 slices at a position already taken")
def copied_slice(folder: Path) -> Path:
    path = file_of(write_dicom(folder / "ct"), MIDDLE)
    shutil.copy(path, path.with_name("copy.dcm"))
    return folder / "ct"


@DICOM_SERIES.refused("a slice missing", "from the middle of the scan", "missing or unevenly spaced slices")
def missing_slice(folder: Path) -> Path:
    file_of(write_dicom(folder / "ct"), MIDDLE).unlink()
    return folder / "ct"


@DICOM_SERIES.refused("many slices missing", "a third of them, here and there", "missing or unevenly spaced slices")
def missing_slices(folder: Path) -> Path:
    write_dicom(folder / "ct")
    for index in np.random.default_rng(1).permutation(48)[:16]:
        file_of(folder / "ct", int(index)).unlink()
    return folder / "ct"


@DICOM_SERIES.refused("changing slice thickness", "5 mm through the liver, 10 mm below", "missing or unevenly spaced slices")
def changing_thickness(folder: Path) -> Path:
    write_dicom(folder / "ct")
    for index in range(1, 20, 2):
        file_of(folder / "ct", index).unlink()
    return folder / "ct"


@DICOM_SERIES.refused("gantry tilt", "slices tilted by 12 degrees, each moved along the table", "a gantry tilt of 12.0 degrees")
def gantry_tilt(folder: Path) -> Path:
    cosine, sine = np.cos(np.radians(12)), np.sin(np.radians(12))

    def tilt(_: int, data: Dataset) -> None:
        data.ImageOrientationPatient = [f"{value:.6f}" for value in (1, 0, 0, 0, cosine, sine)]

    return write_dicom(folder / "ct", tilt)


@DICOM_SERIES.refused("mixed sizes", "the upper half with 68 x 48 pixels, the lower one with 68 x 24", "slices of different sizes")
def mixed_sizes(folder: Path) -> Path:
    def shorten(index: int, data: Dataset) -> None:
        if index < MIDDLE:
            data.Rows, data.PixelData = 24, stored(data)[:24].tobytes()

    return write_dicom(folder / "ct", shorten)


@DICOM_SERIES.refused("mixed pixel spacings", "one slice reconstructed with another field of view", "slices of different pixel spacings")
def mixed_spacings(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(MIDDLE, PixelSpacing=["4", "4"]))


@DICOM_SERIES.refused("mixed orientations", "a sagittal slice among axial ones", "slices of different orientations")
def mixed_orientations(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(MIDDLE, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))


def scout(folder: Path, series: str, *, said: bool) -> Path:
    """A coronal localizer; `said` when its image type says what it is."""
    data = slice_of(0, scanned()[:, 20, :], grid_of((68, 48, 1)), series)
    data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if said else "AXIAL"]
    data.ImageOrientationPatient, data.SOPInstanceUID = [1, 0, 0, 0, 0, -1], f"{series}.999"
    folder.mkdir(exist_ok=True)
    save(data, folder / "scout.dcm")
    return folder


@DICOM_SERIES.right("scout beside the scan", "a localizer in a series of its own, in the same folder")
def scout_beside(folder: Path) -> Path:
    return scout(write_dicom(folder / "ct"), OTHER_SERIES, said=True)


@DICOM_SERIES.right("scout in the scan's series", "a localizer among the slices")
def scout_within(folder: Path) -> Path:
    return scout(write_dicom(folder / "ct"), SERIES, said=True)


@DICOM_SERIES.refused("scout that does not say so", "a coronal picture among the slices, marked as one of them", "different orientations")
def scout_unsaid(folder: Path) -> Path:
    return scout(write_dicom(folder / "ct"), SERIES, said=False)


@DICOM_SERIES.refused("scout alone", "a folder with nothing but a localizer", "holds no DICOM slices")
def scout_alone(folder: Path) -> Path:
    return scout(folder / "ct", SERIES, said=True)


@DICOM_SERIES.refused("one slice", "a key image", "only one slice")
def one_slice(folder: Path) -> Path:
    return write_dicom(folder / "ct", grid=grid_of((68, 48, 1)))


@DICOM_SERIES.refused("three slices", "of 5 mm", "is too small")
def three_slices(folder: Path) -> Path:
    return write_dicom(folder / "ct", grid=grid_of((68, 48, 3)))


@DICOM_SERIES.right("what else lies in a folder", "PET slices, a report, a screen shot, notes, and what a Mac leaves behind")
def among_others(folder: Path) -> Path:
    write_dicom(folder / "ct")
    write_dicom(folder / "ct", with_values(None, Modality="PT", SOPClassUID=PositronEmissionTomographyImageStorage), series=OTHER_SERIES)
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID, report.Modality = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.9", "SR"
    report.StudyInstanceUID, report.SeriesInstanceUID = "1.2.3", f"{SERIES}.8"
    save(report, folder / "ct" / "report.dcm")
    save(screen_shot(0), folder / "ct" / "screen.dcm")
    (folder / "ct" / "notes.txt").write_text("the patient was breathing", encoding="utf-8")
    (folder / "ct" / "._0001.dcm").write_bytes(b"\0\5\x16\7Mac OS X")
    return folder / "ct"


def screen_shot(index: int) -> Dataset:
    """A picture in color, without a place."""
    data = slice_of(index, scanned()[0], AXIAL, f"{SERIES}.9")
    data.SOPClassUID, data.Modality, data.ImageType = SecondaryCaptureImageStorage, "OT", ["DERIVED", "SECONDARY"]
    del data.ImagePositionPatient, data.ImageOrientationPatient, data.RescaleSlope, data.RescaleIntercept
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = bytes(3 * data.Rows * data.Columns)
    return data


@DICOM_SERIES.refused("color pictures", "screen shots only", "holds no DICOM slices")
def color(folder: Path) -> Path:
    (folder / "ct").mkdir()
    for index in range(5):
        data = screen_shot(index)
        data.SOPInstanceUID = f"{SERIES}.9.{index + 1}"
        save(data, folder / "ct" / f"{index}.dcm")
    return folder / "ct"


@DICOM_SERIES.refused("color slices", "the slices in RGB, as viewers export them", "holds no DICOM slices")
def color_slices(folder: Path) -> Path:
    def paint(_: int, data: Dataset) -> None:
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data.PixelData = bytes(3 * data.Rows * data.Columns)

    return write_dicom(folder / "ct", paint)


@DICOM_SERIES.refused("multi-frame", "an Enhanced CT: all slices in one file", "one file of 48 frames")
def multi_frame(folder: Path) -> Path:
    data = slice_of(0, scanned()[0], AXIAL, SERIES)
    data.SOPClassUID, data.NumberOfFrames = EnhancedCTImageStorage, 48
    data.PixelData = (scanned() + STORED_OFFSET).astype("<u2").tobytes()
    (folder / "ct").mkdir()
    save(data, folder / "ct" / "enhanced.dcm")
    return folder / "ct"


@DICOM_SERIES.refused("a folder of other things", "text and pictures", "holds no DICOM slices")
def other_things(folder: Path) -> Path:
    (folder / "ct").mkdir()
    (folder / "ct" / "letter.txt").write_text("Dear radiologist", encoding="utf-8")
    (folder / "ct" / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder / "ct"


@DICOM_SERIES.refused("a folder of folders", "the series lie one level below", "holds no DICOM slices")
def folders(folder: Path) -> Path:
    (folder / "study").mkdir()
    write_dicom(folder / "study" / "ct")
    return folder / "study"


@DICOM_SERIES.refused("magnetic resonance", "MR slices: signal from 0 to 800", "hardly a value below zero")
def magnetic_resonance(folder: Path) -> Path:
    def measure(_: int, data: Dataset) -> None:
        signal = np.where(stored(data) < 500, 5, stored(data) // 3)
        data.PixelData, data.Modality, data.SOPClassUID = signal.astype("<u2").tobytes(), "MR", MRImageStorage
        del data.RescaleSlope, data.RescaleIntercept

    return write_dicom(folder / "mr", measure)


@DICOM_SERIES.refused("emission tomography", "PET slices in Bq/ml, each with its own rescale", "no CT in Hounsfield units")
def emission(folder: Path) -> Path:
    def measure(index: int, data: Dataset) -> None:
        data.Modality, data.SOPClassUID = "PT", PositronEmissionTomographyImageStorage
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = f"{60 + index}", "0", "BQML"

    return write_dicom(folder / "pet", measure)


@DICOM_SERIES.warned("another modality", "Hounsfield units, but the header says XA", "says that it is XA, not CT")
def other_modality(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(None, Modality="XA"))


@DICOM_SERIES.warned(
    "another unit", "an iodine map of a dual-energy scanner: mg/ml where Hounsfield units are expected", "values are MGML, not Hounsfield units"
)
def other_unit(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(None, RescaleType="MGML"))


@DICOM_SERIES.warned("cone beam", "a small field of view and little length, as on a linac's gantry", "says that it is XA, not CT")
def cone_beam(folder: Path) -> Path:
    narrow = Patient(STANDARD.kidneys, STANDARD.tumors)
    return write_dicom(folder / "ct", with_values(None, Modality="XA"), CONE_BEAM, narrow)


@DICOM_SERIES.refused(
    "cone beam without calibration", "cone-beam values that are no Hounsfield units: air at 0, water at 900", "without the rescale intercept"
)
def uncalibrated(folder: Path) -> Path:
    def scale(_: int, data: Dataset) -> None:
        data.PixelData = (stored(data) * np.float32(0.9)).astype("<u2").tobytes()
        del data.RescaleSlope, data.RescaleIntercept

    return write_dicom(folder / "ct", scale)
