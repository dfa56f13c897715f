"""Train the cascade's stages, one after another or one alone.

    python Training/train.py --config Training/configs/standard.json --stage all --data POOL --out RUNS
    python Training/train.py --config Training/configs/standard.json --stage kidney --data POOL --out RUNS/kidney

POOL is what `Training/synthesis.py` or `Training/prepare_kits19.py` wrote. OUT (OUT/roi, OUT/kidney and OUT/tumor with `--stage all`) gets
`checkpoint.pt` (resumed from when it is there), `weights.safetensors` (the moving average that ships), `log.csv`, `curves.png` and
`tensorboard` (these where matplotlib and TensorBoard are installed).

On several GPUs, or several processes of a CPU, the batch of the configuration is that of each process:

    torchrun --nproc-per-node=8 Training/train.py --config Training/configs/standard.json --stage all --data POOL --out RUNS
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
from KidneyTumorCascadeLib.errors import InputError
from Training.command_line import make_folder, natural, positive, run_command
from Training.fitting.board import require_tensorboard
from Training.fitting.distributed import Processes, connected, joined_processes, take_gpu
from Training.fitting.settings import StageSettings, read_settings
from Training.fitting.trainer import Trainer

ALL = "all"


def train(arguments: argparse.Namespace) -> None:
    """Train the stage that was asked for, or all of them, alone or as one of the processes that torchrun started."""
    with joined_processes() as processes:
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        # Otherwise cuDNN may choose algorithms that give other sums each time.
        torch.backends.cudnn.deterministic = True
        stages = STAGES if arguments.stage == ALL else (arguments.stage,)
        if len(stages) > 1 and arguments.init and Path(arguments.init).suffix == ".safetensors":
            raise InputError(f"{arguments.init} has the weights of one stage; give a bundle for all stages, or train them one by one.")
        # All settings are read before the first stage begins: a mistake in the last one shows at once.
        wanted = [settings_for(arguments, stage) for stage in stages]
        require_tensorboard(arguments.tensorboard)
        take_gpu(processes, arguments.device)
        processes, engine = connected(processes, choose_device(arguments.device))
        for settings in wanted:
            train_stage(settings, arguments, engine, processes)


def settings_for(arguments: argparse.Namespace, stage: str) -> StageSettings:
    """A stage's settings with what the command line says otherwise."""
    settings = read_settings(arguments.config, stage)
    return replace(settings, steps=arguments.steps) if arguments.steps else settings


def train_stage(settings: StageSettings, arguments: argparse.Namespace, engine: Engine, processes: Processes) -> Trainer:
    """Begin or resume one stage, and train it to the end."""
    out = arguments.out / settings.stage if arguments.stage == ALL else arguments.out
    make_folder(out)
    trainer = Trainer(settings, arguments.data, out, engine, arguments.seed, processes, arguments.tensorboard)
    if trainer.resume():
        if processes.first:
            print(f"{settings.stage}: resumed at step {trainer.step} of {settings.steps}", flush=True)
    elif arguments.init:
        trainer.start_from(arguments.init)
    trainer.run()
    return trainer


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--stage", choices=(*STAGES, ALL), required=True)
    parser.add_argument("--data", type=Path, required=True, help="the pool")
    parser.add_argument("--out", type=Path, required=True, help="the stage's folder; with --stage all, the folder of the stages' folders")
    parser.add_argument(
        "--init",
        metavar="BUNDLE_OR_WEIGHTS",
        help="begin with the weights of a bundle (a folder or a name such as default) or of a .safetensors file; a checkpoint in OUT goes before",
    )
    parser.add_argument("--steps", type=positive, help="train this many steps in all instead of the configured number")
    parser.add_argument(
        "--tensorboard", action=argparse.BooleanOptionalAction, help="write OUT/tensorboard; without a word: when TensorBoard is installed"
    )
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--threads", type=positive, help="of the CPU, in each process; one more prepares patches")
    parser.add_argument("--seed", type=natural, default=1)
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: train(arguments))


if __name__ == "__main__":
    sys.exit(main())
