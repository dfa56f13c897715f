"""The statistical normalization in training. It belongs to the whole scan; a case may be only the part of it around the kidneys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from KidneyTumorCascadeLib.normalization import FixedNormalization, Normalization, for_scan
from Training.cases import Case, load_case

WHOLE_SCANS = "coarse"


def normalization_of_cases(normalization: Normalization, cases: Sequence[Case], folder: Path) -> list[FixedNormalization]:
    """The fixed normalization that applies to each case of a folder of the pool.

    A statistical one takes mean and sd from the case of the same name in the folder "coarse" beside it, which is the whole scan, and from the
    case itself where there is none. Coarser voxels leave the mean as it is and the sd smaller by the noise that they average away.

    Raises InputError when that case cannot be read.
    """
    if isinstance(normalization, FixedNormalization):
        return [normalization] * len(cases)
    return [for_scan(normalization, whole_scan(case, folder.parent / WHOLE_SCANS).hu) for case in cases]


def whole_scan(case: Case, folder: Path) -> Case:
    """The case of the same name in that folder, or the case itself."""
    path = folder / f"{case.name}.npz"
    return load_case(path) if path.is_file() else case
