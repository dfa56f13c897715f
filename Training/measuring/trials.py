"""What a bundle is evaluated on: real scans of SOURCES.json, cases of a KiTS19 folder, cases that a pool was given by synthesis, real slices."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Box, box_of_slices, mask_extent
from KidneyTumorCascadeLib.json_fields import load_json, quote, reason
from KidneyTumorCascadeLib.volume import Volume, read_volume
from Training.case_names import REAL, SLAB_FOLDER, WHOLE_FOLDER, origin_of
from Training.cases import Case, load_case, read_labels
from Training.preparation.drawn_labels import SegmentNames, read_drawn_labels
from Training.sources import SPLITS, Sources

# Between what is labelled in a slab and the box around it, as someone might draw it by hand.
BOX_MARGIN_MM = 15.0


@dataclass(frozen=True)
class Trial:
    """A scan to be segmented, and what is known of it.

    Attributes:
        labels: reference label map, None where there is nothing to find.
        trained_on: the weights have seen it in training.
        has_tumors: the reference tells tumors from kidney; else every tumor voxel found is an invented one.
        origin: how it was made, one of those in `case_names`.
        whole: whether it shows its kidneys whole; None where nobody said so.
        boxes: to segment in; None: they are to be found.
        has_kidneys: all kidney is labelled; else nothing can be said of it.
    """

    name: str
    scan: Volume
    labels: Volume | None
    trained_on: bool
    has_tumors: bool
    origin: str = REAL
    whole: bool | None = None
    boxes: list[Box] | None = None
    has_kidneys: bool = True


@dataclass(frozen=True)
class IndexedCase:
    """One entry of the index that `Training/prepare_kits19.py` or `Training/prepare_pairs.py` writes.

    `names` says what segments mean that do not say so themselves.
    """

    name: str
    split: str
    ct: Path
    labels: Path
    names: SegmentNames = field(default_factory=SegmentNames)


def source_trials(sources: Sources, splits: Sequence[str]) -> Iterator[Trial]:
    """The real scans of SOURCES.json."""
    for scan in sources.scans:
        if scan.split in splits:
            labels = read_labels(scan.labels, scan.kidney_labels) if scan.labels else None
            yield Trial(scan.name, read_volume(scan.ct), labels, scan.split == "train", not scan.kidney_labels, REAL, scan.whole)


def pool_trials(pool: Path, splits: Sequence[str]) -> Iterator[Trial]:
    """The cases of a pool that are not plain real scans: those are evaluated on their own voxels, which `SOURCES.json` or an index name.

    They are whole where the pool has them so, else what lies around the kidneys.
    """
    for split in splits:
        for path in sorted((pool / split / "fine").glob("*.npz")):
            if origin_of(path.stem) != REAL:
                whole = pool / split / WHOLE_FOLDER / path.name
                case = load_case(whole if whole.exists() else path)
                scan, labels = Volume(case.hu, case.geometry), Volume(case.labels, case.geometry)
                yield Trial(case.name, scan, labels, split == "train", has_tumors=True, origin=origin_of(case.name))


def slab_trials(pool: Path, splits: Sequence[str]) -> Iterator[Trial]:
    """Single real slices as slabs (see `Training/slice_cases.py`), with a box around what is labelled: no kidney can be looked for in a slab."""
    for split in splits:
        for path in sorted((pool / split / SLAB_FOLDER).glob("*.npz")):
            case = load_case(path)
            scan, labels = Volume(case.hu, case.geometry), Volume(case.labels, case.geometry)
            about = (case.name, scan, labels, split == "train")
            yield Trial(*about, has_tumors=True, origin=origin_of(case.name), whole=False, boxes=[box_around(case)], has_kidneys=False)


def box_around(case: Case) -> Box:
    """A box around everything that is labelled in a case, and the whole case where nothing is."""
    if not case.labels.any():
        return box_of_slices(mask_extent(np.ones_like(case.labels, dtype=bool)), case.geometry, "both", "user")
    margin = round(BOX_MARGIN_MM / case.spacing_mm)
    extents = zip(mask_extent(case.labels > 0), case.labels.shape, strict=True)
    z, y, x = (slice(max(extent.start - margin, 0), min(extent.stop + margin, length)) for extent, length in extents)
    return box_of_slices((z, y, x), case.geometry, "both", "user")


def indexed_trials(cases: Sequence[IndexedCase]) -> Iterator[Trial]:
    """Original images of a prepared folder with their labels."""
    for case in cases:
        scan = read_volume(case.ct)
        labels = read_drawn_labels(case.labels, scan.geometry, case.names)
        yield Trial(case.name, scan, labels, case.split == "train", has_tumors=True)


def read_index(path: Path, data: Path, splits: Sequence[str]) -> list[IndexedCase]:
    """The cases of these splits in an index, with their files in the folder `data`.

    Raises InputError when the index cannot be read or is none, or when a file is missing.
    """
    try:
        index = load_json(path.read_bytes())
        names = segment_names(index.get("options", {}).get("segment_names", {}))
        cases = [indexed_case(entry, data, names) for entry in index["cases"]]
    except OSError as error:
        raise InputError(f"The index {path} cannot be read: {error.strerror}.") from error
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is no index of a prepared folder ({type(error).__name__}: {reason(error)}); prepare the data again.") from error
    chosen = [case for case in cases if case.split in splits]
    missing = [file for case in chosen for file in (case.ct, case.labels) if not os.path.exists(file)]
    if missing:
        raise InputError(
            f"{path} names {quote(str(missing[0]))}, which does not exist ({len(missing)} such in all); give the folder that was prepared as --data."
        )
    return chosen


def segment_names(names: Mapping[str, Sequence[str]]) -> SegmentNames:
    """What an index says of the names of segments. Raises TypeError for a kind of meaning that does not exist."""
    return SegmentNames(**{meaning: frozenset(words) for meaning, words in names.items()})


def indexed_case(entry: dict[str, Any], data: Path, names: SegmentNames) -> IndexedCase:
    """One entry of an index. Raises KeyError, TypeError or ValueError when it is not as described."""
    if entry["split"] not in SPLITS:
        raise ValueError(f"split is one of {', '.join(SPLITS)}, not {entry['split']!r}")
    return IndexedCase(str(entry["name"]), entry["split"], data / entry["ct"], data / entry["labels"], names)


def touches_border(labels: Volume) -> bool:
    """Whether anything labelled lies on a face of the scan, so that more of it may lie outside."""
    found = labels.voxels > 0
    return any(bool(np.take(found, (0, -1), axis=axis).any()) for axis in range(3))
