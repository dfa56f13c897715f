"""What the messages between a client and the worker carry: each kind a dataclass, to JSON and back, every field checked.

Nothing here needs PyTorch. Boxes and grids are in mm in LPS; arrays are z, y, x in the scan's own order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import FARTHEST_MM, Box, Geometry, Size, as_matrix, as_vector, numbers_of
from KidneyTumorCascadeLib.json_fields import is_number, reason
from KidneyTumorCascadeLib.worker_protocol import InvalidParams, is_id

PREPARING, FINDING, MERGING = "preparing", "finding kidneys", "merging"
STAGE_OF_SIDE = {"right": "right kidney", "left": "left kidney", "both": "both kidneys"}
STAGES = (PREPARING, FINDING, *STAGE_OF_SIDE.values(), MERGING)

MAX_TEXT = 4096
MAX_NAME = 100
MAX_BOXES = 8
MAX_WARNINGS = 1000
MAX_EDGE = 100_000
SOURCES = ("network", "whole half", "user")
MAPS = ("kidney", "tumor")
UNNAMED = "CT"


# --- fields ----------------------------------------------------------------------------------------------------------------------------------


def require_known(values: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise InvalidParams for a name that nobody asked for: a misspelt option must not go unnoticed."""
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidParams(f"{unknown[0][:MAX_NAME]!r} is not known here; known are: {', '.join(known) or 'none'}.")


def text_of(values: Mapping[str, Any], name: str, most: int = MAX_TEXT) -> str:
    """A text that a file system and a log can hold. Raises InvalidParams."""
    value = values.get(name)
    if not isinstance(value, str) or not value or len(value) > most or "\0" in value or not is_unicode(value):
        raise InvalidParams(f"{name} must be a text of 1 to {most} characters.")
    return value


def is_unicode(text: str) -> bool:
    """False for halves of surrogate pairs, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def optional_text_of(values: Mapping[str, Any], name: str) -> str | None:
    """A text, or None where there is none."""
    return None if values.get(name) is None else text_of(values, name)


def flag_of(values: Mapping[str, Any], name: str) -> bool:
    """True or false; false where it is missing."""
    value = values.get(name, False)
    if not isinstance(value, bool):
        raise InvalidParams(f"{name} must be true or false.")
    return value


def object_of(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object; an empty one where it is missing."""
    value = values.get(name, {})
    if not isinstance(value, dict):
        raise InvalidParams(f"{name} must be an object.")
    return value


def list_of(values: Mapping[str, Any], name: str, most: int) -> list[Any]:
    """A list of at most so many items."""
    value = values.get(name)
    if not isinstance(value, list) or len(value) > most:
        raise InvalidParams(f"{name} must be a list of at most {most} items.")
    return value


def warnings_of(values: Mapping[str, Any]) -> list[str]:
    """The list of sentences for the user."""
    warnings = list_of(values, "warnings", MAX_WARNINGS)
    if not all(isinstance(text, str) for text in warnings):
        raise InvalidParams("warnings must be a list of texts.")
    return warnings


def sizes_of(values: Mapping[str, Any], name: str, least: int) -> Size:
    """Three whole numbers, none below the least."""
    value = list_of(values, name, 3)
    if len(value) != 3 or not all(type(item) is int and least <= item <= MAX_EDGE for item in value):
        raise InvalidParams(f"{name} must be three whole numbers from {least} to {MAX_EDGE}.")
    return value[0], value[1], value[2]


# --- grids and boxes -------------------------------------------------------------------------------------------------------------------------


def geometry_from_dict(values: Any) -> Geometry:
    """The reverse of `Geometry.to_dict`. Raises InvalidParams for what is none, InputError for an impossible one."""
    if not isinstance(values, dict):
        raise InvalidParams("geometry must be an object with size, spacing_mm, origin_lps_mm and direction_lps.")
    require_known(values, ("size", "spacing_mm", "origin_lps_mm", "direction_lps"))
    spacing, origin, direction = (_numbers(values, name, count) for name, count in (("spacing_mm", 3), ("origin_lps_mm", 3), ("direction_lps", 9)))
    return Geometry(sizes_of(values, "size", 1), as_vector(spacing), as_vector(origin), as_matrix(direction))


