"""DICOM series: slices go where the scanner says they are, with its values, and a folder that cannot be trusted is refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from KidneyTumorCascadeLib.dicom_lengths import lengths_fit
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.volume import read_scan, read_volume

ROWS, COLUMNS, SLICES = 12, 16, 9
STEP, PIXEL_SPACING = 2.5, (0.8, 0.7)  # between rows, between columns
Change = Callable[[int, Dataset], None]


def stored(index: int) -> np.ndarray:
    """The raw pixels of a slice, each different."""
    return (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) + 500 * index).astype(np.uint16)


def axes(angle: float = 0.0) -> np.ndarray:
    """Rows: along a row, down a column, normal; turned about the left-right axis."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])


def one_slice(index: int, series: str, angle: float) -> Dataset:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", series
    data.Modality, data.SeriesDescription, data.ImageType = "CT", f"Series {series}", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Rows, data.Columns, data.PixelSpacing = ROWS, COLUMNS, list(PIXEL_SPACING)
    turned = np.round(axes(angle), 6)
    data.ImageOrientationPatient = turned[:2].ravel().tolist()
    data.ImagePositionPatient = np.round(np.array([-100.0, -50.0, 30.0]) + index * STEP * turned[2], 4).tolist()
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = stored(index).tobytes()
    return data


def save(data: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> None:
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, data, enforce_file_format=True)


def write_series(folder: Path, change: Change | None = None, *, series: str = "1.2.3.1", count: int = SLICES, angle: float = 0.0) -> Path:
    """A series whose file names run against the positions of its slices; `change` alters a slice before it is written."""
    folder.mkdir(exist_ok=True)
    for index in range(count):
        data = one_slice(index, series, angle)
        if change is not None:
            change(index, data)
        save(data, folder / f"{series}-{count - index:03d}.dcm")
    return folder


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_volume(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("angle", [0.0, 25.0, -60.0])
def test_slices_go_where_their_positions_say(angle: float, tmp_path: Path) -> None:
    volume, warnings = read_scan(write_series(tmp_path / "ct", angle=angle))
    assert warnings == []
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels, [stored(index).astype(int) - 1024 for index in range(SLICES)])
    assert volume.geometry.size == (COLUMNS, ROWS, SLICES)
    np.testing.assert_allclose(volume.geometry.spacing, (0.7, 0.8, 2.5), atol=1e-3)
    np.testing.assert_allclose(volume.geometry.origin, (-100, -50, 30))
    np.testing.assert_allclose(volume.geometry.axes, axes(angle).T, atol=1e-6)


def test_a_reversed_row_direction_is_kept(tmp_path: Path) -> None:
    """Rows that run from left to right give a normal that points down: the slices are sorted along it."""

    def mirror(_: int, data: Dataset) -> None:
        data.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]

    volume = read_volume(write_series(tmp_path / "ct", mirror))
    np.testing.assert_array_equal(volume.voxels[0], stored(SLICES - 1).astype(int) - 1024)
    np.testing.assert_allclose(volume.geometry.origin, (-100, -50, 30 + STEP * (SLICES - 1)))
    view = volume.in_lps_order()
    np.testing.assert_array_equal(view.voxels[0], stored(0)[:, ::-1].astype(int) - 1024)


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    """Half steps and large values of later slices survive although the first slice is of whole numbers."""

    def rescale(index: int, data: Dataset) -> None:
        data.RescaleSlope, data.RescaleIntercept = [(1, -1024), (0.5, 10.25), (20, 0)][index % 3]

    voxels = read_volume(write_series(tmp_path / "ct", rescale)).voxels
    assert voxels.dtype == np.float32
    for index in range(SLICES):
        slope, intercept = [(1, -1024), (0.5, 10.25), (20, 0)][index % 3]
        np.testing.assert_array_equal(voxels[index], stored(index).astype(float) * slope + intercept)


def test_a_missing_rescale_leaves_the_values(tmp_path: Path) -> None:
    def remove(_: int, data: Dataset) -> None:
        del data.RescaleSlope, data.RescaleIntercept

    np.testing.assert_array_equal(read_volume(write_series(tmp_path / "ct", remove)).voxels[2], stored(2))


