"""Anatomies and transplants for one side of the split, each reproducible by its number alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from KidneyTumorCascadeLib.errors import InputError
from Training.anatomy.anatomies import SCALES, KidneyMap, OrganMap, read_kidneys, read_organs
from Training.anatomy.anatomy_cases import Wish, anatomy_case, random_wish
from Training.anatomy.transplants import transplanted
from Training.cases import Case
from Training.sources import SPLITS, AnatomySource, Sources
from Training.variation.scan_changes import changed_patient, changed_scanner

OWN_KIDNEYS_PROBABILITY = 0.15
ANATOMY_STREAM, TRANSPLANT_STREAM, PATIENT_STREAM = 101, 102, 103
TRIES = 8
# Names are unique over both sides of the split.
FIRST_VALIDATION_ANATOMY = 90_000


def anatomy_name(split: str, index: int) -> str:
    """What a rendered anatomy is called."""
    return f"anatomy_{index + FIRST_VALIDATION_ANATOMY * (split == 'validation'):05d}"


def transplant_name(name: str, index: int) -> str:
    """What a scan with another patient's kidneys is called."""
    return f"{name}_k{index:03d}"


def anatomies_of(sources: Sources, split: str, count: int, seed: int, device: torch.device) -> Iterator[tuple[Case, np.random.Generator]]:
    """That many rendered patients of one side, each with the generator that may change it further.

    Training takes kidneys at random; validation takes patient after patient in an order that the seed draws, kidneys whole, so that no patient
    comes twice before all came once, and other seeds measure on others.
    Raises InputError when there is no abdomen on that side.
    """
    require_abdomen(sources, split, count)
    for index in range(count):
        yield numbered_anatomy(sources, split, index, seed, device)


def require_abdomen(sources: Sources, split: str, count: int) -> None:
    """Raises InputError when there is no abdomen to make that many anatomies of."""
    if count and not of_kind(sources, split, "organs"):
        raise InputError(f"No anatomy of the {split} split is an abdomen (kind organs); add one, or ask for no anatomies.")


def numbered_anatomy(sources: Sources, split: str, index: int, seed: int, device: torch.device) -> tuple[Case, np.random.Generator]:
    """One of the anatomies of `anatomies_of`, whichever were made before it."""
    organs, kidneys = of_kind(sources, split, "organs"), of_kind(sources, split, "kidneys")
    rng = np.random.default_rng([seed, SPLITS.index(split), ANATOMY_STREAM, index])
    body = read_body(organs[int(rng.integers(len(organs)))])
    donor = donor_of(kidneys if split == "train" else shuffled(kidneys, seed), index, split, rng)
    wish = random_wish(rng) if split == "train" else Wish()
    return anatomy_case(anatomy_name(split, index), body, donor, rng, wish, device), rng


def shuffled(patients: Sequence[AnatomySource], seed: int) -> list[AnatomySource]:
    """The patients in an order that depends on the seed alone."""
    return [patients[place] for place in np.random.default_rng([seed, PATIENT_STREAM]).permutation(len(patients))]


def of_kind(sources: Sources, split: str, kind: str) -> list[AnatomySource]:
    """The label maps of that kind on one side."""
    return [source for source in sources.anatomies if source.split == split and source.kind == kind]


def read_body(source: AnatomySource) -> OrganMap:
    """An abdomen, at the scale that its scheme is known to need."""
    return read_organs(source.labels, source.organs, SCALES.get(source.scheme, 1.0))


def donor_of(kidneys: Sequence[AnatomySource], index: int, split: str, rng: np.random.Generator) -> KidneyMap | None:
    """Whose kidneys an anatomy gets; None for the abdomen's own."""
    if not kidneys or (split == "train" and rng.random() < OWN_KIDNEYS_PROBABILITY):
        return None
    source = kidneys[int(rng.integers(len(kidneys))) if split == "train" else index % len(kidneys)]
    return read_kidneys(source.labels, dict(source.organs))


def transplants_of(sources: Sources, split: str, scans: Sequence[Case], count: int, seed: int) -> Iterator[Case]:
    """That many of the scans (with kidneys of their own) with kidneys of patients of the same side.

    Patients that do not fit are passed over for others, a few times. Raises InputError when that side has no scan or no kidneys.
    """
    require_donors(sources, split, scans, count)
    for index in range(count):
        case = numbered_transplant(sources, split, scans[index % len(scans)], index, seed)
        if case is not None:
            yield case


def require_donors(sources: Sources, split: str, scans: Sequence[Case], count: int) -> None:
    """Raises InputError when there are no scans or no kidneys to make that many transplants of."""
    if count and not (of_kind(sources, split, "kidneys") and scans):
        raise InputError(f"The {split} split has no scan with kidneys or no anatomy of the kind kidneys; add them, or ask for no transplants.")


def numbered_transplant(sources: Sources, split: str, scan: Case, index: int, seed: int) -> Case | None:
    """One of the transplants of `transplants_of`, whichever were made before it; None when no patient's kidneys fit."""
    rng = np.random.default_rng([seed, SPLITS.index(split), TRANSPLANT_STREAM, index])
    case = transplant_of(scan, of_kind(sources, split, "kidneys"), rng)
    return None if case is None else replace(case, name=transplant_name(case.name, index))


def transplant_of(scan: Case, kidneys: Sequence[AnatomySource], rng: np.random.Generator) -> Case | None:
    """One changed copy of a scan with the first of a few patients' kidneys that fit; None when none does."""
    patient = changed_patient(scan, rng)
    for _ in range(TRIES):
        source = kidneys[int(rng.integers(len(kidneys)))]
        case = transplanted(patient, read_kidneys(source.labels, dict(source.organs)), rng)
        if case is not None:
            return changed_scanner(case, rng)
    return None
