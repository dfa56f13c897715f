"""What `Training/evaluate.py` and `Training/merge_evaluations.py` write, read back.

An evaluation has the measurements of one set of weights: {"schema", "preset", "measured_on", "bundle", "weights": {stage: SHA-256},
"cases": [...]}; a case is a `scoring.Row`. A merged file has several: {"schema", "merged": [evaluation, ...]}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.json_fields import load_json
from Training.measuring.scoring import Row

SCHEMA = 4
Case = Mapping[str, Any]
Evaluation = Mapping[str, Any]
ABOUT_FIELDS = {"schema", "preset", "measured_on", "bundle", "weights", "cases"}
CASE_FIELDS = {field.name for field in fields(Row)}


def read_evaluations(path: Path) -> list[Evaluation]:
    """The evaluation in a file, or all of a merged one. Raises InputError for anything else."""
    try:
        content = load_json(path.read_bytes())
        found: list[Evaluation] = content.get("merged", [content])
        complete = content["schema"] == SCHEMA and all(is_complete(evaluation) for evaluation in found)
    except OSError as error:
        raise InputError(f"The evaluation {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise InputError(f"{path} is not what Training/evaluate.py of this version writes; evaluate again.")
    return found


def is_complete(evaluation: Evaluation) -> bool:
    """Whether all is there that `Training/evaluate.py` writes. Raises TypeError or AttributeError for what is no object."""
    about = evaluation.keys() >= ABOUT_FIELDS and isinstance(evaluation["measured_on"], str)
    return about and all(case.keys() >= CASE_FIELDS for case in evaluation["cases"])


def unseen_only(evaluations: Iterable[Evaluation], known: Iterable[str] = ()) -> list[Evaluation]:
    """The evaluations with only those cases that their own weights were not trained on, each case once: the first counts.

    Args:
        evaluations: in the order of their precedence.
        known: names of cases that need no further measurement.
    """
    names, kept = set(known), []
    for evaluation in evaluations:
        cases = [case for case in evaluation["cases"] if not case["trained_on"] and case["name"] not in names]
        names |= {case["name"] for case in cases}
        kept.append({**evaluation, "cases": cases})
    return [evaluation for evaluation in kept if evaluation["cases"]]


@dataclass(frozen=True)
class Evidence:
    """What was measured that speaks for one set of weights.

    Attributes:
        preset: that all of it was measured with; None where there is nothing.
        measured_on: the options of `Training/evaluate.py` that say on what the weights themselves were measured, one for each evaluation.
        cases: measured with the weights themselves, also those that they were trained on.
        left_out: measured with other weights on cases which those were not trained on, and for which these weights do not speak themselves.
    """

    preset: str | None
    measured_on: Sequence[str]
    cases: Sequence[Case]
    left_out: Sequence[Evaluation]

    @property
    def unseen(self) -> list[Case]:
        """Every case that the weights it was measured with were not trained on, left-out ones last."""
        return [case for case in self.cases if not case["trained_on"]] + self.left_out_cases

    @property
    def left_out_cases(self) -> list[Case]:
        """Those that were measured with other weights."""
        return [case for evaluation in self.left_out for case in evaluation["cases"]]


def evidence_for(weights: Mapping[str, str], evaluations: Sequence[Evaluation]) -> Evidence:
    """The evidence for these weights, and from other ones that were trained by the same recipe.

    Raises InputError when there are evaluations and none is of these weights, or when they were measured with different presets.
    """
    own = [evaluation for evaluation in evaluations if evaluation["weights"] == weights]
    if evaluations and not own:
        raise InputError("No evaluation is of these weights; run Training/evaluate.py with the same --runs and --config, and give its file too.")
    presets = sorted({evaluation["preset"] for evaluation in evaluations})
    if len(presets) > 1:
        raise InputError(f"The evaluations are of different presets ({', '.join(presets)}); evaluate all with the same one.")
    cases = list({case["name"]: case for evaluation in reversed(own) for case in reversed(evaluation["cases"])}.values())[::-1]
    others = [without_shared_tumors(evaluation, weights) for evaluation in evaluations if evaluation["weights"] != weights]
    known = [case["name"] for case in cases if not case["trained_on"]]
    measured_on = list(dict.fromkeys(evaluation["measured_on"] for evaluation in own))
    return Evidence(presets[0] if presets else None, measured_on, cases, unseen_only(others, known))


def without_shared_tumors(evaluation: Evaluation, weights: Mapping[str, str]) -> Evaluation:
    """The evaluation of other weights without what it says of tumors, when its tumor network is one of these weights.

    Those cases are left out for the other networks only: the tumor network was trained on them.
    """
    if evaluation["weights"]["tumor"] != weights["tumor"]:
        return evaluation
    unknown: dict[str, Any] = {"tumor_dice": None, "mean_dice": None, "tumor_hd95_mm": None, "tumor_ml": None, "false_tumors": None, "lesions": []}
    cases = [
        {**case, **unknown, "calibration": {key: value for key, value in case["calibration"].items() if key != "tumor"}}
        for case in evaluation["cases"]
    ]
    return {**evaluation, "cases": cases}