@pytest.mark.parametrize("kind", ["implicit", "rle", "without preamble"])
def test_other_encodings_are_read(kind: str, tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct")
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        if kind == "rle":
            data.compress(RLELossless)
            data.save_as(path)
        elif kind == "implicit":
            save(data, path, ImplicitVRLittleEndian)
        else:
            plain = Dataset(data)
            pydicom.dcmwrite(path, plain, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(read_volume(folder).voxels[3], stored(3).astype(int) - 1024)


def test_what_lies_beside_the_slices_is_left_out(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct")

    def scout(_: int, data: Dataset) -> None:
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    write_series(folder, scout, series="1.2.3.7", count=1)
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID, report.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.9", "1.2.3.8"
    report.StudyInstanceUID, report.Modality = "1.2.3", "SR"
    save(report, folder / "report.dcm")
    (folder / "notes.txt").write_text("the patient was breathing")
    (folder / "empty").touch()
    (folder / "sub").mkdir()
    assert read_volume(folder).geometry.size == (COLUMNS, ROWS, SLICES)
    assert "no slice of a scan" in refusal(folder / "report.dcm")


def test_of_several_modalities_the_ct_is_taken(tmp_path: Path) -> None:
    def emission(_: int, data: Dataset) -> None:
        data.Modality = "PT"

    folder = write_series(tmp_path / "both")
    write_series(folder, emission, series="1.2.3.2", count=5)
    assert read_volume(folder).geometry.size[2] == SLICES


def test_of_several_series_one_is_chosen_by_a_file_of_it(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "both")
    write_series(folder, series="1.2.3.2", count=5)
    message = refusal(folder)
    for part in ("2 DICOM series", '"Series 1.2.3.1", 9 slices', '"Series 1.2.3.2", 5 slices', str(folder / "1.2.3.2-001.dcm")):
        assert part in message
    assert read_volume(folder / "1.2.3.1-004.dcm").geometry.size[2] == 9
    assert read_volume(folder / "1.2.3.2-001.dcm").geometry.size[2] == 5


def test_a_description_cannot_break_the_line(tmp_path: Path) -> None:
    def describe(_: int, data: Dataset) -> None:
        data.SeriesDescription = 'Abdomen "1.0"\n\x1b[31m'

    folder = write_series(tmp_path / "both", describe)
    write_series(folder, describe, series="1.2.3.2")
    message = refusal(folder)
    assert '"Abdomen 1.0 [31m"' in message


def test_another_modality_is_a_warning(tmp_path: Path) -> None:
    def magnetic(_: int, data: Dataset) -> None:
        data.Modality, data.SOPClassUID = "MR", MRImageStorage

    _, warnings = read_scan(write_series(tmp_path / "mr", magnetic))
    assert warnings == ["The DICOM series says that it is MR, not CT; the result cannot be trusted."], "and no name of the patient's"


def at_slice(number: int, **fields: object) -> Change:
    """A change of some fields of one slice."""

    def change(index: int, data: Dataset) -> None:
        if index == number:
            for name, value in fields.items():
                setattr(data, name, value)

    return change


def tilted(index: int, data: Dataset) -> None:
    """A gantry tilt: the slices follow the table, not their normal."""
    data.ImageOrientationPatient = axes(12.0)[:2].ravel().round(6).tolist()
    data.ImagePositionPatient = [-100, -50, 30 + index * STEP]


def mixed_size(index: int, data: Dataset) -> None:
    if index == 4:
        data.Rows, data.PixelData = ROWS // 2, stored(index)[: ROWS // 2].tobytes()


def in_color(index: int, data: Dataset) -> None:
    if index == 4:
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data.PixelData = bytes(ROWS * COLUMNS * 3)


def moved_apart(index: int, data: Dataset) -> None:
    data.ImagePositionPatient = [-100, -50, 30 + STEP * (index + 3 * (index > 5))]


def compressed_end(index: int, data: Dataset) -> None:
    data.ImagePositionPatient = [-100, -50, 30 + STEP * min(index, 7 + 0.6 * (index - 7))]


REFUSED: dict[str, tuple[Change, str]] = {
    "gap": (moved_apart, "missing or unevenly spaced slices: between .* lie 10 mm, elsewhere 2.5 mm"),
    "uneven": (compressed_end, "missing or unevenly spaced"),
    "repeated": (at_slice(3, ImagePositionPatient=[-100, -50, 30 + 4 * STEP]), "1 slices at a position already taken"),
    "tilt": (tilted, "gantry tilt of 12.0 degrees"),
    "moved": (at_slice(8, ImagePositionPatient=[-90, -50, 30 + 8 * STEP]), "shifted by up to 10.0 mm"),
    "size": (mixed_size, "different sizes .16 x 12, 16 x 6."),
    "spacing": (at_slice(4, PixelSpacing=[0.9, 0.7]), "different pixel spacings"),
    "zero spacing": (at_slice(4, PixelSpacing=[0, 0.7]), "pixel spacing of 0 x 0.7 mm"),
    "orientation": (at_slice(4, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "different orientations"),
    "sheared": (at_slice(4, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "not at right angles"),
    "no position": (at_slice(4, ImagePositionPatient=None), "without position"),
    "no orientation": (at_slice(4, ImageOrientationPatient=None), "without position"),
    "no spacing": (at_slice(4, PixelSpacing=None), "without position, orientation or pixel spacing"),
    "slope": (at_slice(4, RescaleSlope=0), "rescale slope or intercept is impossible"),
    "color": (in_color, "color pictures"),
}


@pytest.mark.parametrize(("change", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_series_that_cannot_be_trusted_is_refused(change: Change, why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why) as error:
        read_volume(write_series(tmp_path / "ct", change))
    assert str(tmp_path / "ct") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_slice_is_noticed(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct")
    (folder / "1.2.3.1-004.dcm").unlink()
    message = refusal(folder)
    assert "between 1.2.3.1-005.dcm and 1.2.3.1-003.dcm lie 5 mm, elsewhere 2.5 mm" in message


def test_rounded_positions_are_no_gap(tmp_path: Path) -> None:
    def round_off(index: int, data: Dataset) -> None:
        data.ImagePositionPatient = [-100, -50, round(30 + index * 0.625, 1)]

    np.testing.assert_allclose(read_volume(write_series(tmp_path / "ct", round_off)).geometry.spacing[2], 0.625)


def test_one_slice_is_no_scan(tmp_path: Path) -> None:
    assert "only one slice" in refusal(write_series(tmp_path / "ct", count=1))


def test_a_file_of_several_frames_is_refused(tmp_path: Path) -> None:
    def frames(_: int, data: Dataset) -> None:
        data.NumberOfFrames, data.PixelData = 4, data.PixelData * 4

    assert "one file of 4 frames" in refusal(write_series(tmp_path / "ct", frames, count=1))


@pytest.mark.parametrize("number", [4, 1])
@pytest.mark.parametrize("kept", [140, 200, 400, 0.5, 0.97])
def test_a_damaged_slice_is_named(kept: float, number: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Also the last slice along the patient, whose loss would leave no gap."""
    path = write_series(tmp_path / "ct") / f"1.2.3.1-{number:03d}.dcm"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    capfd.readouterr()
    message = refusal(tmp_path / "ct")
    assert f"{path} is damaged or incomplete" in message
    assert capfd.readouterr() == ("", ""), "only the sentence reaches the user"


def with_length(content: bytes, field: bytes, length: int) -> bytes:
    """The same file, in which a field (tag and type) of short length is of a type with a long one and says that it is so long."""
    at = content.index(field)
    return content[:at] + field[:4] + b"UN\0\0" + length.to_bytes(4, "little") + content[at + 8 :]


@pytest.mark.parametrize("length", [2**31, 2**32 - 2])
@pytest.mark.parametrize("field", [b"\x08\0\x60\0CS", b"\x20\0\x32\0DS"])
def test_a_length_beyond_the_file_costs_no_memory(field: bytes, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_series(tmp_path / "ct") / "1.2.3.1-004.dcm"
    path.write_bytes(with_length(path.read_bytes(), field, length))
    assert not lengths_fit(path)
    read: list[str] = []
    real: Callable[[sitk.ImageFileReader], None] = sitk.ImageFileReader.ReadImageInformation

    def noted(reader: sitk.ImageFileReader) -> None:
        read.append(reader.GetFileName())
        real(reader)

    monkeypatch.setattr(sitk.ImageFileReader, "ReadImageInformation", noted)
    assert f"{path} is damaged or incomplete" in refusal(tmp_path / "ct")
    assert read, "nothing was read at all"
    assert str(path) not in read, "the reader would take the memory, and keep it"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_lengths_of_good_files_fit(syntax: UID, tmp_path: Path) -> None:
    """Also within sequences of known and unknown length, private fields, and without a preamble."""
    data = one_slice(0, "1.2.3.1", 0.0)
    inner = Dataset()
    inner.ReferencedSOPInstanceUID, inner.is_undefined_length_sequence_item = "1.2.3", True
    outer = Dataset()
    outer.ReferencedImageSequence, outer.PatientID = [inner, inner], "x"
    data.RequestAttributesSequence, data.ReferencedStudySequence = [outer, outer], [inner]
    data["ReferencedStudySequence"].is_undefined_length = True
    data.private_block(0x0029, "maker", create=True).add_new(1, "UN", b"\xff" * 70_000)
    if syntax == ExplicitVRBigEndian:
        data["PixelData"].VR = "OW"
    save(data, tmp_path / "a.dcm", syntax)
    content = (tmp_path / "a.dcm").read_bytes()
    assert lengths_fit(tmp_path / "a.dcm")
    (tmp_path / "b.dcm").write_bytes(content[132:])
    assert lengths_fit(tmp_path / "b.dcm")
    order: Literal["little", "big"] = "big" if syntax == ExplicitVRBigEndian else "little"
    # The length of the private field, deep in the file: whoever loses the way does not see it.
    at = content.index((70_000).to_bytes(4, order))
    (tmp_path / "c.dcm").write_bytes(content[:at] + (2**30).to_bytes(4, order) + content[at + 4 :])
    assert not lengths_fit(tmp_path / "c.dcm")


@pytest.mark.parametrize("length", range(0, 140, 7))
def test_the_first_bytes_alone_have_no_lengths(length: int, tmp_path: Path) -> None:
    (write_series(tmp_path / "ct", count=1) / "1.2.3.1-001.dcm").rename(tmp_path / "a.dcm")
    (tmp_path / "b.dcm").write_bytes((tmp_path / "a.dcm").read_bytes()[:length])
    assert lengths_fit(tmp_path / "b.dcm")


def test_pixels_in_an_unknown_compression_are_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    assert refusal(folder)


@pytest.mark.parametrize("content", [None, "text"])
def test_a_folder_without_slices_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "notes.txt").write_text(content)
    assert "holds no DICOM slices" in refusal(tmp_path)


def test_a_folder_that_may_not_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "cannot be read (Permission denied)" in refusal(tmp_path)
