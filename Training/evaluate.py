"""Run the library's own cascade over scans that nobody trained on, and write down how right it is.

    python Training/evaluate.py EVALUATION.json --runs RUNS --config Training/configs/standard.json --data DATA --index POOL/index.json
    python Training/evaluate.py EVALUATION.json --bundle BUNDLE --sources SOURCES.json --pool POOL --pictures FOLDER

What is evaluated is a bundle, or the three trainings in RUNS as the bundle that `Training/export_bundle.py` would make of them.
What it is evaluated on, one or more of these:
- DATA and its index: a KiTS19 folder and what `Training/prepare_kits19.py` wrote of it; original images in their own geometry;
- SOURCES.json: real scans, in their own geometry;
- POOL: the synthetic cases of a pool of `Training/synthesis.py`;
- SLICES: the slabs that `Training/slice_cases.py` made of single real slices, in boxes around what is labelled in them: tumors alone.
By default that is the validation split; cases of the training split are marked as trained on. EVALUATION.csv has the same table, and FOLDER
gets the worst cases as pictures and the reliability of the probabilities.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from KidneyTumorCascadeLib.bundle import Bundle, load_bundle
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.device import DEVICES, choose_device
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.report import require_place_for, write_json, write_text_atomically
from Training.command_line import make_folder, positive, run_command
from Training.curves import require_drawing
from Training.measuring.calibration import REGIONS, Reliability, write_reliability_plot
from Training.measuring.evaluation_files import SCHEMA
from Training.measuring.evaluation_tables import as_csv, cell, line, table
from Training.measuring.scoring import Row, reference_of, segment_and_score
from Training.measuring.trained_bundle import temporary_bundle
from Training.measuring.trials import Trial, indexed_trials, pool_trials, read_index, slab_trials, source_trials
from Training.measuring.worst_cases import MOST_PICTURES, WorstCases
from Training.sources import SPLITS, read_sources


def evaluate(arguments: argparse.Namespace) -> None:
    """Score everything asked for, and write it down at the end.

    Raises InputError when there is nothing to score, SetupError when pictures are asked for that cannot be drawn.
    """
    require_place_for(arguments.out)
    if arguments.pictures:
        # Before hours of scoring, not after them.
        require_drawing("Pictures")
        make_folder(arguments.pictures)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    trials = all_trials(arguments)
    with bundle_of(arguments) as bundle:
        cascade = Cascade(bundle, choose_device(arguments.device), arguments.preset)
        cascade.keep_probabilities = True
        worst = WorstCases(arguments.most_pictures)
        rows = [done(trial, cascade, worst, bool(arguments.pictures)) for trial in trials]
        if not rows:
            raise InputError(
                "There is nothing to evaluate on; give --data with --index, --sources, --pool or --slices that have cases of that split."
            )
        about = {"schema": SCHEMA, "preset": arguments.preset, "measured_on": measured_on(arguments), "bundle": bundle.summary()}
        about["weights"] = weight_hashes(bundle)
    write_json(arguments.out, {**about, "cases": [asdict(row) for row in rows]})
    write_text_atomically(arguments.out.with_suffix(".csv"), as_csv(rows))
    print(f"\n{table(rows)}")
    if arguments.pictures:
        write_pictures(arguments.pictures, rows, worst)


def done(trial: Trial, cascade: Cascade, worst: WorstCases, pictures: bool) -> Row:
    """Score one scan, tell of it, and keep its picture if it is one of the worst."""
    row, found = segment_and_score(trial, cascade)
    print(line(row), flush=True)
    if pictures:
        note = f"kidney Dice {cell(row.kidney_dice, 3)}, tumor Dice {cell(row.tumor_dice, 3)}, tumor {row.tumor_ml:.1f} ml"
        worst.see(row.name, trial.scan.in_lps_order(), found.in_lps_order(), reference_of(trial), note)
    return row


def write_pictures(folder: Path, rows: list[Row], worst: WorstCases) -> None:
    """The worst cases, and the reliability of the probabilities over all cases that were not trained on (all, where every one was)."""
    for file in worst.write(folder):
        print(file)
    unseen = [row for row in rows if not row.trained_on] or rows
    tables = {
        region: sum((Reliability.from_dict(row.calibration[region]) for row in unseen if region in row.calibration), Reliability.none())
        for region in REGIONS
    }
    title = f"{len(unseen)} scans {'trained on' if unseen[0].trained_on else 'not trained on'}, inside the boxes"
    write_reliability_plot(folder / "reliability.png", tables, title)
    print(folder / "reliability.png")


@contextmanager
def bundle_of(arguments: argparse.Namespace) -> Iterator[Bundle]:
    """The bundle to evaluate, made of the trainings where none is given."""
    if arguments.bundle:
        yield load_bundle(arguments.bundle)
    else:
        with temporary_bundle(arguments.config, arguments.runs) as folder:
            yield load_bundle(folder)


def measured_on(arguments: argparse.Namespace) -> str:
    """The options that say what was evaluated on, without the names of one computer's folders: for the model card."""
    named = (
        ("--data DATA --index POOL/index.json", arguments.index),
        ("--sources SOURCES.json", arguments.sources),
        ("--pool POOL", arguments.pool),
        ("--slices SLICES", arguments.slices),
    )
    return " ".join([*(option for option, given in named if given), f"--split {arguments.split}"])


