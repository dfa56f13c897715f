"""The cascade alone, from the array in memory to the label map in memory, with networks that are loaded; and one box of it again.

    python -m Testing.Benchmarks.in_memory [--device cpu|cuda]

What `whole_scan` adds to this is the start of Python, reading and writing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.device import choose_device
from KidneyTumorCascadeLib.volume import Volume, read_volume
from Testing.Benchmarks.clock import Timing, digits, timed
from Testing.Benchmarks.scans import large_file
from Testing.Benchmarks.settings import Settings, settings_from, settler
from Testing.Benchmarks.table import Section

HEADER = ["preset", "what", "time"]
PRESETS = ("standard", "fast")


def contenders_of(scan: Volume, device: str) -> dict[str, Callable[[], object]]:
    """For each preset the whole cascade, finding the kidneys, and each box."""
    contenders: dict[str, Callable[[], object]] = {}
    for preset in PRESETS:
        cascade = Cascade(load_bundle(), choose_device(device), preset)
        boxes = [item.part.box for item in cascade.segment(scan).boxes]
        contenders[f"{preset}|whole cascade"] = lambda cascade=cascade: cascade.segment(scan)  # type: ignore[misc]
        contenders[f"{preset}|finding kidneys"] = lambda cascade=cascade: cascade.find_kidneys(scan)  # type: ignore[misc]
        for box in boxes:
            contenders[f"{preset}|{box.side} box again"] = lambda cascade=cascade, box=box: cascade.segment_box(scan, box)  # type: ignore[misc]
    return contenders


def section_of(seconds: dict[str, Timing], gpu_mb: float | None) -> Section:
    """The table."""
    rows, figures = [], {}
    for key, timing in seconds.items():
        preset, _, what = key.partition("|")
        rows.append([preset, what, timing.text()])
        figures[f"{preset} {what}"] = timing.median
    times = figures["standard whole cascade"] / figures["fast whole cascade"]
    notes = [f"Without start, reading and writing `fast` takes 1/{digits(times)} of the time of `standard`."]
    if gpu_mb is not None:
        notes.append(f"GPU memory held at most: {digits(gpu_mb)} MB.")
        figures["gpu_mb"] = gpu_mb
    return Section("in_memory", "From the array in memory to the label map in memory", HEADER, rows, notes, {**figures, "fast_times": times})


def measure(settings: Settings) -> Section:
    """The large phantom, all in turns."""
    torch.set_num_threads(settings.threads)
    scan = read_volume(large_file(settings.folder))
    seconds = timed(contenders_of(scan, settings.device), settings.repeats, warmups=1, settle=settler(settings.device))
    gpu_mb = torch.cuda.max_memory_reserved() / 1e6 if settings.device == "cuda" else None
    return section_of(seconds, gpu_mb)


if __name__ == "__main__":
    print(measure(settings_from(None, __doc__)).text())
