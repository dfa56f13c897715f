"""Run the library's own cascade over real and synthetic cases and write down how right it is.

    python Training/evaluate.py BUNDLE OUT.json --sources SOURCES.json --pool POOL

SOURCES.json and POOL are those of `Training/synthesis.py`. Real scans are scored in their own geometry; scans of the training split are
marked as such. The synthetic cases are POOL's validation cases: lesions of patients and scans that no training case was made from.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.bundle import Bundle, load_bundle
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.device import DEVICES, choose_device
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.evaluation import RegionScores, Scores, compare_label_maps
from KidneyTumorCascadeLib.report import require_place_for, write_json
from KidneyTumorCascadeLib.volume import Volume, read_volume
from Training.cases import KIDNEY, TUMOR, load_case, read_labels
from Training.command_line import run_command
from Training.sources import Sources, read_sources
from Training.synthesis import is_synthetic


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
    """How right one trial came out; Dice None where the reference has none of it, volumes in ml, HD95 in mm (infinite when nothing was found)."""

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


def real_trials(sources: Sources) -> Iterator[Trial]:
    """Every real scan of SOURCES.json."""
    for scan in sources.scans:
        labels = read_labels(scan.labels, scan.kidney_labels) if scan.labels else None
        yield Trial(scan.name, read_volume(scan.ct), labels, scan.split == "train", has_tumors=not scan.kidney_labels, synthetic=False)


def synthetic_trials(pool: Path) -> Iterator[Trial]:
    """The validation cases of a pool that are not plain real scans."""
    for path in sorted((pool / "validation" / "fine").glob("*.npz")):
        if is_synthetic(path.stem):
            case = load_case(path)
            scan, labels = Volume(case.hu, case.geometry), Volume(case.labels, case.geometry)
            yield Trial(case.name, scan, labels, trained_on=False, has_tumors=True, synthetic=True)


def score(trial: Trial, cascade: Cascade) -> Row:
    """Segment one scan and compare."""
    started = time.monotonic()
    result = cascade.segment(trial.scan)
    seconds = time.monotonic() - started
    kidney, tumor = scores_where_there_is_something(result.labels, trial)
    return Row(
        name=trial.name,
        trained_on=trial.trained_on,
        synthetic=trial.synthetic,
        kidney_dice=kidney.dice if kidney else None,
        kidney_hd95_mm=kidney.hd95_mm if kidney else None,
        tumor_dice=tumor.dice if tumor else None,
        tumor_ml=ml_of(result.labels, TUMOR),
        reference_tumor_ml=ml_of(trial.labels, TUMOR) if trial.labels and trial.has_tumors else None,
        kidney_ml=ml_of(result.labels, KIDNEY),
        seconds=seconds,
        warnings=result.warnings,
    )


def scores_where_there_is_something(labels: Volume, trial: Trial) -> tuple[RegionScores | None, RegionScores | None]:
    """The scores of kidney and tumor, None for what the reference has none of: there is nothing to be right about."""
    if trial.labels is None:
        return None, None
    scores: Scores = compare_label_maps(labels, trial.labels, kidney_only=not trial.has_tumors)
    return scores.kidney if scores.kidney.reference_ml else None, scores.tumor if scores.tumor.reference_ml else None


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


def weight_hashes(bundle: Bundle) -> dict[str, str]:
    """SHA-256 of each network's weights: what the measured numbers belong to."""
    return {name: stage.sha256 for name, stage in bundle.stages.items()}


def evaluate(arguments: argparse.Namespace) -> None:
    """Score everything asked for, and write it down at the end. Raises InputError when there is nothing to score."""
    require_place_for(arguments.out)
    cascade = Cascade(load_bundle(arguments.bundle), choose_device(arguments.device), arguments.preset)
    rows = []
    for trial in all_trials(arguments):
        rows.append(score(trial, cascade))
        print(line(rows[-1]), flush=True)
    if not rows:
        raise InputError("There is nothing to evaluate on; give --sources with scans, --pool with synthetic validation cases, or both.")
    about = {"preset": arguments.preset, "bundle": cascade.bundle.summary(), "weights": weight_hashes(cascade.bundle)}
    write_json(arguments.out, {**about, "cases": [asdict(row) for row in rows]})


def all_trials(arguments: argparse.Namespace) -> Iterator[Trial]:
    """Real scans, then synthetic cases, one in memory at a time."""
    if arguments.sources:
        yield from real_trials(read_sources(arguments.sources))
    if arguments.pool:
        yield from synthetic_trials(arguments.pool)


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="name or folder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--sources", type=Path)
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: evaluate(arguments))


if __name__ == "__main__":
    sys.exit(main())