def weight_hashes(bundle: Bundle) -> dict[str, str]:
    """SHA-256 of each network's weights: what the measured numbers belong to."""
    return {name: stage.sha256 for name, stage in bundle.stages.items()}


def all_trials(arguments: argparse.Namespace) -> Iterator[Trial]:
    """Everything asked for, one scan in memory at a time. What is wrong with the lists of cases is raised at once."""
    splits = SPLITS if arguments.split == "all" else (arguments.split,)
    indexed = read_index(arguments.index, arguments.data, splits) if arguments.index else []
    sources = read_sources(arguments.sources) if arguments.sources else None

    def generate() -> Iterator[Trial]:
        yield from indexed_trials(indexed)
        if sources:
            yield from source_trials(sources, splits)
        if arguments.pool:
            yield from pool_trials(arguments.pool, splits)
        if arguments.slices:
            yield from slab_trials(arguments.slices, splits)

    return generate()


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="EVALUATION.json")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--bundle", help="name or folder")
    what.add_argument("--runs", type=Path, help="folder with the trained stages; needs --config")
    parser.add_argument("--config", type=Path, help="what the stages were trained with")
    parser.add_argument("--data", type=Path, help="KiTS19 folder; needs --index")
    parser.add_argument("--index", type=Path, help="the index.json of the pool that was prepared from it")
    parser.add_argument("--sources", type=Path, help="SOURCES.json with real scans")
    parser.add_argument("--pool", type=Path, help="pool with synthetic cases")
    parser.add_argument("--slices", type=Path, help="pool with single real slices as slabs")
    parser.add_argument("--split", default="validation", choices=(*SPLITS, "all"))
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--threads", type=positive, help="of the CPU; as many as PyTorch takes by default")
    parser.add_argument("--pictures", type=Path, help="folder for the worst cases and the reliability of the probabilities")
    parser.add_argument("--most-pictures", type=positive, default=MOST_PICTURES, help="how many of the worst cases are drawn")
    return parser


def parse(words: list[str] | None) -> argparse.Namespace:
    """The command line; options that go together only together."""
    parser = make_parser()
    arguments = parser.parse_args(words)
    if (arguments.runs is None) != (arguments.config is None):
        parser.error("--runs and --config go together")
    if (arguments.data is None) != (arguments.index is None):
        parser.error("--data and --index go together")
    return arguments


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = parse(words)
    return run_command(lambda: evaluate(arguments))


if __name__ == "__main__":
    sys.exit(main())
