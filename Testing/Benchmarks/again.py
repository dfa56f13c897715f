"""One box again, the interactive case: through the worker that the Slicer panel keeps, cold and warm, against whole runs.

    python -m Testing.Benchmarks.again [--device cpu]

Each round starts a worker as the panel does. Cold: from the start of its process to the answer. Warm: a further request to the same worker. The
scan lies in memory beforehand and is handed over as a file, as in Slicer; reading a scan from disk is the viewer's work and not counted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from KidneyTumorCascadeLib.geometry import Box
from KidneyTumorCascadeLib.volume import Volume, read_volume
from KidneyTumorCascadeLib.worker_client import WorkerClient
from KidneyTumorCascadeLib.worker_messages import Options, Segmented
from Testing.Benchmarks.clock import Timing
from Testing.Benchmarks.own_process import in_own_process, only_result_on_stdout, say_result
from Testing.Benchmarks.scans import large_file
from Testing.Benchmarks.settings import Settings, settings_from
from Testing.Benchmarks.table import Section
from Testing.Benchmarks.whole_scan import segmented, whole_of

HEADER = ["what", "time", "of a whole run with the warm worker", "of the whole command"]
COLD_WHOLE, COLD_BOX = "whole run, cold worker", "one box, cold worker"
WARM_WHOLE, WARM_BOX = "whole run, warm worker", "one box again, warm worker"
T = TypeVar("T")


def seconds_of(work: Callable[[], T]) -> tuple[float, T]:
    """How long it took, and its result."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def label_map(scan: Volume, result: Segmented) -> None:
    """What a client does with an answer."""
    result.label_map(scan.geometry.shape_zyx)


def cold(scan: Volume, folder: Path, options: Options, boxes: Sequence[Box] | None) -> float:
    """Seconds from the start of a worker to the label map; of these boxes, or of the whole scan."""

    def work() -> None:
        with WorkerClient(folder) as worker:
            opened = worker.open_scan(scan.voxels, scan.geometry)
            answer = worker.segment(opened, options) if boxes is None else worker.segment_boxes(opened, boxes, options)
            label_map(scan, answer)

    return seconds_of(work)[0]


def warm(scan: Volume, folder: Path, options: Options, rounds: int) -> tuple[list[float], list[float], list[Box]]:
    """Seconds of whole runs and of single boxes with a worker that has done both before, in turns; and the boxes."""
    whole, single = [], []
    with WorkerClient(folder) as worker:
        opened = worker.open_scan(scan.voxels, scan.geometry)
        boxes = [part.box for part in worker.segment(opened, options).parts]
        for _ in range(rounds):
            whole.append(seconds_of(lambda: label_map(scan, worker.segment(opened, options)))[0])
            single += [seconds_of(lambda box=box: label_map(scan, worker.segment_boxes(opened, [box], options)))[0] for box in boxes]  # type: ignore[misc]
    return whole, single, boxes


def measured(path: Path, device: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of all four cases."""
    scan, options = read_volume(path), Options(device=device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, single, boxes = warm(scan, folder, options, rounds)
        if not boxes:
            raise SystemExit(f"No kidney was found in {path}; give a scan with one.")
        cold_runs = max(1, rounds // 2)
        return {
            COLD_WHOLE: [cold(scan, folder, options, None) for _ in range(cold_runs)],
            WARM_WHOLE: whole,
            COLD_BOX: [cold(scan, folder, options, boxes[:1]) for _ in range(cold_runs)],
            WARM_BOX: single,
        }


def section_of(seconds: dict[str, list[float]], command: Timing) -> Section:
    """The table."""
    whole, box = statistics.median(seconds[WARM_WHOLE]), statistics.median(seconds[WARM_BOX])
    timings = {**{name: Timing(tuple(values)) for name, values in seconds.items()}, "the whole command": command}
    rows = [[name, item.text(), share(item.median, whole), share(item.median, command.median)] for name, item in timings.items()]
    notes = [
        "Through the worker's own process and its client, from the array in memory to the label map in memory; the whole command also starts Python, "
        "reads and writes files. One box again is the median over both kidneys' boxes."
    ]
    figures = {
        "again_seconds": box,
        "warm_whole_seconds": whole,
        "share_of_warm": box / whole,
        "share_of_command": box / command.median,
        "share_of_cold": box / statistics.median(seconds[COLD_WHOLE]),
    }
    return Section("again", "One box again", HEADER, rows, notes, figures)


def share(part: float, whole: float) -> str:
    """Whole percent."""
    return f"{100 * part / whole:.0f} %"


def measure(settings: Settings) -> Section:
    """The large phantom, by workers with as many threads as all contenders have."""
    path = large_file(settings.folder)
    arguments = [path, "--device", settings.device, "--rounds", settings.repeats]
    found: dict[str, Any] = in_own_process("Testing.Benchmarks.again", ["--as-json", *arguments], settings.threads)
    command = whole_of([segmented(path, "standard", settings) for _ in range(max(1, settings.repeats // 2))])
    return section_of({name: found[name] for name in (COLD_WHOLE, WARM_WHOLE, COLD_BOX, WARM_BOX)}, command)


def main(argv: Sequence[str] | None = None) -> None:
    """With --as-json measures here and prints figures; without, all of the benchmark and prints a table."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--as-json", type=Path)
    known, rest = parser.parse_known_args(argv)
    if known.as_json is None:
        print(measure(settings_from(rest, __doc__)).text())
        return
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(argv)
    with only_result_on_stdout():
        found = measured(arguments.as_json, arguments.device, arguments.rounds)
    say_result(found)


if __name__ == "__main__":
    main()
