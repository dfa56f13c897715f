"""Results of earlier runs of a batch: which manifests are taken at their word. Whoever wrote or edited one, it can stop no batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.batch_records import CaseOutcome, sha256_of
from KidneyTumorCascadeLib.geometry import SIDES
from KidneyTumorCascadeLib.json_fields import is_number, load_json
from KidneyTumorCascadeLib.report import is_manifest

# Options that add files and change nothing else.
ADDITIONS = ("preview", "probabilities")
# In ml, mm, seconds and tumors: far beyond any patient and any run.
MOST = 1e9


def read_manifest(path: Path) -> dict[str, Any]:
    """What a manifest says; nothing when there is none, or it is damaged."""
    try:
        content = load_json(path.read_bytes()) if is_manifest(path) else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def answers(recorded: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether a result that was asked for so is what is wanted now; that more was written than is wanted does no harm."""
    if not isinstance(recorded, dict) or recorded.keys() != wanted.keys():
        return False
    return all(recorded[key] == value or (key in ADDITIONS and value is False) for key, value in wanted.items())


def has_files(manifest: Mapping[str, Any], labels: Path) -> bool:
    """Whether the label map and all other files that a manifest names lie in its folder as it says."""
    files = manifest.get("files")
    return isinstance(files, dict) and labels.name in files and all(is_as_recorded(labels.parent, name, digest) for name, digest in files.items())


def is_as_recorded(folder: Path, name: str, digest: Any) -> bool:
    """Whether a file lies in the folder itself with this SHA-256."""
    try:
        # Another place or a pipe, such as /dev/zero, might have no end.
        return name == Path(name).name and (folder / name).is_file() and bool(sha256_of(folder / name) == digest)
    except (OSError, ValueError):
        return False


def is_complete(manifest: Mapping[str, Any]) -> bool:
    """Whether everything that an outcome is made of is there, of its type and within reason."""
    measurements, seconds, warnings = (manifest.get(name) for name in ("measurements", "seconds", "warnings"))
    return (
        isinstance(measurements, list)
        and all(map(is_measurement, measurements))
        and isinstance(seconds, dict)
        and all(is_amount(value) for value in seconds.values())
        and isinstance(warnings, list)
        and all(isinstance(text, str) for text in warnings)
    )


def is_measurement(row: Any) -> bool:
    """Whether this is a side's row of a manifest."""
    if not isinstance(row, dict) or row.get("side") not in SIDES:
        return False
    longest = row.get("longest_axial_mm")
    amounts = (row.get("kidney_ml"), row.get("tumor_ml"), row.get("tumors"), 0 if longest is None else longest)
    return all(map(is_amount, amounts)) and isinstance(row["tumors"], int)


def is_amount(value: Any) -> bool:
    """Whether this is a number that a measurement can be."""
    return is_number(value) and bool(0 <= value <= MOST)


def can_be_sent(outcome: CaseOutcome) -> bool:
    """Whether an outcome can go to another process: numbers such as 1e999 are nothing that JSON has, but what Python reads from it."""
    try:
        json.dumps(outcome.to_dict(), allow_nan=False)
    except ValueError:
        return False
    return True
