"""All benchmarks in one run: a report in Markdown, a plot, and the figures as JSON, in out/bench.

    python -m Testing.Benchmarks.run [--device cpu] [--only peers,whole_scan] [--real CT ...] [--report]

`--report` measures nothing and writes the report from what lies in the folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from KidneyTumorCascadeLib.allocator import keep_freed_memory
from KidneyTumorCascadeLib.report import write_text_atomically
from Testing.Benchmarks import again, ceilings, fast_paths, in_memory, peers, scaling, whole_scan
from Testing.Benchmarks.aims import aims
from Testing.Benchmarks.machine import description, load
from Testing.Benchmarks.own_process import ContenderFailed
from Testing.Benchmarks.plot import draw
from Testing.Benchmarks.quiet import others_share, remark, usage
from Testing.Benchmarks.settings import Settings, add_options, settings_of, usable_cores
from Testing.Benchmarks.table import Section, load_section

BENCHMARKS: dict[str, Callable[[Settings], Section]] = {
    "whole_scan": whole_scan.measure,
    "in_memory": in_memory.measure,
    "again": again.measure,
    "fast_paths": fast_paths.measure,
    "scaling_slices": scaling.measure_slices,
    "scaling_boxes": scaling.measure_boxes,
    "ceilings": ceilings.measure,
    "peers": peers.measure,
}
PLOT = "report.png"
# A machine that does something else meanwhile gives figures that say little.
BUSY = 0.5


def sections_in(folder: Path) -> list[Section]:
    """What was measured so far, in the order of the benchmarks."""
    paths = [folder / f"{name}.json" for name in BENCHMARKS]
    return [load_section(path) for path in paths if path.exists()]


def report(settings: Settings, command: str) -> str:
    """The report in Markdown."""
    sections = sections_in(settings.folder)
    head = ["# Benchmarks", "\n".join(description(settings)), f"Command: `{command}`", "Figures are medians; in brackets least and greatest."]
    if draw(sections, settings.folder / PLOT):
        head.append(f"![Time and memory, ours and others']({PLOT})")
    return "\n\n".join([*head, *(section.text() for section in (aims(sections), *sections) if section.rows)])


def measured(name: str, settings: Settings) -> Section:
    """One benchmark, with a remark on how quiet the machine was. Ends the program when a contender fails."""
    before, begin = usage(), time.monotonic()
    try:
        section = BENCHMARKS[name](settings)
    except ContenderFailed as error:
        raise SystemExit(str(error)) from error
    share = others_share(before, usage(), usable_cores())
    note = f"Measured in {time.monotonic() - begin:.0f} s. {remark(share)}"
    return replace(section, notes=[*section.notes, note])


def chosen(only: str) -> Sequence[str]:
    """The benchmarks asked for; all without a wish. Ends the program at an unknown name."""
    names = [name for name in only.split(",") if name] or list(BENCHMARKS)
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        raise SystemExit(f"There is no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(BENCHMARKS)}.")
    return names


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write, and say where."""
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    add_options(parser)
    parser.add_argument("--only", default="", help=f"some of {', '.join(BENCHMARKS)}, separated by commas")
    parser.add_argument("--report", action="store_true", help="measure nothing; write the report from the results there are")
    arguments = parser.parse_args(argv)
    settings = settings_of(arguments)
    # As the program's own processes do. Peers have processes of their own, with the settings that their users have.
    keep_freed_memory()
    if not arguments.report:
        if load() > BUSY:
            print(f"The machine is busy (load average {load():.2f}): the figures may say little.", file=sys.stderr)
        for name in chosen(arguments.only):
            print(f"Measuring {name} ...", file=sys.stderr, flush=True)
            measured(name, settings).save(settings.folder)
    command = "python -m Testing.Benchmarks.run " + " ".join(sys.argv[1:] if argv is None else argv)
    write_text_atomically(settings.folder / "report.md", report(settings, command.strip()))
    print((settings.folder / "report.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
