"""Stop real processes at random moments and look at what they leave: `python -m Testing.Faults.interrupts --tries 100 --seed 1`.

Each try is a process of its own that runs `segment` or `batch` over the results of an earlier run and is stopped by SIGINT, SIGTERM or SIGKILL,
half of the tries within the milliseconds in which files are written. Afterwards every file must be whole and all of one run: the earlier one, or
the new one, or, where the process was killed in the midst of moving, some of one of them without its manifest. A run that was asked to stop leaves
nothing unfinished; what a killed one left is removed by the next, which then has the results of a run that was not disturbed. The exit code is 1
when that is not so. The networks are those that find bright voxels; the processes are forks of this one, which has loaded PyTorch for them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from unittest import mock

import torch

from KidneyTumorCascadeLib import batch_pool, cascade, cli, commands
from KidneyTumorCascadeLib.output_files import UNFINISHED
from KidneyTumorCascadeLib.volume import Volume, write_volume
from Testing.bright_blocks import LEVELS, Brightness, make_bright_bundle, make_scan

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
CANCELLED, BROKEN = 130, 70
MANIFEST = ".json"
# What differs between two runs with the same result.
VARYING = ("created", "seconds", "peak_memory_mb")
LONGEST_S = 300.0
# Where flushing to the disk does not wait for other programs' files.
MEMORY = Path("/dev/shm")
# One in so many tries is a batch, whose workers take seconds to start.
BATCH_EVERY = 8

Content = Mapping[str, str]


class Process:
    """The command line in a process of its own.

    Args:
        words: of the command.

    Attributes:
        code: how it ended, minus the number of a signal that it died of; None while it runs.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.code: int | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the object)
        self._id = os.fork()
        if self._id == 0:
            os.dup2(self._said.fileno(), 2)
            os._exit(run_in_child(words))

    def send(self, number: int) -> None:
        """A signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self._id, number)

    def poll(self) -> int | None:
        """Its code, or None."""
        if self.code is None:
            ended, status = os.waitpid(self._id, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if ended else None
        return self.code

    def end(self) -> tuple[int, str]:
        """Wait for its code and what it said on standard error."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self._id, 0)[1])
        self._said.seek(0)
        return self.code, self._said.read().decode("utf-8", "replace")


def run_in_child(words: Sequence[str]) -> int:
    """What the interpreter does around the command line."""
    try:
        return cli.main(words)
    except KeyboardInterrupt:
        return CANCELLED
    except BaseException as error:
        os.write(2, f"Traceback: {error!r}\n".encode())
        return BROKEN


@dataclass
class Scene:
    """A command that is stopped, and what its output folder holds before and after.

    Attributes:
        name: segment or batch.
        words: of the command.
        output: its folder.
        before: words of the command that made the earlier results.
        earlier: a copy of these.
        new: the content of the folder after a run that nothing disturbed.
        seconds: that it takes.
        writing: seconds from the first unfinished file to the end.
    """

    name: str
    words: Sequence[str]
    output: Path
    before: Sequence[str]
    earlier: Path
    new: Content = field(default_factory=dict)
    seconds: float = 0.0
    writing: float = 0.0

    def reset(self) -> None:
        """As the earlier run left it."""
        shutil.rmtree(self.output, ignore_errors=True)
        shutil.copytree(self.earlier, self.output)

    def start(self) -> Process:
        """Begin the run that is to be stopped."""
        return Process(self.words)

    def unfinished(self) -> list[Path]:
        """Hidden folders of files that do not have their places yet."""
        return list(self.output.glob(f"{UNFINISHED}*"))


def content_of(folder: Path) -> dict[str, str]:
    """A digest of every file that is in its place: of manifests without what differs between runs. Table and page of a batch do not count."""
    files = [path for path in folder.rglob("*") if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return {path.relative_to(folder).as_posix(): digest_of(path) for path in files if path.name not in ("summary.csv", "index.html")}


def digest_of(path: Path) -> str:
    """Of a file's content; a manifest that is none raises ValueError."""
    data = path.read_bytes()
    if path.suffix == MANIFEST:
        manifest = json.loads(data)
        data = json.dumps({key: value for key, value in manifest.items() if key not in VARYING}).encode()
    return hashlib.sha256(data).hexdigest()


def make_scenes(folder: Path) -> list[Scene]:
    """Two commands over earlier results, each run once without being disturbed."""
    bundle = make_bright_bundle(folder / "bundle")
    (folder / "many").mkdir()
    for number, name in enumerate(("old", "new", "many/a", "many/b", "many/c")):
        scan = make_scan()
        write_volume(Volume(scan.voxels + (number * (scan.voxels > 0)).astype("int16"), scan.geometry), folder / f"{name}.nii.gz")
    common = ("--device", "cpu", "--quiet", "--bundle", str(bundle))
    output = folder / "results"
    one = [str(output / "labels.nii.gz"), "--preview", str(output / "labels.png"), "--probabilities", *common]
    batch = ["batch", str(folder / "many"), str(output), "--workers", "2", *common]
    return [
        Scene("segment", ["segment", str(folder / "new.nii.gz"), *one], output, ["segment", str(folder / "old.nii.gz"), *one], folder / "before1"),
        Scene("batch", [*batch, "--preview"], output, [*batch, "--merge", "compare"], folder / "before2"),
    ]


def prepare(scene: Scene) -> None:
    """Make the earlier results, and time the scene's own command."""
    shutil.rmtree(scene.output, ignore_errors=True)
    scene.output.mkdir()
    code, said = Process(scene.before).end()
    if code:
        raise AssertionError(f"an undisturbed run ended with {code}: {said}")
    scene.output.rename(scene.earlier)
    scene.reset()
    begin = time.monotonic()
    process = scene.start()
    wait_for(lambda: bool(scene.unfinished()), process)
    first = time.monotonic()
    process.end()
    scene.seconds, scene.writing = time.monotonic() - begin, time.monotonic() - first
    scene.new = content_of(scene.output)


def wait_for(condition: Callable[[], bool], process: Process) -> None:
    """Until it is so, or the process has ended."""
    until = time.monotonic() + LONGEST_S
    while not condition() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.001)


