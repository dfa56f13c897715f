"""Every scan of a folder is found once, by a name of its own that tells nothing of a patient; what is no scan is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pydicom
import pytest

from KidneyTumorCascadeLib.batch_cases import Found, find_cases
from KidneyTumorCascadeLib.batch_records import DICOM, IMAGE, Case
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.volume import read_volume
from Testing.bright_blocks import make_scan, write_dicom


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    (tmp_path / "scans").mkdir()
    return tmp_path / "scans"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"anything")


def find(scans: Path, pattern: str = "*", dicom_names: bool = False) -> Found:
    return find_cases(scans, scans.parent / "results", pattern, dicom_names)


def names(scans: Path, pattern: str = "*") -> list[str]:
    return [case.name for case in find(scans, pattern).cases]


def series(folder: Path, number: int = 1, modality: str = "CT") -> Path:
    """A DICOM series of its own, with the patient's name where scanners put it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_dicom(make_scan(), folder)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.SeriesInstanceUID, header.Modality, header.SeriesDescription = f"1.2.3.{number}", modality, "DOE abdomen"
        header.save_as(path)
    return folder


def test_image_files_at_any_depth_are_called_by_their_place_without_the_ending(scans: Path) -> None:
    touch(scans, "b.nii.gz", "a.nrrd", "site 1/-x y.MHA", "site 1/deep/é.nii", "notes.txt", "picture.png")
    assert names(scans) == ["a", "b", "site 1/-x y", "site 1/deep/é"]


def test_hidden_files_and_earlier_results_are_no_scans(scans: Path) -> None:
    touch(scans, "a.nii.gz", ".b.nii.gz", ".hidden/c.nii.gz", "results/a.nii.gz")
    assert [case.name for case in find_cases(scans, scans / "results").cases] == ["a"]


def test_scans_of_one_name_keep_their_endings_and_get_numbers(scans: Path) -> None:
    touch(scans, "a.nii.gz", "a.nrrd", "A.nii", "b.nii.gz")
    assert sorted(names(scans)) == ["A.nii", "a.nii.gz", "a.nrrd", "b"]
    (scans / "A.NII.gz").touch()
    found = names(scans)
    assert len({name.lower() for name in found}) == len(found) == 5


def test_a_kits_case_is_called_by_its_folder_and_its_segmentations_are_named(scans: Path) -> None:
    touch(scans, *(f"case_{number:05d}/{name}.nii.gz" for number in (0, 7) for name in ("imaging", "segmentation", "instances/kidney_1")))
    found = find(scans)
    assert [(case.name, case.path.name) for case in found.cases] == [("case_00000", "imaging.nii.gz"), ("case_00007", "imaging.nii.gz")]
    assert [item.name for item in found.left_out] == ["case_00000/segmentation.nii.gz", "case_00007/segmentation.nii.gz"]


def test_label_maps_and_probability_maps_are_left_out_by_name(scans: Path) -> None:
    touch(scans, "a/ct.nii.gz", "a/labels.nii.gz", "a/ct.seg.nrrd", "a/ct_left_kidney_probability.nii.gz")
    found = find(scans)
    assert [case.name for case in found.cases] == ["a/ct"]
    assert [item.name for item in found.left_out] == ["a/ct.seg.nrrd", "a/ct_left_kidney_probability.nii.gz", "a/labels.nii.gz"]
    assert all(item.reason.endswith(".") for item in found.left_out)


def test_the_pattern_chooses_files_and_dicom_folders(scans: Path) -> None:
    touch(scans, "1/imaging.nii.gz", "2/imaging.nii.gz", "2/other.nii.gz")
    series(scans / "3/arterial")
    assert names(scans, "imaging.*") == ["1", "2"]
    assert [case.kind for case in find(scans, "art*").cases] == [DICOM]


def test_a_header_comes_with_its_voxels_and_no_other_files(scans: Path) -> None:
    touch(scans, "a[1].mhd", "a[1].raw", "a[1].txt", "a1.raw", "b.nii.gz", "b.raw")
    cases = {case.name: [path.name for path in case.files] for case in find(scans).cases}
    assert cases == {"a[1]": ["a[1].mhd", "a[1].raw"], "b": ["b.nii.gz"]}


