"""Scans and label maps go through files without losing a voxel or a place, and no unusable file comes in or half a file comes out."""

from __future__ import annotations

import gc
import gzip
import itertools
import os
import re
import resource
import struct
import tracemalloc
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import SimpleITK as sitk

from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.geometry import Geometry, Matrix, as_matrix
from KidneyTumorCascadeLib.gzip_pieces import Inflated
from KidneyTumorCascadeLib.volume import Volume, read_label_map, read_scan, read_volume, require_writable, write_volume
from Testing.Corpus.nifti_files import write_nifti
from Testing.Corpus.patients import grid_of

WRITABLE = (".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha")


def orientations() -> list[Matrix]:
    """All 48 right- and left-handed ways to lay three axes along the patient's."""
    return [
        as_matrix(np.eye(3)[:, order] * np.array(signs))
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]


def oblique() -> Matrix:
    a, b = np.radians(20.0), np.radians(-35.0)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return as_matrix(about_z @ about_x)


def scan(direction: Matrix | None = None, dtype: str = "int16") -> Volume:
    """A small scan with values, sizes and spacings that differ along all axes."""
    voxels = np.random.default_rng(1).integers(0, 100, (9, 10, 12)).astype(dtype)
    geometry = Geometry((12, 10, 9), (0.7, 0.83, 2.5), (-211.3, 37.25, -1404.77))
    return Volume(voxels, geometry if direction is None else Geometry(geometry.size, geometry.spacing, geometry.origin, direction))


def refusal(path: Path) -> str:
    """The one sentence that refuses the file, which it must name."""
    with pytest.raises(InputError) as error:
        read_volume(path)
    message = str(error.value)
    assert path.stem.split(".")[0] in message
    assert "\n" not in message
    assert "ERROR" not in message, "no words of ITK's"
    return message


@pytest.mark.parametrize("ending", WRITABLE)
def test_a_scan_comes_back_as_it_was_written(ending: str, tmp_path: Path) -> None:
    before = scan(oblique())
    write_volume(before, tmp_path / f"scan{ending}")
    after = read_volume(tmp_path / f"scan{ending}")
    assert after.voxels.dtype == np.int16
    np.testing.assert_array_equal(after.voxels, before.voxels)
    assert after.geometry.matches(before.geometry, 1e-3)
    np.testing.assert_allclose(after.geometry.direction, before.geometry.direction, atol=1e-6)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_formats_with_double_precision_keep_the_geometry_to_the_last_bits(ending: str, tmp_path: Path) -> None:
    before = scan(oblique())
    write_volume(before, tmp_path / f"scan{ending}")
    assert before.geometry.matches(read_volume(tmp_path / f"scan{ending}").geometry, 1e-9)


@pytest.mark.parametrize("direction", orientations())
def test_labels_of_all_48_orientations_come_back_through_nifti(direction: Matrix, tmp_path: Path) -> None:
    before = scan(direction, "uint8")
    write_volume(before, tmp_path / "labels.nii.gz")
    after = read_label_map(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(after.voxels, before.voxels)
    assert after.geometry.matches(before.geometry, 1e-3)
    np.testing.assert_allclose(after.geometry.direction, direction, atol=1e-6)


def test_a_view_in_lps_order_is_written_as_it_is_seen(tmp_path: Path) -> None:
    view = scan(orientations()[17]).in_lps_order()
    write_volume(view, tmp_path / "view.nrrd")
    after = read_volume(tmp_path / "view.nrrd")
    np.testing.assert_array_equal(after.voxels, view.voxels)
    assert after.geometry.matches(view.geometry)


def test_lps_order_agrees_with_simpleitk(tmp_path: Path) -> None:
    for direction in orientations():
        volume = scan(direction)
        write_volume(volume, tmp_path / "scan.mha")
        expected = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "scan.mha")), "LPS")
        view = volume.in_lps_order()
        np.testing.assert_array_equal(view.voxels, sitk.GetArrayViewFromImage(expected))
        np.testing.assert_allclose(view.geometry.origin, expected.GetOrigin(), atol=1e-9)
        np.testing.assert_allclose(view.geometry.spacing, expected.GetSpacing())


