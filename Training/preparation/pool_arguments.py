"""The arguments that all commands which prepare a pool share."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

from Training.command_line import natural, positive
from Training.preparation.pool_building import Plan
from Training.preparation.prepared_case import Resolution
from Training.preparation.splits import split_argument

MOST_WORKERS_UNASKED = 4
SPACINGS_MM, MARGINS_MM = (0.2, 10.0), (0.0, 500.0)


def add_pool_arguments(parser: argparse.ArgumentParser) -> None:
    """POOL, the split and the resampling."""
    usual = Resolution()
    parser.add_argument("pool", type=Path)
    parser.add_argument("--split", type=split_argument, help="training/validation cases, like 190/20; by default all, one in ten for validation")
    parser.add_argument("--seed", type=natural, default=1, help="of the split")
    parser.add_argument("--workers", type=positive, default=usual_workers(), help="processes (default %(default)s)")
    parser.add_argument("--fine-mm", type=spacing, default=usual.fine_mm, help="voxels around the kidneys (default %(default)s)")
    parser.add_argument("--fine-margin-mm", type=margin, default=usual.fine_margin_mm, help="beyond the kidneys (default %(default)s)")
    parser.add_argument(
        "--fine-least-mm", type=margin, default=usual.fine_least_mm, help="least length where kidneys are cut by the scan's end (default %(default)s)"
    )
    parser.add_argument("--coarse-mm", type=spacing, default=usual.coarse_mm, help="voxels of the whole scan (default %(default)s)")


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The plan that parsed arguments mean."""
    resolution = Resolution(arguments.fine_mm, arguments.fine_margin_mm, arguments.fine_least_mm, arguments.coarse_mm)
    return Plan(arguments.pool, resolution, arguments.split, arguments.seed, arguments.workers)


def usual_workers() -> int:
    """As many as there are processors, but few enough for the memory of a usual machine."""
    return min(MOST_WORKERS_UNASKED, os.cpu_count() or 1)


def spacing(text: str) -> float:
    """An edge of a voxel in mm, as an argument's type."""
    return length(text, SPACINGS_MM)


def margin(text: str) -> float:
    """A margin in mm, as an argument's type."""
    return length(text, MARGINS_MM)


def length(text: str, limits: tuple[float, float]) -> float:
    """A number of mm within limits."""
    number = float(text)
    if not (math.isfinite(number) and limits[0] <= number <= limits[1]):
        raise argparse.ArgumentTypeError(f"{text} is not from {limits[0]:g} to {limits[1]:g} mm")
    return number
