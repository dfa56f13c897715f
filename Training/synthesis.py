"""A pool of labelled training CT: real scans as they are, and copies of them with other contrast, missing kidneys, tumors and cysts.

    python Training/synthesis.py SOURCES.json POOL --count 160 --seed 1

SOURCES.json lists what to build on (paths relative to the file):
    {"scans": [{"name", "ct", "labels" or null, "kidney_labels": [1, 2] or absent, "split": "train" or "validation",
                "whole": true, false or absent: whether it shows its kidneys whole, for Training/evaluate.py}],
     "lesions": [{"labels", "split"}], "phantoms": 24,
     "anatomies": [{"labels", "kind": "organs" or "kidneys", "organs": "word", "split"}]}
Validation scans are never used for training copies, nor are lesions of validation patients ever implanted in training scans.
`--anatomies` renders whole bodies from label maps, `--transplants` puts the kidneys of other patients into the scans (see anatomy_pool.py).
With `--workers N` N processes write the same files as one does: copies and phantoms come from one of them, the others render meanwhile.
Each case is written twice, around the kidneys on fine voxels (POOL/SPLIT/fine) and whole on coarse ones (POOL/SPLIT/coarse). What evaluate.py
is to segment as if it were a scan is written whole on fine voxels as well (POOL/validation/whole).
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.device import DEVICES, choose_device
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom
from Training.anatomy.anatomy_pool import (
    anatomies_of,
    numbered_anatomy,
    numbered_transplant,
    require_abdomen,
    require_donors,
    transplants_of,
)
from Training.case_names import REAL, WHOLE_FOLDER, origin_of
from Training.cases import TUMOR, Case, around, coarser, cubic_case, read_case
from Training.command_line import make_folder, natural, positive, run_command
from Training.lesion.lesion_shapes import Shape, shapes_of
from Training.lesion.lesions import CYST, grow
from Training.preparation.worker_processes import worker_processes
from Training.sources import SPLITS, ScanSource, Sources, read_sources
from Training.variation.kidney_changes import without_kidney
from Training.variation.scan_changes import changed_patient, changed_scanner

FINE_MM, COARSE_MM = 1.5, 3.0
FINE_MARGIN_MM, FINE_LEAST_MM = 70.0, 250.0
FIRST_TRAINING_PHANTOM, FIRST_VALIDATION_PHANTOM = 10_000, 20_000
VALIDATION_PHANTOMS = 3
PATIENTS_IN_BANK = 120
TUMOR_DIAMETER_MM, CYST_DIAMETER_MM = (10.0, 90.0), (6.0, 45.0)
TUMOR_ODDS, CYST_ODDS = (0.15, 0.5, 0.25, 0.1), (0.5, 0.25, 0.15, 0.1)
TRIES = 6
# For each worker: enough for the time in which this process makes one case itself.
JOBS_AHEAD = 3
NEPHRECTOMY_PROBABILITY = 0.06


@dataclass(frozen=True)
class LesionBank:
    """The forms that lesions of one split may take."""

    tumors: Sequence[Shape]
    cysts: Sequence[Shape]


def copy_name(name: str, index: int) -> str:
    """What a changed copy of a scan is called."""
    return f"{name}_v{index:03d}"


def phantom_name(seed: int) -> str:
    """What a phantom is called."""
    return f"phantom_{seed}"


def real_cases(sources: Sources, split: str) -> Iterator[Case]:
    """The scans of one split on fine voxels."""
    return (real_case(scan) for scan in sources.scans if scan.split == split)


def real_case(scan: ScanSource) -> Case:
    """A scan on fine voxels."""
    return read_case(scan.name, scan.ct, scan.labels, FINE_MM, scan.kidney_labels)


@lru_cache(maxsize=1)
def scan_of_name(sources: Sources, name: str) -> Case:
    """The scan of that name on fine voxels."""
    return real_case(next(scan for scan in sources.scans if scan.name == name))


def lesion_bank(sources: Sources, split: str, label: int, rng: np.random.Generator) -> list[Shape]:
    """The lesions of that label of a number of patients of one split, drawn at random."""
    patients = [lesion for lesion in sources.lesions if lesion.split == split]
    chosen = rng.permutation(len(patients))[:PATIENTS_IN_BANK]
    return [shape for index in chosen for shape in shapes_of(patients[index].labels, label)]


def phantom_case(seed: int, rng: np.random.Generator) -> Case:
    """A phantom patient on fine voxels, its settings drawn at random."""
    settings = PhantomSettings(
        seed=seed,
        tumors=int(rng.integers(0, 4)),
        cysts=int(rng.integers(0, 3)),
        phase=str(rng.choice(["arterial", "portal", "none"], p=[0.45, 0.35, 0.2])),
        spacing=(1.5, 1.5, float(rng.choice([1.5, 2.5, 4.0]))),
        noise_sd=float(rng.uniform(5.0, 25.0)),
    )
    phantom = make_phantom(settings)
    return cubic_case(phantom_name(seed), phantom.volume, phantom.labels, FINE_MM)


def with_lesions(case: Case, bank: LesionBank, rng: np.random.Generator) -> Case:
    """The case with up to three tumors and up to three cysts, as far as the bank has forms for them and they fit."""
    tumors, cysts = int(rng.choice([0, 1, 2, 3], p=TUMOR_ODDS)), int(rng.choice([0, 1, 2, 3], p=CYST_ODDS))
    for _ in range(tumors if bank.tumors else 0):
        case = with_lesion(case, bank.tumors, TUMOR_DIAMETER_MM, TUMOR, rng)
    for _ in range(cysts if bank.cysts else 0):
        case = with_lesion(case, bank.cysts, CYST_DIAMETER_MM, CYST, rng)
    return case


def with_lesion(case: Case, shapes: Sequence[Shape], diameters_mm: tuple[float, float], label: int, rng: np.random.Generator) -> Case:
    """The case with one more lesion, its diameter drawn evenly on a log scale; as it was when none of a few tries fits."""
    for _ in range(TRIES):
        shape = shapes[int(rng.integers(len(shapes)))]
        diameter = float(np.exp(rng.uniform(*np.log(diameters_mm))))
        grown = grow(case, shape, diameter, label, rng)
        if grown is not None:
            return grown
    return case


def variant(case: Case, bank: LesionBank, rng: np.random.Generator) -> Case:
    """One changed copy of a real case with kidneys."""
    if rng.random() < NEPHRECTOMY_PROBABILITY:
        case = without_kidney(case, rng)
    return changed_scanner(with_lesions(changed_patient(case, rng), bank, rng), rng)


def write_case(case: Case, folder: Path, region: Case | None = None) -> None:
    """Write a fine and a coarse version. `region` is the original whose kidneys bound the fine one; without kidneys it is whole."""
    coarser(case, COARSE_MM).save(folder / "coarse")
    kidneys = (region or case).labels > 0
    margin, least = round(FINE_MARGIN_MM / case.spacing_mm), round(FINE_LEAST_MM / case.spacing_mm)
    fine = case.cropped(around(kidneys, margin, least)) if kidneys.any() else case
    fine.save(folder / "fine")


@dataclass(frozen=True)
class Rendered:
    """How much of a split is made from label maps: whole anatomies, and kidneys transplanted into scans."""

    anatomies: int = 0
    transplants: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class SplitWork:
    """What every case of one split is made with."""

    sources: Sources
    split: str
    pool: Path
    seed: int
    bank: LesionBank
    device: torch.device

    @property
    def folder(self) -> Path:
        """Where the cases go."""
        return self.pool / self.split


@dataclass(frozen=True)
class Rendering:
    """One case to make from label maps: the transplant of that number into the scan of that name, or without one the anatomy of that number.

    It is small, as what waits in a queue for a worker that has been ended can keep the command from ending.
    """

    index: int
    scan: str | None = None


# What a worker was given once for all its cases: the bank is large.
GIVEN: list[SplitWork] = []


def build_split(sources: Sources, split: str, pool: Path, count: int, seed: int, rendered: Rendered | None = None, workers: int = 1) -> None:
    """Write one split: the real scans, `count` changed copies of those with kidneys, what is rendered from label maps, and the phantoms.

    Several workers write the same files as one. Raises InputError without what is needed for it, SetupError when disk or memory run out.
    """
    rendered = rendered or Rendered()
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    for kind in ("fine", "coarse", *([WHOLE_FOLDER] if split == "validation" else [])):
        make_folder(pool / split / kind)
    originals = list(real_cases(sources, split))
    with_kidneys = [case for case in originals if case.labels.any()]
    if count and not with_kidneys:
        raise InputError(f"No scan of the {split} split has kidney labels to make copies of; add one, or ask for no copies.")
    bank = LesionBank(lesion_bank(sources, split, TUMOR, rng), lesion_bank(sources, split, CYST, rng))
    work = SplitWork(sources, split, pool, seed, bank, rendered.device)
    drawn = write_drawn(work, originals, with_kidneys, count, rng)
    shared = workers > 1 and rendered.anatomies + rendered.transplants > 0
    names = write_shared(work, drawn, with_kidneys, rendered, workers) if shared else chain(drawn, write_rendered(work, with_kidneys, rendered))
    total = len(originals) + count + len(phantom_seeds(sources, split)) + rendered.anatomies + rendered.transplants
    for number, name in enumerate(names, start=1):
        print(f"[{number}/{total}] {split} {name}", flush=True)


def write_drawn(work: SplitWork, originals: Sequence[Case], with_kidneys: Sequence[Case], count: int, rng: np.random.Generator) -> Iterator[str]:
    """Write scans, copies and phantoms; yields their names. Each is drawn where the one before it left the generator: one process makes all."""
    for case in originals:
        write_for(work, case)
        yield case.name
    for index in range(count):
        base = with_kidneys[index % len(with_kidneys)]
        changed = replace(variant(base, work.bank, rng), name=copy_name(base.name, index))
        write_for(work, changed, region=base)
        yield changed.name
    for phantom_seed in phantom_seeds(work.sources, work.split):
        phantom = phantom_case(phantom_seed, rng)
        write_for(work, phantom)
        yield phantom.name


def write_for(work: SplitWork, case: Case, region: Case | None = None) -> None:
    """Write a case as `write_case` does; one that will be evaluated on as it is whole as well, as networks find kidneys in scans, not around them."""
    write_case(case, work.folder, region)
    if work.split == "validation" and origin_of(case.name) != REAL:
        case.save(work.folder / WHOLE_FOLDER)


def write_rendered(work: SplitWork, scans: Sequence[Case], rendered: Rendered) -> Iterator[str]:
    """Write anatomies and transplants, one after another; yields their names."""
    for case, rng in anatomies_of(work.sources, work.split, rendered.anatomies, work.seed, work.device):
        yield write_anatomy(work, case, rng)
    for case in transplants_of(work.sources, work.split, scans, rendered.transplants, work.seed):
        write_for(work, case)
        yield case.name


def write_anatomy(work: SplitWork, case: Case, rng: np.random.Generator) -> str:
    """Write an anatomy; an abdomen with healthy kidneys may get lesions, in training. Returns its name."""
    healthy = work.split == "train" and case.labels.any() and not (case.labels == TUMOR).any()
    write_for(work, with_lesions(case, work.bank, rng) if healthy else case)
    return case.name


def write_shared(work: SplitWork, drawn: Iterator[str], scans: Sequence[Case], rendered: Rendered, workers: int) -> Iterator[str]:
    """Write what is drawn here while other processes render, then help them; yields the names as the cases are done."""
    require_abdomen(work.sources, work.split, rendered.anatomies)
    require_donors(work.sources, work.split, scans, rendered.transplants)
    waiting = deque(Rendering(index) for index in range(rendered.anatomies))
    # Scan after scan, as a worker keeps the one that it has read last.
    for number, scan in enumerate(scans):
        waiting.extend(Rendering(index, scan.name) for index in range(number, rendered.transplants, len(scans)))
    made_here = chain(drawn, filter(None, (render(work, job) for job in popped(waiting))))
    running: set[Future[str | None]] = set()
    with worker_processes(workers - 1, f"empty {work.pool} and give the same command again", partial(take, work)) as executor:
        name: str | None = ""
        while name is not None:
            while waiting and len(running) < JOBS_AHEAD * (workers - 1):
                running.add(executor.submit(render_given, waiting.popleft()))
            name = next(made_here, None)
            done = {future for future in running if future.done()}
            running -= done
            yield from filter(None, [name, *names_of(done)])
        yield from names_of(as_completed(running))


def popped(waiting: deque[Rendering]) -> Iterator[Rendering]:
    """What waits, from its end, as long as there is anything."""
    while waiting:
        yield waiting.pop()


def names_of(done: Iterable[Future[str | None]]) -> Iterator[str]:
    """The names of the cases that were made. Raises what kept a worker from making one."""
    yield from filter(None, (future.result() for future in done))


def take(work: SplitWork) -> None:
    """Keep what this worker is given."""
    GIVEN[:] = [work]


def render_given(job: Rendering) -> str | None:
    """`render` in a worker."""
    return render(GIVEN[0], job)


def render(work: SplitWork, job: Rendering) -> str | None:
    """Make and write one case; returns its name, None for a transplant that does not fit."""
    if job.scan is None:
        return write_anatomy(work, *numbered_anatomy(work.sources, work.split, job.index, work.seed, work.device))
    case = numbered_transplant(work.sources, work.split, scan_of_name(work.sources, job.scan), job.index, work.seed)
    if case is None:
        return None
    write_for(work, case)
    return case.name


def phantom_seeds(sources: Sources, split: str) -> range:
    """The phantoms of a split; none is in both."""
    if split == "train":
        return range(FIRST_TRAINING_PHANTOM, FIRST_TRAINING_PHANTOM + sources.phantoms)
    return range(FIRST_VALIDATION_PHANTOM, FIRST_VALIDATION_PHANTOM + VALIDATION_PHANTOMS)


def require_empty(pool: Path) -> None:
    """Raises InputError when there are cases already: those of another list of sources could lie on the wrong side of the split."""
    if any(pool.glob("*/*/*.npz")):
        raise InputError(f"{pool} already holds cases; give an empty folder for a new pool.")


def synthesize(arguments: argparse.Namespace) -> None:
    """Build both splits."""
    sources = read_sources(arguments.sources)
    require_empty(arguments.pool)
    pool, seed, workers, device = arguments.pool, arguments.seed, arguments.workers, rendering_device(arguments.device)
    validation = Rendered(arguments.validation_anatomies, arguments.validation_transplants, device)
    build_split(sources, "validation", pool, arguments.validation_count, seed, validation, workers)
    build_split(sources, "train", pool, arguments.count, seed, Rendered(arguments.anatomies, arguments.transplants, device), workers)


def rendering_device(name: str) -> torch.device:
    """Where anatomies are rendered; "auto" is an NVIDIA GPU or the CPU, as Apple's GPU lacks what deforms label maps.

    Raises InputError or SetupError as `choose_device` does.
    """
    device = choose_device(name).device
    return torch.device("cpu") if name == "auto" and device.type == "mps" else device


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--count", type=natural, default=160, help="changed copies of training scans")
    parser.add_argument("--validation-count", type=natural, default=8, help="changed copies of validation scans")
    parser.add_argument("--anatomies", type=natural, default=0, help="bodies rendered from training label maps")
    parser.add_argument("--validation-anatomies", type=natural, default=0, help="bodies rendered from validation label maps, patient after patient")
    parser.add_argument("--transplants", type=natural, default=0, help="training scans with other patients' kidneys and tumors")
    parser.add_argument("--validation-transplants", type=natural, default=0, help="the same with validation scans and patients")
    parser.add_argument(
        "--device", default="auto", choices=DEVICES, help="where anatomies are rendered (auto: an NVIDIA GPU, or the CPU); another draws other noise"
    )
    parser.add_argument("--workers", type=positive, default=1, help="processes; any number of them writes the same files (default %(default)s)")
    parser.add_argument("--seed", type=natural, default=1)
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: synthesize(arguments))


if __name__ == "__main__":
    sys.exit(main())