def test_the_permuted_affines_of_kits19_come_out_right(shared_data: Path) -> None:
    path = shared_data / "kits_raw" / "case_00004_segmentation.nii.gz"
    view = read_label_map(path).in_lps_order()
    expected = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    np.testing.assert_array_equal(view.voxels, sitk.GetArrayViewFromImage(expected))
    np.testing.assert_allclose(view.geometry.origin, expected.GetOrigin(), atol=1e-6)
    assert view.geometry.spacing[0] == view.geometry.spacing[1] < 1.0
    _, y, x = np.nonzero(view.voxels[::2, ::8, ::8])
    assert 0.2 < (x < 32).mean() < 0.8, "a kidney on either side"
    assert y.mean() > 32, "kidneys lie in the back of the body"


def test_labels_keep_the_header_of_a_real_scan(shared_data: Path, tmp_path: Path) -> None:
    """The same affine and voxel sizes, number by number: other programs lay one over the other without resampling."""
    source = shared_data / "kits_raw" / "case_00011_segmentation.nii.gz"
    write_volume(read_label_map(source), tmp_path / "labels.nii.gz")
    before, after = (gzip.decompress(path.read_bytes())[:348] for path in (source, tmp_path / "labels.nii.gz"))
    assert struct.unpack_from("<3f", before, 80) == struct.unpack_from("<3f", after, 80)
    assert struct.unpack_from("<12f", before, 280) == struct.unpack_from("<12f", after, 280)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("uint8", "uint8"),
        ("int8", "int8"),
        ("int16", "int16"),
        ("uint16", "int16"),
        ("int32", "int16"),
        ("float32", "float32"),
        ("float64", "float32"),
        ("int64", "int16"),
    ],
)
def test_voxel_types_stay_small(stored: str, read: str, tmp_path: Path) -> None:
    volume = scan(dtype=stored)
    write_volume(volume, tmp_path / "scan.nrrd")
    after = read_volume(tmp_path / "scan.nrrd").voxels
    assert after.dtype == read
    np.testing.assert_array_equal(after, volume.voxels)


@pytest.mark.parametrize(
    ("stored", "value", "read"), [("uint16", 65_000, "int32"), ("int32", -70_000, "int32"), ("uint32", 4_000_000_000, "float32")]
)
def test_large_values_stay_what_they_are(stored: str, value: int, read: str, tmp_path: Path) -> None:
    write_volume(Volume(np.full((9, 10, 12), value, stored), scan().geometry), tmp_path / "scan.mha")
    after = read_volume(tmp_path / "scan.mha").voxels
    assert after.dtype == read
    assert (after == value).all()


def test_a_scan_is_held_once(tmp_path: Path) -> None:
    voxels = np.zeros((100, 100, 100), np.int16)
    write_volume(Volume(voxels, Geometry((100, 100, 100), (1, 1, 1))), tmp_path / "scan.nii.gz")
    tracemalloc.start()
    read_volume(tmp_path / "scan.nii.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * voxels.nbytes


def test_booleans_are_written_as_labels(tmp_path: Path) -> None:
    voxels = scan().voxels > 50
    write_volume(Volume(voxels, scan().geometry), tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(read_label_map(tmp_path / "mask.nii.gz").voxels, voxels)


def test_label_maps_may_be_stored_as_floats(tmp_path: Path) -> None:
    write_volume(scan(dtype="float32"), tmp_path / "labels.nrrd")
    assert read_label_map(tmp_path / "labels.nrrd").voxels.dtype == np.uint8


def test_labels_above_255_are_kept(tmp_path: Path) -> None:
    write_volume(Volume(scan().voxels + np.int16(300), scan().geometry), tmp_path / "labels.nrrd")
    labels = read_label_map(tmp_path / "labels.nrrd").voxels
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, scan().voxels + 300)


@pytest.mark.parametrize(
    ("value", "why"), [(0.5, "between whole numbers"), (-1.0, "from -1 to"), (70_000.0, "to 70000"), (np.nan, "nan"), (np.inf, "inf")]
)
def test_what_is_no_label_map_is_refused(value: float, why: str, tmp_path: Path) -> None:
    volume = scan(dtype="float32")
    volume.voxels[1, 2, 3] = value
    write_volume(volume, tmp_path / "scan.nrrd")
    with pytest.raises(InputError, match=why):
        read_label_map(tmp_path / "scan.nrrd")


@pytest.mark.parametrize("ending", WRITABLE)
def test_an_image_file_that_is_written_here_has_no_warnings(ending: str, tmp_path: Path) -> None:
    write_volume(scan(), tmp_path / f"scan{ending}")
    assert read_scan(str(tmp_path / f"scan{ending}"))[1] == []


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "no file or folder" in refusal(tmp_path / "nothing.nii.gz")


@pytest.mark.parametrize("ending", [*WRITABLE, ".dcm", ""])
def test_an_empty_file_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"empty{ending}"
    path.touch()
    assert "is empty" in refusal(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".hdf5"])