def _numbers(values: dict[str, Any], name: str, count: int) -> NDArray[np.float64]:
    try:
        numbers = numbers_of(values, name, count)
    except InputError as error:
        raise InvalidParams(f"{name} must be a list of {count} numbers.") from error
    if not (np.abs(numbers) <= FARTHEST_MM).all():
        raise InvalidParams(f"{name} must hold numbers up to {FARTHEST_MM:g}.")
    return numbers


def box_from_dict(values: Any) -> Box:
    """The reverse of `Box.to_dict`. Raises InvalidParams for what is none."""
    if isinstance(values, dict):
        require_known(values, ("side", "source", "center_lps_mm", "size_mm", "direction_lps"))
        for name, count in (("center_lps_mm", 3), ("size_mm", 3)):
            _numbers(values, name, count)
        if values.get("source", "user") not in SOURCES:
            raise InvalidParams(f"A box's source is one of {', '.join(SOURCES)}.")
    try:
        return Box.from_dict(values)
    except (InputError, OverflowError) as error:
        raise InvalidParams(reason(error)) from error


def boxes_from_list(values: Mapping[str, Any]) -> list[Box]:
    """The boxes of an object."""
    return [box_from_dict(item) for item in list_of(values, "boxes", MAX_BOXES)]


# --- what the client sends -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScanFile:
    """A scan that the worker shall map into its memory.

    Attributes:
        path: .npy file (numpy.save): three-dimensional, HU, in the scan's own order (k, j, i).
        geometry: of its voxels.
        name: what messages and the manifest call the scan. No patient's name: manifests are handed on.
    """

    path: Path
    geometry: Geometry
    name: str = UNNAMED

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"path": str(self.path), "geometry": self.geometry.to_dict(), "name": self.name}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ScanFile:
        """The reverse of `to_dict`. Raises InvalidParams."""
        require_known(values, ("path", "geometry", "name"))
        name = text_of(values, "name", MAX_NAME) if "name" in values else UNNAMED
        return cls(Path(text_of(values, "path")), geometry_from_dict(values.get("geometry")), name)


@dataclass(frozen=True)
class Options:
    """How to work.

    Attributes:
        bundle: name or folder of a model bundle; the default one when None.
        preset: one of the bundle's.
        device: "auto", "cuda", "mps" or "cpu".
        merge: "overlay" or "compare"; the preset's when None.
        probabilities: give each box's probabilities, too.
    """

    bundle: str | None = None
    preset: str = "standard"
    device: str = "auto"
    merge: str | None = None
    probabilities: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Options:
        """The reverse of `to_dict`; what is missing is as it is by default. Raises InvalidParams."""
        require_known(values, ("bundle", "preset", "device", "merge", "probabilities"))
        chosen = {name: text_of(values, name, MAX_NAME) for name in ("preset", "device") if name in values}
        bundle, merge = optional_text_of(values, "bundle"), optional_text_of(values, "merge")
        return cls(bundle, merge=merge, probabilities=flag_of(values, "probabilities"), **chosen)


# --- what the worker answers -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """Answer to find_kidneys: boxes, the right side's first, and sentences for the user."""

    boxes: list[Box]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"boxes": [box.to_dict() for box in self.boxes], "warnings": self.warnings}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Found:
        """The reverse of `to_dict`. Raises InvalidParams."""
        return cls(boxes_from_list(values), warnings_of(values))


@dataclass(frozen=True)
class MapFile:
    """Probabilities of one network: a .npy file of float32 (z, y, x) and its grid, which is that of the network along the scan's axes."""

    path: Path
    geometry: Geometry

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"path": str(self.path), "geometry": self.geometry.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MapFile:
        """The reverse of `to_dict`. Raises InvalidParams, or InputError for an impossible grid."""
        return cls(Path(text_of(values, "path")), geometry_from_dict(values.get("geometry")))


