"""Make a pool of training cases from the KiTS19, KiTS21 or KiTS23 data set.

    python Training/prepare_kits19.py DATA POOL --split 190/20

DATA is the data set's repository or its data folder: `case_00000/imaging.nii.gz` with `segmentation.nii.gz` (KiTS19, KiTS23) or
`aggregated_MAJ_seg.nii.gz` (KiTS21), in DATA itself, DATA/data, DATA/dataset or DATA/kits21/data. Labels are 0, 1 kidney, 2 tumor, 3 cyst;
cysts count as kidney. POOL gets `train` and `validation` with a fine and a coarse version of every case, `records` to resume with, and
`index.json`: the split, the seed, each case's files, size, spacing and volumes, and what was left out and why.

Every file is checked. Cases that cannot be used are left out with a sentence, and others take their place where there are any. Give the same
command again after an interruption, or when DATA or an option has changed: only what is missing or changed is done. The split depends on
--seed and the cases' names alone. A worker needed 1.2 GB of memory for a large scan (512 x 512 x 611 voxels), and made 17 MB of it.

For the publication's 0.45 mm: --fine-mm 0.45 --fine-margin-mm 30 --fine-least-mm 0. The same scan then took 1.7 GB of memory and 268 MB of
disk (2.2 GB and 673 MB with the usual margin of 70 mm). Cases of that size are not loaded for training but read from the disk as patches need them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.volume import Volume, read_label_map, read_scan
from Training.cases import require_same_grid
from Training.command_line import run_command
from Training.preparation.pool_arguments import add_pool_arguments, plan_of
from Training.preparation.pool_building import DataSet, build_pool, summary
from Training.preparation.prepared_case import Candidate, LabelledScan

CASE_FOLDERS = "case_[0-9][0-9][0-9][0-9][0-9]"
DATA_FOLDERS = (".", "data", "dataset", "kits21/data")
IMAGING = "imaging.nii.gz"
LABEL_MAPS = ("segmentation.nii.gz", "aggregated_MAJ_seg.nii.gz")


def find_cases(data: Path) -> DataSet:
    """What the data set holds. Raises InputError when the folder is none of its layouts."""
    folders = case_folders(data)
    candidates, left_out = [], {}
    for folder in folders:
        found = candidate_of(folder)
        if isinstance(found, Candidate):
            candidates.append(found)
        else:
            left_out[folder.name] = found
    if not candidates:
        raise InputError(f"No case in {data} can be used. {folders[0].name}: {left_out[folders[0].name]}")
    return DataSet("kits19", data, candidates, left_out, read_kits_case)


def case_folders(data: Path) -> list[Path]:
    """The folders of the cases, by name, from the first place that has some."""
    for place in DATA_FOLDERS:
        folders = sorted(path for path in (data / place).glob(CASE_FOLDERS) if path.is_dir())
        if folders:
            return folders
    raise InputError(f"{data} has no folders case_00000, case_00001 and so on; give the folder of the KiTS data set.")


def candidate_of(folder: Path) -> Candidate | str:
    """A case, or the reason why its folder holds none."""
    if not (folder / IMAGING).is_file():
        return f"It has no {IMAGING}; download it with the data set's own script."
    labels = next((folder / name for name in LABEL_MAPS if (folder / name).is_file()), None)
    if labels is None:
        return f"It has no {' or '.join(LABEL_MAPS)}; the labels of the challenge's test cases are not public."
    return Candidate(folder.name, folder / IMAGING, labels)


def read_kits_case(candidate: Candidate) -> LabelledScan:
    """The scan and its labels. Raises InputError when one cannot be read or they do not lie on the same grid."""
    scan, warnings = read_scan(candidate.ct)
    labels = read_label_map(candidate.labels)
    require_same_grid(scan, labels, candidate.ct, candidate.labels)
    return LabelledScan(scan, Volume(labels.in_lps_order().voxels, scan.in_lps_order().geometry), warnings)


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data set's repository or data folder")
    add_pool_arguments(parser)
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: print(summary(build_pool(find_cases(arguments.data), plan_of(arguments)))))


if __name__ == "__main__":
    sys.exit(main())
