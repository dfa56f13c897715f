"""Finding the series in a DICOM folder, and turning one into an image whose slices are where the scanner says they are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from KidneyTumorCascadeLib.dicom_lengths import lengths_fit
from KidneyTumorCascadeLib.dicom_trial import fatal_slice
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import describe_mm, describe_size, require_voxels
from KidneyTumorCascadeLib.image_file import quiet_stderr

GDCM = "GDCMImageIO"
# UIDs of DICOM PS3.6: CT images, and what all kinds of stored objects and a DICOMDIR begin with.
CT_IMAGE_CLASSES = (b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.5.1.4.1.1.2.1")
ANY_CLASSES = (b"1.2.840.10008.5.1.4.1.1.", b"1.2.840.10008.1.3.10")
# Some scanners round positions to 0.1 mm, which moves a step by as much; a missing slice doubles it.
STEP_TOLERANCE, STEP_TOLERANCE_MM = 0.1, 0.15
SAME_POSITION_MM = 0.01
# Of the series of a folder; DICOM allows descriptions of 64 characters.
MOST_NAMED, LONGEST_DESCRIPTION = 5, 64
# What files of slices are called when they are called anything; other files in the folder are nobody's business.
ENDINGS = (".dcm", ".dicom", ".ima")
# Rescale types (PS3.3 C.11.1.1.2) of a CT: none, Hounsfield units, also after a change, and "unspecified", which some scanners write.
HOUNSFIELD_UNITS = ("", "HU", "HU_MOD", "US")
# Pixels that are stored dark for bright: GDCM turns them round before it applies the rescale slope and intercept, which were meant without.
INVERTED = "MONOCHROME1"


@dataclass(frozen=True)
class SliceFile:
    """What the header of one file of a series says. Positions and directions in LPS, lengths in mm, size as columns, rows."""

    path: Path
    series: str
    description: str
    modality: str
    size: tuple[int, int]
    frames: int
    components: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    slope: float
    intercept: float
    photometric: str
    unit: str

    @property
    def located(self) -> bool:
        """Whether the header says where the slice is."""
        return len(self.position) == 3 and len(self.orientation) == 6


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM does: with its preamble, or, in old files, with a tag of group 8."""
    with path.open("rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" or start[:2] == b"\x08\x00"


def read_series(path: Path) -> tuple[sitk.Image, list[str]]:
    """The image of a series, slices sorted along their normal, with warnings (each a sentence, without the names of files, folders or the series).

    Args:
        path: a folder with one series of slices, or any file of the series that is meant in a folder with several.

    Raises:
        InputError: no or several series, a damaged file, slices that are missing, repeated, shifted or of different sizes.
    """
    folder = path if path.is_dir() else path.parent
    groups = series_in(folder)
    series = _only_series(folder, groups) if path.is_dir() else _series_with(path, groups)
    name = f'The DICOM series "{series[0].description}" in {folder}'
    ordered, step = _sorted_by_position(series, name)
    image = _read_slices(ordered, name)
    # Said here because ITK's own rules for a series have changed between its versions.
    image.SetSpacing((*image.GetSpacing()[:2], step))
    image.SetOrigin(ordered[0].position)
    image.SetDirection(_axes(ordered[0]).ravel().tolist())
    return image, _content_warnings(ordered[0])


def series_in(folder: Path) -> list[list[SliceFile]]:
    """The files of the folder that are slices, by series; scouts, reports and pictures of the screen are left out. Raises InputError."""
    try:
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and _is_dicom_or_lost(path)]
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read ({error.strerror or error}); check its permissions.") from error
    with quiet_stderr():
        headers = [header for path in files if (header := _read_header(path)) is not None]
    headers.sort(key=lambda header: header.series)
    groups = [list(group) for _, group in itertools.groupby(headers, key=lambda header: header.series)]
    return [group for group in groups if any(header.components == 1 and (header.located or header.frames > 1) for header in group)]


def _is_dicom_or_lost(path: Path) -> bool:
    """Whether it is DICOM. Raises InputError when it is not but should be: the first or last slice, lost, would leave no gap."""
    if is_dicom(path):
        return True
    if path.name.lower().endswith(ENDINGS) and not path.name.startswith("."):
        raise _damaged(path)
    return False


def _damaged(path: Path) -> InputError:
    return InputError(f"The DICOM file {path} is damaged or incomplete; copy or export the series again.")


