"""All benchmarks in one run: a report in Markdown, a plot, and the figures as JSON, in out/bench.

    python -m Testing.Benchmarks.run [--device cpu] [--only peers,whole_scan] [--report]

`--report` measures nothing and writes the report from what lies in the folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from KidneyTumorCascadeLib.report import write_text_atomically
from Testing.Benchmarks import peers, whole_scan
from Testing.Benchmarks.machine import description, load
from Testing.Benchmarks.own_process import ContenderFailed
from Testing.Benchmarks.settings import Settings, add_options, settings_of
from Testing.Benchmarks.table import Section, load_section

BENCHMARKS: dict[str, Callable[[Settings], Section]] = {
    "peers": peers.measure,
    "whole_scan": whole_scan.measure,
}
# A machine that does something else meanwhile gives figures that say little.
BUSY = 0.5


def sections_in(folder: Path) -> list[Section]:
    """What was measured so far, in the order of the benchmarks."""
    paths = [folder / f"{name}.json" for name in BENCHMARKS]
    return [load_section(path) for path in paths if path.exists()]


def report(settings: Settings, command: str) -> str:
    """The report in Markdown."""
    head = ["# Benchmarks", "\n".join(description(settings)), f"Command: `{command}`", "Figures are medians; in brackets least and greatest."]
    return "\n\n".join([*head, *(section.text() for section in sections_in(settings.folder))])


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
    if not arguments.report:
        if load() > BUSY:
            print(f"The machine is busy (load average {load():.2f}): the figures may say little.", file=sys.stderr)
        for name in chosen(arguments.only):
            print(f"Measuring {name} ...", file=sys.stderr, flush=True)
            try:
                BENCHMARKS[name](settings).save(settings.folder)
            except ContenderFailed as error:
                raise SystemExit(str(error)) from error
    command = "python -m Testing.Benchmarks.run " + " ".join(sys.argv[1:] if argv is None else argv)
    write_text_atomically(settings.folder / "report.md", report(settings, command.strip()))
    print((settings.folder / "report.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
