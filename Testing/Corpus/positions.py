"""How patients lie in the scanner, as DICOM says it, and how reconstructions cut them."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from Testing.Corpus.dicom_files import write_dicom
from Testing.Corpus.patients import grid_of
from Testing.Corpus.registry import Family

POSITIONS = Family("Patient positions")
Axis = tuple[int, int, int]
RIGHT, LEFT, FRONT, BACK, UP, DOWN = (-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, 1), (0, 0, -1)
# DICOM's patient position (PS3.3 C.7.3.1.1.2): where a row, a column and the table run to in the patient.
LYING: dict[str, tuple[str, Axis, Axis, Axis]] = {
    "HFS": ("head first on the back", LEFT, BACK, UP),
    "HFP": ("head first on the belly", RIGHT, FRONT, UP),
    "HFDR": ("head first on the right side", FRONT, LEFT, UP),
    "HFDL": ("head first on the left side", BACK, RIGHT, UP),
    "FFS": ("feet first on the back", RIGHT, BACK, DOWN),
    "FFP": ("feet first on the belly", LEFT, FRONT, DOWN),
    "FFDR": ("feet first on the right side", BACK, LEFT, DOWN),
    "FFDL": ("feet first on the left side", FRONT, RIGHT, DOWN),
}
# Voxels along the patient's left-right, back-front and head-feet.
EXTENT = (68, 48, 48)


def enter(code: str, words: str, row: Axis, column: Axis, table: Axis) -> None:
    """The kind of that position."""

    @POSITIONS.right(f"position {code}", words)
    def make(folder: Path) -> Path:
        def say(_: int, data: Dataset) -> None:
            data.PatientPosition = code

        x, y, z = (sum(length for length, part in zip(EXTENT, axis, strict=True) if part) for axis in (row, column, table))
        return write_dicom(folder / "ct", say, grid_of((x, y, z), axes=(row, column, table)))


for _code, _entry in LYING.items():
    enter(_code, *_entry)


@POSITIONS.right("coronal slices", "a reformatted series, from the back to the front")
def coronal(folder: Path) -> Path:
    return write_dicom(folder / "ct", grid=grid_of((68, 48, 48), axes=(LEFT, DOWN, FRONT)))


@POSITIONS.right("sagittal slices", "a reformatted series, from the right to the left")
def sagittal(folder: Path) -> Path:
    return write_dicom(folder / "ct", grid=grid_of((48, 48, 68), axes=(BACK, DOWN, LEFT)))


@POSITIONS.right("oblique slices", "reformatted along the kidneys, 25 degrees off the axial plane")
def oblique(folder: Path) -> Path:
    return write_dicom(folder / "ct", grid=grid_of((68, 60, 60), axes=((1, 0, 0), (0, 0.906308, 0.422618), (0, -0.422618, 0.906308))))
