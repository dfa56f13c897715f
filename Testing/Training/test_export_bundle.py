"""Exporting: a bundle that the library accepts, with the numbers that were measured with its weights and no others."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from KidneyTumorCascadeLib.bundle import load_bundle, load_network, verify_bundle
from KidneyTumorCascadeLib.errors import InputError
from Training import export_bundle
from Training.evaluate import weight_hashes
from Training.export_bundle import accuracy_of, export, measured_row

SMOKE = Path(export_bundle.__file__).parent / "configs" / "smoke.json"


def measured_case(name: str, **values: Any) -> dict[str, Any]:
    """A real, unseen case with kidneys of which the reference knows no tumors."""
    case = {"name": name, "trained_on": False, "synthetic": False, "kidney_dice": 0.9, "kidney_hd95_mm": 3.0}
    return {**case, "tumor_dice": None, "tumor_ml": 1.5, "reference_tumor_ml": None, "kidney_ml": 300.0, "seconds": 1.0, "warnings": [], **values}


CASES = [
    measured_case("seen", trained_on=True, kidney_dice=0.99),
    measured_case("one", kidney_dice=0.8123),
    measured_case("two", kidney_dice=0.9456, tumor_ml=4.5, kidney_hd95_mm=None),
    measured_case("sick", kidney_dice=0.8, tumor_dice=0.7135, tumor_ml=77.7, reference_tumor_ml=80.25),
    measured_case("lung", kidney_dice=None, kidney_hd95_mm=None, tumor_ml=0.0),
    measured_case("a_v000", synthetic=True, kidney_dice=0.8878, tumor_dice=0.6543, tumor_ml=20.25, reference_tumor_ml=33.35),
]


@pytest.fixture
def bundle(runs: Path, tmp_path: Path) -> Path:
    export(SMOKE, runs, tmp_path / "bundle", "0.0.1", None)
    return tmp_path / "bundle"


@pytest.fixture
def evaluation(bundle: Path, tmp_path: Path) -> Path:
    """An evaluation of those weights."""
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps({"preset": "standard", "bundle": {}, "weights": weight_hashes(load_bundle(bundle)), "cases": CASES}))
    return path


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
    assert (bundle / "MODEL_CARD.md").read_text().endswith("## Measured\n\nNot measured.\n")
    assert load_bundle(bundle).accuracy == {}


def test_the_cards_numbers_are_those_of_the_evaluation(bundle: Path, runs: Path, evaluation: Path) -> None:
    export(SMOKE, runs, bundle, "0.0.2", evaluation)
    measured = (bundle / "MODEL_CARD.md").read_text().split("## Measured")[1]
    rows = [line.split(" | ") for line in measured.splitlines() if line.startswith("| ") and "case" not in line]
    assert [row[0].strip("| ") for row in rows] == [case["name"] for case in CASES]
    for row, case in zip(rows, CASES, strict=True):
        assert row[1] == ("yes" if case["trained_on"] else "no")
        keys = ("kidney_dice", "kidney_hd95_mm", "tumor_dice", "tumor_ml", "reference_tumor_ml")
        for cell, key, digits in zip(row[2:], keys, (3, 1, 3, 1, 1), strict=True):
            assert cell.strip("| ") == ("-" if case[key] is None else f"{case[key]:.{digits}f}")
    others = re.sub(r"^\|.*$", "", measured, flags=re.MULTILINE)
    assert set(re.findall(r"\d+(?:\.\d+)?", others)) <= {"19", "95"}


def test_the_bundles_accuracy_counts_unseen_cases_only() -> None:
    assert accuracy_of(CASES) == {
        "real_kidney_dice": pytest.approx((0.8123 + 0.9456 + 0.8) / 3, abs=1e-4),
        "real_tumor_dice": 0.7135,
        "real_invented_tumor_ml_median": 3.0,
        "synthetic_kidney_dice": 0.8878,
        "synthetic_tumor_dice": 0.6543,
    }
    assert accuracy_of([]) == {}


def test_what_was_not_measured_is_a_dash() -> None:
    assert measured_row(CASES[4]) == "| lung | no | - | - | - | 0.0 | - |"


def test_an_evaluation_of_other_weights_is_refused_and_the_bundle_stays(bundle: Path, runs: Path, evaluation: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    content = json.loads(evaluation.read_text())
    content["weights"]["tumor"] = "0" * 64
    evaluation.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is of other weights"):
        export(SMOKE, runs, bundle, "0.0.2", evaluation)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


@pytest.mark.parametrize("text", ["{", "[]", '{"cases": []}', '{"preset": "standard", "weights": {}, "cases": [{"name": "a"}]}'])
def test_a_file_that_is_no_evaluation_is_refused(runs: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(InputError, match=r"not what Training/evaluate.py writes"):
        export(SMOKE, runs, tmp_path / "bundle", "1", tmp_path / "evaluation.json")
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
        export(tmp_path / "config.json", runs, tmp_path / "bundle", "1", None)
    del content["bundle"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"has no bundle.name"):
        export(tmp_path / "config.json", runs, tmp_path / "bundle", "1", None)
