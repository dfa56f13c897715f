"""What each fast path costs in accuracy: its labels against those of the plain float32 path on the same scan.

    python -m Testing.Benchmarks.fast_paths SCAN [SCAN ...] [--device cpu|cuda]

The plain path is PyTorch's own choice of convolutions in float32, one patch at a time. Prints one line for each scan and path: Dice of kidney
and of tumor between the two label maps, the share of voxels labelled otherwise, and the seconds of both. Without SCAN a phantom is used. The
exit code is 1 when a Dice is below 0.999.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from KidneyTumorCascadeLib.bundle import load_bundle, load_network
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.device import Engine, name_of, precisions
from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom
from KidneyTumorCascadeLib.volume import Volume, read_volume

LEAST_DICE = 0.999
NAMES = {1: "kidney", 2: "tumor"}
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Agreement:
    """Two label maps of one scan.

    Attributes:
        dice: of each label; None where neither map has it.
        differing: voxels that are labelled otherwise, as a share of those labelled in either map.
    """

    dice: dict[int, float | None]
    differing: float

    def __str__(self) -> str:
        values = (f"{NAMES[label]} " + ("-" if value is None else f"{value:.5f}") for label, value in self.dice.items())
        return f"Dice {', '.join(values)}; {self.differing:.4%} labelled otherwise"

    @property
    def enough(self) -> bool:
        """True when no Dice falls below the limit."""
        return all(value is None or value >= LEAST_DICE for value in self.dice.values())


def agreement(labels: Labels, reference: Labels) -> Agreement:
    """How far two label maps of the same shape agree."""
    dice: dict[int, float | None] = {}
    for label in NAMES:
        a, b = labels == label, reference == label
        size = int(a.sum()) + int(b.sum())
        dice[label] = 2.0 * int((a & b).sum()) / size if size else None
    filled = int(((labels > 0) | (reference > 0)).sum())
    return Agreement(dice, float((labels != reference).sum()) / max(filled, 1))


class PlainCascade(Cascade):
    """A cascade that leaves PyTorch its own choice of convolutions."""

    def _network(self, name: str, device: torch.device) -> nn.Module:
        key = (name, device)
        if key not in self._networks:
            self._networks[key] = load_network(self.bundle.stages[name], device)
        return self._networks[key]


def plain_labels(volume: Volume) -> tuple[Labels, float]:
    """Labels and seconds of the plain path."""
    return timed(PlainCascade(load_bundle(), Engine(torch.device("cpu"), torch.float32, "plain float32")), volume)


def timed(cascade: Cascade, volume: Volume) -> tuple[Labels, float]:
    """Labels and seconds of a whole run; a first one has loaded the networks."""
    cascade.segment(volume)
    start = time.perf_counter()
    labels = cascade.segment(volume).labels.voxels
    return np.asarray(labels, dtype=np.uint8), time.perf_counter() - start


def fast_paths(device: str) -> dict[str, Callable[[], Cascade]]:
    """What is compared: each precision used on the device."""

    def path(precision: torch.dtype) -> Callable[[], Cascade]:
        return lambda: Cascade(load_bundle(), Engine(torch.device(device), precision, name_of(precision)))

    return {f"{device} {name_of(precision)}": path(precision) for precision in precisions(device)}


def scans_of(paths: Sequence[Path]) -> dict[str, Volume]:
    """The scans by name, or a phantom."""
    if not paths:
        return {"phantom 7": make_phantom(PhantomSettings(seed=7)).volume}
    return {"/".join(path.parts[-2:]): read_volume(path) for path in paths}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each scan and path; returns the exit code."""
    parser = argparse.ArgumentParser(description="Labels of the fast paths against those of the plain one.")
    parser.add_argument("scans", nargs="*", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    chosen = parser.parse_args(arguments)
    good = True
    for name, volume in scans_of(chosen.scans).items():
        reference, plain_seconds = plain_labels(volume)
        for path, make in fast_paths(chosen.device).items():
            labels, seconds = timed(make(), volume)
            result = agreement(labels, reference)
            good &= result.enough
            print(f"{name}: {path}: {result}; {seconds:.2f} s against {plain_seconds:.2f} s", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
