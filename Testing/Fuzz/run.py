"""Feed every parser of the project with changed examples and count what becomes of them.

    nice -n 15 python -m Testing.Fuzz.run --inputs 1000000 --seed 1

An input is accepted, or refused in one sentence. Anything else (another exception, more than 20 s of computing, a gigabyte of memory, a message of
many lines or with control characters) is a finding: it is shown, kept with --findings, and makes the exit code 1. The same seed gives the same
inputs. One process, no network, files only in a folder of its own that is removed.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from Testing.Fuzz.judge import ACCEPTED, REFUSED, Finding, Target, judge, limits
from Testing.Fuzz.targets import all_targets

SHOWN_PER_TARGET = 5


def fuzz(target: Target, inputs: int, seed: int) -> tuple[Counter[str], list[Finding]]:
    """How many inputs were accepted, refused and found fault with, and the findings."""
    random = Random(f"{seed} {target.name}")
    counts: Counter[str] = Counter()
    findings = []
    with limits():
        for _ in range(inputs):
            outcome = judge(target, target.make(random))
            counts[outcome if isinstance(outcome, str) else "findings"] += 1
            if isinstance(outcome, Finding):
                findings.append(outcome)
    return counts, findings


def shares(targets: Sequence[Target], inputs: int) -> list[int]:
    """How many inputs each target gets, at least that many in all."""
    whole = sum(target.share for target in targets)
    return [-(-inputs * target.share // whole) for target in targets]


def plan(every: Sequence[Target], arguments: argparse.Namespace) -> list[tuple[Target, int]]:
    """Which targets are fed, and with how many inputs each. Raises StopIteration for the name of none."""
    targets = [target for target in every if arguments.only in target.name]
    parts = list(zip(targets, shares(targets, arguments.inputs), strict=True))
    done = 1 + next(number for number, target in enumerate(targets) if target.name == arguments.after) if arguments.after else 0
    return parts[done:]


def report(findings: Sequence[Finding], folder: Path | None) -> Iterator[str]:
    """The first findings of each kind, and where their inputs were kept."""
    for finding in list({kind_of(finding): finding for finding in findings}.values())[:SHOWN_PER_TARGET]:
        yield f"  {finding.data[:200]!r}\n  {finding.what}"
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{finding.target.replace(' ', '-').replace('/', '-')}-{hashlib.sha256(finding.data).hexdigest()[:12]}"
            (folder / name).write_bytes(finding.data)


def kind_of(finding: Finding) -> str:
    """The same for findings that are likely to have one cause: where an exception came from, or what is wrong with a message."""
    lines = finding.what.splitlines()
    places = [line for line in lines if line.startswith("  File")]
    return places[-1] + lines[-1].split(":")[0] if places else finding.what.split(":")[0]


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Fuzz.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="TEXT", help="parsers whose names hold this text")
    parser.add_argument("--after", default="", metavar="NAME", help="what a run that stopped after this parser lacks")
    parser.add_argument("--findings", type=Path, metavar="FOLDER", help="keep the inputs of findings there")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    found = 0
    total: Counter[str] = Counter()
    with all_targets() as every:
        print(f"{'parser':<28}{'inputs':>10}{'accepted':>10}{'refused':>10}{'findings':>10}{'seconds':>9}", flush=True)
        for target, inputs in plan(every, arguments):
            start = time.monotonic()
            counts, findings = fuzz(target, inputs, arguments.seed)
            total += counts
            print(line(target.name, counts, time.monotonic() - start), flush=True)
            for text in report(findings, arguments.findings):
                print(text, flush=True)
            found += len(findings)
    print(line("all", total, None))
    return 1 if found else 0


def line(name: str, counts: Counter[str], seconds: float | None) -> str:
    """A row of the table."""
    numbers = (sum(counts.values()), counts[ACCEPTED], counts[REFUSED], counts["findings"])
    return f"{name:<28}" + "".join(f"{number:>10,}" for number in numbers) + ("" if seconds is None else f"{seconds:>9.1f}")


if __name__ == "__main__":
    sys.exit(main())
