"""DICOM series with damaged files and impossible headers."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from Testing.Corpus.dicom_files import Change, file_of, stored, write_dicom
from Testing.Corpus.registry import Family

DICOM_DAMAGE = Family("DICOM files")
SLICES, MIDDLE, LAST = 48, 20, 47


def with_values(index: int | None, **values: object) -> Change:
    """A change of some fields of one slice, or of all."""

    def change(number: int, data: Dataset) -> None:
        if index in (None, number):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pydicom's doubts about the values, which are what the kind is about
                for name, value in values.items():
                    setattr(data, name, value)

    return change


@DICOM_DAMAGE.right("dicom plain", "a folder of slices whose names run against their positions")
def plain(folder: Path) -> Path:
    return write_dicom(folder / "ct")


@DICOM_DAMAGE.right("dicom implicit", "implicit value representations, little-endian")
def implicit(folder: Path) -> Path:
    return write_dicom(folder / "ct", syntax=ImplicitVRLittleEndian)


@DICOM_DAMAGE.right("dicom deflated", "the whole file compressed")
def deflated(folder: Path) -> Path:
    return write_dicom(folder / "ct", syntax=DeflatedExplicitVRLittleEndian)


@DICOM_DAMAGE.right("dicom big-endian", "the byte order of old workstations")
def big_endian(folder: Path) -> Path:
    def swap(_: int, data: Dataset) -> None:
        data.PixelData = stored(data).astype(">u2").tobytes()
        data["PixelData"].VR = "OW"

    return write_dicom(folder / "ct", swap, syntax=ExplicitVRBigEndian)


@DICOM_DAMAGE.right("dicom run-length encoded", "pixels compressed without loss")
def run_length(folder: Path) -> Path:
    write_dicom(folder / "ct")
    for path in (folder / "ct").iterdir():
        data = pydicom.dcmread(path)
        data.compress(RLELossless)
        data.save_as(path)
    return folder / "ct"


def jpeg(folder: Path, kind: str) -> Path:
    """The series with its pixels compressed by ITK, which is all that it does to them."""
    packed = folder / "packed.dcm"
    for path in write_dicom(folder / "ct").iterdir():
        data = pydicom.dcmread(path)
        writer = sitk.ImageFileWriter()
        writer.UseCompressionOn()
        writer.SetCompressor(kind)
        writer.SetFileName(str(packed))
        writer.Execute(sitk.GetImageFromArray(stored(data)[None]))
        made = pydicom.dcmread(packed)
        data.PixelData = encapsulate(list(generate_frames(made.PixelData, number_of_frames=1)))
        data.file_meta.TransferSyntaxUID = made.file_meta.TransferSyntaxUID
        data.save_as(path)
    packed.unlink()
    return folder / "ct"


@DICOM_DAMAGE.right("dicom in lossless JPEG", "as most archives compress")
def lossless_jpeg(folder: Path) -> Path:
    return jpeg(folder, "JPEG")


@DICOM_DAMAGE.right("dicom in JPEG 2000", "as newer archives compress")
def jpeg_2000(folder: Path) -> Path:
    return jpeg(folder, "JPEG2000")


@DICOM_DAMAGE.refused("dicom in lossless JPEG cut short", "a slice that lost its last pixels", "is damaged or incomplete")
def jpeg_cut(folder: Path) -> Path:
    return shortened(jpeg(folder, "JPEG"))


@DICOM_DAMAGE.refused("dicom in JPEG 2000 cut short", "a slice that lost its last pixels", "is damaged or incomplete")
def jpeg_2000_cut(folder: Path) -> Path:
    return shortened(jpeg(folder, "JPEG2000"))


def shortened(series: Path) -> Path:
    """The series with a slice that lacks its last 40 bytes."""
    path = file_of(series, MIDDLE)
    path.write_bytes(path.read_bytes()[:-40])
    return series


@DICOM_DAMAGE.right("dicom without preamble", "as files were before 1993's part 10")
def without_preamble(folder: Path) -> Path:
    write_dicom(folder / "ct")
    for path in (folder / "ct").iterdir():
        pydicom.dcmwrite(path, Dataset(pydicom.dcmread(path)), implicit_vr=True, little_endian=True)
    return folder / "ct"


def cut(folder: Path, index: int, kept: float) -> Path:
    path = file_of(write_dicom(folder / "ct"), index)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    return folder / "ct"


@DICOM_DAMAGE.refused("dicom slice cut short", "a slice that lost its last pixels", "is damaged or incomplete")
def cut_pixels(folder: Path) -> Path:
    return cut(folder, MIDDLE, 0.9)


@DICOM_DAMAGE.refused("dicom slice cut in its header", "nothing left but the first fields", "is damaged or incomplete")
def cut_header(folder: Path) -> Path:
    return cut(folder, MIDDLE, 0.04)


@DICOM_DAMAGE.refused("dicom last slice cut short", "whose loss would leave no gap", "is damaged or incomplete")
def cut_last(folder: Path) -> Path:
    return cut(folder, LAST, 0.5)


@DICOM_DAMAGE.refused("dicom last slice empty", "a file of no bytes, whose loss would leave no gap", "is damaged or incomplete")
def empty_last(folder: Path) -> Path:
    return cut(folder, LAST, 0.0)


@DICOM_DAMAGE.refused(
    "dicom with a wrong magic", "a flipped bit in DICM of the last slice, whose loss would leave no gap", "is damaged or incomplete"
)
def wrong_magic(folder: Path) -> Path:
    path = file_of(write_dicom(folder / "ct"), LAST)
    path.write_bytes(path.read_bytes().replace(b"DICM", b"DISM", 1))
    return folder / "ct"


def replaced(folder: Path, old: bytes, new: bytes, index: int = MIDDLE) -> Path:
    """A series with other bytes in one of its files."""
    path = file_of(write_dicom(folder / "ct"), index)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return folder / "ct"


@DICOM_DAMAGE.refused("dicom with a flipped bit in its encoding", "a transfer syntax that does not exist", "damaged")
def flipped_syntax(folder: Path) -> Path:
    return replaced(folder, b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.3\0")


@DICOM_DAMAGE.refused("dicom with a flipped bit in a field's length", "the fields behind it cannot be found", "damaged")
def flipped_length(folder: Path) -> Path:
    return replaced(folder, b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00US\x02\x08")


@DICOM_DAMAGE.refused("dicom with a flipped bit in its rows", "one slice says that it is 112 rows high", "different sizes")
def flipped_rows(folder: Path) -> Path:
    return replaced(folder, b"\x28\x00\x10\x00US\x02\x00\x30\x00", b"\x28\x00\x10\x00US\x02\x00\x70\x00")


@DICOM_DAMAGE.refused("dicom with a flipped bit in a position", "one slice 38 mm away from its place", "missing or unevenly spaced slices")
def flipped_position(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(MIDDLE, ImagePositionPatient=["-167.5", "-117.5", "20.5"]))


@DICOM_DAMAGE.refused("dicom with a position that is no number", "1.2.3", "without position, orientation or pixel spacing")
def no_position(folder: Path) -> Path:
    return replaced(folder, b"-167.5000\\-117.5000\\", b"-167.5000\\-11.5.000\\")


@DICOM_DAMAGE.refused("dicom with a size of zero", "no rows", "damaged")
def zero_rows(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(None, Rows=0))


@DICOM_DAMAGE.refused("dicom with a huge size", "65,535 rows and columns in every slice, with pixels for 68 x 48", "is too large for a CT")
def huge_rows(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(None, Rows=65535, Columns=65535))


@DICOM_DAMAGE.refused("dicom with a pixel spacing of zero", "in one slice", "pixel spacing of 0 x 5 mm")
def zero_spacing(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(MIDDLE, PixelSpacing=["0", "5"]))


@DICOM_DAMAGE.refused("dicom with a negative pixel spacing", "in every slice", "pixel spacing of -5 x 5 mm")
def negative_spacing(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(None, PixelSpacing=["-5", "5"]))


@DICOM_DAMAGE.refused("dicom with a huge pixel spacing", "5 m", "too coarse for a kidney")
def huge_spacing(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(None, PixelSpacing=["5000", "5000"]))


@DICOM_DAMAGE.refused("dicom with a rescale slope of zero", "every pixel would have the same value", "rescale slope or intercept is impossible")
def zero_slope(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(MIDDLE, RescaleSlope="0"))


@DICOM_DAMAGE.refused("dicom with an infinite rescale slope", "1e400", "rescale slope or intercept is impossible")
def infinite_slope(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(None, RescaleSlope="1e400"))


@DICOM_DAMAGE.refused("dicom without rescale", "neither slope nor intercept, so that the values are raw", "without the rescale intercept")
def no_rescale(folder: Path) -> Path:
    def remove(_: int, data: Dataset) -> None:
        del data.RescaleSlope, data.RescaleIntercept

    return write_dicom(folder / "ct", remove)


@DICOM_DAMAGE.refused("dicom with wrapped values", "signed pixels declared unsigned: air is 64,536", "wrapped round")
def wrapped(folder: Path) -> Path:
    def wrap(_: int, data: Dataset) -> None:
        data.PixelData, data.RescaleIntercept = (stored(data) - np.uint16(1024)).tobytes(), 0

    return write_dicom(folder / "ct", wrap)


@DICOM_DAMAGE.right("dicom with graphics in the high bits", "12 bits of a pixel, and an overlay in the four above, as old scanners stored it")
def overlay_bits(folder: Path) -> Path:
    def draw(_: int, data: Dataset) -> None:
        data.BitsStored, data.HighBit = 12, 11
        pixels = stored(data).copy()
        pixels[::3] |= np.uint16(1 << 12)
        data.PixelData = pixels.tobytes()

    return write_dicom(folder / "ct", draw)


@DICOM_DAMAGE.refused("dicom inverted", "MONOCHROME1: dark for bright, which readers turn round before they rescale", "dark for bright")
def inverted(folder: Path) -> Path:
    return write_dicom(folder / "ct", with_values(None, PhotometricInterpretation="MONOCHROME1"))


@DICOM_DAMAGE.right("dicom with padding", "signed pixels, -2000 outside the round field of view")
def padded(folder: Path) -> Path:
    def pad(_: int, data: Dataset) -> None:
        pixels = stored(data).astype("<i2") - 1024
        pixels[:5], pixels[-5:] = -2000, -2000
        data.PixelData, data.PixelRepresentation, data.RescaleIntercept = pixels.tobytes(), 1, 0

    return write_dicom(folder / "ct", pad)
