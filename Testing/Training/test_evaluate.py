"""Evaluating a bundle: each case is scored for what its reference knows, and for nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.volume import Volume, write_volume
from Training import evaluate, export_bundle
from Training.cases import Case
from Training.evaluate import Trial, line, real_trials, score, synthetic_trials
from Training.sources import read_sources

SMOKE = Path(evaluate.__file__).parent / "configs" / "smoke.json"


@pytest.fixture(scope="module")
def bundle(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "bundle"
    export_bundle.export(SMOKE, runs, folder, "0.0.1", None)
    return folder


def finding(labels: np.ndarray) -> Cascade:
    """A cascade that finds just this."""
    return cast(Cascade, SimpleNamespace(segment=lambda scan: SimpleNamespace(labels=Volume(labels, scan.geometry), warnings=["odd"])))


def trial_of(case: Case, labels: np.ndarray | None, has_tumors: bool) -> Trial:
    reference = None if labels is None else Volume(labels, case.geometry)
    return Trial("a", Volume(case.hu, case.geometry), reference, False, has_tumors, False)


def test_what_was_found_right_scores_one(body_with_tumor: Case) -> None:
    labels = body_with_tumor.labels
    row = score(trial_of(body_with_tumor, labels, True), finding(labels))
    assert (row.kidney_dice, row.tumor_dice, row.kidney_hd95_mm) == (1.0, 1.0, 0.0)
    assert row.tumor_ml == row.reference_tumor_ml == pytest.approx((labels == 2).sum() * 0.008)
    assert row.kidney_ml == pytest.approx((labels == 1).sum() * 0.008)
    assert row.warnings == ["odd"]


def test_a_reference_without_tumors_scores_kidneys_only(body_with_tumor: Case) -> None:
    reference = (body_with_tumor.labels > 0).astype(np.uint8)
    row = score(trial_of(body_with_tumor, reference, False), finding(body_with_tumor.labels))
    assert row.kidney_dice == 1.0
    assert row.tumor_dice is None
    assert row.reference_tumor_ml is None
    assert row.tumor_ml > 1.0
    assert "invented" in line(row)


def test_nothing_to_find_has_no_score(body_with_tumor: Case) -> None:
    empty = np.zeros_like(body_with_tumor.labels)
    for reference, has_tumors in ((None, True), (empty, True), (empty, False)):
        row = score(trial_of(body_with_tumor, reference, has_tumors), finding(body_with_tumor.labels))
        assert (row.kidney_dice, row.kidney_hd95_mm, row.tumor_dice) == (None, None, None)
    row = score(trial_of(body_with_tumor, (body_with_tumor.labels == 1).astype(np.uint8), True), finding(empty))
    assert (row.kidney_dice, row.tumor_dice, row.reference_tumor_ml) == (0.0, None, 0.0)


def sources_file(folder: Path, case: Case, **entry: Any) -> Path:
    write_volume(Volume(case.hu, case.geometry), folder / "ct.nii.gz")
    write_volume(Volume(case.labels, case.geometry), folder / "labels.nii.gz")
    scan = {"name": "real", "ct": "ct.nii.gz", "labels": "labels.nii.gz", "split": "train", **entry}
    (folder / "SOURCES.json").write_text(json.dumps({"scans": [scan]}))
    return folder / "SOURCES.json"


def test_real_scans_are_read_as_their_entry_says(tmp_path: Path, body_with_tumor: Case) -> None:
    (trial,) = real_trials(read_sources(sources_file(tmp_path, body_with_tumor)))
    assert (trial.trained_on, trial.has_tumors, trial.synthetic) == (True, True, False)
    assert trial.labels is not None
    assert np.array_equal(trial.labels.voxels, body_with_tumor.labels)
    (other,) = real_trials(read_sources(sources_file(tmp_path, body_with_tumor, kidney_labels=[2], split="validation")))
    assert (other.trained_on, other.has_tumors) == (False, False)
    assert other.labels is not None
    assert np.array_equal(other.labels.voxels, body_with_tumor.labels == 2)


def test_synthetic_cases_are_copies_and_phantoms_of_the_validation_split(tmp_path: Path, body: Case) -> None:
    for split in ("train", "validation"):
        (tmp_path / split / "fine").mkdir(parents=True)
    for name in ("real", "real_v003", "phantom_20000", "very_viable"):
        replace(body, name=name).save(tmp_path / "validation" / "fine")
    replace(body, name="other_v001").save(tmp_path / "train" / "fine")
    assert [trial.name for trial in synthetic_trials(tmp_path)] == ["phantom_20000", "real_v003"]


def test_a_bundle_is_evaluated_and_its_card_gets_the_numbers(
    bundle: Path, runs: Path, pool: Path, phantom_cases: tuple[Case, Case], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "evaluation.json"
    sources = sources_file(tmp_path, phantom_cases[0])
    assert evaluate.main([str(bundle), str(out), "--sources", str(sources), "--pool", str(pool), "--device", "cpu"]) == 0
    written = json.loads(out.read_text())
    assert [(case["name"], case["trained_on"], case["synthetic"]) for case in written["cases"]] == [
        ("real", True, False),
        ("phantom_20000", False, True),
    ]
    assert all(0.0 <= case["kidney_dice"] <= 1.0 for case in written["cases"])
    assert written["weights"]["roi"] == load_bundle(bundle).stages["roi"].sha256
    assert capsys.readouterr().out.count("\n") == 2
    export_bundle.export(SMOKE, runs, tmp_path / "bundle", "0.0.2", out)
    kidney_dice = written["cases"][1]["kidney_dice"]
    assert load_bundle(tmp_path / "bundle").accuracy["synthetic_kidney_dice"] == round(kidney_dice, 4)
    assert f"| phantom_20000 | no | {kidney_dice:.3f} |" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()


def test_nothing_to_evaluate_on_is_a_sentence(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(bundle), str(tmp_path / "out.json"), "--device", "cpu"]) == 2
    assert "There is nothing to evaluate on" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_a_missing_bundle_preset_or_folder_is_a_sentence(bundle: Path, pool: Path, tmp_path: Path) -> None:
    options = ["--pool", str(pool), "--device", "cpu"]
    assert evaluate.main([str(tmp_path / "none"), str(tmp_path / "out.json"), *options]) == 3
    assert evaluate.main([str(bundle), str(tmp_path / "out.json"), *options, "--preset", "best"]) == 2
    assert evaluate.main([str(bundle), str(tmp_path / "none" / "out.json"), *options]) == 2
