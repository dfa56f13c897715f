"""Label maps as people draw them: plain ones, and Slicer's segmentations (.seg.nrrd), brought onto the voxels of their scan.

Slicer writes only the part of the scan that is segmented, numbers segments in the order in which they were made, and stores segments that
overlap as layers of a fourth dimension (its developer guide, "Segmentation labelmap file format"). Segments are told by their names.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Geometry, as_matrix, as_vector
from KidneyTumorCascadeLib.image_file import quiet_stderr, require_readable
from KidneyTumorCascadeLib.volume import Volume, read_label_map
from Training.cases import GRID_TOLERANCE, KIDNEY, TUMOR

BACKGROUND = 0
TUMOR_WORDS = {"tumor", "tumors", "tumour", "tumours", "carcinoma", "carcinomas", "rcc", "cancer", "mass", "masses", "neoplasm", "neoplasms"}
KIDNEY_WORDS = {"kidney", "kidneys", "cyst", "cysts"}


@dataclass(frozen=True)
class SegmentNames:
    """What further names mean, in small letters: for those that do not say it in the words above."""

    kidney: frozenset[str] = frozenset()
    tumor: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()

    def label_of(self, name: str) -> int | None:
        """The label that a segment's name means, 0 for one to be ignored; None when it is unclear. Cysts count as kidney."""
        plain = name.strip().lower()
        for names, label in ((self.ignored, BACKGROUND), (self.kidney, KIDNEY), (self.tumor, TUMOR)):
            if plain in names:
                return label
        words = set(re.findall(r"[a-z]+", plain))
        if words & TUMOR_WORDS:
            return TUMOR
        return KIDNEY if words & KIDNEY_WORDS else None


@dataclass(frozen=True)
class Segment:
    """One segment of a file: its name, its number within its layer, and the layer."""

    name: str
    value: int
    layer: int


def read_drawn_labels(path: Path, scan: Geometry, names: SegmentNames | None = None) -> Volume:
    """A label map (0, 1 kidney, 2 tumor; a plain one as it is) on the scan's voxels in LPS order.

    Args:
        path: any label map that the library reads, or a Slicer segmentation. It may cover a part of the scan.
        scan: the scan's grid, in any order of axes.
        names: what segments mean that do not say so themselves.

    Raises:
        InputError: it cannot be read, lies on other voxels than the scan, or has a segment of unclear meaning.
    """
    require_readable(path)
    header = nrrd_header(path) if path.name.lower().endswith(".nrrd") else {}
    segments = segments_of(header, path)
    labels = read_segments(path, segments, names or SegmentNames()) if segments else read_label_map(path)
    return placed(labels.in_lps_order(), scan.in_lps_order(), path)


def nrrd_header(path: Path) -> dict[str, str]:
    """The fields of a NRRD file's header that ITK passes on. Raises InputError when it is damaged."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_stderr():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise damaged(path) from error
    return {key: str(reader.GetMetaData(key)) for key in reader.GetMetaDataKeys()}


def damaged(path: Path) -> InputError:
    """The error for a file that ITK cannot read."""
    return InputError(f"{path} cannot be read; it is damaged or incomplete, so export it again.")


def segments_of(header: Mapping[str, str], path: Path) -> list[Segment]:
    """The segments that a NRRD header describes; none for a plain image. Raises InputError for numbers that are none."""
    found: list[Segment] = []
    for number in itertools.count():
        if f"Segment{number}_ID" not in header and f"Segment{number}_Name" not in header:
            return found
        field = {name: header.get(f"Segment{number}_{name}", "").strip() for name in ("ID", "Name", "LabelValue", "Layer")}
        try:
            # Older files have neither field: there each segment is a layer of its own.
            layer = int(field["Layer"] or (0 if field["LabelValue"] else number))
            found.append(Segment(field["Name"] or field["ID"], int(field["LabelValue"] or 1), layer))
        except ValueError as error:
            raise InputError(f"{path} describes its segment {number} with {field}, which are no numbers; save it again with Slicer.") from error
    return found


def read_segments(path: Path, segments: list[Segment], names: SegmentNames) -> Volume:
    """The segments as one label map: tumors over kidneys, whatever their order in the file. Raises InputError."""
    meanings = {segment.name: names.label_of(segment.name) for segment in segments}
    unclear = [name for name, label in meanings.items() if label is None]
    if unclear:
        raise InputError(
            f"{path} has a segment {unclear[0]!r} whose name says neither kidney nor tumor; rename it, or say what it is with "
            f"--kidney, --tumor or --ignore {unclear[0]!r}."
        )
    layers, geometry = read_layers(path)
    if geometry.size == (1, 1, 1):
        raise InputError(f"{path} holds no segmented voxels; complete the segmentation.")
    result = np.zeros(geometry.shape_zyx, dtype=np.uint8)
    for segment in sorted(segments, key=lambda segment: meanings[segment.name] or BACKGROUND):
        label = meanings[segment.name]
        if label and not 0 <= segment.layer < layers.shape[-1]:
            raise InputError(f"{path} lacks the layer {segment.layer} of its segment {segment.name!r}; save it again with Slicer.")
        if label:
            result[layers[..., segment.layer] == segment.value] = label
    return Volume(result, geometry)


def read_layers(path: Path) -> tuple[NDArray[Any], Geometry]:
    """All layers (z, y, x, layer) and their grid. Raises InputError when the file is damaged or is no image of three dimensions."""
    try:
        with quiet_stderr():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise damaged(path) from error
    if image.GetDimension() != 3:
        raise InputError(f"{path} has {image.GetDimension()} dimensions; save the segmentation again with Slicer.")
    x, y, z = image.GetSize()
    geometry = Geometry((x, y, z), as_vector(image.GetSpacing()), as_vector(image.GetOrigin()), as_matrix(image.GetDirection()))
    return sitk.GetArrayFromImage(image).reshape(z, y, x, -1), geometry


def placed(labels: Volume, scan: Geometry, path: Path) -> Volume:
    """A label map on the scan's grid, both in LPS order; where it covers a part only, the rest is background.

    Raises InputError when its voxels are not the scan's, or when it marks some beyond the scan.
    """
    start = first_voxel(labels.geometry, scan)
    if start is None:
        raise InputError(f"{path} does not lie on the voxels of its scan; segment on the scan itself, or export with it as reference volume.")
    if labels.geometry.size == scan.size and start == (0, 0, 0):
        return replace(labels, geometry=scan)
    inside, source = [], []
    for first, length, limit in zip(reversed(start), labels.geometry.shape_zyx, scan.shape_zyx, strict=True):
        low, high = max(first, 0), min(first + length, limit)
        inside.append(slice(low, max(low, high)))
        source.append(slice(low - first, max(low, high) - first))
    result = np.zeros(scan.shape_zyx, dtype=labels.voxels.dtype)
    result[tuple(inside)] = labels.voxels[tuple(source)]
    if np.count_nonzero(result) != np.count_nonzero(labels.voxels):
        raise InputError(f"{path} marks voxels beyond its scan; give the scan that it was drawn on.")
    return Volume(result, scan)


def first_voxel(labels: Geometry, scan: Geometry) -> tuple[int, int, int] | None:
    """Where in the scan (x, y, z, possibly below 0) the first voxel of a label map lies; None when their voxels do not coincide."""
    corners = np.array(list(itertools.product(*((0, length - 1) for length in labels.size))), dtype=np.float64)
    found = scan.to_index(labels.to_patient(corners))
    x, y, z = (int(value) for value in np.rint(found[0]))
    return (x, y, z) if np.abs(found - corners - (x, y, z)).max() <= GRID_TOLERANCE else None
