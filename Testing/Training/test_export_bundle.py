"""Exporting: a bundle that the library accepts, with the numbers that were measured with its weights and no others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from KidneyTumorCascadeLib.bundle import DEFAULT_FOLDER, load_bundle, load_network, verify_bundle
from KidneyTumorCascadeLib.errors import InputError
from Testing.Training.measured import evaluation, measured_case, write
from Training import export_bundle
from Training.evaluate import weight_hashes
from Training.export_bundle import export
from Training.measuring.evaluation_files import evidence_for, read_evaluations
from Training.measuring.figures import accuracy_of
from Training.measuring.model_card import card
from Training.measuring.trained_bundle import read_about

CONFIGS = Path(export_bundle.__file__).parent / "configs"
SMOKE = CONFIGS / "smoke.json"


@pytest.fixture
def bundle(runs: Path, tmp_path: Path) -> Path:
    export(SMOKE, runs, tmp_path / "bundle", "0.0.1")
    return tmp_path / "bundle"


@pytest.fixture
def measured(bundle: Path, tmp_path: Path) -> Path:
    """An evaluation of those weights."""
    cases = [measured_case("real", kidney_dice=0.8123), measured_case("seen", trained_on=True)]
    return write(tmp_path / "evaluation.json", evaluation(cases, weight_hashes(load_bundle(bundle))))


def test_the_library_accepts_the_bundle(bundle: Path, runs: Path) -> None:
    found = load_bundle(bundle)
    assert (found.name, found.version, found.licence) == ("smoke", "0.0.1", "CC0-1.0")
    assert found.stages["tumor"].foreground == (2,)
    assert found.stages["kidney"].spacing == (6.0, 6.0, 6.0)
    assert len(verify_bundle(bundle)) == 4
    assert sorted(path.name for path in bundle.iterdir()) == [
        "MODEL_CARD.md",
        "bundle.json",
        "kidney.safetensors",
        "roi.safetensors",
        "tumor.safetensors",
    ]


def test_the_weights_are_the_trained_ones(bundle: Path, runs: Path) -> None:
    for name, stage in load_bundle(bundle).stages.items():
        shipped = load_network(stage, "cpu").state_dict()
        assert all(torch.equal(shipped[key], value.float()) for key, value in load_file(runs / name / "weights.safetensors").items())


def test_without_an_evaluation_the_card_says_so(bundle: Path) -> None:
    assert "## Measured\n\nNot measured.\n" in (bundle / "MODEL_CARD.md").read_text()
    assert load_bundle(bundle).accuracy == {}


def test_the_bundle_and_its_card_get_the_evaluations_numbers(bundle: Path, runs: Path, measured: Path) -> None:
    export(SMOKE, runs, bundle, "0.0.2", [measured])
    assert load_bundle(bundle).accuracy["real_kidney_dice"] == 0.8123
    text = (bundle / "MODEL_CARD.md").read_text()
    assert text.startswith("# smoke 0.0.2\n")
    assert "| real | no | 0.812 |" in text
    for stage in load_bundle(bundle).stages.values():
        assert stage.sha256 in text


def test_left_out_patients_come_from_other_evaluations(bundle: Path, runs: Path, measured: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.json", evaluation([measured_case("seen", kidney_dice=0.7654)]))
    words = ["--config", str(SMOKE), "--runs", str(runs), "--out", str(bundle), "--version", "1"]
    assert export_bundle.main([*words, "--evaluation", str(measured), str(other)]) == 0
    assert "| seen | no | 0.765 |" in (bundle / "MODEL_CARD.md").read_text().split("### Left-out patients")[1]
    accuracy = load_bundle(bundle).accuracy
    assert (accuracy["real_kidney_dice"], accuracy["left_out_real_kidney_dice"]) == (0.8123, 0.7654)


def test_an_evaluation_of_other_weights_is_refused_and_the_bundle_stays(bundle: Path, runs: Path, measured: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    content = json.loads(measured.read_text())
    content["weights"]["tumor"] = "0" * 64
    measured.write_text(json.dumps(content))
    with pytest.raises(InputError, match="No evaluation is of these weights"):
        export(SMOKE, runs, bundle, "0.0.2", [measured])
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_file_that_is_no_evaluation_is_refused(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(InputError, match=r"not what Training/evaluate.py of this version writes"):
        export(SMOKE, runs, tmp_path / "bundle", "1", [tmp_path / "evaluation.json"])
    assert not (tmp_path / "bundle").exists()


def test_a_stage_that_was_not_trained_is_a_sentence(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    (tmp_path / "runs" / "tumor" / "weights.safetensors").unlink()
    words = ["--config", str(SMOKE), "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "bundle"), "--version", "1"]
    assert export_bundle.main(words) == 2
    assert "There are no weights" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_a_configuration_without_a_bundle_is_a_sentence(runs: Path, tmp_path: Path) -> None:
    content = json.loads(SMOKE.read_text())
    (tmp_path / "config.json").write_text(json.dumps({**content, "bundle": {"name": "x"}}))
    with pytest.raises(InputError, match=r"has no bundle.licence"):
        export(tmp_path / "config.json", runs, tmp_path / "bundle", "1")
    del content["bundle"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"has no bundle.name"):
        export(tmp_path / "config.json", runs, tmp_path / "bundle", "1")


def test_the_card_that_ships_says_what_was_measured() -> None:
    """The evaluations of the default bundle are kept, so that its card can be written again, and by hand nobody changes a figure."""
    content = json.loads((DEFAULT_FOLDER / "bundle.json").read_text(encoding="utf-8"))
    weights = {stage: network["sha256"] for stage, network in content["networks"].items()}
    measured = [found for name in ("default_evaluation.json", "default_left_out.json") for found in read_evaluations(CONFIGS.parent / name)]
    evidence = evidence_for(weights, measured)
    about = read_about(CONFIGS / "default_bundle.json")
    assert card(content, about, evidence, weights) == (DEFAULT_FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert content["accuracy"] == accuracy_of([case for case in evidence.cases if not case["trained_on"]], evidence.left_out_cases)
    assert {name: content[name] for name in about if name in content} == {name: about[name] for name in about if name in content}
