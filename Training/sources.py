"""SOURCES.json: which scans, lesions and anatomies training data is made of, and on which side of the split each lies."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.json_fields import load_json, quote, reason
from Training.anatomy.anatomies import organ_numbers
from Training.case_names import REAL, origin_of

SPLITS = ("train", "validation")
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]*"
SCAN_FIELDS, LESION_FIELDS = {"name", "ct", "labels", "kidney_labels", "split", "whole"}, {"labels", "split"}
ANATOMY_FIELDS = {"labels", "kind", "organs", "split"}
ANATOMY_KINDS = ("organs", "kidneys")


@dataclass(frozen=True)
class ScanSource:
    """A real scan.

    Attributes:
        name: unique.
        ct: an image file or a DICOM folder.
        labels: its label map; None where there is nothing to find.
        kidney_labels: the values in it that mean kidney, when it knows no tumors; empty when it is 1 kidney, 2 tumor, 3 cyst.
        split: "train" or "validation".
        whole: whether the scan shows its kidneys whole; None where nobody said so.
    """

    name: str
    ct: Path
    labels: Path | None
    kidney_labels: tuple[int, ...]
    split: str
    whole: bool | None = None


@dataclass(frozen=True)
class LesionSource:
    """A patient's label map (2 tumor, 3 cyst) to take the form of lesions from."""

    labels: Path
    split: str


@dataclass(frozen=True)
class AnatomySource:
    """A label map to build anatomies from.

    Attributes:
        labels: the label map.
        kind: "organs" of a whole abdomen, or "kidneys" with their tumors and cysts.
        organs: each organ's label values.
        scheme: the name of the scheme that `organs` is; empty for a table of its own.
        split: "train" or "validation".
    """

    labels: Path
    kind: str
    organs: tuple[tuple[str, tuple[int, ...]], ...]
    scheme: str
    split: str


@dataclass(frozen=True)
class Sources:
    """What SOURCES.json lists; `phantoms` is how many the training split gets."""

    scans: tuple[ScanSource, ...]
    lesions: tuple[LesionSource, ...]
    phantoms: int
    anatomies: tuple[AnatomySource, ...] = ()


def read_sources(path: Path) -> Sources:
    """SOURCES.json, its paths taken from the file's own folder.

    Raises InputError when it is not readable or not as described, when a file is missing, or when one file serves both splits.
    """
    try:
        content = load_json(path.read_bytes())
        sources = sources_of(content, path.parent)
    except OSError as error:
        raise InputError(f"The sources {path} cannot be read: {error.strerror}.") from error
    except KeyError as error:
        raise InputError(f"The sources {path} lack {reason(error)} in an entry; add it.") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"The sources {path} cannot be used ({reason(error)}); correct them.") from error
    require_files(sources, path)
    return sources


def sources_of(content: dict[str, Any], folder: Path) -> Sources:
    """The sources of a parsed file. Raises KeyError for a missing field, ValueError for an impossible or repeated one."""
    refuse_unknown(content, {"scans", "lesions", "phantoms", "anatomies"})
    scans = tuple(scan_of(entry, folder) for entry in content["scans"])
    lesions = tuple(lesion_of(entry, folder) for entry in content.get("lesions", []))
    anatomies = tuple(anatomy_of(entry, folder) for entry in content.get("anatomies", []))
    refuse_repetition("name", (scan.name for scan in scans))
    refuse_repetition("CT", (scan.ct for scan in scans))
    refuse_repetition("lesions' label map", (lesion.labels for lesion in lesions))
    refuse_repetition("anatomies' label map", (anatomy.labels for anatomy in anatomies))
    refuse_both_sides(lesions, anatomies)
    phantoms = content.get("phantoms", 0)
    if type(phantoms) is not int or phantoms < 0:
        raise ValueError(f"phantoms is a whole number of 0 or more, not {phantoms!r}")
    return Sources(scans, lesions, phantoms, anatomies)


def scan_of(entry: dict[str, Any], folder: Path) -> ScanSource:
    """One entry of "scans"."""
    refuse_unknown(entry, SCAN_FIELDS)
    if not re.fullmatch(NAME_PATTERN, entry["name"]):
        raise ValueError(f"{entry['name']!r} cannot be a file's name; use letters, digits, dots, hyphens and underscores")
    if origin_of(entry["name"]) != REAL:
        raise ValueError(f"{entry['name']!r} is how made-up cases are called; give the scan another name")
    labels = None if entry["labels"] is None else folder / entry["labels"]
    whole = entry.get("whole")
    if not isinstance(whole, bool | None):
        raise ValueError(f"whole is true or false, not {whole!r}")
    return ScanSource(entry["name"], folder / entry["ct"], labels, tuple(entry.get("kidney_labels", ())), split_of(entry), whole)


def lesion_of(entry: dict[str, Any], folder: Path) -> LesionSource:
    """One entry of "lesions"."""
    refuse_unknown(entry, LESION_FIELDS)
    return LesionSource(folder / entry["labels"], split_of(entry))


def anatomy_of(entry: dict[str, Any], folder: Path) -> AnatomySource:
    """One entry of "anatomies"."""
    refuse_unknown(entry, ANATOMY_FIELDS)
    kind, organs = entry["kind"], entry["organs"]
    if kind not in ANATOMY_KINDS:
        raise ValueError(f"kind is one of {', '.join(ANATOMY_KINDS)}, not {kind!r}")
    numbers = tuple(organ_numbers(organs, kind).items())
    return AnatomySource(folder / entry["labels"], kind, numbers, organs if isinstance(organs, str) else "", split_of(entry))


def split_of(entry: dict[str, Any]) -> str:
    """On which side an entry lies."""
    split: str = entry["split"]
    if split not in SPLITS:
        raise ValueError(f"split is one of {', '.join(SPLITS)}, not {split!r}")
    return split


def refuse_unknown(values: dict[str, Any], known: set[str]) -> None:
    """Raises ValueError for fields that nothing reads."""
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not known; known are {', '.join(sorted(known))}")


def refuse_repetition(what: str, values: Iterable[Any]) -> None:
    """Raises ValueError when a value is there twice: it could end up on both sides of the split."""
    (value, count) = next(iter(Counter(values).most_common(1)), (None, 0))
    if count > 1:
        raise ValueError(f"the {what} {value} is there {count} times")


def refuse_both_sides(lesions: Iterable[LesionSource], anatomies: Iterable[AnatomySource]) -> None:
    """Raises ValueError when a label map lends lesions to one side of the split and its anatomy to the other."""
    sides = {lesion.labels: lesion.split for lesion in lesions}
    for anatomy in anatomies:
        if sides.get(anatomy.labels, anatomy.split) != anatomy.split:
            raise ValueError(f"{anatomy.labels} is there for both splits")


def require_files(sources: Sources, path: Path) -> None:
    """Raises InputError for the first file that is not there: better at once than after an hour."""
    files = [file for scan in sources.scans for file in (scan.ct, scan.labels)]
    files += [lesion.labels for lesion in sources.lesions] + [anatomy.labels for anatomy in sources.anatomies]
    missing = [file for file in files if file is not None and not os.path.exists(file)]
    if missing:
        raise InputError(f"{path} names {quote(str(missing[0]))}, which does not exist ({len(missing)} such in all); correct the path.")
