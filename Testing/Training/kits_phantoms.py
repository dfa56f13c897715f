"""A small data set of phantom patients in the layout of KiTS, with axes permuted as KiTS permutes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from KidneyTumorCascadeLib.phantom import Phantom, PhantomSettings, make_phantom
from KidneyTumorCascadeLib.volume import write_volume

SIZE_MM = (300.0, 240.0, 216.0)
# KiTS: the file's first axis runs from superior to inferior, then posterior, then left.
KITS_ORIENTATION = "IPL"
LABELS = "segmentation.nii.gz"


def kits_phantom(seed: int, orientation: str = KITS_ORIENTATION, spacing: tuple[float, float, float] = (6.0, 6.0, 6.0)) -> Phantom:
    """A phantom with tumors on coarse voxels."""
    settings = PhantomSettings(seed=seed, tumors=2, cysts=0, spacing=spacing, size_mm=SIZE_MM, noise_sd=8.0, orientation=orientation)
    return make_phantom(settings)


def write_kits(folder: Path, numbers: Iterable[int], seeds: Sequence[int] = (3, 5), labels: str = LABELS) -> Path:
    """Folders case_00000 and so on with these numbers; the patients repeat."""
    phantoms = [kits_phantom(seed) for seed in seeds]
    for number in numbers:
        case = folder / f"case_{number:05d}"
        case.mkdir(parents=True)
        phantom = phantoms[number % len(phantoms)]
        write_volume(phantom.volume, case / "imaging.nii.gz")
        write_volume(phantom.labels, case / labels)
    return folder
