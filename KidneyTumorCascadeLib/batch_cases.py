"""Finding the scans of a batch: image files, KiTS's layout, and every CT series of DICOM trees, each by a name of its own."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

from KidneyTumorCascadeLib.batch_records import DICOM, IMAGE, Case, LeftOut, sha256_of
from KidneyTumorCascadeLib.case_files import PROBABILITY
from KidneyTumorCascadeLib.dicom import ENDINGS, SliceFile, is_dicom, series_in
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.report import output_stem

SCAN_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr")
# Their voxels may lie in a second file, which has the same name but for its ending.
HEADERS = (".mhd", ".nhdr", ".hdr")
VOXEL_ENDINGS = (".img", ".img.gz", ".raw", ".raw.gz", ".zraw")
SEGMENTATION_ENDING = ".seg.nrrd"
LABEL_MAPS = ("segmentation", "labels", "label")
# What KiTS calls the scan in the folder of a case; all else there is made from it.
KITS_SCAN = "imaging"
DIGITS = 12


@dataclass
class Found:
    """The cases of a folder, sorted by name, and what was left out."""

    cases: list[Case] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def find_cases(folder: Path, output: Path, pattern: str = "*", dicom_names: bool = False) -> Found:
    """The scans in a folder and the folders below it; hidden files, other kinds of files and links to folders are passed over.

    Args:
        folder: with image files, cases in KiTS's layout, DICOM series, or all of these.
        output: for results; what lies there is no scan.
        pattern: which names of files, or of folders of DICOM slices, are meant.
        dicom_names: call DICOM series by their folders; otherwise by a hash that tells nothing of the patient and stays the same.

    Raises:
        InputError: there is no such folder or no scan in it, or the results would lie among the scans.
    """
    require_input(folder, output)
    found = Found()
    for here, files in folders_below(folder, output.resolve(), found):
        found.cases += image_cases(here, files, folder, pattern, found)
        if fnmatch(here.name, pattern) and has_slices(here, files, folder, found):
            found.cases += series_cases(here, folder, dicom_names, found)
    if not found.cases:
        raise InputError(f"{folder} holds no CT scans by the pattern {pattern} ({', '.join(SCAN_ENDINGS)} or DICOM); check the path and the pattern.")
    found.cases = sorted(with_own_names(found.cases), key=lambda case: case.name)
    return found


def require_input(folder: Path, output: Path) -> None:
    """Raise InputError for a folder that is not there, or that results would be written into."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; give the folder that the scans lie in.")
    if folder.resolve().is_relative_to(output.resolve()):
        raise InputError(f"The results cannot go to {output}, where the scans of {folder} lie; choose another folder for them.")


def folders_below(folder: Path, output: Path, found: Found) -> Iterator[tuple[Path, list[Path]]]:
    """Each folder with its files that are not hidden, sorted; one that cannot be read is noted as left out."""

    def note(error: OSError) -> None:
        found.left_out.append(LeftOut("a folder", f"A folder cannot be read ({error.strerror or error}); check the permissions below the input."))

    for name, folders, files in os.walk(folder, onerror=note):
        here = Path(name)
        folders[:] = sorted(inner for inner in folders if not inner.startswith(".") and (here / inner).resolve() != output)
        if has_kits_scan(files):
            folders.clear()  # What annotators drew.
        yield here, [here / file for file in sorted(files) if not file.startswith(".")]