def stop_once(scene: Scene, number: int, random: Random) -> tuple[str, list[str]]:
    """One try; returns what came of it in some words, and what is wrong with it."""
    kind = SIGNALS[number % len(SIGNALS)]
    scene.reset()
    earlier = content_of(scene.output)
    process = scene.start()
    moment = random.random()
    if random.random() < 0.5:
        wait_for(lambda: bool(scene.unfinished()), process)
        time.sleep(moment * scene.writing)
    else:
        time.sleep(moment * scene.seconds)
    process.send(kind)
    code, said = process.end()
    problems = [*problems_of_end(code, said, kind), *problems_of_folder(scene, earlier, kind)]
    outcome = "finished" if code == 0 else "stopped"
    if number % 5 == 0 or scene.unfinished() or problems:
        problems += problems_afterwards(scene)
    return f"{scene.name:<8} {kind.name:<8} {outcome}", problems


def problems_of_end(code: int, said: str, kind: signal.Signals) -> list[str]:
    """What is wrong with how the process ended. One that has not begun yet, or is at its end, dies of the signal as any program does."""
    expected = (0, -kind) if kind == signal.SIGKILL else (0, CANCELLED, -kind)
    problems = [] if code in expected else [f"ended with {code}: {said[-300:]!r}"]
    return [*problems, f"a traceback: {said[-300:]!r}"] if "Traceback" in said else problems


def problems_of_folder(scene: Scene, earlier: Content, kind: signal.Signals) -> list[str]:
    """What is wrong with the files that are there."""
    killed = kind == signal.SIGKILL
    problems = [f"{path.name} is left" for path in scene.unfinished() if not killed]
    now = content_of(scene.output)
    for case in {path.split(".")[0].split("_")[0] for path in (*earlier, *scene.new)}:
        mine = {path: digest for path, digest in now.items() if path.startswith((f"{case}.", f"{case}_"))}
        sets = [{path: digest for path, digest in run.items() if path.startswith((f"{case}.", f"{case}_"))} for run in (earlier, scene.new)]
        partial = killed and f"{case}{MANIFEST}" not in mine and any(mine.items() <= whole.items() for whole in sets)
        if mine not in sets and not partial:
            problems.append(f"{case}: {sorted(mine)} are of no single run")
    return problems


def problems_afterwards(scene: Scene) -> list[str]:
    """What is wrong after another run, which nobody disturbs."""
    code, said = scene.start().end()
    problems = [] if code == 0 else [f"the next run ended with {code}: {said[-300:]!r}"]
    if content_of(scene.output) != scene.new:
        problems.append("the next run has another result")
    problems += [f"{path.name} is still there" for path in scene.output.rglob(".*")]
    return problems


def interrupt(tries: int, seed: int, names: Sequence[str], tell: Callable[[str], None]) -> int:
    """All tries; returns how many of them found something wrong."""
    random, wrong = Random(seed), 0
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder, bright_networks():
        scenes = [scene for scene in make_scenes(Path(folder)) if scene.name in names]
        for scene in scenes:
            prepare(scene)
        for number in range(tries):
            outcome, problems = stop_once(scenes[-1 if number % BATCH_EVERY == BATCH_EVERY - 1 else 0], number, random)
            counts[outcome] += 1
            wrong += bool(problems)
            for problem in problems:
                tell(f"try {number}: {outcome}: {problem}")
    for outcome, count in sorted(counts.items()):
        tell(f"{count:>5}  {outcome}")
    tell(f"{tries} tries, {wrong} with something wrong")
    return wrong


@contextmanager
def bright_networks() -> Iterator[None]:
    """Within it, the networks of this process's forks and of a batch's workers find bright voxels; one thread, as threads do not survive a fork."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    worker = (sys.executable, "-m", "Testing.faulty_batch_worker")
    load = mock.patch.object(cascade, "load_network", lambda stage, device: Brightness(LEVELS[stage.name]))
    with load, mock.patch.object(batch_pool, "COMMAND", worker), mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):
        assert commands.COMMANDS, "loaded here, not in every process"
        yield
    torch.set_num_threads(threads)


def main(words: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Faults.interrupts", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("segment", "batch"), help="one of the two commands")
    arguments = parser.parse_args(words)
    names = [arguments.only] if arguments.only else ["segment", "batch"]
    return 1 if interrupt(arguments.tries, arguments.seed, names, lambda line: print(line, flush=True)) else 0


if __name__ == "__main__":
    sys.exit(main())
