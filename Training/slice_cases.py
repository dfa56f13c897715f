"""Single real slices with a tumor as training cases: a thin slab of the same slice again and again, for the tumor stage alone.

    python Training/slice_cases.py TUMOR_SLICES POOL --validation-share 0.25 --seed 1

TUMOR_SLICES has PATIENT_*_ct.png (8 bits, soft-tissue window, fat is black) and PATIENT_*_label.png (1 kidney, 2 tumor; the kidney is not
always labelled). The slabs go to POOL/{train,validation}/slices, a patient's slices always to one side. Because the kidney's label may be
missing they are for stages that leave out of their loss what is far from any label (`ignore_beyond_mm`), and because a slab tells nothing
about a tumor's third dimension they are to be few among whole cases.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.errors import InputError
from Training.case_names import SLAB_FOLDER
from Training.cases import AIR_HU, Case, as_hu
from Training.command_line import make_folder, natural, run_command
from Training.resemblance.tumor_slices import REAL_PIXEL_MM, Picture, as_hu_of, gray_of

SPACING_MM = 1.5
SLAB_MM = 42.0
FAT_HU = -100.0
BLACK = 2.0
# Skin and muscle are parted by fat, the couch by more.
JOINING_PIXELS = 4
# Where the skin is not seen, a line may leave the body through a gap in its muscles.
GAP_PIXELS = 12


def slab_case(name: str, gray: Picture, labels: NDArray[np.uint8], pixel_mm: float = REAL_PIXEL_MM) -> Case:
    """The slab (z, y, x) of a slice (y, x) of that window and pixel size, as cubic voxels of SPACING_MM."""
    hu = hu_of(gray)
    zoom = pixel_mm / SPACING_MM
    plane = ndimage.zoom(ndimage.gaussian_filter(hu, 0.4 / zoom), zoom, order=1)
    marks = np.stack([ndimage.zoom((labels == value).astype(np.float32), zoom, order=1) > 0.5 for value in (1, 2)])
    drawn = np.where(marks[1], 2, np.where(marks[0], 1, 0)).astype(np.uint8)
    count = round(SLAB_MM / SPACING_MM)
    return Case(name, np.repeat(as_hu(plane)[None], count, axis=0), np.repeat(drawn[None], count, axis=0), SPACING_MM)


def hu_of(gray: Picture) -> Picture:
    """HU of a slice whose window cuts off fat and air: black within the body is fat, black around it is air."""
    black = gray <= BLACK
    return np.asarray(np.where(~black, as_hu_of(gray), np.where(body_of(~black), FAT_HU, float(AIR_HU))), dtype=np.float32)


def body_of(tissue: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The body in which that tissue lies: what has tissue of its largest connected part on all four sides. The couch is another part."""
    parts, count = ndimage.label(ndimage.binary_dilation(tissue, iterations=JOINING_PIXELS))
    if not count:
        return np.zeros_like(tissue)
    body = tissue & (parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))
    inside = between_first_and_last(body, 0) & between_first_and_last(body, 1)
    return np.asarray(ndimage.binary_closing(np.pad(inside, GAP_PIXELS), iterations=GAP_PIXELS)[GAP_PIXELS:-GAP_PIXELS, GAP_PIXELS:-GAP_PIXELS])


def between_first_and_last(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """What lies on a line along the axis between two places of the mask."""
    before = np.maximum.accumulate(mask, axis=axis)
    after = np.flip(np.maximum.accumulate(np.flip(mask, axis), axis=axis), axis)
    return np.asarray(before & after)


def patient_of(path: Path) -> str:
    """The patient that a slice is of."""
    return path.name.split("_")[0]


def validation_patients(patients: set[str], share: float, seed: int) -> set[str]:
    """Those that are kept for validation: the same for the same seed, in whatever order they were found."""
    drawn = np.random.default_rng(seed).permutation(sorted(patients))
    return {str(patient) for patient in drawn[: round(share * len(drawn))]}


def write_slabs(folder: Path, pool: Path, share: float, seed: int) -> dict[str, int]:
    """Write the slab of every slice; returns how many each side of the split has.

    Raises InputError when there are no slices, or when the pool has slabs already: of another split, they could lie on the other side.
    """
    paths = sorted(folder.glob("*_ct.png"))
    if not paths:
        raise InputError(f"There are no slices (*_ct.png) in {folder}; give the folder of the real tumor slices.")
    if any(pool.glob(f"*/{SLAB_FOLDER}/*.npz")):
        raise InputError(f"{pool} already holds slabs of slices; remove its folders {SLAB_FOLDER}, or give another pool.")
    kept = validation_patients({patient_of(path) for path in paths}, share, seed)
    counts = {"train": 0, "validation": 0}
    for split in counts:
        make_folder(pool / split / SLAB_FOLDER)
    for path in paths:
        split = "validation" if patient_of(path) in kept else "train"
        labels = gray_of(path.with_name(path.name.replace("_ct.png", "_label.png"))).astype(np.uint8)
        slab_case(f"slice_{path.name.removesuffix('_ct.png')}", gray_of(path), labels).save(pool / split / SLAB_FOLDER)
        counts[split] += 1
    return counts


def work(arguments: argparse.Namespace) -> None:
    """Write the slabs and say how many there are."""
    counts = write_slabs(arguments.slices, arguments.pool, arguments.validation_share, arguments.seed)
    print(", ".join(f"{count} slices for {split}" for split, count in counts.items()))


def share(text: str) -> float:
    """A share from 0 to below 1, as an argument's type."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not from 0 to below 1")
    return value


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path, help="folder of the real tumor slices")
    parser.add_argument("pool", type=Path)
    parser.add_argument("--validation-share", type=share, default=0.25, help="of the patients")
    parser.add_argument("--seed", type=natural, default=1, help="of the split")
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: work(arguments))


if __name__ == "__main__":
    sys.exit(main())
