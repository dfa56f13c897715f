"""What all benchmarks are told: device, threads, repeats, and the folder for scans and results."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

OUT = Path("out/bench")


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        device: "cpu" or "cuda", the same for all contenders.
        threads: of the CPU, the same for all contenders.
        repeats: measurements of what takes seconds; what takes minutes is measured at most twice.
        folder: for scans, results and the report.
        real: CTs (image files) to be segmented besides the phantom.
    """

    device: str = "cpu"
    threads: int = 2
    repeats: int = 5
    folder: Path = OUT
    real: tuple[Path, ...] = ()

    @property
    def long_repeats(self) -> int:
        """Measurements of what takes minutes."""
        return min(2, self.repeats)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all benchmarks share."""
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of the CPU, the same for all contenders (default: all cores)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of what takes seconds (default 5); minutes: at most 2")
    parser.add_argument("--folder", type=Path, default=OUT, help=f"for scans and results (default {OUT})")
    parser.add_argument("--real", type=Path, nargs="+", default=[], help="CTs to be segmented besides the phantom")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings that the options ask for; the folder is made."""
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    return Settings(arguments.device, arguments.threads, arguments.repeats, folder, tuple(arguments.real))


def settings_from(argv: Sequence[str] | None, description: str | None) -> Settings:
    """The settings that a command line asks for."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    add_options(parser)
    return settings_of(parser.parse_args(argv))


def settler(device: str) -> Callable[[], None]:
    """Waits until the device has done what it was asked to; the CPU always has."""
    if device == "cpu":
        return lambda: None
    import torch

    return torch.cuda.synchronize
