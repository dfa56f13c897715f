"""Which prediction belongs to which reference: by KiTS's names, else by equal names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from KidneyTumorCascadeLib.errors import InputError

# Longest first: a name is what is left without its ending.
ENDINGS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
# What a label map is called in a folder of its own, KiTS's name first.
LABEL_MAPS = ("segmentation", "labels", "label", "kidney")
KITS_NAME = re.compile(r"(?:case|prediction)_(\d{5})(?:_segmentation)?")
# What `segment` writes beside a label map when asked for probabilities; it is no prediction.
PROBABILITY = re.compile(r"_probability\.[^_]*$")
SHOWN = 5


def pairs_of(prediction: str | Path, reference: str | Path) -> list[tuple[str, Path, Path]]:
    """Name, prediction and reference of every case, sorted by name.

    Two files are a pair whatever their names. In two folders `prediction_00210.nii.gz` and `case_00210/segmentation.nii.gz` are
    `case_00210`; other files pair up by name, without their ending. References without a prediction are left out (see `missing_predictions`).

    Raises:
        InputError: one is missing, one is a file and the other a folder, a folder holds no label maps, two files are the same case, or a
            prediction has no reference.
    """
    prediction, reference = Path(prediction), Path(reference)
    _require_same_kind(prediction, reference)
    if prediction.is_file():
        return [(case_name(prediction), prediction, reference)]
    predictions, references = label_maps_in(prediction), label_maps_in(reference)
    strangers = [path.name for name, path in predictions.items() if name not in references]
    if strangers:
        raise InputError(f"{reference} has no label map for {_some(strangers)} of {prediction}; give both the same name or take the others out.")
    return [(name, path, references[name]) for name, path in sorted(predictions.items())]


def missing_predictions(prediction: str | Path, reference: str | Path) -> list[str]:
    """Names of the cases in the folder of references that have no prediction, sorted; none for two files. Same errors as `pairs_of`."""
    names = {name for name, _, _ in pairs_of(prediction, reference)}
    return sorted(set(label_maps_in(Path(reference))) - names) if Path(reference).is_dir() else []


def label_maps_in(folder: Path) -> dict[str, Path]:
    """Label maps by case: the image files in the folder, and in each folder below the first of `LABEL_MAPS` that it has."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        label_map = _label_map_of(path)
        if label_map is None:
            continue
        name = case_name(path)
        if name in found:
            raise InputError(f"{found[name]} and {label_map} are both {name}; leave one of them in {folder}.")
        found[name] = label_map
    if not found:
        raise InputError(f"{folder} holds no label maps ({', '.join(ENDINGS)}); check the path.")
    return found


def case_name(path: Path) -> str:
    """`case_00210` for KiTS's names, else the file's name without its ending."""
    stem = path.name
    if not path.is_dir():
        ending = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), "")
        stem = path.name[: len(path.name) - len(ending)]
    match = KITS_NAME.fullmatch(stem)
    return f"case_{match[1]}" if match else stem


def _label_map_of(path: Path) -> Path | None:
    if path.name.startswith(".") or PROBABILITY.search(path.name):
        return None
    if path.is_dir():
        candidates = (path / f"{name}{ending}" for name in LABEL_MAPS for ending in ENDINGS)
        return next((candidate for candidate in candidates if candidate.is_file()), None)
    return path if path.name.lower().endswith(ENDINGS) else None


def _require_same_kind(prediction: Path, reference: Path) -> None:
    for path in (prediction, reference):
        if not path.exists():
            raise InputError(f"There is no file or folder {path}; check the path.")
    if prediction.is_dir() != reference.is_dir():
        folder, file = (prediction, reference) if prediction.is_dir() else (reference, prediction)
        raise InputError(f"{folder} is a folder, but {file} is a file; give two files or two folders.")


def _some(names: Sequence[str]) -> str:
    """a, b, c and 4 more"""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
