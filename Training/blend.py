"""Weights part of the way between two trainings of one stage, and how readily they see their foreground.

    python Training/blend.py FIRST SECOND OUT --config Training/configs/standard.json --stage roi --share 0.75
    python Training/blend.py FIRST SECOND OUT --config Training/configs/standard.json --stage tumor --share 1 --threshold 0.3

FIRST and SECOND are a bundle (its name or folder) or a weights.safetensors; OUT is the folder of a trained stage and gets its
weights.safetensors. Further training on other data often wins there and loses elsewhere; part of the way can keep most of both (Wortsman et
al.: "Robust Fine-Tuning of Zero-Shot Models", CVPR 2022, equation 1). With a threshold t the network is changed so that what had the probability
t has 0.5: voxels are then called foreground from t on, and the probabilities of all move accordingly.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from KidneyTumorCascadeLib.bundle import save_weights
from KidneyTumorCascadeLib.bundle_format import STAGES
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.vnet import VNet
from Training.command_line import make_folder, run_command
from Training.fitting.optimization import make_network
from Training.fitting.settings import StageSettings, read_settings
from Training.fitting.starting_weights import start_network
from Training.fitting.trainer import WEIGHTS_FILE


def blended(first: VNet, second: VNet, share: float) -> VNet:
    """Every weight `share` of the way from the first network's to the second's, in place of the first's."""
    target = second.state_dict()
    first.load_state_dict(
        {name: torch.lerp(values, target[name], share) if values.is_floating_point() else values for name, values in first.state_dict().items()}
    )
    return first


def called_from(network: VNet, threshold: float) -> VNet:
    """The network changed such that voxels of two classes with the foreground probability `threshold` get 0.5."""
    bias = network.head.bias
    if bias is None or len(bias) != 2:
        raise InputError("Only networks of two classes have a threshold.")
    with torch.no_grad():
        bias[1] -= math.log(threshold / (1.0 - threshold))
    return network


def blend(first: str, second: str, folder: Path, settings: StageSettings, share: float, threshold: float) -> None:
    """Write the weights. Raises InputError and BundleError as `start_network` does, and InputError for a share or threshold that cannot be."""
    if not 0.0 <= share <= 1.0:
        raise InputError(f"The share {share:g} of the way is not from 0 to 1; choose one that is.")
    if not 0.0 < threshold < 1.0:
        raise InputError(f"The threshold {threshold:g} is not between 0 and 1; choose one that is.")
    one, other = (make_network(settings.shape, torch.device("cpu")) for _ in range(2))
    start_network(one, settings, first)
    start_network(other, settings, second)
    result = called_from(blended(one, other, share), threshold)
    make_folder(folder)
    save_weights(result, folder / WEIGHTS_FILE)


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", metavar="FIRST")
    parser.add_argument("second", metavar="SECOND")
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--share", type=float, default=0.5, help="of the way from FIRST to SECOND (0.5)")
    parser.add_argument("--threshold", type=float, default=0.5, help="the probability from which on voxels are called foreground (0.5)")
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)

    def work() -> None:
        settings = read_settings(arguments.config, arguments.stage)
        blend(arguments.first, arguments.second, arguments.out, settings, arguments.share, arguments.threshold)

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
