"""Make a pool of training cases from a folder of CT scans with their label maps, to fine-tune a bundle with for instance.

    python Training/prepare_pairs.py FOLDER POOL --validation 5

For each scan FOLDER/NAME.EXT (.nii.gz, .nii, .nrrd or .mha) there is one label map, by any of these names, of any of these endings:

    FOLDER/NAME.seg.nrrd    FOLDER/NAME_labels.EXT    FOLDER/NAME-label.EXT    FOLDER/labels/NAME.EXT, .seg.nrrd included

A label map holds 0 background, 1 kidney, 2 tumor, 3 cyst (which counts as kidney). In a segmentation saved by Slicer (.seg.nrrd) the names of
the segments decide: those with a word like tumor, mass or carcinoma are tumor, others with kidney or cyst are kidney; where they overlap it is
tumor. A segment by any other name is refused until --kidney, --tumor or --ignore says what it is. A label map may cover a part of its scan, as
Slicer saves it, but must lie on the scan's own voxels.

POOL, its index, resuming and the split are those of `Training/prepare_kits19.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.volume import read_scan
from Training.command_line import positive, run_command
from Training.preparation.drawn_labels import SegmentNames, read_drawn_labels
from Training.preparation.pool_arguments import add_pool_arguments, plan_of
from Training.preparation.pool_building import DataSet, build_pool, summary
from Training.preparation.prepared_case import Candidate, LabelledScan
from Training.preparation.splits import Split

SCAN_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
SEGMENTATION_ENDING = ".seg.nrrd"
LABEL_SUFFIXES = ("_labels", "-label")
LABEL_FOLDER = "labels"


def find_pairs(folder: Path, names: SegmentNames) -> DataSet:
    """Scans with their label maps, by name. Raises InputError when there is no pair."""
    scans, labels = files_by_name(folder)
    candidates, left_out = [], {}
    for name in sorted({*scans, *labels}):
        problem = problem_of(scans[name], labels[name])
        if problem:
            left_out[name] = problem
        else:
            candidates.append(Candidate(name, scans[name][0], labels[name][0]))
    if not candidates:
        reasons = "".join(f" {name}: {reason}" for name, reason in list(left_out.items())[:1])
        raise InputError(f"{folder} holds no scan with a label map, such as a.nii.gz with a_labels.nii.gz or a.seg.nrrd.{reasons}")
    return DataSet("pairs", folder, candidates, left_out, partial(read_pair, names=names), settings_of(names))


def files_by_name(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """All scans and all label maps of each name. Raises InputError when the folder cannot be read."""
    scans: dict[str, list[Path]] = defaultdict(list)
    labels: dict[str, list[Path]] = defaultdict(list)
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read ({error.strerror}); check the path.") from error
    for path in files:
        name, is_labels = role_of(path.name)
        if name:
            (labels if is_labels else scans)[name].append(path)
    for path in sorted((folder / LABEL_FOLDER).glob("*")):
        name, _ = role_of(path.name)
        if name and path.is_file():
            labels[name].append(path)
    return scans, labels


def role_of(file_name: str) -> tuple[str, bool]:
    """What case a file belongs to, and whether it is its label map; an empty name for files that are neither."""
    lower = file_name.lower()
    if lower.startswith("."):
        return "", False
    if lower.endswith(SEGMENTATION_ENDING):
        return file_name[: -len(SEGMENTATION_ENDING)], True
    stem = next((file_name[: -len(ending)] for ending in SCAN_ENDINGS if lower.endswith(ending)), "")
    suffix = next((suffix for suffix in LABEL_SUFFIXES if stem.lower().endswith(suffix)), "")
    return stem[: len(stem) - len(suffix)], bool(suffix)


def problem_of(scans: Sequence[Path], labels: Sequence[Path]) -> str:
    """Why a name is no pair; empty when it is one."""
    for what, files in (("scan", scans), ("label map", labels)):
        if not files:
            return f"It has no {what}."
        if len(files) > 1:
            return f"It has {len(files)} files that could be its {what} ({', '.join(path.name for path in files)}); leave one."
    return ""


def read_pair(candidate: Candidate, names: SegmentNames) -> LabelledScan:
    """The scan and its labels. Raises InputError when one cannot be used."""
    scan, warnings = read_scan(candidate.ct)
    return LabelledScan(scan, read_drawn_labels(candidate.labels, scan.geometry, names), warnings)


def settings_of(names: SegmentNames) -> dict[str, Any]:
    """The names in plain JSON types, for the index."""
    return {"segment_names": {"kidney": sorted(names.kidney), "tumor": sorted(names.tumor), "ignored": sorted(names.ignored)}}


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="folder")
    add_pool_arguments(parser)
    parser.add_argument("--validation", type=positive, metavar="N", help="keep N cases for validation and train on all others, instead of --split")
    for option, meaning in (("kidney", "is kidney"), ("tumor", "is tumor"), ("ignore", "counts as background")):
        parser.add_argument(f"--{option}", action="append", default=[], metavar="NAME", help=f"a segment of this name {meaning}; may be repeated")
    return parser


def prepare_pairs(arguments: argparse.Namespace) -> None:
    """Find the pairs and build the pool."""
    if arguments.validation:
        if arguments.split:
            raise InputError("Give --validation or --split, not both.")
        arguments.split = Split(None, arguments.validation)
    kidney, tumor, ignored = (frozenset(name.strip().lower() for name in given) for given in (arguments.kidney, arguments.tumor, arguments.ignore))
    data = find_pairs(arguments.data, SegmentNames(kidney, tumor, ignored))
    print(summary(build_pool(data, plan_of(arguments))))


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: prepare_pairs(arguments))


if __name__ == "__main__":
    sys.exit(main())
