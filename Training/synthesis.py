"""A pool of labelled training CT: real scans as they are, and copies of them with other contrast, missing kidneys, tumors and cysts.

    python -m Training.synthesis SOURCES.json OUT --count 160 --seed 1

SOURCES.json lists what to build on (paths relative to the file):
    {"scans": [{"name", "ct", "labels" or null, "kidney_labels": [1, 2] or absent, "split": "train" or "validation"}],
     "lesions": [{"labels", "split"}], "phantoms": 24}
Validation scans are never used for training copies, nor are lesions of validation patients ever implanted in training scans.
Each case is written twice, around the kidneys on fine voxels (OUT/SPLIT/fine) and whole on coarse ones (OUT/SPLIT/coarse).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom
from Training.cases import Case, around, coarser, cubic_case, read_pairs
from Training.lesions import CYST, TUMOR, Shape, grow, recontrasted, shapes_of, without_kidney

FINE_MM, COARSE_MM = 1.5, 3.0
FINE_MARGIN_MM = 70.0
SPLITS = ("train", "validation")
FIRST_TRAINING_PHANTOM, FIRST_VALIDATION_PHANTOM = 10_000, 20_000


def read_sources(path: Path) -> dict[str, Any]:
    """SOURCES.json with its paths made absolute."""
    sources: dict[str, Any] = json.loads(path.read_text())
    for entry in (*sources["scans"], *sources["lesions"]):
        for key in ("ct", "labels"):
            if entry.get(key):
                entry[key] = path.parent / entry[key]
    return sources


def real_cases(sources: dict[str, Any], split: str) -> Iterator[Case]:
    """The scans of one split on fine voxels."""
    for entry in sources["scans"]:
        if entry["split"] == split:
            yield from read_pairs([(entry["name"], entry["ct"], entry["labels"])], FINE_MM, entry.get("kidney_labels", ()))


def lesion_bank(sources: dict[str, Any], split: str, label: int, most: int, rng: np.random.Generator) -> list[Shape]:
    """Shapes of up to `most` patients of one split, drawn at random."""
    entries = [entry for entry in sources["lesions"] if entry["split"] == split]
    chosen = rng.permutation(len(entries))[:most]
    return [shape for index in chosen for shape in shapes_of(entries[index]["labels"], label, 1.0)]


def phantom_case(seed: int, rng: np.random.Generator) -> Case:
    """A phantom patient on fine voxels, its settings drawn at random."""
    settings = PhantomSettings(
        seed=seed,
        tumors=int(rng.integers(0, 4)),
        cysts=int(rng.integers(0, 3)),
        phase=str(rng.choice(["arterial", "portal", "none"], p=[0.45, 0.35, 0.2])),
        spacing=(1.5, 1.5, float(rng.choice([1.5, 2.5, 4.0]))),
        noise_sd=float(rng.uniform(5.0, 25.0)),
    )
    phantom = make_phantom(settings)
    return cubic_case(f"phantom_{seed}", phantom.volume, phantom.labels, FINE_MM)


def with_lesions(case: Case, tumors: list[Shape], cysts: list[Shape], rng: np.random.Generator) -> Case:
    """The case with up to three tumors and up to three cysts; sizes are drawn evenly on a log scale from 8 to 90 mm."""
    plan = [TUMOR] * int(rng.choice([0, 1, 2, 3], p=[0.15, 0.5, 0.25, 0.1])) + [CYST] * int(rng.choice([0, 1, 2, 3], p=[0.5, 0.25, 0.15, 0.1]))
    for label in plan:
        bank = tumors if label == TUMOR else cysts
        for _ in range(6):
            shape = bank[int(rng.integers(len(bank)))]
            low, high = (10.0, 90.0) if label == TUMOR else (6.0, 45.0)
            diameter = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            grown = grow(case, shape, diameter, label, rng)
            if grown is not None:
                case = grown
                break
    return case


def variant(case: Case, tumors: list[Shape], cysts: list[Shape], rng: np.random.Generator) -> Case:
    """One changed copy of a real case with kidneys."""
    if rng.random() < 0.06:
        case = without_kidney(case, rng)
    if rng.random() < 0.35:
        case = recontrasted(case, rng)
    return with_lesions(case, tumors, cysts, rng)


def write_case(case: Case, folder: Path, region: Case | None = None) -> None:
    """Write a fine and a coarse version. `region` is the original whose kidneys bound the fine one."""
    coarser(case, COARSE_MM).save(folder / "coarse")
    bound = region or case
    where = around(bound.labels > 0, round(FINE_MARGIN_MM / case.spacing_mm)) if (bound.labels > 0).any() else None
    (case.cropped(where) if where else case).save(folder / "fine")


def build_pool(sources: dict[str, Any], split: str, out: Path, count: int, seed: int) -> None:
    """Write the pool of one split: the real scans, `count` changed copies of those with kidneys, and the phantoms."""
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    for kind in ("fine", "coarse"):
        (out / split / kind).mkdir(parents=True, exist_ok=True)
    originals = list(real_cases(sources, split))
    for case in originals:
        write_case(case, out / split)
    with_kidneys = [case for case in originals if case.labels.any()]
    tumors = lesion_bank(sources, split, 2, 120, rng)
    cysts = lesion_bank(sources, split, 3, 120, rng)
    for index in range(count):
        base = with_kidneys[index % len(with_kidneys)]
        changed = variant(base, tumors, cysts, rng)
        write_case(replace(changed, name=f"{base.name}_v{index:03d}"), out / split, region=base)
    first = FIRST_TRAINING_PHANTOM if split == "train" else FIRST_VALIDATION_PHANTOM
    for index in range(sources.get("phantoms", 0) if split == "train" else 3):
        write_case(phantom_case(first + index, rng), out / split)


def main() -> None:
    """Build both splits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=160, help="changed copies of training scans")
    parser.add_argument("--validation-count", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    sources = read_sources(arguments.sources)
    build_pool(sources, "validation", arguments.out, arguments.validation_count, arguments.seed)
    build_pool(sources, "train", arguments.out, arguments.count, arguments.seed)


if __name__ == "__main__":
    main()
