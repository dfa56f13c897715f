"""The scans of a folder, each by a name of its own."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import slicer

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.report import output_stem

# Slicer reads pictures as volumes; of a scan in two files only the header is a case.
NO_SCANS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".img", ".img.gz", ".raw", ".raw.gz", ".zraw")
# Their voxels may lie in a second file, which has the same name but for its ending.
HEADERS = (".mhd", ".nhdr", ".hdr")
CHUNK = 1024 * 1024
# A DICOM folder is often called as the patient is, and manifests are handed on.
DICOM_NAME = "DICOM series"


@dataclass(frozen=True)
class Case:
    """One scan.

    Attributes:
        path: its file, or its folder when it is a DICOM series.
        name: where its results go in the folder for outputs, without an ending; with / between folders.
    """

    path: Path
    name: str

    @property
    def isDicom(self) -> bool:
        """Whether it is a folder of slices."""
        return self.path.is_dir()

    @property
    def publicName(self) -> str:
        """What the manifest calls it."""
        return DICOM_NAME if self.isDicom else self.path.name

    def files(self) -> list[Path]:
        """All that it consists of."""
        if self.isDicom:
            return [path for path in sorted(self.path.iterdir()) if isDicomFile(path)]
        if not self.path.name.lower().endswith(HEADERS):
            return [self.path]
        return sorted(path for path in self.path.parent.glob(f"{self.path.stem}.*") if path.is_file())

    def sha256(self) -> str:
        """Of its files' names and content."""
        total = hashlib.sha256()
        for path in self.files():
            total.update(f"{path.name}\0".encode("utf-8", "surrogateescape"))
            total.update(hashOf(path))
        return total.hexdigest()


def hashOf(path: Path) -> bytes:
    """SHA-256 of a file, read in pieces."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return total.digest()


def findCases(folder: Path, output: Path, pattern: str = "*") -> list[Case]:
    """The scans in the folder and the folders below it whose file (or DICOM folder) has a name like the pattern; sorted by name.

    Hidden files and what lies in the folder for outputs are left out. Raises InputError when there are none.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; check the path.")
    paths = [path for path in scansIn(folder, output.resolve()) if fnmatch(path.name, pattern)]
    if not paths:
        raise InputError(f"{folder} holds no scans that Slicer reads ({pattern}); check the path.")
    return sorted(named(paths, folder), key=lambda case: case.name)


def scansIn(folder: Path, output: Path) -> Iterator[Path]:
    """Files that hold a volume and folders that hold DICOM slices, in the folder and below."""
    for name, folders, files in os.walk(folder):
        here = Path(name)
        folders[:] = sorted(inner for inner in folders if not inner.startswith(".") and (here / inner).resolve() != output)
        if here.resolve() == output:
            continue
        visible = [here / file for file in sorted(files) if not file.startswith(".")]
        slices = {path for path in visible if isDicomFile(path)}
        if slices:
            yield here
        yield from (path for path in visible if path not in slices and isVolumeFile(path))


def isDicomFile(path: Path) -> bool:
    """Whether a file begins as DICOM does; false for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def isVolumeFile(path: Path) -> bool:
    """Whether Slicer takes it for a volume, by its name, and it may be a scan."""
    isScan = not path.name.lower().endswith(NO_SCANS)
    return isScan and slicer.app.coreIOManager().fileType(str(path)) == "VolumeFile"


def named(paths: Sequence[Path], folder: Path) -> list[Case]:
    """Cases named by their place in the folder; the ending is part of the name where two would be called the same."""
    short = {path: nameOf(path, folder) for path in paths}
    count = Counter(name.lower() for name in short.values())
    return [Case(path, name if count[name.lower()] == 1 else f"{name}{path.name[len(Path(name).name) :]}") for path, name in short.items()]


def nameOf(path: Path, folder: Path) -> str:
    """The path below the folder without its ending."""
    if path == folder:
        return folder.resolve().name
    place = path.relative_to(folder)
    return (place if path.is_dir() else place.with_name(output_stem(path))).as_posix()
