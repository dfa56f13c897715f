"""The whole command `segment`, from the start of Python to the label map on disk, split by stage; each run in a process of its own.

python -m Testing.Benchmarks.whole_scan [--device cpu] [--real CT.nii.gz ...]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from Testing.Benchmarks.clock import Timing, digits, in_turns
from Testing.Benchmarks.own_process import in_own_process
from Testing.Benchmarks.scans import large_file
from Testing.Benchmarks.settings import Settings, settings_from
from Testing.Benchmarks.table import Section

HEADER = ["scan", "preset", "stage", "time", "share", "peak memory"]
PRESETS = ("standard", "fast")
OUTSIDE = "start of Python, weights, end"


def segmented(scan: Path, preset: str, settings: Settings) -> dict[str, Any]:
    """The manifest of one run of the command line, with `process_seconds`."""
    output = settings.folder / f"labels_{preset}.nii"
    arguments = ["segment", scan, output, "--preset", preset, "--device", settings.device, "--json"]
    return in_own_process("KidneyTumorCascadeLib", arguments, settings.threads)


def stages_of(runs: Sequence[dict[str, Any]]) -> dict[str, Timing]:
    """Seconds of every stage over the runs, and of what no stage counts."""
    names = list(runs[0]["seconds"])
    stages = {name: Timing(tuple(float(run["seconds"][name]) for run in runs)) for name in names}
    stages[OUTSIDE] = Timing(tuple(run["process_seconds"] - sum(run["seconds"].values()) for run in runs))
    return stages


def whole_of(runs: Sequence[dict[str, Any]]) -> Timing:
    """Seconds of the whole processes."""
    return Timing(tuple(run["process_seconds"] for run in runs))


def peak_of(runs: Sequence[dict[str, Any]]) -> Timing:
    """Peak memory of the processes, in MB."""
    return Timing(tuple(run["peak_memory_mb"] for run in runs))


def rows_of(name: str, preset: str, runs: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows of the table: the whole first, then its stages."""
    whole = whole_of(runs)
    rows = [[name, preset, "whole", whole.text(), "100 %", peak_of(runs).text("MB")]]
    for stage, timing in stages_of(runs).items():
        rows.append(["", "", stage, timing.text(), f"{100 * timing.median / whole.median:.0f} %", ""])
    return rows


def measure(settings: Settings) -> Section:
    """Every preset on the large phantom and, if some are given, on real CTs, in turns."""
    scans = {"phantom, 512 x 512 x 300": large_file(settings.folder)}
    scans |= {f"real CT {path.parent.name}": path for path in settings.real}
    contenders: dict[str, Callable[[], dict[str, Any]]] = {
        f"{name}|{preset}": partial(segmented, scan, preset, settings) for name, scan in scans.items() for preset in PRESETS
    }
    results = in_turns(contenders, settings.repeats, warmups=1)
    rows, figures = [], {}
    for key, runs in results.items():
        name, _, preset = key.partition("|")
        rows += rows_of(name, preset, runs)
        if name.startswith("phantom"):
            figures[f"{preset}_seconds"], figures[f"{preset}_peak_mb"] = whole_of(runs).median, peak_of(runs).median
    speedup = digits(figures["standard_seconds"] / figures["fast_seconds"])
    notes = [f"Device: {next(iter(results.values()))[0]['device']['description']}. `fast` takes 1/{speedup} of the time of `standard`."]
    return Section("whole_scan", "Whole scan to label map, by stage", HEADER, rows, notes, figures)


if __name__ == "__main__":
    print(measure(settings_from(None, __doc__)).text())
