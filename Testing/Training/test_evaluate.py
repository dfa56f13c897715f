"""Evaluating: each case is scored for what its reference knows, and for nothing else; each kind of case is found where it lies."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Box
from KidneyTumorCascadeLib.volume import Volume, write_volume
from Testing.bright_blocks import make_bright_bundle, make_coronal_scan, make_scan, true_labels, use_brightness
from Training import curves, evaluate, export_bundle
from Training.case_names import ANATOMY, IMPLANTED, PHANTOM, REAL, SLAB
from Training.cases import Case
from Training.measuring.evaluation_files import read_evaluations
from Training.measuring.evaluation_tables import as_csv, line, table
from Training.measuring.scoring import Row, segment_and_score
from Training.measuring.trials import BOX_MARGIN_MM, Trial, box_around, pool_trials, read_index, slab_trials, source_trials
from Training.sources import read_sources

SMOKE = Path(evaluate.__file__).parent / "configs" / "smoke.json"
BOTH = ("train", "validation")


def finding(labels: np.ndarray) -> Cascade:
    """A cascade that finds just this."""

    def segment(scan: Volume, boxes: list[Box] | None) -> SimpleNamespace:
        return SimpleNamespace(labels=Volume(labels, scan.geometry), warnings=["odd"], boxes=[])

    return cast(Cascade, SimpleNamespace(segment=segment, bundle=None, tumor_support=0.5))


def row_of(case: Case, labels: np.ndarray | None, has_tumors: bool, found: np.ndarray, **known: Any) -> Row:
    reference = None if labels is None else Volume(labels, case.geometry)
    return segment_and_score(Trial("a", Volume(case.hu, case.geometry), reference, False, has_tumors, **known), finding(found))[0]


def test_what_was_found_right_scores_one(body_with_tumor: Case) -> None:
    labels = body_with_tumor.labels
    row = row_of(body_with_tumor, labels, True, labels)
    assert (row.kidney_dice, row.tumor_dice, row.mean_dice, row.kidney_hd95_mm, row.tumor_hd95_mm) == (1.0, 1.0, 1.0, 0.0, 0.0)
    assert row.tumor_ml == row.reference_tumor_ml == pytest.approx((labels == 2).sum() * 0.008)
    assert row.kidney_ml == row.reference_kidney_ml == pytest.approx((labels == 1).sum() * 0.008)
    assert ([lesion.found for lesion in row.lesions], row.false_tumors) == ([True], 0)
    assert row.warnings == ["odd"]


def test_the_kidneys_hu_tell_of_contrast_and_are_those_of_the_reference(body_with_tumor: Case) -> None:
    """Tumor does not count, nor does what was found; a scan turned round in memory has the same HU."""
    labels, hu = body_with_tumor.labels, np.where(body_with_tumor.labels == 2, 900, body_with_tumor.hu + 1000 * (body_with_tumor.labels == 1))
    changed = replace(body_with_tumor, hu=hu.astype(np.int16))
    expected = float(np.median(changed.hu[labels == 1]))
    assert row_of(changed, labels, True, (labels > 5).astype(np.uint8)).kidney_hu == expected
    turned = Volume(changed.hu[:, ::-1], replace(changed.geometry, direction=(1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)))
    row, _ = segment_and_score(Trial("a", turned, Volume(labels[:, ::-1], turned.geometry), False, True), finding(labels[:, ::-1]))
    assert row.kidney_hu == expected
    assert [lesion.contrast_hu for lesion in row.lesions] == [900.0 - expected]
    assert row_of(changed, None, True, labels).kidney_hu is None


def test_what_was_measured_on_names_no_folder_of_this_computer(tmp_path: Path) -> None:
    words = [str(tmp_path / "out.json"), "--bundle", "default"]
    assert evaluate.measured_on(evaluate.parse([*words, "--sources", "/here/s.json", "--pool", "/here/p"])) == (
        "--sources SOURCES.json --pool POOL --split validation"
    )
    assert evaluate.measured_on(evaluate.parse([*words, "--data", "/here", "--index", "/here/i.json", "--split", "all"])) == (
        "--data DATA --index POOL/index.json --split all"
    )


def test_a_missed_tumor_is_infinitely_far_and_not_found(body_with_tumor: Case) -> None:
    row = row_of(body_with_tumor, body_with_tumor.labels, True, (body_with_tumor.labels > 0).astype(np.uint8))
    assert (row.kidney_dice, row.tumor_dice, row.mean_dice, row.tumor_hd95_mm) == (1.0, 0.0, 0.5, math.inf)
    assert [lesion.found for lesion in row.lesions] == [False]


def test_a_reference_without_tumors_scores_kidneys_only(body_with_tumor: Case) -> None:
    row = row_of(body_with_tumor, (body_with_tumor.labels > 0).astype(np.uint8), False, body_with_tumor.labels)
    assert (row.kidney_dice, row.tumor_dice, row.mean_dice, row.reference_tumor_ml) == (1.0, None, None, None)
    assert row.tumor_ml > 1.0
    assert (row.lesions, row.false_tumors) == ([], 1)
    assert "invented" in line(row)
    assert list(row.calibration) == ["kidney"]
    # Right and left kidney as 1 and 2: the second is no tumor.
    numbered = row_of(body_with_tumor, body_with_tumor.labels, False, body_with_tumor.labels)
    assert (numbered.lesions, numbered.false_tumors) == ([], 1)


def test_nothing_to_find_has_no_score(body_with_tumor: Case) -> None:
    empty = np.zeros_like(body_with_tumor.labels)
    for reference, has_tumors in ((None, True), (empty, True), (empty, False)):
        row = row_of(body_with_tumor, reference, has_tumors, body_with_tumor.labels)
        assert (row.kidney_dice, row.kidney_hd95_mm, row.tumor_dice, row.whole, row.false_tumors) == (None, None, None, None, 1)
    row = row_of(body_with_tumor, (body_with_tumor.labels == 1).astype(np.uint8), True, empty)
    assert (row.kidney_dice, row.tumor_dice, row.reference_tumor_ml) == (0.0, None, 0.0)


def test_kidneys_are_whole_when_said_so_or_when_they_stay_clear_of_the_border(body: Case) -> None:
    cut = body.labels.copy()
    cut[-1, 30:34, 30:34] = 1
    assert row_of(body, body.labels, True, body.labels).whole is True
    assert row_of(body, cut, True, body.labels).whole is False
    assert row_of(body, cut, True, body.labels, whole=True).whole is True
    assert row_of(body, body.labels, True, body.labels, whole=False).whole is False


def sources_file(folder: Path, case: Case, **entry: Any) -> Path:
    write_volume(Volume(case.hu, case.geometry), folder / "ct.nii.gz")
    write_volume(Volume(case.labels, case.geometry), folder / "labels.nii.gz")
    scan = {"name": "real", "ct": "ct.nii.gz", "labels": "labels.nii.gz", "split": "train", **entry}
    (folder / "SOURCES.json").write_text(json.dumps({"scans": [scan]}))
    return folder / "SOURCES.json"


def test_real_scans_are_read_as_their_entry_says(tmp_path: Path, body_with_tumor: Case) -> None:
    sources = read_sources(sources_file(tmp_path, body_with_tumor))
    (trial,) = source_trials(sources, BOTH)
    assert (trial.trained_on, trial.has_tumors, trial.origin, trial.whole) == (True, True, REAL, None)
    assert trial.labels is not None
    assert np.array_equal(trial.labels.voxels, body_with_tumor.labels)
    assert not list(source_trials(sources, ("validation",)))
    (other,) = source_trials(read_sources(sources_file(tmp_path, body_with_tumor, kidney_labels=[2], split="validation", whole=False)), BOTH)
    assert (other.trained_on, other.has_tumors, other.whole) == (False, False, False)
    assert other.labels is not None
    assert np.array_equal(other.labels.voxels, body_with_tumor.labels == 2)
    with pytest.raises(InputError, match="whole is true or false"):
        read_sources(sources_file(tmp_path, body_with_tumor, whole="yes"))


def test_synthetic_cases_come_from_the_pool_with_their_origin(tmp_path: Path, body: Case) -> None:
    for split in BOTH:
        (tmp_path / split / "fine").mkdir(parents=True)
    for name in ("real", "real_v003", "phantom_20000", "very_viable", "anatomy_00012", "real_k001"):
        replace(body, name=name).save(tmp_path / "validation" / "fine")
    replace(body, name="other_v001").save(tmp_path / "train" / "fine")
    assert {trial.name: trial.origin for trial in pool_trials(tmp_path, ("validation",))} == {
        "anatomy_00012": ANATOMY,
        "phantom_20000": PHANTOM,
        "real_k001": IMPLANTED,
        "real_v003": IMPLANTED,
    }
    assert [(trial.name, trial.trained_on) for trial in pool_trials(tmp_path, ("train",))] == [("other_v001", True)]


def test_cases_of_a_pool_are_evaluated_whole_where_it_has_them_so(body: Case, tmp_path: Path) -> None:
    """Kidneys are to be found in scans: a case cut to their surroundings says nothing of what lies beyond."""
    for kind in ("fine", "whole"):
        (tmp_path / "validation" / kind).mkdir(parents=True)
    for name in ("anatomy_00001", "anatomy_00002"):
        replace(body, name=name, hu=body.hu[:9].copy(), labels=body.labels[:9].copy()).save(tmp_path / "validation" / "fine")
    replace(body, name="anatomy_00002").save(tmp_path / "validation" / "whole")
    depths = {trial.name: trial.scan.voxels.shape[0] for trial in pool_trials(tmp_path, ("validation",))}
    assert depths == {"anatomy_00001": 9, "anatomy_00002": body.hu.shape[0]}


@pytest.fixture
def kits(tmp_path: Path) -> tuple[Path, Path]:
    """A KiTS folder of two scans that are stored in other directions than usual, and its index."""
    cases = []
    for name, split, scan in (("case_00000", "train", make_scan()), ("case_00001", "validation", make_coronal_scan())):
        (tmp_path / "kits" / name).mkdir(parents=True)
        write_volume(scan, tmp_path / "kits" / name / "imaging.nii.gz")
        write_volume(true_labels(scan), tmp_path / "kits" / name / "segmentation.nii.gz")
        cases.append({"name": name, "split": split, "ct": f"{name}/imaging.nii.gz", "labels": f"{name}/segmentation.nii.gz", "more": 1})
    (tmp_path / "index.json").write_text(json.dumps({"schema": 1, "source": "kits19", "cases": cases, "left_out": []}))
    return tmp_path / "kits", tmp_path / "index.json"


def test_a_kits_folder_is_scored_in_its_own_geometry_with_pictures(
    kits: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    use_brightness(monkeypatch)
    bundle, out = make_bright_bundle(tmp_path / "bundle"), tmp_path / "evaluation.json"
    words = [str(out), "--bundle", str(bundle), "--data", str(kits[0]), "--index", str(kits[1]), "--device", "cpu", "--split", "all"]
    assert evaluate.main([*words, "--pictures", str(tmp_path / "pictures")]) == 0
    (evaluation,) = read_evaluations(out)
    assert [(case["name"], case["trained_on"], case["origin"]) for case in evaluation["cases"]] == [
        ("case_00000", True, REAL),
        ("case_00001", False, REAL),
    ]
    turned, straight = evaluation["cases"][1], evaluation["cases"][0]
    assert turned["kidney_dice"] == straight["kidney_dice"] > 0.9
    assert turned["tumor_dice"] == straight["tumor_dice"] > 0.9
    assert turned["calibration"] == straight["calibration"]
    assert sum(turned["calibration"]["tumor"]["positives"]) == 4**3
    assert [lesion["found"] for lesion in turned["lesions"]] == [True]
    told = capsys.readouterr().out
    assert told.count("case_00001") >= 2
    assert (tmp_path / "pictures" / "reliability.png").is_file()
    with (tmp_path / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["kidney_dice"]) == pytest.approx(turned["kidney_dice"], abs=1e-5)
    assert (rows[1]["lesions"], rows[1]["lesions_found"], rows[1]["false_tumors"]) == ("1", "1", "0")


def test_pictures_that_cannot_be_drawn_are_refused_before_anything_is_scored(
    kits: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scored: list[Trial] = []
    monkeypatch.setattr(evaluate, "done", lambda trial, *_: scored.append(trial))
    monkeypatch.setattr(curves, "can_draw", lambda: False)
    bundle, out = make_bright_bundle(tmp_path / "bundle"), tmp_path / "evaluation.json"
    words = [str(out), "--bundle", str(bundle), "--data", str(kits[0]), "--index", str(kits[1]), "--device", "cpu"]
    assert evaluate.main([*words, "--pictures", str(tmp_path / "pictures")]) == 3
    assert (
        capsys.readouterr().err == "Pictures are drawn with matplotlib, which is not installed here; make setup-train, or pip install matplotlib.\n"
    )
    assert not scored
    assert not (tmp_path / "pictures").exists()


def test_single_real_slices_are_scored_in_a_box_around_what_is_labelled_and_for_tumors_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bright block that the box leaves out is never found; that kidneys are labelled in part says nothing of kidneys."""
    scan, labels = make_scan(), true_labels(make_scan()).voxels
    labels[:, :, :30] = 0
    folder = tmp_path / "slabs" / "validation" / "slices"
    folder.mkdir(parents=True)
    slab = Case("slice_1_2", scan.voxels, labels, 6.0)
    slab.save(folder)
    (trial,) = slab_trials(tmp_path / "slabs", BOTH)
    assert (trial.name, trial.trained_on, trial.origin, trial.has_kidneys, trial.whole) == ("slice_1_2", False, SLAB, False, False)
    use_brightness(monkeypatch)
    out, bundle = tmp_path / "out.json", make_bright_bundle(tmp_path / "bundle")
    assert evaluate.main([str(out), "--bundle", str(bundle), "--slices", str(tmp_path / "slabs"), "--device", "cpu"]) == 0
    (written,) = read_evaluations(out)
    (case,) = written["cases"]
    assert case["tumor_dice"] > 0.9
    assert (case["kidney_dice"], case["mean_dice"], case["reference_kidney_ml"], case["calibration"]) == (None, None, None, {})
    assert 0 < case["kidney_ml"] < 1.1 * np.count_nonzero(labels == 1) * 0.216
    assert written["measured_on"] == "--slices SLICES --split validation"


