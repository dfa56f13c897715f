"""Checking compressed MetaImage files: ITK reads what a damaged one decompresses to as if it were right."""

from __future__ import annotations

from pathlib import Path

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.gzip_pieces import Inflated

# The line that ends the header and says where the voxels are.
LAST_KEY, IN_THIS_FILE = "ElementDataFile", "LOCAL"
LONGEST_LINE, MOST_LINES = 10_000, 1_000


def check_metaimage(path: Path) -> None:
    """Raise InputError when the voxels of a MetaImage file (.mha, or .mhd with its file of voxels) are compressed and damaged."""
    fields, length = _header(path)
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


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of the header, and its length in bytes."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for _ in range(MOST_LINES):
            line = file.readline(LONGEST_LINE)
            key, _, value = line.decode("latin-1").partition("=")
            fields[key.strip()] = value.strip()
            if not line or key.strip() == LAST_KEY:
                break
        return fields, file.tell()