@pytest.mark.parametrize("part", [0.001, 0.02, 0.5, 0.98])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_cut_short_is_refused(ending: str, part: float, compressed: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"cut{ending}"
    noise = sitk.GetImageFromArray(np.random.default_rng(2).integers(-1000, 1000, (20, 20, 20)).astype(np.int16))
    sitk.WriteImage(noise, str(path), compressed)
    path.write_bytes(path.read_bytes()[: max(3, int(part * path.stat().st_size))])
    capfd.readouterr()
    assert re.search(r"incomplete|damaged|no NIfTI header", refusal(path))
    assert capfd.readouterr() == ("", ""), "only the sentence reaches the user"


@pytest.mark.parametrize("missing", [1, 4, 8, 9])
def test_the_last_bytes_of_a_compressed_nifti_count(missing: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.nii.gz"
    write_volume(scan(), path)
    path.write_bytes(path.read_bytes()[:-missing])
    assert "incomplete" in refusal(path)


def test_a_nifti_compressed_in_several_members_is_read(tmp_path: Path) -> None:
    """As by pigz or bgzip: the length at the end of the file is that of the last member only."""
    write_volume(scan(), tmp_path / "plain.nii")
    content = (tmp_path / "plain.nii").read_bytes()
    (tmp_path / "members.nii.gz").write_bytes(gzip.compress(content[:900]) + gzip.compress(content[900:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "members.nii.gz").voxels, scan().voxels)
    (tmp_path / "members.nii.gz").write_bytes(gzip.compress(content[:900]) + gzip.compress(content[900:1200]))
    assert "incomplete" in refusal(tmp_path / "members.nii.gz")


def test_large_members_that_compress_well_are_counted_whole(tmp_path: Path) -> None:
    write_volume(Volume(np.zeros((130, 130, 130), np.uint8), Geometry((130, 130, 130), (1, 1, 1))), tmp_path / "plain.nii")
    content = (tmp_path / "plain.nii").read_bytes()
    (tmp_path / "members.nii.gz").write_bytes(gzip.compress(content[:-5]) + gzip.compress(content[-5:]))
    assert read_volume(tmp_path / "members.nii.gz").geometry.size == (130, 130, 130)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".txt", ""])
def test_what_is_no_image_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"letter{ending}"
    path.write_text("Dear radiologist, " * 100)
    assert refusal(path)


def test_a_file_that_may_not_be_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "closed.nii.gz"
    write_volume(scan(), path)

    def refuse(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in refusal(path)


def itk_image(volume: Volume, dtype: int = sitk.sitkInt16) -> sitk.Image:
    image: sitk.Image = sitk.Cast(sitk.GetImageFromArray(volume.voxels), dtype)
    image.SetSpacing(volume.geometry.spacing)
    return image


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(
    ("kind", "why"),
    [("flat", "2 dimensions"), ("series", "4 dimensions"), ("color", "3 numbers per voxel"), ("complex", "2 numbers per voxel")],
)
def test_what_is_no_scalar_volume_is_refused(kind: str, why: str, ending: str, tmp_path: Path) -> None:
    image = itk_image(scan())
    made = {
        "flat": lambda: image[:, :, 2],
        "series": lambda: sitk.JoinSeries([image, image]),
        "color": lambda: sitk.Compose([sitk.Cast(image, sitk.sitkUInt8)] * 3),
        "complex": lambda: sitk.Cast(image, sitk.sitkComplexFloat32),
    }[kind]()
    sitk.WriteImage(made, str(tmp_path / f"image{ending}"))
    assert why in refusal(tmp_path / f"image{ending}")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_a_fourth_dimension_of_one_is_accepted(ending: str, tmp_path: Path) -> None:
    sitk.WriteImage(sitk.JoinSeries([itk_image(scan())]), str(tmp_path / f"scan{ending}"))
    np.testing.assert_array_equal(read_volume(tmp_path / f"scan{ending}").voxels, scan().voxels)


@pytest.mark.parametrize("ending", [".png", ".tif", ".vtk", ".gipl"])
def test_formats_without_a_reliable_geometry_are_refused(ending: str, tmp_path: Path) -> None:
    image = itk_image(scan(), sitk.sitkUInt8)
    sitk.WriteImage(image[:, :, 0] if ending == ".png" else image, str(tmp_path / f"picture{ending}"))
    assert "geometry" in refusal(tmp_path / f"picture{ending}")


def patched(path: Path, format_and_values: dict[int, tuple[str, tuple[float, ...]]]) -> Path:
    """A NIfTI file with other values at some offsets of its header."""
    write_volume(scan(), path)
    content = bytearray(path.read_bytes())
    for offset, (layout, values) in format_and_values.items():
        struct.pack_into(layout, content, offset, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("spacing", [0.0, float("nan"), -2.5, float("inf")])
@pytest.mark.parametrize("axis", [0, 2])
def test_an_impossible_spacing_in_nifti_is_refused(spacing: float, axis: int, tmp_path: Path) -> None:
    assert "voxel spacing" in refusal(patched(tmp_path / "scan.nii", {80 + 4 * axis: ("<f", (spacing,))}))


ROW = 280


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({ROW: ("<4f", (-0.7, 0.3, 0.0, 5.0))}, "right angles"),
        ({ROW: ("<4f", (-0.7, 0.3, 0.0, 5.0)), 252: ("<h", (0,))}, "right angles"),
        ({ROW: ("<12f", (0.0,) * 12)}, "without a length"),
        ({ROW: ("<f", (float("nan"),))}, "without a length"),
        ({ROW: ("<f", (-1.4,))}, "contradicts itself"),
    ],
)
def test_an_affine_that_itk_would_pass_over_is_refused(change: dict[int, tuple[str, tuple[float, ...]]], why: str, tmp_path: Path) -> None:
    assert why in refusal(patched(tmp_path / "scan.nii", change))


QFORM_CODE, SFORM_CODE = 252, 254


@pytest.mark.parametrize(("qform", "sform", "known"), [(0, 0, False), (1, 0, True), (0, 2, True), (4, 4, True), (-1, 0, False)])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_nifti_that_does_not_place_the_patient_is_read_with_a_warning(qform: int, sform: int, known: bool, ending: str, tmp_path: Path) -> None:
    plain = patched(tmp_path / "scan.nii", {QFORM_CODE: ("<h", (qform,)), SFORM_CODE: ("<h", (sform,))})
    path = tmp_path / f"ct{ending}"
    path.write_bytes(gzip.compress(plain.read_bytes()) if ending == ".nii.gz" else plain.read_bytes())
    volume, warnings = read_scan(path)
    np.testing.assert_array_equal(volume.voxels, scan().voxels)
    sentence = f"ct{ending} does not say how the patient lies (no qform or sform); right and left may be swapped."
    assert warnings == ([] if known else [sentence])


def test_analyze_never_places_the_patient(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The format before NIfTI, told by the missing magic; what looks like codes there is something else."""
    sitk.WriteImage(itk_image(scan()), str(tmp_path / "scan.img"))
    header = bytearray((tmp_path / "scan.hdr").read_bytes())
    header[344:348] = b"\0\0\0\0"
    (tmp_path / "scan.hdr").write_bytes(header)
    _, warnings = read_scan(tmp_path / "scan.img")
    assert warnings == ["scan.img does not say how the patient lies (no qform or sform); right and left may be swapped."]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("space", "known"),
    [
        (b"space: left-posterior-superior", True),
        (b"space: RAS", True),
        (b"space: left-anterior-superior", True),
        (b"space: scanner-xyz", False),
        (b"space: 3D-right-handed", False),
        (b"space dimension: 3", False),
    ],
)
def test_a_nrrd_without_anatomical_space_is_read_with_a_warning(space: bytes, known: bool, tmp_path: Path) -> None:
    volume, warnings = read_scan(rewritten(tmp_path / "scan.nrrd", rb"space: ", space))
    np.testing.assert_array_equal(volume.voxels, scan().voxels)
    sentence = "scan.nrrd does not say how the patient lies (no anatomical space); right and left may be swapped."
    assert warnings == ([] if known else [sentence])


def rewritten(path: Path, pattern: bytes, line: bytes) -> Path:
    """A NRRD or MetaImage file with another line in its header."""
    write_volume(scan(), path)
    content, count = re.subn(pattern + rb".*\n", line + b"\n", path.read_bytes(), count=1)
    assert count == 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("pattern", "line", "why"),
    [
        (rb"ElementSpacing", b"ElementSpacing = 0.7 0.8 0", "voxel spacing of"),
        (rb"ElementSpacing", b"ElementSpacing = 0.7 0.8 nan", "no list of numbers"),
        (rb"ElementSpacing", b"ElementSpacing = 0.7 0.8 -2", "voxel spacing of"),
        (rb"TransformMatrix", b"TransformMatrix = 1 0.3 0 0 1 0 0 0 1", "right angles"),
        (rb"TransformMatrix", b"TransformMatrix = 1 0 0 1 0 0 0 0 1", "right angles"),
        (rb"DimSize", b"DimSize = 12 10 0", "no content"),
    ],
)
def test_an_impossible_metaimage_is_refused(pattern: bytes, line: bytes, why: str, tmp_path: Path) -> None:
    assert why in refusal(rewritten(tmp_path / "scan.mha", pattern, line))


@pytest.mark.parametrize(
    ("directions", "why"),
    [
        (b"(0.7,0,0) (0,0.8,0) (0,0,0)", "voxel spacing of"),
        (b"(0.7,0,0) (0,0.8,0) (0,0,nan)", "damaged"),
        (b"(0.7,0.3,0) (0,0.8,0) (0,0,2.5)", "right angles"),
        (b"(0.7,0,0) (0.7,0,0) (0,0,2.5)", "right angles"),
    ],
)
def test_an_impossible_nrrd_is_refused(directions: bytes, why: str, tmp_path: Path) -> None:
    assert why in refusal(rewritten(tmp_path / "scan.nrrd", rb"space directions:", b"space directions: " + directions))


@pytest.mark.parametrize("given", [".hdr", ".img"])
def test_a_nifti_pair_is_read_by_either_half(given: str, tmp_path: Path) -> None:
    sitk.WriteImage(itk_image(scan()), str(tmp_path / "scan.img"))
    np.testing.assert_array_equal(read_volume(tmp_path / f"scan{given}").voxels, scan().voxels)
    (tmp_path / "scan.img").write_bytes((tmp_path / "scan.img").read_bytes()[:-10])
    assert "incomplete" in refusal(tmp_path / f"scan{given}")


def test_half_a_nifti_pair_is_refused(tmp_path: Path) -> None:
    sitk.WriteImage(itk_image(scan()), str(tmp_path / "scan.img"))
    (tmp_path / "scan.img").unlink()
    assert "lacks its other half" in refusal(tmp_path / "scan.hdr")


def test_the_other_byte_order_of_nifti_is_checked_too(tmp_path: Path) -> None:
    """ITK does not write it, so the header is made here."""
    header = bytearray(352)
    struct.pack_into(">i", header, 0, 348)
    struct.pack_into(">8h", header, 40, 3, 12, 10, 9, 1, 1, 1, 1)
    struct.pack_into(">hh", header, 70, 4, 16)
    struct.pack_into(">8f", header, 76, 1, 0.7, 0.83, 2.5, 0, 0, 0, 0)
    struct.pack_into(">f", header, 108, 352)
    struct.pack_into(">hh", header, 252, 1, 0)
    header[344:348] = b"n+1\0"
    whole = bytes(header) + scan().voxels.astype(">i2").tobytes()
    (tmp_path / "big.nii").write_bytes(whole)
    np.testing.assert_array_equal(read_volume(tmp_path / "big.nii").voxels, scan().voxels)
    (tmp_path / "big.nii").write_bytes(whole[:-10])
    assert "incomplete" in refusal(tmp_path / "big.nii")


@pytest.mark.parametrize("name", ["labels.xyz", "labels", "labels.png", "labels.mhd", "labels.hdr", "labels.gz"])
def test_endings_that_cannot_be_written_whole_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no ending of a format"):
        write_volume(scan(), tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        write_volume(scan(), tmp_path / "missing" / "labels.nii.gz")


def test_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "labels.nii.gz").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_volume(scan(), tmp_path / "labels.nii.gz")


@pytest.mark.parametrize(
    ("number", "kind", "why"), [(13, InputError, "Permission denied"), (30, InputError, "Read-only"), (28, SetupError, "disk is full")]
)
def test_a_folder_that_takes_no_file_is_refused(
    number: int, kind: type[Exception], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "touch", refuse)
    for write in (lambda path: write_volume(scan(), path), require_writable):
        with pytest.raises(kind, match=why):
            write(tmp_path / "labels.nii.gz")


def test_asking_whether_a_path_can_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    require_writable(tmp_path / "labels.nii.gz")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ending", WRITABLE)
def test_a_disk_that_fills_up_leaves_the_old_file(ending: str, tmp_path: Path) -> None:
    """The limit on file sizes stands in for a full disk: both cut the write short."""
    path = tmp_path / f"labels{ending}"
    write_volume(scan(), path)
    before = path.read_bytes()
    noise = Volume(np.random.default_rng(3).integers(0, 255, (64, 64, 64)).astype(np.uint8), Geometry((64, 64, 64), (1, 1, 1)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(SetupError, match="free some space"):
            write_volume(noise, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_labels_are_compressed(tmp_path: Path) -> None:
    for ending in (".nii.gz", ".nrrd", ".seg.nrrd", ".mha"):
        write_volume(Volume(np.zeros((50, 50, 50), np.uint8), Geometry((50, 50, 50), (1, 1, 1))), tmp_path / f"labels{ending}")
        assert (tmp_path / f"labels{ending}").stat().st_size < 5000


def test_voxels_must_fit_their_grid() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Volume(np.zeros((12, 10, 9)), scan().geometry)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
def test_voxels_outlive_the_image_that_they_were_read_into(tmp_path: Path, dtype: Any) -> None:
    voxels = np.random.default_rng(0).integers(0, 200, (30, 40, 50)).astype(dtype)
    path = tmp_path / "scan.nrrd"
    write_volume(Volume(voxels, Geometry((50, 40, 30), (1.0, 1.0, 1.0))), path)
    read = read_volume(path).voxels
    gc.collect()
    others = [np.full((30, 40, 50), 7, dtype=dtype) for _ in range(50)]
    assert np.array_equal(read, voxels)
    assert read.flags.writeable
    assert len(others) == 50


@pytest.mark.parametrize("chunk", [1, 7, 352, 353, 1000])
def test_a_compressed_nifti_read_in_pieces_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    path = tmp_path / "scan.nii.gz"
    write_volume(scan(), path)
    monkeypatch.setattr("KidneyTumorCascadeLib.gzip_pieces.PACKED", chunk)
    monkeypatch.setattr(Inflated.__init__, "__defaults__", (chunk,))
    np.testing.assert_array_equal(read_volume(path).voxels, scan().voxels)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("rescale", [(0.0, 0.0), (1.0, 0.0), (0.5, -1024.0)])
def test_voxels_of_every_type_are_what_itk_reads(
    tmp_path: Path, ending: str, dtype: str, order: Literal["<", ">"], rescale: tuple[float, float]
) -> None:
    voxels = np.random.default_rng(0).integers(0, 100, (7, 4, 5)).astype(dtype)
    path = write_nifti(tmp_path, voxels, grid_of((5, 4, 7)), f"ct{ending}", order=order, scl_slope=rescale[0], scl_inter=rescale[1])
    volume = read_volume(path)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(volume.voxels, sitk.GetArrayFromImage(image))
    assert volume.geometry.size == image.GetSize()
    np.testing.assert_allclose(volume.geometry.origin, image.GetOrigin())


@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_a_flipped_bit_in_what_is_compressed_is_noticed(tmp_path: Path, ending: str, place: float) -> None:
    """Larger than any buffer on the way, so that the damage is not met when the header is read."""
    path = tmp_path / f"scan{ending}"
    noise = np.random.default_rng(6).integers(-1000, 1000, (90, 100, 110)).astype(np.int16)
    write_volume(Volume(noise, Geometry((110, 100, 90), (1, 1, 1))), path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)
    assert "damaged" in refusal(path)


def test_what_follows_a_compressed_file_is_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    write_volume(scan(), path)
    path.write_bytes(path.read_bytes() + bytes(512))
    np.testing.assert_array_equal(read_volume(path).voxels, scan().voxels)
