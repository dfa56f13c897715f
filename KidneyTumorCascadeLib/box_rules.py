"""The numbers by which a prediction of kidney becomes boxes; a bundle holds them for each preset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from KidneyTumorCascadeLib.geometry import Vector

KINDS = ("adaptive", "fixed")


@dataclass(frozen=True)
class BoxRules:
    """How boxes are made. The defaults in mm and ml were chosen on the kidneys and tumors of the 399 public KiTS23 label maps.

    Attributes:
        kind: "adaptive", or "fixed" as published; a fixed box uses `threshold` and `edge_voxels` only.
        threshold: a voxel is kidney when its probability is above this.
        low_threshold: connected voxels above this are enclosed as well, so that faint parts of a tumor are not cut off.
        grow_mm: but none further than this from a voxel above `threshold`, so that a faint haze does not fill the scan.
        margin_mm: x, y, z; added on each side of what is enclosed.
        min_kidney_ml: less than this is no kidney. The smallest in those label maps has 45 ml, but a scan may show a part only.
        min_peak_probability: something that is nowhere more probable than this is no kidney.
        join_mm: a gap up to which separate parts belong to the same kidney.
        min_separation_mm: two kidneys' centres are at least this far apart, left to right (76 to 202 mm in those label maps).
        crossing_mm: a single mass that reaches this far beyond the midline on both sides belongs to both sides.
        edge_voxels: edge of a fixed box, in voxels of the scan.
    """

    kind: str = "adaptive"
    threshold: float = 0.5
    low_threshold: float = 0.2
    grow_mm: float = 40.0
    margin_mm: Vector = (15.0, 15.0, 15.0)
    min_kidney_ml: float = 20.0
    min_peak_probability: float = 0.6
    join_mm: float = 12.0
    min_separation_mm: float = 70.0
    crossing_mm: float = 30.0
    edge_voxels: int = 256

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"the kind of boxes is one of {', '.join(KINDS)}, not {self.kind!r}")
        if not isinstance(self.margin_mm, tuple) or len(self.margin_mm) != 3:
            raise ValueError(f"margin_mm must be three lengths x, y, z, not {self.margin_mm!r}")
        lengths = {name: value for name, value in asdict(self).items() if name not in ("kind", "margin_mm")}
        check_numbers(lengths | dict(zip(("margin_mm x", "margin_mm y", "margin_mm z"), self.margin_mm, strict=True)))
        if not isinstance(self.edge_voxels, int) or self.edge_voxels < 1:
            raise ValueError(f"edge_voxels must be a whole number of at least 1, not {self.edge_voxels!r}")
        if not self.low_threshold <= self.threshold < 1:
            raise ValueError(f"thresholds must rise from low_threshold to below 1, not {self.low_threshold} to {self.threshold}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for a bundle."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BoxRules:
        """The reverse of `to_dict`; what is missing has its default. Raises ValueError on unknown names or impossible values."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"unknown box rules: {', '.join(sorted(unknown))}")
        margin = values.get("margin_mm", cls.margin_mm)
        if not isinstance(margin, Sequence) or isinstance(margin, str):
            raise ValueError(f"margin_mm must be three lengths x, y, z, not {margin!r}")
        return cls(**{**values, "margin_mm": tuple(margin)})


def check_numbers(values: dict[str, Any]) -> None:
    """Raises ValueError at the first value that is no finite number of at least 0."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise ValueError(f"{name} must be a number of at least 0, not {value!r}")
