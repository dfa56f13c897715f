"""Checking NRRD files: where one does not say how large its voxels are, ITK takes them for a millimetre."""

from __future__ import annotations

import math
from pathlib import Path

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.json_fields import quote

DIRECTIONS, SPACINGS = "space directions", "spacings"
# A header alone, whose voxels lie in another file, may also end with its file.
DETACHED = ".nhdr"
# Headers of diffusion scans have hundreds of lines; others some twenty.
LONGEST_LINE, MOST_LINES = 100_000, 10_000


def check_nrrd(path: Path) -> None:
    """Raise InputError when a NRRD file (.nrrd, .nhdr) does not say how far its voxels are apart."""
    fields = _fields(path)
    if fields is None or DIRECTIONS in fields:
        return  # ITK says that a header has no end, and checks directions.
    if SPACINGS not in fields:
        raise InputError(f"{path} does not say how far its voxels are apart (neither {DIRECTIONS} nor {SPACINGS}); export the scan again.")
    if not all(map(_is_number, fields[SPACINGS].split())):
        raise InputError(f"{path} has {SPACINGS} of {quote(fields[SPACINGS])}, which are not all numbers; export the scan again.")


def _fields(path: Path) -> dict[str, str] | None:
    """The fields of the header by their names in small letters; None when no empty line ends it."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for _ in range(MOST_LINES):
            line = file.readline(LONGEST_LINE)
            if not line.strip():
                return fields if line or path.suffix.lower() == DETACHED else None
            name, _, value = line.decode("latin-1").partition(":")
            fields[name.strip().lower()] = value.strip()
    return None


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
