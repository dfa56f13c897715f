"""Weights of a network in one of twice the channels, which gives the same answers and has room to learn more.

    python Training/widen.py FIRST OUT --config WIDE.json --stage tumor

FIRST is a bundle (its name or folder) or a weights.safetensors of a network with half of the channels that the configuration says; OUT is the
folder of a stage and gets its weights.safetensors, for `train.py --init`. Every channel is there twice, and what it gives is shared out between
the two in unequal parts, drawn by the seed: so the two learn different things from the first step on (Chen, Goodfellow, Shlens: "Net2Net:
Accelerating Learning via Knowledge Transfer", ICLR 2016, section 2.2).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from KidneyTumorCascadeLib.bundle import save_weights
from KidneyTumorCascadeLib.bundle_format import STAGES
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.vnet import VNet
from Training.command_line import make_folder, run_command
from Training.fitting.optimization import make_network
from Training.fitting.settings import StageSettings, read_settings
from Training.fitting.starting_weights import start_network
from Training.fitting.trainer import WEIGHTS_FILE

# Of how unequal the two parts of a weight are: half of it more or less this sd.
SPREAD = 0.2


def widened(network: VNet, seed: int) -> VNet:
    """A network of twice the base channels with the same logits. Raises InputError for more than one input channel: those are not in pairs."""
    if network.shape.in_channels != 1:
        raise InputError(f"Only networks of one input channel can be widened, not of {network.shape.in_channels}.")
    wide = VNet(replace(network.shape, base_channels=2 * network.shape.base_channels)).to(network.head.weight.dtype)
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, layer in network.named_modules():
        for key, values in layer.named_parameters(recurse=False):
            state[f"{name}.{key}"] = widened_parameter(layer, key, values.detach(), generator, last=layer is network.head)
        for key, values in layer.named_buffers(recurse=False):
            state[f"{name}.{key}"] = values.repeat_interleave(2) if values.ndim else values
    wide.load_state_dict(state)
    return wide


def widened_parameter(layer: nn.Module, key: str, values: Tensor, generator: torch.Generator, last: bool) -> Tensor:
    """A layer's parameter for twice the channels on both sides, or (`last`) on the side of its input alone.

    Channels 2 i and 2 i + 1 are both the old channel i. As that holds for the joined halves of a skip connection too, no layer is special.
    """
    if key != "weight" or not isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
        return values if last else values.repeat_interleave(2)
    inputs, outputs = (0, 1) if isinstance(layer, nn.ConvTranspose3d) else (1, 0)
    if not last:
        values = values.repeat_interleave(2, dim=outputs)
    part = 0.5 + SPREAD * torch.randn(values.shape, generator=generator).to(values.dtype)
    return torch.stack((values * part, values * (1.0 - part)), dim=inputs + 1).flatten(inputs, inputs + 1)


def widen(first: str, folder: Path, settings: StageSettings, seed: int) -> None:
    """Write the weights. Raises InputError and BundleError as `start_network` does, and InputError for an odd number of channels."""
    channels = settings.shape.base_channels
    if channels % 2:
        raise InputError(f"The configuration's network has {channels} channels, which is not twice a number; choose an even one.")
    half = replace(settings, shape=replace(settings.shape, base_channels=channels // 2))
    narrow = make_network(half.shape, torch.device("cpu"))
    start_network(narrow, half, first)
    wide = widened(narrow, seed)
    make_folder(folder)
    save_weights(wide, folder / WEIGHTS_FILE)


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", metavar="FIRST")
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of how weights are shared out (0)")
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)

    def work() -> None:
        widen(arguments.first, arguments.out, read_settings(arguments.config, arguments.stage), arguments.seed)

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
