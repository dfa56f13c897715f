"""What the training's programs read: indexes of data sets, lists of sources, configurations, logs and cases."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from KidneyTumorCascadeLib.bundle_format import STAGES
from Testing.Fuzz.judge import Target
from Testing.Fuzz.mutations import mutated_bytes, mutated_json, plain_entry
from Training.ablation import read_runs
from Training.cases import Case, load_case
from Training.fitting.settings import read_settings
from Training.fitting.training_log import read_log
from Training.measuring.evaluation_files import read_evaluations
from Training.measuring.trials import read_index
from Training.preparation.pool_records import read_record, record_path
from Training.sources import SPLITS, read_sources

CONFIGS = Path(__file__).resolve().parents[2] / "Training" / "configs"
RECORD = {
    "options": {"format": 2, "fine_mm": 1.5, "fine_margin_mm": 70.0, "fine_least_mm": 250.0, "coarse_mm": 3.0},
    "files": {kind: {"bytes": 1, "mtime_ns": 1, "sha256": "0"} for kind in ("ct", "labels")},
    "facts": {"size": [4, 4, 4], "spacing_mm": [1.0, 1.0, 1.0], "kidney_ml": 1.0, "warnings": []},
}
INDEX = {
    "options": {"segment_names": {"kidney": ["kidney"], "tumor": ["tumor"]}},
    "cases": [{"name": f"case_0000{number}", "split": split, "ct": "there", "labels": "there"} for number, split in enumerate(SPLITS)],
}
SOURCES = {
    "scans": [
        {"name": "a", "ct": "there", "labels": "there2", "kidney_labels": [1, 2], "split": "train", "whole": True},
        {"name": "b", "ct": "there3", "labels": None, "split": "validation"},
    ],
    "lesions": [{"labels": "there", "split": "train"}],
    "anatomies": [
        {"labels": "there2", "kind": "organs", "organs": "word", "split": "train"},
        {"labels": "there3", "kind": "kidneys", "organs": {"kidney": [1], "tumor": [2]}, "split": "train"},
    ],
    "phantoms": 3,
}
RUNS = [{"name": "a", "stage": "roi", "cases": ["phantom_*"], "settings": {"steps": 3}}, {"name": "b", "stage": "kidney", "cases": []}]
LOG = (
    b"step,loss,training_dice,validation_dice,seconds_per_step,data_share,learning_rate\n10,0.5,0.5,0.5,0.1,0.1,0.001\n20,0.4,0.6,0.6,0.1,0.1,0.001\n"
)


def training_targets(folder: Path) -> list[Target]:
    """Everything that Training/ parses itself."""
    data = folder / "training"
    (data / "records").mkdir(parents=True)
    for name in ("there", "there2", "there3"):
        (data / name).touch()
    config = json.dumps(json.loads((CONFIGS / "smoke.json").read_bytes())).encode()
    case = case_example(data)
    return [
        json_target("KiTS index", INDEX, data / "index.json", lambda path: read_index(path, data, SPLITS), 16),
        json_target("record of a pool", RECORD, record_path(data, "case"), lambda path: read_record(data, "case"), 8),
        json_target("SOURCES.json", SOURCES, data / "sources.json", read_sources, 16),
        json_target("list of runs", RUNS, data / "runs.json", read_runs, 8),
        json_target("evaluation", evaluation_example(), data / "evaluation.json", read_evaluations, 8),
        Target("training configuration", lambda random: mutated_json(random, config), partial(feed_config, data / "config.json"), 12),
        Target("training log", lambda random: mutated_bytes(random, LOG), partial(feed_file, data / "log.csv", read_log), 6),
        Target("training case", lambda random: make_case(random, case), partial(feed_case, data / "case.npz"), 6),
    ]


def json_target(name: str, example: Any, path: Path, read: Callable[[Path], Any], share: int) -> Target:
    """A reader of a JSON file."""
    text = json.dumps(example).encode()
    return Target(name, lambda random: mutated_json(random, text), partial(feed_file, path, read), share)


def feed_file(path: Path, read: Callable[[Path], Any], data: bytes) -> None:
    """Read the data from a file."""
    path.write_bytes(data)
    read(path)


def feed_config(path: Path, data: bytes) -> None:
    """Read the settings of one of the stages."""
    path.write_bytes(data)
    read_settings(path, STAGES[len(data) % len(STAGES)])


def evaluation_example() -> dict[str, Any]:
    """An evaluation of one case."""
    from Training.measuring.evaluation_files import CASE_FIELDS, SCHEMA

    about = {"schema": SCHEMA, "preset": "standard", "measured_on": "--split all", "bundle": {}, "weights": {"roi": "0"}}
    return {**about, "cases": [dict.fromkeys(sorted(CASE_FIELDS), 0)]}


def case_example(folder: Path) -> bytes:
    """A small training case."""
    case = Case("example", np.zeros((3, 4, 5), dtype=np.int16), np.ones((3, 4, 5), dtype=np.uint8), 1.5)
    case.save(folder)
    return (folder / "example.npz").read_bytes()


def make_case(random: Random, example: bytes) -> bytes:
    """A case with changed bytes, or with changed arrays in a good archive."""
    if random.random() < 0.4:
        return mutated_bytes(random, example)
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(example)) as old, zipfile.ZipFile(content, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(plain_entry(name, new.compression), changed_array(random, data) if random.random() < 0.6 else data)
    return content.getvalue()


def changed_array(random: Random, data: bytes) -> bytes:
    """A .npy file with another shape, type or other bytes."""
    if random.random() < 0.4:
        return mutated_bytes(random, data)
    old, new = random.choice(
        (
            (b"(3, 4, 5)", b"(3, 4, 6)"),
            (b"(3, 4, 5)", b"(60,)    "),
            (b"(3, 4, 5)", b"(-1, 4,5)"),
            (b"(3, 4, 5),         ", b"(99999,99999,99999),"[:19]),
            (b"<i2", b"<f8"),
            (b"<i2", b"|O "),
            (b"|u1", b"<U1"),
            (b"|u1", b"|S1"),
            (b"<f8", b"<c8"),
            (b"False", b"True "),
        )
    )
    return data.replace(old, new)


def feed_case(path: Path, data: bytes) -> None:
    """Load the case and use it as a training does."""
    path.write_bytes(data)
    case = load_case(path)
    assert (case.hu.dtype.str, case.labels.dtype.str, case.hu.ndim) == ("<i2", "|u1", 3)
    assert case.geometry.size