def _only_series(folder: Path, groups: list[list[SliceFile]]) -> list[SliceFile]:
    """The one series of slices; among several the one that is CT."""
    groups = [group for group in groups if group[0].modality == "CT"] or groups
    if not groups:
        raise InputError(f"The folder {folder} holds no DICOM slices; give the folder that the slices themselves lie in, or an image file.")
    if len(groups) > 1:
        found = "; ".join(f'{group[0].path} for "{group[0].description}", {len(group)} slices' for group in groups[:MOST_NAMED])
        found += f" and {len(groups) - MOST_NAMED} more" if len(groups) > MOST_NAMED else ""
        raise InputError(f"The folder {folder} holds {len(groups)} DICOM series; choose one by giving a file of it instead of the folder: {found}.")
    return groups[0]


def _series_with(path: Path, groups: list[list[SliceFile]]) -> list[SliceFile]:
    for group in groups:
        if any(header.path == path for header in group):
            return group
    raise InputError(f"{path} is a DICOM file but no slice of a scan (a scout, report or picture); give a slice or the folder of the scan.")


def _read_header(path: Path) -> SliceFile | None:
    """The header of a slice; None for what is no slice: a scout, a report, a DICOMDIR."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(GDCM)
    reader.SetFileName(str(path))
    if not _read_information(reader, path):
        if _may_be_slice(path):
            raise _damaged(path)
        return None
    if "LOCALIZER" in _text(reader, "0008|0008").upper():
        return None
    columns, rows, *more = reader.GetSize()
    return SliceFile(
        path=path,
        series=_text(reader, "0020|000e"),
        description=_text(reader, "0008|103e")[:LONGEST_DESCRIPTION] or "without description",
        modality=_text(reader, "0008|0060") or "unknown",
        size=(columns, rows),
        frames=int(np.prod(more)),
        components=reader.GetNumberOfComponents(),
        position=_numbers(reader, "0020|0032"),
        orientation=_numbers(reader, "0020|0037"),
        spacing=_numbers(reader, "0028|0030"),
        slope=_number(reader, "0028|1053", 1.0),
        intercept=_number(reader, "0028|1052", 0.0),
        photometric=_text(reader, "0028|0004"),
        unit=_text(reader, "0028|1054").upper(),
    )


def _read_information(reader: sitk.ImageFileReader, path: Path) -> bool:
    """Let a reader read the header of its file; False when it is damaged."""
    try:
        if lengths_fit(path):
            reader.ReadImageInformation()
            return True
    except RuntimeError:
        pass
    return False


def _may_be_slice(path: Path) -> bool:
    """Whether the first bytes of a damaged file name a CT image, or end before they name anything."""
    with path.open("rb") as file:
        start = file.read(1024)
    return any(name in start for name in CT_IMAGE_CLASSES) or not any(name in start for name in ANY_CLASSES)


def _text(reader: sitk.ImageFileReader, tag: str) -> str:
    value = reader.GetMetaData(tag) if reader.HasMetaDataKey(tag) else ""
    printable = "".join(letter if letter.isprintable() and letter != '"' else " " for letter in value)
    return " ".join(printable.split())


def _numbers(reader: sitk.ImageFileReader, tag: str) -> tuple[float, ...]:
    """The numbers of a decimal-string field; none when it is missing or not made of finite numbers."""
    try:
        values = tuple(float(part) for part in _text(reader, tag).split("\\"))
    except ValueError:
        return ()
    return values if np.isfinite(values).all() else ()


def _number(reader: sitk.ImageFileReader, tag: str, default: float) -> float:
    """A field's number; the default when the field is missing, not-a-number when it makes no sense."""
    return next(iter(_numbers(reader, tag)), float("nan")) if _text(reader, tag) else default


def _axes(header: SliceFile) -> NDArray[np.float64]:
    """3 x 3, columns: along a row, down a column, and their normal, in LPS (DICOM PS3.3 C.7.6.2.1.1)."""
    along_row, down_column = np.array(header.orientation).reshape(2, 3)
    return np.stack([along_row, down_column, np.cross(along_row, down_column)], axis=1)


def _sorted_by_position(series: Sequence[SliceFile], name: str) -> tuple[list[SliceFile], float]:
    """The slices from the first to the last along their normal, and the step between them in mm."""
    _require_one_grid(series, name)
    axes = _axes(series[0])
    distance = {header.path: float(axes[:, 2] @ np.array(header.position)) for header in series}
    ordered = sorted(series, key=lambda header: distance[header.path])
    steps = np.diff([distance[header.path] for header in ordered])
    _require_even_steps(steps, ordered, name)
    _require_straight_stack(ordered, axes, name)
    return ordered, float(steps.mean())