def test_the_box_around_labels_has_a_margin_that_ends_at_the_border(body_with_tumor: Case) -> None:
    labels = np.zeros_like(body_with_tumor.labels)
    labels[20, 30, 1], labels[24, 34, 6] = 1, 2
    case = replace(body_with_tumor, labels=labels)
    margin = round(BOX_MARGIN_MM / case.spacing_mm)
    assert box_around(case).slices(case.geometry) == (slice(20 - margin, 25 + margin), slice(30 - margin, 35 + margin), slice(0, 7 + margin))
    assert box_around(replace(case, labels=labels * 0)).slices(case.geometry) == tuple(slice(0, length) for length in labels.shape)


def test_an_index_is_refused_that_is_none_or_whose_files_are_missing(kits: tuple[Path, Path], tmp_path: Path) -> None:
    assert [case.name for case in read_index(kits[1], kits[0], ("validation",))] == ["case_00001"]
    (kits[0] / "case_00000" / "imaging.nii.gz").unlink()
    assert len(read_index(kits[1], kits[0], ("validation",))) == 1
    with pytest.raises(InputError, match="does not exist"):
        read_index(kits[1], kits[0], BOTH)
    with pytest.raises(InputError, match="cannot be read"):
        read_index(tmp_path / "none.json", kits[0], BOTH)
    for text in ("{", "[]", '{"cases": [{"name": "a"}]}', '{"cases": [{"name": "a", "split": "test", "ct": "a", "labels": "b"}]}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match="is no index"):
            read_index(tmp_path / "bad.json", kits[0], BOTH)


def test_trainings_are_evaluated_as_the_bundle_that_they_become(
    runs: Path, pool: Path, phantom_cases: tuple[Case, Case], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, sources = tmp_path / "evaluation.json", sources_file(tmp_path, phantom_cases[0])
    what = ["--runs", str(runs), "--config", str(SMOKE), "--sources", str(sources), "--pool", str(pool)]
    assert evaluate.main([str(out), *what, "--split", "all", "--device", "cpu"]) == 0
    (written,) = read_evaluations(out)
    assert [(case["name"], case["trained_on"], case["origin"]) for case in written["cases"]] == [
        ("real", True, REAL),
        ("phantom_10000", True, PHANTOM),
        ("phantom_20000", False, PHANTOM),
    ]
    assert all(0.0 <= case["kidney_dice"] <= 1.0 for case in written["cases"])
    export_bundle.export(SMOKE, runs, tmp_path / "bundle", "0.0.2", [out])
    assert evaluate.weight_hashes(load_bundle(tmp_path / "bundle")) == written["weights"]
    kidney_dice = written["cases"][2]["kidney_dice"]
    assert load_bundle(tmp_path / "bundle").accuracy["synthetic_kidney_dice"] == round(kidney_dice, 4)
    assert f"| phantom_20000 | no | {kidney_dice:.3f} |" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()


def test_what_there_is_to_evaluate_is_checked_first(runs: Path, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, bundle = tmp_path / "out.json", make_bright_bundle(tmp_path / "bundle")
    assert evaluate.main([str(out), "--bundle", str(bundle), "--device", "cpu"]) == 2
    assert "There is nothing to evaluate on" in capsys.readouterr().err
    assert not out.exists()
    options = ["--pool", str(pool), "--device", "cpu"]
    assert evaluate.main([str(out), "--bundle", str(tmp_path / "none"), *options]) == 3
    assert evaluate.main([str(out), "--bundle", str(bundle), *options, "--preset", "best"]) == 2
    assert evaluate.main([str(tmp_path / "none" / "out.json"), "--bundle", str(bundle), *options]) == 2
    assert evaluate.main([str(out), "--runs", str(tmp_path), "--config", str(SMOKE), *options]) == 2


@pytest.mark.parametrize(
    "words", [["--runs", "r"], ["--bundle", "b", "--config", "c"], ["--bundle", "b", "--data", "d"], ["--bundle", "b", "--index", "i"], []]
)
def test_options_that_go_together_are_given_together(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        evaluate.main(["out.json", *words])
    assert refused.value.code == 2


def test_the_tables_tell_what_is_missing(body_with_tumor: Case) -> None:
    rows = [
        row_of(body_with_tumor, body_with_tumor.labels, True, (body_with_tumor.labels > 0).astype(np.uint8)),
        row_of(body_with_tumor, None, True, np.zeros_like(body_with_tumor.labels)),
    ]
    missed, empty = table(rows).splitlines()[1:]
    assert "0/1" in missed.split()
    assert "inf" in missed.split()
    assert empty.split().count("-") == 7
    first, second = csv.DictReader(as_csv(rows).splitlines())
    assert (first["tumor_hd95_mm"], first["whole"], second["kidney_dice"], second["whole"]) == ("inf", "True", "", "")
