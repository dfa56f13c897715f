"""Hundreds of scans with damaged ones among them, while workers and whole runs are killed; then what came of it, beside an undisturbed batch.

    python -m Testing.Batch.endurance FOLDER [--cases 200] [--damaged 20] [--kill-seconds 30] [--only local|cluster] [--bright]

`local`: two workers of the batch's own, of which one is killed every 30 s, and the whole batch killed twice and started again. `cluster`: the
same with two Dask workers; one more death is for good: after half of the scans a worker is killed together with what would start it anew.
FOLDER keeps scans, results and logs, for whoever wants to look at them.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from KidneyTumorCascadeLib.volume import Volume
from Testing.Batch.cluster import Cluster, end
from Testing.Batch.disturbed import Disturbance, DisturbedBatch, Record
from Testing.Batch.logged_batch import BRIGHT_VARIABLE
from Testing.Batch.logged_worker import LOG_VARIABLE
from Testing.Batch.scans import make_scans, small_phantom
from Testing.Batch.verdict import Sides, good_names, problems
from Testing.bright_blocks import make_bright_bundle

WORKERS = 2
# On a slow machine chance may kill a scan's process three times, after which a batch by default takes the scan for the cause.
RETRIES = 5
KINDS = ("local", "cluster")


@dataclass(frozen=True)
class Trial:
    """A folder for everything, and what is tried there.

    Attributes:
        folder: for scans, results and logs.
        cases, damaged: how many scans there are, and how many of them cannot be read.
        make: a scan from its number.
        options: further words of the command line.
        bright: networks that find bright voxels.
    """

    folder: Path
    cases: int = 200
    damaged: int = 20
    make: Callable[[int], Volume] = small_phantom
    options: Sequence[str] = ()
    bright: bool = False

    @property
    def scans(self) -> Path:
        """Where they lie."""
        return self.folder / "scans"

    def words(self, name: str, *engine: str) -> list[str]:
        """Of the command line, for a batch of this name."""
        return [str(self.scans), str(self.folder / name), "--device", "cpu", "--retries", str(RETRIES), *engine, *self.options]

    def log(self, name: str) -> Path:
        """Of the workers of that batch."""
        return self.folder / f"{name}.log"

    def clear(self, name: str) -> None:
        """Forget an earlier batch of this name."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        for ending in (".log", ".out"):
            self.log(name).with_suffix(ending).unlink(missing_ok=True)

    def calm(self) -> Record:
        """The batch that nothing happens to."""
        self.clear("calm")
        return DisturbedBatch(self.words("calm", "--workers", str(WORKERS)), self.cases, self.log("calm"), Disturbance(bright=self.bright)).run()

    def local(self, what: Disturbance) -> Record:
        """The same scans by workers of this computer."""
        self.clear("local")
        return DisturbedBatch(self.words("local", "--workers", str(WORKERS)), self.cases, self.log("local"), what).run()

    def cluster(self, what: Disturbance, nanny: bool = True) -> Record:
        """The same scans by a cluster, which loses one of its workers for good when half of them are done."""
        self.clear("cluster")
        log = self.log("cluster")
        environment = {LOG_VARIABLE: str(log), **({BRIGHT_VARIABLE: "1"} if self.bright else {})}
        with Cluster(self.folder / "dask", WORKERS, "Testing.Batch.logged_batch", nanny, environment) as cluster:
            loss = Loss(cluster, (self.cases - self.damaged) // 2)
            batch = DisturbedBatch(self.words("cluster", "--scheduler", cluster.address), self.cases, log, what, loss)
            record = batch.run()
            record.worker_kills += loss.lost
            return record


class Loss:
    """Kills one Dask worker for good, with all that it has started, when so many scans are done."""

    def __init__(self, cluster: Cluster, at: int) -> None:
        self._cluster, self._at = cluster, at
        self.lost: list[str] = []

    def __call__(self, done: int) -> None:
        """Told how many are done."""
        if done >= self._at and not self.lost:
            end(self._cluster.workers[0])
            self.lost.append("a worker for good")


def main(words: Sequence[str] | None = None) -> int:
    """Try it, tell of it, and return 0 when everything holds."""
    options = parse(words)
    words = ["--bundle", str(bright_bundle(options.folder / "bundle"))] if options.bright else []
    trial = Trial(options.folder, options.cases, options.damaged, options=words, bright=options.bright)
    damaged = make_scans(trial.scans, trial.cases, trial.damaged)
    calm = trial.calm()
    say(f"undisturbed: {told(calm)}")
    holds = True
    for kind in KINDS if options.only is None else [options.only]:
        what = Disturbance(run_kills=2, every_seconds=options.kill_seconds, parents=kind == "cluster", bright=options.bright)
        record = trial.local(what) if kind == "local" else trial.cluster(what)
        sides = Sides(trial.folder / "calm", trial.folder / kind, calm, record, damaged, WORKERS)
        found = problems(sides)
        say(f"{kind}: {told(record)}; {len(good_names(sides))} results compared with the undisturbed batch's; {'; '.join(found) or 'all holds'}")
        holds = holds and not found
    return 0 if holds else 1


def bright_bundle(folder: Path) -> Path:
    """A bundle for networks that are a threshold."""
    return folder if folder.exists() else make_bright_bundle(folder)


def told(record: Record) -> str:
    """A record in a line."""
    statuses = [outcome["status"] for outcome in record.outcomes.values()]
    last = ", ".join(f"{statuses.count(status)} {status}" for status in ("done", "skipped", "failed"))
    return (
        f"{record.seconds:.0f} s, {len(record.runs)} runs (scans done in each: {', '.join(map(str, record.runs))}), "
        f"{len(record.worker_kills)} workers and {record.run_kills} runs killed, {len(record.begun)} scans begun, {len(record.ended)} ended; "
        f"last run: {last}"
    )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.Batch.endurance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="for scans and results; some 300 MB")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--damaged", type=int, default=20)
    parser.add_argument("--kill-seconds", type=float, default=30.0, help="a worker is killed so often")
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--bright", action="store_true", help="a threshold in the place of networks, where these would take too long")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