@dataclass(frozen=True)
class Part:
    """What was found in one box.

    Attributes:
        box: as it was given or found.
        labels: .npy file of uint8: 0 background, 1 kidney, 2 tumor; the box's voxels only, in the scan's own order (k, j, i).
        start_zyx: where in the scan's own array they begin.
        measurement: as in the manifest's measurements.
        probabilities: by "kidney" and "tumor", if they were asked for.
    """

    box: Box
    labels: Path
    start_zyx: Size
    measurement: Mapping[str, Any]
    probabilities: Mapping[str, MapFile] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "side": self.box.side,
            "box": self.box.to_dict(),
            "labels": str(self.labels),
            "start_zyx": list(self.start_zyx),
            "measurement": dict(self.measurement),
            "probabilities": {name: file.to_dict() for name, file in self.probabilities.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Part:
        """The reverse of `to_dict`. Raises InvalidParams, or InputError for an impossible grid."""
        files = object_of(values, "probabilities")
        require_known(files, MAPS)
        maps = {name: MapFile.from_dict(object_of(files, name)) for name in files}
        box, start = box_from_dict(values.get("box")), sizes_of(values, "start_zyx", 0)
        return cls(box, Path(text_of(values, "labels")), start, object_of(values, "measurement"), maps)

    def put_into(self, labels: NDArray[np.uint8]) -> None:
        """Draw this part into a label map of the scan's own order. Where parts overlap, tumor wins over kidney and kidney over background."""
        own = np.load(self.labels, mmap_mode="r", allow_pickle=False)
        place = labels[tuple(slice(start, start + length) for start, length in zip(self.start_zyx, own.shape, strict=True))]
        np.maximum(place, own, out=place)


@dataclass(frozen=True)
class Segmented:
    """Answer to segment and segment_boxes.

    Attributes:
        folder: holds this result's files and nothing else; the client's to delete.
        parts: one for each box, in their order.
        warnings: sentences for the user, those about the scan included.
        manifest: what is to be kept with the result; names no patient.
    """

    folder: Path
    parts: list[Part]
    warnings: list[str]
    manifest: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        parts = [part.to_dict() for part in self.parts]
        return {"folder": str(self.folder), "parts": parts, "warnings": self.warnings, "manifest": dict(self.manifest)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Segmented:
        """The reverse of `to_dict`. Raises InvalidParams, or InputError for an impossible grid."""
        parts = list_of(values, "parts", MAX_BOXES)
        if not all(isinstance(part, dict) for part in parts):
            raise InvalidParams("parts must be a list of objects.")
        found = [Part.from_dict(part) for part in parts]
        return cls(Path(text_of(values, "folder")), found, warnings_of(values), object_of(values, "manifest"))

    def label_map(self, shape_zyx: Size) -> NDArray[np.uint8]:
        """The label map of the whole scan in its own order."""
        labels = np.zeros(shape_zyx, dtype=np.uint8)
        for part in self.parts:
            part.put_into(labels)
        return labels


@dataclass(frozen=True)
class Step:
    """How far a request is: the params of a progress notification.

    Attributes:
        id: the request's.
        stage: one of `STAGES`.
        fraction: of the whole request, 0 to 1, never falling.
        seconds_left: None while it cannot be told.
    """

    id: int | str
    stage: str
    fraction: float
    seconds_left: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        left = self.seconds_left if self.seconds_left is not None and math.isfinite(self.seconds_left) else None
        return {"id": self.id, "stage": self.stage, "fraction": round(self.fraction, 4), "seconds_left": None if left is None else round(left, 1)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Step:
        """The reverse of `to_dict`. Raises InvalidParams."""
        request_id, fraction, left = values.get("id"), values.get("fraction"), values.get("seconds_left")
        if not is_id(request_id) or not is_number(fraction) or not (left is None or is_number(left)):
            raise InvalidParams("A step has an id, a stage, a fraction and perhaps the seconds left.")
        return cls(request_id, text_of(values, "stage", MAX_NAME), float(fraction or 0), left)