def has_kits_scan(names: Sequence[str]) -> bool:
    """Whether one of these is called as KiTS calls a scan."""
    return any(is_image(name) and output_stem(Path(name)) == KITS_SCAN for name in names)


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image which is read as it is."""
    return name.lower().endswith(SCAN_ENDINGS)


def image_cases(here: Path, files: Sequence[Path], folder: Path, pattern: str, found: Found) -> Iterator[Case]:
    """The image files of a folder; label maps are noted as left out."""
    images = [path for path in files if is_image(path.name)]
    kits = has_kits_scan([path.name for path in images])
    for path in images:
        reason = "" if kits and output_stem(path) == KITS_SCAN else reason_against(path, kits)
        if reason:
            found.left_out.append(LeftOut(path.relative_to(folder).as_posix(), reason))
        elif fnmatch(path.name, pattern):
            yield Case(name_of(here if kits else path, folder), path, IMAGE, parts_of(path, files))


def reason_against(path: Path, kits: bool) -> str:
    """Why an image file is no scan, by its name; empty when it may be one."""
    if kits:
        return f"It lies beside {KITS_SCAN} in a folder of KiTS, which holds one scan."
    if path.name.lower().endswith(SEGMENTATION_ENDING) or output_stem(path).lower() in LABEL_MAPS:
        return "It is called as a label map is, which is no scan."
    return "It is called as a probability map of this program is, which is no scan." if PROBABILITY.search(path.name) else ""


def parts_of(path: Path, files: Sequence[Path]) -> tuple[Path, ...]:
    """All files that an image consists of."""
    if not path.name.lower().endswith(HEADERS):
        return (path,)
    stem = output_stem(path)
    return tuple(file for file in files if file == path or file.name.lower() in {f"{stem}{ending}".lower() for ending in VOXEL_ENDINGS})


def has_slices(here: Path, files: Sequence[Path], folder: Path, found: Found) -> bool:
    """Whether a folder holds DICOM files, or files called so. A file that cannot be opened is noted as left out."""
    for path in files:
        try:
            if not is_image(path.name) and path.is_file() and (path.name.lower().endswith(ENDINGS) or is_dicom(path)):
                return True
        except OSError as error:
            found.left_out.append(LeftOut("a file", f"A file cannot be opened ({error.strerror or error}); check the permissions below the input."))
    return False


def series_cases(here: Path, folder: Path, dicom_names: bool, found: Found) -> Iterator[Case]:
    """A case for every CT series in a folder; other series are noted as left out. A folder with a damaged file is one case, which then fails."""
    try:
        groups = series_in(here)
    except InputError:
        yield damaged_case(here, folder, dicom_names)
        return
    scans = [group for group in groups if group[0].modality == "CT"]
    for group in groups:
        case = series_case(group, folder, dicom_names, alone=len(scans) == 1)
        if group in scans:
            yield case
        else:
            found.left_out.append(LeftOut(case.name, f"A DICOM series of modality {group[0].modality} with {len(group)} files, no CT."))


def series_case(group: Sequence[SliceFile], folder: Path, dicom_names: bool, alone: bool) -> Case:
    """The case of a series. One that is alone is read by its folder, one of several by its first file."""
    files = tuple(sorted(header.path for header in group))
    here = files[0].parent
    name = pseudonym(group[0].series.encode())
    if dicom_names:
        name = name_of(here, folder) if alone else f"{name_of(here, folder)}/{name}"
    return Case(name, here if alone else files[0], DICOM, files, group[0].description, private=not dicom_names)


def damaged_case(here: Path, folder: Path, dicom_names: bool) -> Case:
    """The case of a folder whose series cannot be told apart: reading it says what is wrong."""
    files = tuple(path for path in sorted(here.iterdir()) if path.is_file() and not is_image(path.name))
    name = name_of(here, folder) if dicom_names else pseudonym(sha256_of(files[0]).encode())
    return Case(name, here, DICOM, files, private=not dicom_names)


def pseudonym(identity: bytes) -> str:
    """A name that stays the same and does not tell what it is made from."""
    return f"dicom-{hashlib.sha256(identity).hexdigest()[:DIGITS]}"


def name_of(path: Path, folder: Path) -> str:
    """The path below the folder without its ending; for the folder itself its name."""
    if path == folder:
        return folder.resolve().name
    place = path.relative_to(folder)
    return (place if path.is_dir() else place.with_name(output_stem(path))).as_posix()


def with_own_names(cases: Sequence[Case]) -> list[Case]:
    """The cases, where two would be called the same with the ending as part of the name, and a number where that is not enough."""
    often = Counter(case.name.lower() for case in cases)
    taken: set[str] = set()
    named = []
    for case in sorted(cases, key=lambda case: case.path):
        ending = case.path.name[len(output_stem(case.path)) :] if case.kind == IMAGE and often[case.name.lower()] > 1 else ""
        name = f"{case.name}{ending}"
        name = next(free for free in (name, *(f"{name}-{turn}" for turn in range(2, len(cases) + 2))) if free.lower() not in taken)
        taken.add(name.lower())
        named.append(replace(case, name=name))
    return named
