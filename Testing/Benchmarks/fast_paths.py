"""What each fast path costs in accuracy: its labels against those of the plain float32 path on the same scan.

    python -m Testing.Benchmarks.fast_paths SCAN [SCAN ...] [--device cpu|cuda]

The plain path is the network's own modules in float32, one patch at a time. Prints one line for each scan and path: Dice of kidney and of tumor
between the two label maps, the share of voxels labelled otherwise, and the seconds of both. Without SCAN two phantoms are used. The exit code is 1
when a Dice is below 0.999. The `fast` preset is no fast path but another way to look at a scan: as part of `run`, its labels are compared with those
of `standard`, and both with the truth where it is known (a phantom's, or a file kidney.nii.gz beside the scan).
"""

from __future__ import annotations

import argparse
import itertools
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
from KidneyTumorCascadeLib.device import Engine, choose_device, name_of, precisions
from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom
from KidneyTumorCascadeLib.volume import Volume, read_volume
from Testing.Benchmarks.settings import Settings
from Testing.Benchmarks.table import Section

LEAST_DICE = 0.999
NAMES = {1: "kidney", 2: "tumor"}
# Without a tumor that is found, and with one.
PHANTOMS = {"phantom 7": PhantomSettings(seed=7), "phantom 6": PhantomSettings(seed=6, tumors=2)}
Labels = NDArray[np.uint8]
# Name, scan and true labels, where these are known.
Case = tuple[str, Volume, Labels | None]


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
    """A cascade whose networks are the modules that were trained."""

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
    """The scans by name, or phantoms."""
    if not paths:
        return {name: make_phantom(settings).volume for name, settings in PHANTOMS.items()}
    return {"/".join(path.parts[-2:]): read_volume(path) for path in paths}


def phantom_with_truth(name: str) -> Case:
    """One of the phantoms."""
    made = make_phantom(PHANTOMS[name])
    return name, made.volume, np.asarray(made.labels.voxels, dtype=np.uint8)


def scan_with_truth(path: Path) -> Case:
    """A scan of a file, and the labels beside it if there are any."""
    truth = path.with_name("kidney.nii.gz")
    known = np.asarray(read_volume(truth).voxels > 0, dtype=np.uint8) if truth.exists() else None
    return path.parent.name, read_volume(path), known


def text_of(dice: float | None) -> str:
    """Five digits, as differences are small."""
    return "-" if dice is None else f"{dice:.5f}"


def kidney_dice(labels: Labels, truth: Labels | None) -> float | None:
    """Dice of kidney and tumor together with the truth, if there is one."""
    return None if truth is None else agreement((labels > 0).astype(np.uint8), (truth > 0).astype(np.uint8)).dice[1]


def rows_for(case: Case, device: str) -> tuple[list[list[str]], list[float]]:
    """A row for each fast path and one for the preset `fast`; and the Dices of the fast paths."""
    name, volume, truth = case
    reference = plain_labels(volume)[0]
    rows, values = [], []
    for key, make in fast_paths(device).items():
        labels = np.asarray(make().segment(volume).labels.voxels, dtype=np.uint8)
        result = agreement(labels, reference)
        rows.append([name, f"{key} against plain float32", *map(text_of, result.dice.values()), f"{result.differing:.3%}", ""])
        values += [value for value in result.dice.values() if value is not None]
    engine = choose_device(device)
    presets = {preset: np.asarray(Cascade(load_bundle(), engine, preset).segment(volume).labels.voxels, np.uint8) for preset in ("standard", "fast")}
    result = agreement(presets["fast"], presets["standard"])
    known = " / ".join(text_of(kidney_dice(item, truth)) for item in presets.values())
    rows.append([name, "preset fast against standard", *map(text_of, result.dice.values()), f"{result.differing:.3%}", known])
    return rows, values


def measure(settings: Settings) -> Section:
    """The phantoms and all real scans."""
    torch.set_num_threads(settings.threads)
    rows: list[list[str]] = []
    values: list[float] = []
    for case in itertools.chain(map(phantom_with_truth, PHANTOMS), map(scan_with_truth, settings.real)):
        more_rows, more_values = rows_for(case, settings.device)
        rows += more_rows
        values += more_values
    header = ["scan", "what", "Dice of kidney", "Dice of tumor", "labelled otherwise", "kidney and tumor against the truth, standard / fast"]
    notes = [f"The least Dice of a fast path is {min(values):.5f}; {LEAST_DICE} is asked for."]
    return Section("fast_paths", "What speed costs in accuracy", header, rows, notes, {"least_dice": min(values)})


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