def _require_one_grid(series: Sequence[SliceFile], name: str) -> None:
    """Refuse what is no stack of slices of one size, spacing and orientation."""
    if len(series) == 1:
        frames = series[0].frames
        found = "only one slice; give a folder with the whole scan" if frames == 1 else f"one file of {frames} frames; convert it to NIfTI first"
        raise InputError(f"{name} has {found}.")
    if any(header.components != 1 or header.frames != 1 for header in series):
        raise InputError(f"{name} holds color pictures or files of several frames among its slices; take them out.")
    for header in series:
        _require_located(header, name)
    require_voxels((*series[0].size, len(series)), name)
    for what, values in {
        "sizes": {describe_size(header.size) for header in series},
        "pixel spacings": {describe_mm(header.spacing) for header in series},
    }.items():
        if len(values) > 1:
            raise InputError(f"{name} has slices of different {what} ({', '.join(sorted(values))}); keep those of one kind.")
    if max(np.abs(np.subtract(header.orientation, series[0].orientation)).max() for header in series) > 1e-3:
        raise InputError(f"{name} has slices of different orientations; keep those of one kind.")


def _require_located(header: SliceFile, name: str) -> None:
    file = header.path.name
    if not header.located or len(header.spacing) != 2:
        raise InputError(f"{name} has a slice without position, orientation or pixel spacing ({file}); export the series again.")
    if min(header.spacing) <= 0:
        raise InputError(f"{name} has a slice with a pixel spacing of {describe_mm(header.spacing)} ({file}); export the series again.")
    axes = _axes(header)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise InputError(f"{name} has a slice whose rows and columns are not at right angles ({file}); export the series again.")
    if header.photometric == INVERTED:
        raise InputError(f"{name} is stored with dark for bright ({INVERTED}), which loses its Hounsfield units; export it again as MONOCHROME2.")
    if not (np.isfinite((header.slope, header.intercept)).all() and header.slope != 0):
        raise InputError(f"{name} has a slice whose rescale slope or intercept is impossible ({file}); export the series again.")


def _require_even_steps(steps: NDArray[np.float64], ordered: Sequence[SliceFile], name: str) -> None:
    usual = float(np.median(steps))
    repeated, uneven = steps < SAME_POSITION_MM, np.abs(steps - usual) > max(STEP_TOLERANCE * usual, STEP_TOLERANCE_MM)
    if repeated.any():
        first, second = (ordered[int(repeated.argmax()) + offset].path.name for offset in (0, 1))
        count = int(repeated.sum())
        raise InputError(f"{name} has {count} slices at a position already taken (as {first} and {second}); keep one phase or copy of the scan.")
    if uneven.any():
        index = int(uneven.argmax())
        first, second = ordered[index].path.name, ordered[index + 1].path.name
        where = f"between {first} and {second} lie {steps[index]:.4g} mm, elsewhere {usual:.4g} mm"
        raise InputError(f"{name} has missing or unevenly spaced slices: {where}; export the whole series again.")


def _require_straight_stack(ordered: Sequence[SliceFile], axes: NDArray[np.float64], name: str) -> None:
    """Refuse a tilted gantry, whose slices are shifted against each other: no regular grid holds them."""
    offsets = (np.array([header.position for header in ordered]) - ordered[0].position) @ axes
    shift = float(np.linalg.norm(offsets[:, :2], axis=1).max())
    if shift > 1.0:
        angle = np.degrees(np.arctan2(shift, offsets[-1, 2]))
        tilt = f"shifted by up to {shift:.1f} mm, as by a gantry tilt of {angle:.1f} degrees"
        raise InputError(f"{name} has slices {tilt}; resample it to a regular grid first.")


def _read_slices(ordered: Sequence[SliceFile], name: str) -> sitk.Image:
    """The slices as one image, each by its own rescale slope and intercept. Raises InputError."""
    fatal = fatal_slice([header.path for header in ordered])
    if fatal is not None:
        raise _damaged(fatal)
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO(GDCM)
    reader.SetFileNames([str(header.path) for header in ordered])
    if len({(header.slope, header.intercept) for header in ordered}) > 1:
        # The first slice decides the type of all: whole numbers would round or cut what another slice's scale needs.
        reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        with quiet_stderr():
            image: sitk.Image = reader.Execute()
            return image
    except RuntimeError as error:
        raise InputError(f"{name} cannot be read: a slice is damaged or compressed in an unknown way; export the series again.") from error


def _content_warnings(header: SliceFile) -> list[str]:
    # Warnings go into results, so they name nothing that may be named after the patient.
    warnings = []
    if header.modality != "CT":
        warnings.append(f"The DICOM series says that it is {header.modality}, not CT; the result cannot be trusted.")
    if header.unit not in HOUNSFIELD_UNITS:
        warnings.append(f"The DICOM series says that its values are {header.unit}, not Hounsfield units; the result cannot be trusted.")
    return warnings
