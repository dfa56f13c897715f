"""Run the library's own cascade over real and synthetic cases and write down how right it is.

    python -m Training.evaluate BUNDLE OUT.json --sources SOURCES.json --pool POOL

SOURCES.json and POOL are those of `Training.synthesis`. Real scans are scored in their own geometry; scans of the training split are marked
as such. The synthetic cases are POOL's validation cases: lesions of patients and scans that no training case was made from.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.device import choose_device
from KidneyTumorCascadeLib.errors import CascadeError
from KidneyTumorCascadeLib.evaluation import compare_label_maps
from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.report import write_json
from KidneyTumorCascadeLib.volume import Volume, read_label_map, read_volume
from Training.cases import load_case
from Training.synthesis import read_sources

KIDNEY, TUMOR = 1, 2


@dataclass(frozen=True)
class Trial:
    """A scan to be segmented, and what is known of it.

    Attributes:
        labels: reference label map, None where there is nothing to find.
        has_tumors: the reference tells tumors from kidney; else every tumor voxel found is an invented one.
    """

    name: str
    scan: Volume
    labels: Volume | None
    trained_on: bool
    has_tumors: bool
    synthetic: bool


@dataclass(frozen=True)
class Row:
    """How right one trial came out; Dice None where the reference has none of it, volumes in ml, HD95 in mm."""

    name: str
    trained_on: bool
    synthetic: bool
    kidney_dice: float | None
    kidney_hd95_mm: float | None
    tumor_dice: float | None
    tumor_ml: float
    reference_tumor_ml: float | None
    kidney_ml: float
    seconds: float
    warnings: list[str]


def real_trials(sources: dict[str, Any]) -> Iterator[Trial]:
    """Every real scan of SOURCES.json."""
    for entry in sources["scans"]:
        labels = read_label_map(entry["labels"]) if entry["labels"] else None
        yield Trial(entry["name"], read_volume(entry["ct"]), labels, entry["split"] == "train", not entry.get("kidney_labels", [1]), False)


def synthetic_trials(pool: Path) -> Iterator[Trial]:
    """The validation cases of a pool that are not plain real scans."""
    for path in sorted((pool / "validation" / "fine").glob("*.npz")):
        case = load_case(path)
        if "_v" not in case.name and not case.name.startswith("phantom"):
            continue
        x, y, z = reversed(case.hu.shape)
        geometry = Geometry((x, y, z), (case.spacing_mm,) * 3)
        yield Trial(case.name, Volume(case.hu, geometry), Volume(case.labels, geometry), False, True, True)


def score(trial: Trial, cascade: Cascade) -> Row:
    """Segment one scan and compare."""
    started = time.monotonic()
    result = cascade.segment(trial.scan)
    seconds = time.monotonic() - started
    labels = result.labels
    scores = compare_label_maps(labels, trial.labels, kidney_only=not trial.has_tumors) if trial.labels else None
    reference_tumor = ml_of(trial.labels, TUMOR) if trial.labels and trial.has_tumors else None
    return Row(
        name=trial.name,
        trained_on=trial.trained_on,
        synthetic=trial.synthetic,
        kidney_dice=scores.kidney.dice if scores else None,
        kidney_hd95_mm=scores.kidney.hd95_mm if scores else None,
        tumor_dice=scores.tumor.dice if scores and reference_tumor else None,
        tumor_ml=ml_of(labels, TUMOR),
        reference_tumor_ml=reference_tumor,
        kidney_ml=ml_of(labels, KIDNEY),
        seconds=seconds,
        warnings=result.warnings,
    )


def ml_of(labels: Volume, label: int) -> float:
    """Volume of a label."""
    return float((labels.voxels == label).sum()) * labels.geometry.voxel_ml


def line(row: Row) -> str:
    """A row of the table on the terminal."""
    kidney, tumor = ("-" if dice is None else f"{dice:.3f}" for dice in (row.kidney_dice, row.tumor_dice))
    seen = "trained on" if row.trained_on else "unseen"
    known = " invented" if row.reference_tumor_ml is None else f" of {row.reference_tumor_ml:.1f}"
    found = f"{row.tumor_ml:7.1f} ml{known:<12}"
    return f"{row.name:<28}{seen:<12}kidney {kidney:<7}tumor {tumor:<7}{found}{row.seconds:6.1f} s  {'; '.join(row.warnings)}"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sources", type=Path)
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    try:
        cascade = Cascade(load_bundle(arguments.bundle), choose_device(arguments.device), arguments.preset)
        trials: list[Iterator[Trial]] = []
        if arguments.sources:
            trials.append(real_trials(read_sources(arguments.sources)))
        if arguments.pool:
            trials.append(synthetic_trials(arguments.pool))
        rows = []
        for trial in (trial for group in trials for trial in group):
            rows.append(score(trial, cascade))
            print(line(rows[-1]), flush=True)
        write_json(arguments.out, {"preset": arguments.preset, "bundle": cascade.bundle.summary(), "cases": [asdict(row) for row in rows]})
    except CascadeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
