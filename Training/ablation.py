"""What each ingredient brings: the same stage trained briefly several times, one thing changed each time, and the results in one table.

    python Training/ablation.py Training/configs/ablation.json --config Training/configs/coarse.json --data POOL --out FOLDER

ABLATION.json is a list of runs: {"name", "stage", "cases": [patterns of training cases' names], "settings": {settings of the stage to change},
"init": name of an earlier run whose weights it begins with}; the last two may be left out.
Every run is validated on the same cases, POOL/validation. A run that is done is not repeated; one that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.bundle_format import STAGES
from KidneyTumorCascadeLib.device import choose_device
from KidneyTumorCascadeLib.errors import CascadeError, InputError
from KidneyTumorCascadeLib.json_fields import load_json, quote, reason
from KidneyTumorCascadeLib.report import write_text_atomically
from Training.case_names import ANATOMY, IMPLANTED, REAL
from Training.command_line import make_folder, positive, run_command
from Training.fitting.optimization import make_network
from Training.fitting.settings import StageSettings, read_config, read_settings
from Training.fitting.starting_weights import start_network
from Training.fitting.trainer import WEIGHTS_FILE
from Training.fitting.training_log import LOG_FILE, read_log
from Training.fitting.validation import count_patches, dice_of, validation_patches

TABLE_FILE = "ABLATION.md"
LAST_VALIDATIONS = 3
LONGEST_NAME = 100
HEADER = "| stage | run | training cases | steps | validation Dice | best | real scans and their copies | rendered bodies | s a step |\n"
HEADER += "|---" * 9 + "|\n"
# What the trained network is measured on besides, each by itself.
KINDS = ((REAL, IMPLANTED), (ANATOMY,))


@dataclass(frozen=True)
class Run:
    """One line of the table.

    Attributes:
        name: unique; a folder's name.
        stage: which network is trained.
        cases: patterns (as in file names) of the training cases that it may see.
        settings: what is changed in the stage's settings.
        init: an earlier run whose weights it begins with; empty for random ones.
    """

    name: str
    stage: str
    cases: tuple[str, ...]
    settings: dict[str, Any]
    init: str = ""


def read_runs(path: Path) -> list[Run]:
    """The runs that a file lists. Raises InputError when it is not as described."""
    try:
        entries = load_json(path.read_bytes())
        runs = [
            Run(entry["name"], entry["stage"], tuple(entry["cases"]), dict(entry.get("settings", {})), entry.get("init", "")) for entry in entries
        ]
    except OSError as error:
        raise InputError(f"The list of runs {path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"The list of runs {path} cannot be used ({reason(error)}); each run has a name, a stage and cases.") from error
    names = [run.name for run in runs]
    wrong = [run.name for run in runs if run.stage not in STAGES or names.count(run.name) > 1 or not is_folder_name(run.name)]
    if wrong:
        raise InputError(f"The run {quote(wrong[0])} of {path} has an unknown stage, or its name is there twice or cannot be a folder's; correct it.")
    for index, run in enumerate(runs):
        if run.init and run.init not in names[:index]:
            raise InputError(f"The run {quote(run.name)} of {path} begins with {quote(run.init)}, which is no run before it; correct it.")
    return runs


def is_folder_name(name: Any) -> bool:
    """Whether a folder can be called that: one part of a path."""
    return isinstance(name, str) and name.isprintable() and 0 < len(name) <= LONGEST_NAME and Path(name).name == name != ".."


def chosen(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Those of the names that fit one of the patterns."""
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def link_pool(pool: Path, patterns: Sequence[str], out: Path) -> int:
    """A pool with the training cases that fit and all validation cases, as links where the disk has them; returns how many it trains on.

    Raises InputError when no training case fits.
    """
    count = 0
    for split, wanted in (("train", patterns), ("validation", ("*",))):
        for folder in sorted((pool / split).iterdir()):
            names = chosen(sorted(path.name for path in folder.glob("*.npz")), [f"{pattern}.npz" for pattern in wanted])
            # A folder without cases would be taken for one that cannot be read.
            if names:
                make_folder(out / split / folder.name)
            for name in names:
                link(folder / name, out / split / folder.name / name)
            count = max(count, len(names)) if split == "train" else count
    if not count:
        raise InputError(f"No training case of {pool} fits {', '.join(patterns)}; correct the patterns.")
    return count


