"""What evaluations are taken for: only cases that the measured weights had not seen, each once, and never of unknown weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from KidneyTumorCascadeLib.errors import InputError
from Testing.Training.measured import WEIGHTS, evaluation, measured_case, write
from Training import merge_evaluations
from Training.measuring.evaluation_files import SCHEMA, evidence_for, read_evaluations, unseen_only
from Training.measuring.figures import shows_kidneys_without_tumor

OTHERS = {"roi": "7" * 64, "kidney": "8" * 64, "tumor": "6" * 64}
THIRD = {**WEIGHTS, "tumor": "9" * 64}


def names(evaluations: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [[case["name"] for case in found["cases"]] for found in evaluations]


def test_each_case_is_kept_once_from_the_first_that_was_not_trained_on_it() -> None:
    first = evaluation([measured_case("a", trained_on=True), measured_case("b", kidney_dice=0.5)])
    second = evaluation([measured_case("a"), measured_case("b", kidney_dice=0.6), measured_case("c")], OTHERS)
    third = evaluation([measured_case("a", trained_on=True), measured_case("b")], THIRD)
    kept = unseen_only([first, second, third])
    assert names(kept) == [["b"], ["a", "c"]]
    assert [found["weights"] for found in kept] == [WEIGHTS, OTHERS]
    assert kept[0]["cases"][0]["kidney_dice"] == 0.5
    assert names(unseen_only([first, second], known=["b", "c"])) == [["a"]]


def test_left_out_patients_speak_only_where_the_weights_do_not() -> None:
    own = evaluation([measured_case("a", trained_on=True, kidney_dice=0.99), measured_case("b")])
    left_out = evaluation([measured_case("a", kidney_dice=0.91), measured_case("b", kidney_dice=0.1)], OTHERS)
    evidence = evidence_for(WEIGHTS, [left_out, own])
    assert names(evidence.left_out) == [["a"]]
    assert [(case["name"], case["kidney_dice"]) for case in evidence.unseen] == [("b", 0.9), ("a", 0.91)]
    assert [case["name"] for case in evidence.cases] == ["a", "b"]


def test_a_left_out_patient_says_nothing_of_tumors_when_the_tumor_network_is_the_bundles_own() -> None:
    own = evaluation([measured_case("b")])
    case = measured_case("a", tumor_ml=0.0, calibration={"kidney": {"x": 1}, "tumor": {"x": 2}})
    for tumor, known in (("9" * 64, True), (WEIGHTS["tumor"], False)):
        left_out = evaluation([case], {**OTHERS, "tumor": tumor})
        (found,) = evidence_for(WEIGHTS, [own, left_out]).left_out_cases
        assert found["kidney_dice"] == 0.9
        assert (found["tumor_ml"] == 0.0) is known
        assert (found["false_tumors"] == 0) is known
        assert ("tumor" in found["calibration"]) is known
        assert shows_kidneys_without_tumor(found) is known


def test_several_files_of_the_same_weights_are_one_and_the_first_counts() -> None:
    first = evaluation([measured_case("a", kidney_dice=0.5), measured_case("b")])
    second = evaluation([measured_case("c"), measured_case("a", kidney_dice=0.6)])
    evidence = evidence_for(WEIGHTS, [first, second])
    assert {case["name"]: case["kidney_dice"] for case in evidence.cases} == {"a": 0.5, "b": 0.9, "c": 0.9}
    assert not evidence.left_out


def test_evidence_of_other_weights_alone_or_of_mixed_presets_is_refused() -> None:
    with pytest.raises(InputError, match="No evaluation is of these weights"):
        evidence_for(WEIGHTS, [evaluation([measured_case("a")], THIRD)])
    with pytest.raises(InputError, match=r"different presets \(fast, standard\)"):
        evidence_for(WEIGHTS, [evaluation([measured_case("a")]), evaluation([measured_case("b")], OTHERS, "fast")])
    nothing = evidence_for(WEIGHTS, [])
    assert (nothing.preset, nothing.cases, nothing.unseen) == (None, [], [])


def test_merging_writes_what_was_left_out_with_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = measured_case("always", trained_on=True)
    one = write(tmp_path / "1.json", evaluation([measured_case("a"), measured_case("b", trained_on=True), seen]))
    two = write(tmp_path / "2.json", evaluation([measured_case("a", trained_on=True), measured_case("b"), seen], OTHERS))
    out = tmp_path / "out.json"
    assert merge_evaluations.main([str(out), str(one), str(two)]) == 0
    assert [(found["weights"], [case["name"] for case in found["cases"]]) for found in read_evaluations(out)] == [(WEIGHTS, ["a"]), (OTHERS, ["b"])]
    assert capsys.readouterr().out == "2 cases of 2 sets of weights; all were trained on always\n"
    # What was merged can be merged again.
    assert merge_evaluations.main([str(tmp_path / "again.json"), str(out)]) == 0
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(out.read_text())


def test_merging_nothing_but_training_cases_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "1.json", evaluation([measured_case("a", trained_on=True)]))
    assert merge_evaluations.main([str(tmp_path / "out.json"), str(file)]) == 2
    assert "were trained on" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
    assert merge_evaluations.main([str(tmp_path / "none" / "out.json"), str(file)]) == 2


def without_calibration() -> dict[str, Any]:
    case = measured_case("a")
    del case["calibration"]
    return evaluation([case])


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"cases": []},
        {**evaluation([]), "schema": SCHEMA - 1},
        {**evaluation([]), "measured_on": ["--pool"]},
        {"schema": SCHEMA, "merged": [[]]},
        {"schema": SCHEMA, "merged": 5},
        without_calibration(),
        "x",
    ],
)
def test_a_file_that_is_no_evaluation_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(InputError, match=r"is not what Training/evaluate.py of this version writes"):
        read_evaluations(write(tmp_path / "e.json", content))  # type: ignore[arg-type]
    (tmp_path / "e.json").write_text("{")
    with pytest.raises(InputError, match="is not what"):
        read_evaluations(tmp_path / "e.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_evaluations(tmp_path / "none.json")