def test_every_ct_series_of_a_tree_is_a_case_and_others_are_named(scans: Path) -> None:
    both = series(scans / "DOE^JANE/study", 1)
    for path in series(scans / "more", 2).iterdir():
        path.rename(both / f"second-{path.name}")
    series(scans / "DOE^JANE/mr", 3, "MR")
    series(scans / "ROE/CT", 4)
    found = find(scans)
    assert [case.kind for case in found.cases] == [DICOM] * 3
    assert {len(case.files) for case in found.cases} == {32}
    assert sum(case.path.is_dir() for case in found.cases) == 1
    assert ["modality MR" in item.reason for item in found.left_out] == [True]
    for case in found.cases:
        assert read_volume(case.path).voxels.shape == make_scan().voxels.shape
    written = json.dumps([case.name for case in found.cases]) + json.dumps([[item.name, item.reason] for item in found.left_out])
    assert not any(word in written for word in ("DOE", "ROE", "JANE", "abdomen"))


def test_dicom_names_stay_the_same_and_differ_between_series(scans: Path) -> None:
    series(scans / "a", 1)
    before = names(scans)
    series(scans / "0", 2)
    (scans / "a").rename(scans / "z")
    after = names(scans)
    assert set(before) < set(after)
    assert len(set(after)) == 2


def test_dicom_series_are_called_by_their_folders_when_that_is_asked_for(scans: Path) -> None:
    series(scans / "DOE/CT", 1)
    found = find(scans, dicom_names=True)
    assert [case.name for case in found.cases] == ["DOE/CT"]
    assert not found.cases[0].private


def test_a_series_that_cannot_be_told_from_others_is_one_case_that_fails(scans: Path) -> None:
    folder = series(scans / "DOE")
    damaged = folder / "005.dcm"
    damaged.write_bytes(damaged.read_bytes()[:300])
    (case,) = find(scans).cases
    assert case.private
    with pytest.raises(InputError) as error:
        read_volume(case.path)
    assert "DOE" in str(error.value)
    assert "DOE" not in case.public(str(error.value))


def test_what_an_error_says_of_a_private_series_is_taken_out(scans: Path) -> None:
    (case,) = (case for case in [find_one(series(scans / "DOE^JANE/CT 1"))])
    sentence = f'The DICOM series "DOE abdomen" in {case.path} has 2 slices, see {case.files[3]} (as 003.dcm and 004.dcm); 1 mm.'
    assert case.public(sentence) == "The DICOM series has 2 slices, see its file 4 (as file 4 and file 5); 1 mm."


def find_one(folder: Path) -> Case:
    (case,) = find(folder.parent.parent).cases
    return case


def test_an_image_is_hashed_with_its_name_and_all_its_files(scans: Path) -> None:
    touch(scans, "a.mhd", "a.raw", "b.mhd")
    first, second = find(scans).cases
    before = first.sha256()
    assert before != second.sha256()
    (scans / "a.raw").write_bytes(b"other")
    assert first.sha256() != before


def test_cases_cross_to_another_process_unchanged(scans: Path) -> None:
    name = os.fsdecode(b"\xff.nii.gz")
    touch(scans, name)
    (case,) = find(scans).cases
    assert Case.from_dict(json.loads(json.dumps(case.to_dict()))) == case
    assert case.kind == IMAGE


def test_results_may_not_go_among_the_scans(scans: Path) -> None:
    touch(scans, "a.nii.gz")
    for output in (scans, scans.parent):
        with pytest.raises(InputError, match="choose another folder"):
            find_cases(scans, output)


@pytest.mark.parametrize("pattern", ["*", "b*"])
def test_a_folder_without_scans_is_refused(scans: Path, pattern: str) -> None:
    touch(scans, "a.txt" if pattern == "*" else "a.nii.gz")
    with pytest.raises(InputError, match="no CT scans"):
        find(scans, pattern)
    with pytest.raises(InputError, match="There is no folder"):
        find_cases(scans / "absent", scans.parent / "results")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_told_of(scans: Path) -> None:
    touch(scans, "a.nii.gz", "closed/b.nii.gz")
    (scans / "closed").chmod(0)
    found = find(scans)
    (scans / "closed").chmod(0o700)
    assert len(found.left_out) == 1