def link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk knows no links."""
    if target.exists():
        return
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def changed_config(config: dict[str, Any], run: Run) -> dict[str, Any]:
    """The configuration with the run's settings in its stage."""
    stage = {**config["stages"][run.stage], **run.settings}
    return {**config, "stages": {**config["stages"], run.stage: stage}}


def train(run: Run, config: dict[str, Any], pool: Path, out: Path, steps: int | None, threads: int | None) -> str:
    """Train one run, unless it is done; returns its line of the table. Raises CascadeError when the training fails."""
    make_folder(out)
    count = link_pool(pool, run.cases, out / "pool")
    write_text_atomically(out / "config.json", json.dumps(changed_config(config, run), indent=1))
    settings = read_settings(out / "config.json", run.stage)
    wanted = steps or settings.steps
    log = out / "run" / LOG_FILE
    if last_step(log) < wanted:
        words = ["--config", out / "config.json", "--stage", run.stage, "--data", out / "pool", "--out", out / "run", "--steps", wanted]
        words += ["--threads", threads] if threads else []
        words += ["--init", out.parent / run.init / "run" / WEIGHTS_FILE] if run.init else []
        done = subprocess.run([sys.executable, Path(__file__).with_name("train.py"), *map(str, words)], check=False)
        if done.returncode:
            raise CascadeError(f"The run {run.name} ended with exit code {done.returncode}; what it said stands above.")
    return table_line(run, count, log, [dice_on(kind, settings, out) for kind in KINDS])


def dice_on(origins: Sequence[str], settings: StageSettings, out: Path) -> float | None:
    """Dice of a run's network on patches of the validation cases of those origins; None where there are none."""
    engine = choose_device("auto")
    patches = validation_patches(settings, out / "pool", engine.device, origins)
    network = make_network(settings.shape, engine.device).eval()
    start_network(network, settings, out / "run" / WEIGHTS_FILE)
    return dice_of(count_patches(network, engine, patches)) if patches else None


def last_step(log: Path) -> int:
    """How far a training has come; 0 where there is no log yet."""
    lines = read_log(log) if log.exists() else []
    return int(lines[-1]["step"]) if lines else 0


def table_line(run: Run, count: int, log: Path, kinds: Sequence[float | None]) -> str:
    """The run's result: mean of the last validations, since a single one is noisy, the best, and the Dice on each kind of case."""
    lines = read_log(log)
    dice = [float(line["validation_dice"]) for line in lines]
    last = dice[-LAST_VALIDATIONS:]
    seconds = float(lines[-1]["seconds_per_step"])
    mean = sum(last) / len(last)
    by_kind = " | ".join("-" if value is None else f"{value:.3f}" for value in kinds)
    return f"| {run.stage} | {run.name} | {count} | {last_step(log)} | {mean:.3f} | {max(dice):.3f} | {by_kind} | {seconds:.2f} |"


def ablate(arguments: argparse.Namespace) -> None:
    """All runs, the table written anew after each."""
    runs, config, lines = read_runs(arguments.runs), read_config(arguments.config), list[str]()
    for run in runs:
        lines.append(train(run, config, arguments.data, arguments.out / run.name, arguments.steps, arguments.threads))
        write_text_atomically(arguments.out / TABLE_FILE, HEADER + "\n".join(lines) + "\n")
    print(HEADER + "\n".join(lines))


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the list of runs")
    parser.add_argument("--config", type=Path, required=True, help="what the runs change")
    parser.add_argument("--data", type=Path, required=True, help="the pool")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the runs and the table")
    parser.add_argument("--steps", type=positive, help="of each run, instead of the configured number")
    parser.add_argument("--threads", type=positive, help="of the CPU")
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: ablate(arguments))


if __name__ == "__main__":
    sys.exit(main())
