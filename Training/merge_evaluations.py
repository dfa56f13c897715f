"""Leave-one-patient-out results of several trainings in one file.

    python Training/merge_evaluations.py OUT.json EVALUATION_A.json EVALUATION_B.json ...

Each evaluation (with --split all, or validation) is of weights that were trained without some of the patients. OUT keeps each case once, from
the first file whose weights were not trained on it, and says which weights that were; a case that all were trained on is left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.report import require_place_for, write_json
from Training.command_line import run_command
from Training.measuring.evaluation_files import SCHEMA, read_evaluations, unseen_only


def merge(out: Path, files: list[Path]) -> None:
    """Write the merged file. Raises InputError when a file is no evaluation, or no case remains."""
    require_place_for(out)
    evaluations = [evaluation for file in files for evaluation in read_evaluations(file)]
    kept = unseen_only(evaluations)
    if not kept:
        raise InputError("All cases of these evaluations were trained on by the weights that were measured; evaluate them on what was left out.")
    write_json(out, {"schema": SCHEMA, "merged": kept})
    measured = {case["name"] for evaluation in kept for case in evaluation["cases"]}
    lost = sorted({case["name"] for evaluation in evaluations for case in evaluation["cases"]} - measured)
    print(f"{len(measured)} cases of {len(kept)} sets of weights" + (f"; all were trained on {', '.join(lost)}" if lost else ""))


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT.json")
    parser.add_argument("evaluations", type=Path, nargs="+", metavar="EVALUATION.json")
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: merge(arguments.out, arguments.evaluations))


if __name__ == "__main__":
    sys.exit(main())
