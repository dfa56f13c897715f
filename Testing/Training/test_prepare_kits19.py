"""KiTS data becomes a pool: every layout, exactly, again after an interruption, and without what is broken."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from KidneyTumorCascadeLib.errors import SetupError
from KidneyTumorCascadeLib.volume import Volume, read_label_map, read_volume, write_volume
from Testing.Training.kits_phantoms import kits_phantom, write_kits
from Training import cases, prepare_kits19, synthesis
from Training.cases import Case, around, case_around_kidneys, cubic_case, load_case, load_cases
from Training.preparation import pool_building
from Training.preparation.prepared_case import Candidate, Job, Outcome, Resolution, file_state, prepare, unchanged

ROOT = Path(prepare_kits19.__file__).resolve().parents[1]
QUICK = ["--fine-mm", "6", "--fine-margin-mm", "30", "--fine-least-mm", "0", "--coarse-mm", "9", "--workers", "1"]
RESOLUTION = Resolution(6.0, 30.0, 0.0, 9.0)


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases, the last without a label map, in the data folder of a repository."""
    root = tmp_path_factory.mktemp("kits")
    write_kits(root / "data", range(5))
    (root / "data" / "case_00004" / "segmentation.nii.gz").unlink()
    return root


@pytest.fixture
def own_kits(kits: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage; times are kept."""
    return Path(shutil.copytree(kits, tmp_path / "kits"))


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cases that were really worked on, in their order."""
    names: list[str] = []
    original = prepare

    def counted(job: Job) -> Outcome:
        names.append(job.candidate.name)
        return original(job)

    monkeypatch.setattr(pool_building, "prepare", counted)
    return names


def run(data: Path, pool: Path, *words: str) -> int:
    return prepare_kits19.main([str(data), str(pool), *QUICK, *words])


def index_of(pool: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((pool / "index.json").read_text())
    return content


def reasons_of(pool: Path) -> dict[str, str]:
    return {entry["name"]: entry["reason"] for entry in index_of(pool)["left_out"]}


def content_of(pool: Path) -> dict[str, bytes]:
    return {str(path.relative_to(pool)): path.read_bytes() for path in sorted(pool.rglob("*")) if path.is_file()}


def job_of(data: Path, pool: Path, number: int = 0) -> Job:
    for kind in ("fine", "coarse"):
        (pool / "prepared" / kind).mkdir(parents=True, exist_ok=True)
    folder = data / "data" / f"case_{number:05d}"
    candidate = Candidate(folder.name, folder / "imaging.nii.gz", folder / "segmentation.nii.gz")
    return Job(candidate, prepare_kits19.read_kits_case, {}, RESOLUTION, pool)


def test_a_pool_has_every_case_on_one_side_and_an_index(kits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(kits, tmp_path / "pool", "--split", "3/1") == 0
    index = index_of(tmp_path / "pool")
    assert (index["schema"], index["source"], index["seed"], index["split"]) == (1, "kits19", 1, "3/1")
    assert [case["name"] for case in index["cases"]] == [f"case_{number:05d}" for number in range(4)]
    for case in index["cases"]:
        for kind in ("fine", "coarse"):
            assert [path.parts[-3] for path in (tmp_path / "pool").glob(f"*/{kind}/{case['name']}.npz")] == [case["split"]]
        assert (kits / case["ct"]).is_file()
        assert case["labels"] == f"data/{case['name']}/segmentation.nii.gz"
    assert reasons_of(tmp_path / "pool").keys() == {"case_00004"}
    printed = capsys.readouterr().out
    assert "3 cases to train on, 1 to validate with, 1 left out." in printed
    assert "case_00004: It has no segmentation.nii.gz or aggregated_MAJ_seg.nii.gz" in printed
    assert not (tmp_path / "pool" / "prepared").exists()


def test_the_index_says_what_a_case_is(kits: Path, tmp_path: Path) -> None:
    run(kits, tmp_path / "pool", "--split", "3/1")
    case = index_of(tmp_path / "pool")["cases"][0]
    truth = kits_phantom(3)
    voxels = truth.volume.voxels.astype(float)
    for label, name in ((1, "kidney_ml"), (2, "tumor_ml")):
        assert case[name] == pytest.approx((truth.labels.voxels == label).sum() * 0.216, abs=0.001)
    assert (case["size"], case["spacing_mm"], case["permuted"]) == ([50, 40, 36], [6, 6, 6], True)
    assert (case["hu_mean"], case["hu_sd"]) == (pytest.approx(voxels.mean(), abs=0.01), pytest.approx(voxels.std(), abs=0.01))
    assert case["coarse_size"] == [33, 27, 24]
    assert case["files"]["ct"]["bytes"] == (kits / case["ct"]).stat().st_size


def test_plain_axes_are_not_called_permuted(tmp_path: Path) -> None:
    phantom = kits_phantom(3, orientation="RPS")
    folder = tmp_path / "data" / "case_00000"
    folder.mkdir(parents=True)
    write_volume(phantom.volume, folder / "imaging.nii.gz")
    write_volume(phantom.labels, folder / "segmentation.nii.gz")
    outcome = prepare(job_of(tmp_path, tmp_path / "pool"))
    assert outcome.record
    assert outcome.record["facts"]["permuted"] is False


@pytest.mark.parametrize(
    ("place", "labels"),
    [(".", "segmentation.nii.gz"), ("data", "segmentation.nii.gz"), ("kits21/data", "aggregated_MAJ_seg.nii.gz"), ("dataset", "segmentation.nii.gz")],
)
def test_all_layouts_give_the_same_pool(kits: Path, tmp_path: Path, place: str, labels: str) -> None:
    for number in (0, 1):
        shutil.copytree(kits / "data" / f"case_{number:05d}", folder := tmp_path / "root" / place / f"case_{number:05d}")
        (folder / "segmentation.nii.gz").rename(folder / labels)
    assert run(tmp_path / "root", tmp_path / "pool", "--split", "1/1") == 0
    index = index_of(tmp_path / "pool")
    assert [(tmp_path / "root" / case["labels"]).name for case in index["cases"]] == [labels] * 2
    (case,) = load_cases(tmp_path / "pool" / next(entry["split"] for entry in index["cases"] if entry["name"] == "case_00000") / "coarse")
    truth = kits_phantom(3)
    assert np.array_equal(case.labels, cubic_case("a", truth.volume, truth.labels, 9.0).labels)


# --- what a case becomes -----------------------------------------------------------------------------------------------------------------------


@settings(max_examples=8)
@given(
    orientation=st.sampled_from(["IPL", "LPS", "RAS", "SAR", "PIR", "ASL"]),
    spacing=st.tuples(*[st.floats(2.5, 7.0)] * 3),
    target=st.floats(2.0, 8.0),
    margin=st.floats(0.0, 60.0),
    least=st.floats(0.0, 400.0),
)
def test_the_fine_case_is_a_part_of_the_whole_scan(
    orientation: str, spacing: tuple[float, float, float], target: float, margin: float, least: float
) -> None:
    phantom = kits_phantom(3, orientation, spacing)
    whole = cubic_case("a", phantom.volume, phantom.labels, target)
    part = case_around_kidneys("a", phantom.volume, phantom.labels, target, margin, least)
    # What the margin is widened from are the original labels: the bounds may differ by a voxel from those of the resampled ones.
    found = around(whole.labels > 0, round(margin / target), round(least / target))
    offsets = [range(max(0, where.start - 2), where.start + 3) for where in found]
    places = [
        (z, y, x)
        for z in offsets[0]
        for y in offsets[1]
        for x in offsets[2]
        if np.array_equal(part.labels, whole.labels[z : z + part.hu.shape[0], y : y + part.hu.shape[1], x : x + part.hu.shape[2]])
    ]
    assert any(
        np.abs(part.hu.astype(int) - whole.hu[z : z + part.hu.shape[0], y : y + part.hu.shape[1], x : x + part.hu.shape[2]]).max() <= 1
        for z, y, x in places
    )


def test_hu_are_those_of_linear_interpolation_in_the_patient(kits: Path, tmp_path: Path) -> None:
    """SimpleITK resamples the file itself, permuted as it is, onto a grid in LPS order."""
    path = kits / "data" / "case_00000" / "imaging.nii.gz"
    case = cubic_case("a", read_volume(path), read_label_map(path.with_name("segmentation.nii.gz")), 4.0)
    image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    upright = sitk.DICOMOrient(image, "LPS")
    first = np.array(upright.GetOrigin()) - np.array(upright.GetSpacing()) / 2 + 2.0
    size = [round(length * 6.0 / 4.0) for length in upright.GetSize()]
    linear, edge = sitk.ResampleImageFilter(), sitk.Image(size, sitk.sitkFloat32)
    edge.SetOrigin(first.tolist())
    edge.SetSpacing((4.0, 4.0, 4.0))
    linear.SetReferenceImage(edge)
    linear.SetInterpolator(sitk.sitkLinear)
    expected = sitk.GetArrayFromImage(linear.Execute(image))
    inner = (slice(2, -2),) * 3
    assert case.hu.shape == expected.shape
    assert np.abs(case.hu[inner] - expected[inner]).max() <= 0.51


def test_slabs_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    phantom = kits_phantom(3)
    whole = case_around_kidneys("a", phantom.volume, phantom.labels, 4.0, 30.0)
    monkeypatch.setattr(cases, "SLAB_VOXELS", 5000)
    thin = case_around_kidneys("a", phantom.volume, phantom.labels, 4.0, 30.0)
    assert np.array_equal(whole.labels, thin.labels)
    assert np.abs(whole.hu.astype(int) - thin.hu).max() <= 1


def test_the_fine_case_of_cut_kidneys_is_as_long_as_asked(own_kits: Path, tmp_path: Path) -> None:
    """Patches are longer than what is left of a cut kidney and its margin; in use they show the scan beyond it."""
    folder = own_kits / "data" / "case_00000"
    scan, labels = (read_volume(folder / "imaging.nii.gz").in_lps_order(), read_label_map(folder / "segmentation.nii.gz").in_lps_order())
    middle = int(np.argwhere(labels.voxels > 0)[:, 0].mean())
    depth, height, width = labels.voxels.shape
    kept = (slice(middle, depth), slice(0, height), slice(0, width))
    for volume, name in ((scan, "imaging"), (labels, "segmentation")):
        write_volume(Volume(np.ascontiguousarray(volume.voxels[kept]), volume.geometry.cropped(kept)), folder / f"{name}.nii.gz")
    lengths = {}
    for least in (0.0, 90.0):
        outcome = prepare(replace(job_of(own_kits, tmp_path / str(least)), resolution=Resolution(6.0, 6.0, least, 9.0)))
        assert outcome.record
        lengths[least] = outcome.record["facts"]["fine_size"][2]
    assert lengths[0.0] < 15
    assert lengths[90.0] == 15


def test_cysts_count_as_kidney_and_are_measured(own_kits: Path, tmp_path: Path) -> None:
    path = own_kits / "data" / "case_00000" / "segmentation.nii.gz"
    labels = read_label_map(path)
    cyst = labels.voxels.copy()
    cyst[tuple(np.argwhere(cyst == 1)[:50].T)] = 3
    before = prepare(job_of(own_kits, tmp_path / "before"))
    write_volume(replace(labels, voxels=cyst), path)
    after = prepare(job_of(own_kits, tmp_path / "after"))
    assert before.record
    assert after.record
    assert after.record["facts"]["cyst_ml"] == pytest.approx(50 * 0.216)
    assert after.record["facts"]["kidney_ml"] == pytest.approx(before.record["facts"]["kidney_ml"] - 50 * 0.216, abs=0.01)
    first, second = (load_case(tmp_path / name / "prepared" / "fine" / "case_00000.npz") for name in ("before", "after"))
    assert np.array_equal(first.labels, second.labels)


def test_the_usual_resolution_is_that_of_synthetic_cases() -> None:
    assert Resolution() == Resolution(synthesis.FINE_MM, synthesis.FINE_MARGIN_MM, synthesis.FINE_LEAST_MM, synthesis.COARSE_MM)


def test_published_label_files_keep_their_volumes_and_sides(shared_data: Path, tmp_path: Path) -> None:
    """A made-up scan on the grid of KiTS19's own case 4, whose axes are permuted; its centre and volumes were measured by other means."""
    folder = tmp_path / "data" / "case_00004"
    folder.mkdir(parents=True)
    shutil.copy(shared_data / "kits_raw" / "case_00004_segmentation.nii.gz", folder / "segmentation.nii.gz")
    labels = read_label_map(folder / "segmentation.nii.gz")
    hu = np.full(labels.voxels.shape, -1000, np.int16)
    hu[100:400, 100:400] = 30
    hu[labels.voxels > 0] = 160
    write_volume(Volume(hu, labels.geometry), folder / "imaging.nii.gz")
    outcome = prepare(replace(job_of(tmp_path, tmp_path / "pool", 4), resolution=Resolution(3.0, 20.0, 0.0, 6.0)))
    assert outcome.record
    facts = outcome.record["facts"]
    (known,) = (entry for entry in json.loads((shared_data / "kits_labels" / "index.json").read_text()) if entry["case"] == "case_00004")
    assert facts["permuted"] is True
    assert np.multiply(facts["size"], facts["spacing_mm"]) == pytest.approx(known["scan_size_mm"])
    assert facts["spacing_mm"] == pytest.approx(known["scan_spacing_mm"], abs=1e-5)
    assert facts["kidney_ml"] + facts["tumor_ml"] == pytest.approx(sum(known["ml_original"].values()), rel=0.05)
    fine = load_case(tmp_path / "pool" / "prepared" / "fine" / "case_00004.npz")
    assert (fine.labels > 0).sum() * 0.027 == pytest.approx(facts["kidney_ml"] + facts["tumor_ml"], rel=0.02)
    # The reference lies in the patient as the case does: the tumor is off the middle of the kidneys in the same direction along each axis.
    reference = read_label_map(shared_data / "kits_labels" / "case_00004.nii.gz").in_lps_order()
    for found, spacing in ((fine.labels, 3.0), (reference.voxels, 1.0)):
        tumor, both = (np.argwhere(mask).mean(axis=0) * spacing for mask in (found == 2, found > 0))
        if spacing == 3.0:
            offset = tumor - both
    np.testing.assert_allclose(offset, tumor - both, atol=4.0)


# --- interruptions -----------------------------------------------------------------------------------------------------------------------------


def test_a_killed_command_goes_on_where_it_was(kits: Path, tmp_path: Path, prepared: list[str]) -> None:
    """Killed without notice after its first case, in the middle of another."""
    words = [str(kits), str(tmp_path / "pool"), *QUICK, "--split", "3/1"]
    command = [sys.executable, str(ROOT / "Training" / "prepare_kits19.py"), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("[1/4] case_")
        process.kill()
    assert not (tmp_path / "pool" / "index.json").exists()
    finished = {path.stem for path in (tmp_path / "pool" / "records").glob("*.json")}
    assert finished
    assert run(kits, tmp_path / "pool", "--split", "3/1") == 0
    assert sorted(prepared) == sorted({f"case_{number:05d}" for number in range(4)} - finished)
    assert run(kits, tmp_path / "whole", "--split", "3/1") == 0
    assert content_of(tmp_path / "pool") == content_of(tmp_path / "whole")


def test_nothing_is_done_twice_and_changes_are_done_again(own_kits: Path, tmp_path: Path, prepared: list[str]) -> None:
    pool = tmp_path / "pool"
    run(own_kits, pool, "--split", "3/1")
    first = content_of(pool)
    prepared.clear()
    run(own_kits, pool, "--split", "3/1")
    assert (prepared, content_of(pool)) == ([], first)

    path = own_kits / "data" / "case_00001" / "imaging.nii.gz"
    os.utime(path)
    run(own_kits, pool, "--split", "3/1")
    assert prepared == []

    scan = read_volume(path)
    write_volume(replace(scan, voxels=scan.voxels + 7), path)
    run(own_kits, pool, "--split", "3/1")
    assert prepared == ["case_00001"]

    prepared.clear()
    run(own_kits, pool, "--split", "3/1", "--coarse-mm", "10")
    assert len(prepared) == 4


def test_another_split_only_moves_cases(kits: Path, tmp_path: Path, prepared: list[str]) -> None:
    pool = tmp_path / "pool"
    run(kits, pool, "--split", "3/1")
    prepared.clear()
    assert run(kits, pool, "--split", "1/2", "--seed", "5") == 0
    assert prepared == []
    assert [len(list((pool / place / "fine").glob("*.npz"))) for place in ("train", "validation", "prepared")] == [1, 2, 1]
    assert "It is not needed for the split 1/2." in reasons_of(pool).values()
    run(kits, tmp_path / "fresh", "--split", "1/2", "--seed", "5")
    assert index_of(pool) == index_of(tmp_path / "fresh")


def test_half_a_case_is_made_again(kits: Path, tmp_path: Path, prepared: list[str]) -> None:
    pool = tmp_path / "pool"
    run(kits, pool, "--split", "3/1")
    next((pool / "train" / "coarse").glob("*.npz")).unlink()
    prepared.clear()
    run(kits, pool, "--split", "3/1")
    assert len(prepared) == 1
    assert len(list((pool / "train" / "coarse").glob("*.npz"))) == 3


def test_workers_make_no_difference(kits: Path, tmp_path: Path) -> None:
    run(kits, tmp_path / "one", "--split", "1/1")
    assert run(kits, tmp_path / "two", "--split", "1/1", "--workers", "2") == 0
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")


def test_a_worker_without_memory_is_said_so(kits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def without_memory(jobs: list[Job], workers: int) -> None:
        raise SetupError("A worker was ended")

    monkeypatch.setattr(pool_building, "run", without_memory)
    assert run(kits, tmp_path / "pool", "--split", "3/1") == 3
    assert "A worker was ended" in capsys.readouterr().err


# --- what cannot be used -----------------------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000] if path.stat().st_size > 6000 else path.read_bytes()[:-200])


def change(path: Path, edit: Callable[[np.ndarray], np.ndarray], **geometry: Any) -> None:
    volume = read_volume(path)
    write_volume(Volume(edit(volume.voxels.copy()), replace(volume.geometry, **geometry)), path)


def set_label(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def edit(voxels: np.ndarray) -> np.ndarray:
        changed = voxels.astype(np.float32)
        changed[3, 3, 3] = value
        return changed

    return edit


DAMAGE = {
    "cut scan": ("imaging", truncate, "imaging.nii.gz is incomplete"),
    "cut labels": ("segmentation", truncate, "segmentation.nii.gz is incomplete"),
    "empty labels": ("segmentation", lambda path: path.write_bytes(b""), "segmentation.nii.gz is empty"),
    "text": ("imaging", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "imaging.nii.gz"),
    "moved": ("segmentation", lambda path: change(path, lambda voxels: voxels, origin=(0.0, 0.0, 6.0)), "does not lie on the grid of"),
    "fraction": ("segmentation", lambda path: change(path, set_label(0.5)), "holds values between whole numbers"),
    "negative": ("segmentation", lambda path: change(path, set_label(-1)), "is not a label map"),
    "strange label": ("segmentation", lambda path: change(path, set_label(7)), r"holds labels \(7\) that are none of"),
    "no kidney": ("segmentation", lambda path: change(path, np.zeros_like), "marks no voxel as kidney or tumor"),
    "picture": ("imaging", lambda path: change(path, lambda hu: (np.clip(hu + 1000, 0, 2000) // 10).astype(np.int16)), "8-bit picture"),
    "no intercept": ("imaging", lambda path: change(path, lambda hu: hu + 1024), "looks like raw values without the rescale intercept"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_broken_is_a_sentence(own_kits: Path, tmp_path: Path, damage: str) -> None:
    kind, harm, expected = DAMAGE[damage]
    harm(own_kits / "data" / "case_00000" / f"{kind}.nii.gz")
    outcome = prepare(job_of(own_kits, tmp_path / "pool"))
    assert outcome.record is None
    assert outcome.reason
    assert outcome.reason.endswith(".")
    assert "\n" not in outcome.reason
    assert re.search(expected, outcome.reason), outcome.reason
    assert not list((tmp_path / "pool").rglob("*.npz"))


def test_broken_cases_are_replaced_and_listed(own_kits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first that a split of 2/1 draws is broken; another case takes its place."""
    run(own_kits, tmp_path / "good", "--split", "2/1")
    drawn = next(case["name"] for case in index_of(tmp_path / "good")["cases"] if case["split"] == "validation")
    truncate(own_kits / "data" / drawn / "imaging.nii.gz")
    capsys.readouterr()
    assert run(own_kits, tmp_path / "pool", "--split", "2/1") == 0
    index = index_of(tmp_path / "pool")
    assert sorted(case["split"] for case in index["cases"]) == ["train", "train", "validation"]
    assert drawn not in [case["name"] for case in index["cases"]]
    assert reasons_of(tmp_path / "pool")[drawn].startswith(f"data/{drawn}/imaging.nii.gz is incomplete")
    assert f"{drawn}: data/{drawn}/imaging.nii.gz is incomplete" in capsys.readouterr().out


def test_a_case_that_breaks_later_leaves_the_pool(own_kits: Path, tmp_path: Path) -> None:
    run(own_kits, tmp_path / "pool", "--split", "2/1")
    drawn = next(case["name"] for case in index_of(tmp_path / "pool")["cases"] if case["split"] == "validation")
    truncate(own_kits / "data" / drawn / "imaging.nii.gz")
    run(own_kits, tmp_path / "pool", "--split", "2/1")
    assert not list((tmp_path / "pool").glob(f"*/*/{drawn}.npz"))
    assert len(list((tmp_path / "pool" / "validation" / "fine").glob("*.npz"))) == 1


def test_without_a_usable_case_there_is_no_pool(own_kits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (own_kits / "data").iterdir():
        truncate(folder / "imaging.nii.gz")
    assert run(own_kits, tmp_path / "pool") == 2
    error = capsys.readouterr().err
    assert "Of 4 cases 0 could be used" in error
    assert "is incomplete" in error
    assert not (tmp_path / "pool" / "index.json").exists()
    for folder in (own_kits / "data").iterdir():
        (folder / "imaging.nii.gz").unlink()
    assert run(own_kits, tmp_path / "pool") == 2
    assert "It has no imaging.nii.gz; download it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--split", "190/20"], "4 labelled cases, but a split of 190/20 needs 210"), (["--split", "4/1"], "needs 5")],
)
def test_a_split_that_is_too_large_is_refused_at_once(
    kits: Path, tmp_path: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(kits, tmp_path / "pool", *words) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "pool").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "missing", tmp_path / "pool") == 2
    assert "has no folders case_00000" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["phantom_10000", "case_00000"])
def test_a_pool_of_other_data_is_not_touched(kits: Path, tmp_path: Path, body: Case, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even one whose cases have the same names: it could put a patient on both sides."""
    folder = tmp_path / "pool" / "train" / "fine"
    folder.mkdir(parents=True)
    replace(body, name=name).save(folder)
    assert run(kits, tmp_path / "pool", "--split", "3/1") == 2
    assert f"holds train/fine/{name}.npz, which is not of this data" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--fine-mm", "0"), ("--fine-mm", "nan"), ("--fine-margin-mm", "-1"), ("--coarse-mm", "x")])
def test_impossible_lengths_are_refused(kits: Path, tmp_path: Path, option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        run(kits, tmp_path / "pool", option, value)
    assert error.value.code == 2
    assert option in capsys.readouterr().err


def test_a_missing_file_has_changed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    state = file_state(tmp_path / "a")
    assert unchanged(tmp_path / "a", state)
    (tmp_path / "a").write_text("b")
    os.utime(tmp_path / "a", ns=(0, state["mtime_ns"] + 1))
    assert not unchanged(tmp_path / "a", state)
    (tmp_path / "a").unlink()
    assert not unchanged(tmp_path / "a", state)


# --- large cases -------------------------------------------------------------------------------------------------------------------------------


def test_large_cases_are_mapped_and_small_ones_read(tmp_path: Path, body_with_tumor: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    body_with_tumor.save(tmp_path)
    assert load_case(tmp_path / "body.npz").hu.flags.writeable
    small = (tmp_path / "body.npz").stat().st_size
    monkeypatch.setattr(cases, "MAPPED_BYTES", 1000)
    body_with_tumor.save(tmp_path)
    assert small < (tmp_path / "body.npz").stat().st_size - 0.9 * body_with_tumor.labels.nbytes
    mapped = load_case(tmp_path / "body.npz")
    assert not mapped.hu.flags.writeable
    assert np.array_equal(mapped.hu, body_with_tumor.hu)
    assert np.array_equal(mapped.labels, body_with_tumor.labels)
    assert mapped.spacing_mm == body_with_tumor.spacing_mm


def test_cases_of_other_pools_are_mapped_too(tmp_path: Path, body: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """As numpy.savez writes them, of either order and with or without compression."""
    monkeypatch.setattr(cases, "MAPPED_BYTES", 1000)
    np.savez(tmp_path / "c.npz", hu=body.hu, labels=np.asfortranarray(body.labels), spacing_mm=2.0)
    np.savez_compressed(tmp_path / "d.npz", hu=body.hu, labels=body.labels, spacing_mm=2.0)
    first, second = load_cases(tmp_path)
    assert (first.hu.flags.writeable, second.hu.flags.writeable) == (False, True)
    for case in (first, second):
        assert np.array_equal(case.hu, body.hu)
        assert np.array_equal(case.labels, body.labels)
