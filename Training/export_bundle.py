"""Turn three trained networks into a bundle, and its measurements into a model card.

    python Training/export_bundle.py --config Training/configs/standard.json --runs RUNS --out FOLDER --version 1.0.0 --evaluation EVALUATION.json

RUNS/roi, RUNS/kidney and RUNS/tumor are the output folders of `Training/train.py`. The card's numbers come from `Training/evaluate.py` alone.
One of the evaluations must be of these very weights. Others may come from trainings by the same recipe that left patients out (also merged by
`Training/merge_evaluations.py`): of them the card takes the patients that they were not trained on, and names their weights.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.bundle import verify_bundle
from KidneyTumorCascadeLib.bundle_format import BUNDLE_FILE
from KidneyTumorCascadeLib.report import write_json, write_text_atomically
from Training.command_line import make_folder, run_command
from Training.measuring.evaluation_files import evidence_for, read_evaluations
from Training.measuring.figures import accuracy_of
from Training.measuring.model_card import card
from Training.measuring.trained_bundle import description_of, read_about, trained_networks, write_networks

CARD_FILE = "MODEL_CARD.md"


def export(config: Path, runs: Path, folder: Path, version: str, evaluations: Sequence[Path] = ()) -> None:
    """Write the bundle and its card. What is in the folder already stays as it was until the new bundle is complete and verified.

    Raises InputError when a stage is not trained as configured, or when the evaluations do not speak for these weights.
    """
    about = read_about(config)
    measured = [evaluation for file in evaluations for evaluation in read_evaluations(file)]
    networks = trained_networks(config, runs)
    make_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as name:
        entries = write_networks(networks, Path(name))
        weights = {stage: entry["sha256"] for stage, entry in entries.items()}
        evidence = evidence_for(weights, measured)
        unseen = [case for case in evidence.cases if not case["trained_on"]]
        content = description_of(about, version, entries, accuracy_of(unseen, evidence.left_out_cases))
        write_json(Path(name) / BUNDLE_FILE, content)
        write_text_atomically(Path(name) / CARD_FILE, card(content, about, evidence, weights))
        verify_bundle(Path(name))
        move_files(Path(name), folder)


def move_files(source: Path, target: Path) -> None:
    """Move all files of a bundle, bundle.json last: until then the old one refuses the new weights."""
    for file in sorted(source.iterdir(), key=lambda file: file.name == BUNDLE_FILE):
        os.replace(file, target / file.name)


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--evaluation", type=Path, action="extend", nargs="+", default=[], help="one of these weights, and any of left-out patients")
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: export(arguments.config, arguments.runs, arguments.out, arguments.version, arguments.evaluation))


if __name__ == "__main__":
    sys.exit(main())
