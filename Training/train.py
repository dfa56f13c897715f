"""Train the cascade's stages, one after another or one alone.

    python Training/train.py --config Training/configs/standard.json --stage all --data POOL --out RUNS
    python Training/train.py --config Training/configs/standard.json --stage kidney --data POOL --out RUNS/kidney

POOL is what `Training/synthesis.py` or `Training/prepare_kits19.py` wrote. OUT (OUT/roi, OUT/kidney and OUT/tumor with `--stage all`) gets
`checkpoint.pt` (resumed from when it is there), `weights.safetensors` (the moving average that ships) and `log.csv`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

if not __package__:  # run as a file, by torchrun for instance: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.bundle_format import STAGES
from KidneyTumorCascadeLib.device import DEVICES, Engine, choose_device
from Training.command_line import make_folder, natural, positive, run_command
from Training.settings import StageSettings, read_settings
from Training.trainer import Trainer

ALL = "all"


def train(arguments: argparse.Namespace) -> None:
    """Train the stage that was asked for, or all of them."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    stages = STAGES if arguments.stage == ALL else (arguments.stage,)
    # All settings are read before the first stage begins: a mistake in the last one shows at once.
    wanted = [settings_for(arguments, stage) for stage in stages]
    engine = choose_device(arguments.device)
    for settings in wanted:
        out = arguments.out / settings.stage if arguments.stage == ALL else arguments.out
        train_stage(settings, arguments, out, engine)


def settings_for(arguments: argparse.Namespace, stage: str) -> StageSettings:
    """A stage's settings with what the command line says otherwise."""
    settings = read_settings(arguments.config, stage)
    return replace(settings, steps=arguments.steps) if arguments.steps else settings


def train_stage(settings: StageSettings, arguments: argparse.Namespace, out: Path, engine: Engine) -> None:
    """Begin or resume one stage, and train it to the end."""
    make_folder(out)
    trainer = Trainer(settings, arguments.data, out, engine, arguments.seed)
    if trainer.resume():
        print(f"{settings.stage}: resumed at step {trainer.step} of {settings.steps}", flush=True)
    elif arguments.init:
        trainer.start_from(arguments.init)
    trainer.run()


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--stage", choices=(*STAGES, ALL), required=True)
    parser.add_argument("--data", type=Path, required=True, help="the pool")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="weights (.safetensors) to begin with; a checkpoint in OUT goes before them")
    parser.add_argument("--steps", type=positive, help="train this many steps in all instead of the configured number")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--threads", type=positive, help="of the CPU; as many as PyTorch takes by default")
    parser.add_argument("--seed", type=natural, default=1)
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: train(arguments))


if __name__ == "__main__":
    sys.exit(main())
