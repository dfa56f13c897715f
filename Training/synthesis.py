"""A pool of labelled training CT: real scans as they are, and copies of them with other contrast, missing kidneys, tumors and cysts.

    python Training/synthesis.py SOURCES.json POOL --count 160 --seed 1

SOURCES.json lists what to build on (paths relative to the file):
    {"scans": [{"name", "ct", "labels" or null, "kidney_labels": [1, 2] or absent, "split": "train" or "validation"}],
     "lesions": [{"labels", "split"}], "phantoms": 24,
     "anatomies": [{"labels", "kind": "organs" or "kidneys", "organs": "word", "split"}]}
Validation scans are never used for training copies, nor are lesions of validation patients ever implanted in training scans.
`--anatomies` renders whole bodies from label maps, `--transplants` puts the kidneys of other patients into the scans (see anatomy_pool.py).
Each case is written twice, around the kidneys on fine voxels (POOL/SPLIT/fine) and whole on coarse ones (POOL/SPLIT/coarse).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.device import DEVICES, choose_device
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom
from Training.anatomy.anatomy_pool import anatomies_of, transplants_of
from Training.case_names import ANATOMY, IMPLANTED, PHANTOM, origin_of
from Training.cases import TUMOR, Case, around, coarser, cubic_case, read_case
from Training.command_line import make_folder, natural, run_command
from Training.lesion.lesion_shapes import Shape, shapes_of
from Training.lesion.lesions import CYST, grow
from Training.sources import SPLITS, Sources, read_sources
from Training.variation.kidney_changes import without_kidney
from Training.variation.scan_changes import changed_patient, changed_scanner

FINE_MM, COARSE_MM = 1.5, 3.0
FINE_MARGIN_MM = 70.0
FIRST_TRAINING_PHANTOM, FIRST_VALIDATION_PHANTOM = 10_000, 20_000
VALIDATION_PHANTOMS = 3
PATIENTS_IN_BANK = 120
TUMOR_DIAMETER_MM, CYST_DIAMETER_MM = (10.0, 90.0), (6.0, 45.0)
TUMOR_ODDS, CYST_ODDS = (0.15, 0.5, 0.25, 0.1), (0.5, 0.25, 0.15, 0.1)
TRIES = 6
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


def is_synthetic(name: str) -> bool:
    """Whether a case of that name is a changed copy, a transplant, a rendered anatomy or a phantom."""
    return origin_of(name) in (IMPLANTED, ANATOMY, PHANTOM)


def real_cases(sources: Sources, split: str) -> Iterator[Case]:
    """The scans of one split on fine voxels."""
    for scan in sources.scans:
        if scan.split == split:
            yield read_case(scan.name, scan.ct, scan.labels, FINE_MM, scan.kidney_labels)


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
    fine = case.cropped(around(kidneys, round(FINE_MARGIN_MM / case.spacing_mm))) if kidneys.any() else case
    fine.save(folder / "fine")


@dataclass(frozen=True)
class Rendered:
    """How much of a split is made from label maps: whole anatomies, and kidneys transplanted into scans."""

    anatomies: int = 0
    transplants: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def build_split(sources: Sources, split: str, pool: Path, count: int, seed: int, rendered: Rendered | None = None) -> None:
    """Write one split: the real scans, `count` changed copies of those with kidneys, what is rendered from label maps, and the phantoms.

    Raises InputError without what is needed for it.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    for kind in ("fine", "coarse"):
        make_folder(pool / split / kind)
    originals = list(real_cases(sources, split))
    for case in originals:
        write_case(case, pool / split)
    with_kidneys = [case for case in originals if case.labels.any()]
    if count and not with_kidneys:
        raise InputError(f"No scan of the {split} split has kidney labels to make copies of; add one, or ask for no copies.")
    bank = LesionBank(lesion_bank(sources, split, TUMOR, rng), lesion_bank(sources, split, CYST, rng))
    for index in range(count):
        base = with_kidneys[index % len(with_kidneys)]
        changed = variant(base, bank, rng)
        write_case(replace(changed, name=copy_name(base.name, index)), pool / split, region=base)
    for phantom_seed in phantom_seeds(sources, split):
        write_case(phantom_case(phantom_seed, rng), pool / split)
    write_rendered(sources, split, pool, seed, rendered or Rendered(), with_kidneys, bank)


def write_rendered(sources: Sources, split: str, pool: Path, seed: int, rendered: Rendered, scans: Sequence[Case], bank: LesionBank) -> None:
    """Write anatomies and transplants. An abdomen with healthy kidneys may get lesions, in training."""
    for case, rng in anatomies_of(sources, split, rendered.anatomies, seed, rendered.device):
        healthy = split == "train" and case.labels.any() and not (case.labels == TUMOR).any()
        write_case(with_lesions(case, bank, rng) if healthy else case, pool / split)
    for case in transplants_of(sources, split, scans, rendered.transplants, seed):
        write_case(case, pool / split)


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
    device = choose_device(arguments.device).device
    validation = Rendered(arguments.validation_anatomies, arguments.validation_transplants, device)
    build_split(sources, "validation", arguments.pool, arguments.validation_count, arguments.seed, validation)
    build_split(sources, "train", arguments.pool, arguments.count, arguments.seed, Rendered(arguments.anatomies, arguments.transplants, device))


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
    parser.add_argument("--device", default="cpu", choices=DEVICES, help="where anatomies are rendered; another device draws other noise")
    parser.add_argument("--seed", type=natural, default=1)
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: synthesize(arguments))


if __name__ == "__main__":
    sys.exit(main())
