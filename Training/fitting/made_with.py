"""What a checkpoint tells of the training that wrote it: settings, seed and training cases, in plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from Training.fitting.settings import StageSettings

MOST_TOLD = 5


def made_with(settings: StageSettings, data: Path, seed: int) -> dict[str, Any]:
    """Each setting by its dotted name, the seed, and which cases the pool has to train on: numbers, words, truth values, and lists of them."""
    plain = json.loads(json.dumps(asdict(settings)))
    folders = [data / "train" / name for name in (settings.cases, settings.more_cases) if name]
    # Not the path: a pool may be moved, or be made again in the same place.
    cases = sorted((path.parent.name, path.name, path.stat().st_size) for folder in folders for path in folder.glob("*.npz"))
    digest = hashlib.sha256(json.dumps(cases).encode()).hexdigest()[:16]
    return {**flat(plain), "seed": seed, "pool.cases": len(cases), "pool.digest": digest}


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The values of objects within objects, by dotted names."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        result.update(flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value})
    return result


def differences(then: object, now: Mapping[str, Any]) -> str:
    """What differs, for a sentence; empty when nothing does, or for an older checkpoint, which tells nothing."""
    if not isinstance(then, dict):
        return ""
    found = [f"{name} {shown(then.get(name))} (now {shown(value)})" for name, value in now.items() if then.get(name) != value]
    more = [f"{len(found) - MOST_TOLD} more"] if len(found) > MOST_TOLD else []
    return ", ".join(found[:MOST_TOLD] + more)


def shown(value: object) -> str:
    """A value as a configuration has it."""
    return json.dumps(value, default=str)
