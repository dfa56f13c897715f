"""Cost against the size of the scan, the size of a box, and the number of patches.

    python -m Testing.Benchmarks.scaling [--device cpu]

Scans of 100 to 1,200 slices of one patient, each segmented by the whole command in a process of its own: seconds by stage and peak memory. Boxes of
growing edge around one kidney of the large scan: seconds of `segment_box`, and how many patches that took.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.cascade import SEGMENTING, Cascade
from KidneyTumorCascadeLib.device import choose_device
from KidneyTumorCascadeLib.geometry import Box
from KidneyTumorCascadeLib.volume import Volume, read_volume
from Testing.Benchmarks.clock import Timing, digits, in_turns, timed
from Testing.Benchmarks.scans import LARGE_SIZE, large_file, with_slices, written
from Testing.Benchmarks.settings import Settings, settings_from, settler
from Testing.Benchmarks.table import Section
from Testing.Benchmarks.whole_scan import OUTSIDE, peak_of, segmented, stages_of, whole_of

SLICES = (100, 200, 300, 600, 900, 1200)
EDGES_MM = (60.0, 100.0, 150.0, 200.0, 250.0)
HEADER = ["what", "time", "reading, writing", "finding kidneys", "boxes", "rest", "peak memory", "beyond the voxels of scan and label map"]
BOX_HEADER = ["box", "patches", "time", "time a patch"]
Runs = list[dict[str, Any]]


def measured_slices(slices: int, settings: Settings) -> dict[str, Any]:
    """One run over a scan of so many slices, which is written and removed for it: together they would fill a small disk."""
    path = written(settings.folder, f"slices_{slices}", with_slices(slices))
    try:
        return segmented(path, "standard", settings)
    finally:
        path.unlink()


def voxel_mb(slices: int) -> float:
    """Memory of the voxels of the scan (two bytes each) and of its label map (one byte each) in MB (1e6 bytes)."""
    return LARGE_SIZE[0] * LARGE_SIZE[1] * slices * 3 / 1e6


def split_of(runs: Runs) -> dict[str, float]:
    """Median seconds of what grows with the scan, of the first stage, of the boxes, and of the rest."""
    stages = {name: timing.median for name, timing in stages_of(runs).items()}
    files = stages["reading"] + stages["writing"]
    boxes = sum(seconds for name, seconds in stages.items() if name.startswith(SEGMENTING))
    finding = stages["finding kidneys"]
    return {"reading, writing": files, "finding kidneys": finding, "boxes": boxes, "rest": sum(stages.values()) - files - finding - boxes}


def slices_section(results: dict[int, Runs]) -> Section:
    """The table of scans."""
    rows: list[list[str]] = []
    series: dict[str, list[list[float]]] = {name: [] for name in ("whole", *HEADER[2:6], "peak", "beyond")}
    for slices, runs in results.items():
        split, whole, peak = split_of(runs), whole_of(runs), peak_of(runs)
        beyond = peak.median - voxel_mb(slices)
        rows.append([f"{slices} slices", whole.text(), *(f"{digits(value)} s" for value in split.values()), peak.text("MB"), f"{digits(beyond)} MB"])
        for name, value in {"whole": whole.median, **split, "peak": peak.median, "beyond": beyond}.items():
            series[name].append([float(slices), value])
    notes = [f"Boxes of the shortest scans are cut by its ends. Rest: measuring, and {OUTSIDE}."]
    return Section("scaling_slices", "Cost against the size of the scan", HEADER, rows, notes, growth_of(series), series)


def growth_of(series: dict[str, list[list[float]]]) -> dict[str, float]:
    """How the longest scan compares with the large one, and seconds a slice below and above that one."""
    at: dict[str, dict[float, float]] = {name: {point[0]: point[1] for point in points} for name, points in series.items()}
    whole, short, large, long = at["whole"], min(at["whole"]), float(LARGE_SIZE[2]), max(at["whole"])
    return {
        "times_time": whole[long] / whole[large],
        "times_slices": long / large,
        "seconds_a_slice_short": (whole[large] - whole[short]) / (large - short),
        "seconds_a_slice_long": (whole[long] - whole[large]) / (long - large),
        "times_beyond": at["beyond"][long] / at["beyond"][large],
        "boxes_long": at["boxes"][long],
        "boxes_large": at["boxes"][large],
    }


def boxes_of(cascade: Cascade, scan: Volume) -> dict[float, Box]:
    """Cubes of growing edge around the first kidney that is found."""
    found = cascade.find_kidneys(scan).boxes[0]
    return {edge: replace(found, size=(edge, edge, edge), source="user") for edge in EDGES_MM}


def patches_of(cascade: Cascade, scan: Volume, box: Box) -> int:
    """Patches of that box, as the cascade tells them."""
    told: list[int] = []
    cascade.progress = lambda stage, done, total: told.append(total)
    cascade.segment_box(scan, box)
    cascade.progress = lambda stage, done, total: None
    return told[-1]


def boxes_section(seconds: dict[float, Timing], patches: dict[float, int]) -> Section:
    """The table of boxes."""
    rows = [[f"{edge:.0f} mm", str(patches[edge]), timing.text(), f"{digits(timing.median / patches[edge])} s"] for edge, timing in seconds.items()]
    series = {
        "edge": [[edge, timing.median] for edge, timing in seconds.items()],
        "patches": [[float(patches[edge]), timing.median] for edge, timing in seconds.items()],
    }
    notes = ["Cubes around one kidney, cut where the scan ends. A patch is seen by both networks; their answer is resampled to the box's voxels."]
    return Section("scaling_boxes", "Cost against the size of a box and the number of patches", BOX_HEADER, rows, notes, {}, series)


def measure_slices(settings: Settings) -> Section:
    """Scans of all lengths, in turns."""
    contenders: dict[int, Callable[[], dict[str, Any]]] = {slices: partial(measured_slices, slices, settings) for slices in SLICES}
    results = in_turns({str(slices): work for slices, work in contenders.items()}, min(3, settings.repeats))
    return slices_section({int(name): runs for name, runs in results.items()})


def measure_boxes(settings: Settings) -> Section:
    """Boxes of all sizes, in turns."""
    torch.set_num_threads(settings.threads)
    scan, cascade = read_volume(large_file(settings.folder)), Cascade(load_bundle(), choose_device(settings.device))
    boxes = boxes_of(cascade, scan)
    patches = {edge: patches_of(cascade, scan, box) for edge, box in boxes.items()}
    contenders: dict[str, Callable[[], object]] = {str(edge): partial(cascade.segment_box, scan, box) for edge, box in boxes.items()}
    seconds = timed(contenders, settings.repeats, settle=settler(settings.device))
    return boxes_section({float(edge): timing for edge, timing in seconds.items()}, patches)


if __name__ == "__main__":
    chosen = settings_from(None, __doc__)
    print(measure_slices(chosen).text(), measure_boxes(chosen).text(), sep="\n")
