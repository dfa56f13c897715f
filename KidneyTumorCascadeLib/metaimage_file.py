"""Checking MetaImage files before ITK reads them, which takes damage for content and dies of impossible dimensions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.gzip_pieces import Inflated
from KidneyTumorCascadeLib.json_fields import quote

# The line that ends the header and says where the voxels are.
LAST_KEY, IN_THIS_FILE = "ElementDataFile", "LOCAL"
LONGEST_LINE, MOST_LINES = 10_000, 1_000
# MetaIO sees both between a name and its value.
SEPARATOR = re.compile("[=:]")
# It writes beyond the ends of its arrays when there are more, or fewer than none; a damaged header may say 73.
DIMENSIONS, MOST_DIMENSIONS = "NDims", 10
# All names that MetaIO knows for where the voxels are.
OFFSETS, DIRECTIONS, SPACINGS = ("Offset", "Position", "Origin"), ("TransformMatrix", "Rotation", "Orientation"), ("ElementSpacing", "ElementSize")

Field = tuple[str, str]


def check_metaimage(path: Path) -> None:
    """Raise InputError when a MetaImage file (.mha, or .mhd with its file of voxels) lies about its place, or its compressed voxels are damaged."""
    lines, length = _header(path)
    fields = dict(lines)
    _require_dimensions(lines, path)
    _require_numbers(fields, path)
    if fields.get("CompressedData", "").lower() not in ("true", "1"):
        return
    place = fields.get(LAST_KEY, "")
    voxel_path, start = (path, length) if place.upper() == IN_THIS_FILE else (path.parent / place, 0)
    if not voxel_path.is_file():
        return  # A list or a pattern of files, or a missing one: for ITK to say.
    with voxel_path.open("rb") as file:
        file.seek(start)
        pieces = Inflated(file)
        for _ in pieces:
            pass
    if pieces.broken:
        raise InputError(f"{voxel_path} is damaged: it cannot be decompressed to what was packed; copy or download it again.")
    if not pieces.whole:
        raise InputError(f"{voxel_path} is incomplete: its end is missing; copy or download it again.")


def has_directions(path: Path) -> bool:
    """Whether the header says which way the axes run; otherwise they are taken for the patient's left, back and head."""
    return any(name in DIRECTIONS for name, _ in _header(path)[0])


def _require_dimensions(lines: Sequence[Field], path: Path) -> None:
    for name, value in lines:
        if name == DIMENSIONS and not (value.isdecimal() and 1 <= int(value[:4]) <= MOST_DIMENSIONS):
            raise InputError(f"{path} has a header that is damaged: its {DIMENSIONS} is {quote(value)}, which no scan has; export it again.")


def _require_numbers(fields: Mapping[str, str], path: Path) -> None:
    if not any(name in fields for name in SPACINGS):
        raise InputError(f"{path} does not say how far its voxels are apart (no {SPACINGS[0]}); export the scan again.")
    for name in (*OFFSETS, *DIRECTIONS, *SPACINGS):
        for word in fields.get(name, "").split():
            if not _is_number(word):
                raise InputError(f"{path} has a header that is damaged: its {name} is {quote(fields[name])}, which is no list of numbers.")


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _header(path: Path) -> tuple[list[Field], int]:
    """The fields of the header in their order, and its length in bytes. Raises InputError when it has no end."""
    fields: list[Field] = []
    with path.open("rb") as file:
        for _ in range(MOST_LINES):
            line = file.readline(LONGEST_LINE)
            name, *value = SEPARATOR.split(line.decode("latin-1"), maxsplit=1)
            fields.append((name.strip(), "".join(value).strip()))
            if fields[-1][0] == LAST_KEY:
                return fields, file.tell()
            if not line.endswith(b"\n"):
                break
    raise InputError(f"{path} has a header that is damaged or has no end; copy or download it again.")
