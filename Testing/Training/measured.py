"""Evaluations made up for tests of what is done with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from Training.case_names import origin_of
from Training.measuring.evaluation_files import SCHEMA

WEIGHTS = {"roi": "1" * 64, "kidney": "2" * 64, "tumor": "3" * 64}


def measured_case(name: str, **values: Any) -> dict[str, Any]:
    """An unseen case with whole kidneys, of which the reference knows no tumors; its name tells how it was made."""
    origin = origin_of(name)
    case = {"name": name, "origin": origin, "trained_on": False, "whole": True, "kidney_hu": 180.0, "kidney_dice": 0.9}
    case |= {"tumor_dice": None, "mean_dice": None, "kidney_hd95_mm": 3.0, "tumor_hd95_mm": None, "kidney_ml": 300.0, "reference_kidney_ml": 310.0}
    case |= {"tumor_ml": 1.5, "reference_tumor_ml": None, "lesions": [], "false_tumors": 0, "seconds": 1.0, "warnings": [], "calibration": {}}
    return {**case, **values}


def lesion(diameter_mm: float, found: bool, contrast_hu: float | None = -60.0) -> dict[str, Any]:
    """A tumor of the reference."""
    return {"ml": 1.0, "diameter_mm": diameter_mm, "dice": 0.5, "found": found, "contrast_hu": contrast_hu}


def evaluation(cases: Sequence[dict[str, Any]], weights: Mapping[str, str] = WEIGHTS, preset: str = "standard") -> dict[str, Any]:
    """What `Training/evaluate.py` would write."""
    about = {"schema": SCHEMA, "preset": preset, "measured_on": "--sources SOURCES.json --split all", "bundle": {"name": "x"}}
    return {**about, "weights": dict(weights), "cases": list(cases)}


def write(path: Path, content: Mapping[str, Any]) -> Path:
    """Write it as JSON; returns the path."""
    path.write_text(json.dumps(content))
    return path
