"""What is measured in a segmentation: volumes, tumors and their diameters, HU, and whether a kidney is seen whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from KidneyTumorCascadeLib.geometry import Geometry, Slices, Vector, as_vector
from KidneyTumorCascadeLib.labelled_box import LabelledBox
from KidneyTumorCascadeLib.volume import Volume

KIDNEY, TUMOR = 1, 2
# Of an array (z, y, x) in LPS order: at the start and at the end of each axis.
FACES = (("inferior", "superior"), ("anterior", "posterior"), ("right", "left"))
DECIMALS = 3


@dataclass(frozen=True)
class TumorMeasurement:
    """One tumor: voxels that touch each other, across edges and corners too.

    Attributes:
        volume_ml: voxels times voxel volume.
        longest_diameter_mm: the largest distance between two of its voxel centres; 0 for a single voxel.
        longest_axial_diameter_mm: the same within one slice of the scan's axis closest to superior, as RECIST measures.
        mean_hu: of its voxels.
        sd_hu: standard deviation over its voxels.
        center_lps_mm: centre of gravity.
        touches_border: it reaches the border of the scan or of its box, so that it may go on there.
    """

    volume_ml: float
    longest_diameter_mm: float
    longest_axial_diameter_mm: float
    mean_hu: float
    sd_hu: float
    center_lps_mm: Vector
    touches_border: bool


@dataclass(frozen=True)
class SideMeasurement:
    """One box's content.

    Attributes:
        side: "right", "left" (the patient's) or "both".
        kidney_ml: kidney without tumor.
        tumor_ml: all tumors together.
        mean_hu: of the kidney without tumor, None without kidney.
        sd_hu: standard deviation over the same voxels.
        tumors: largest first.
        touches_scan_border: faces of the scan that kidney or tumor reaches, such as "superior".
        touches_box: kidney or tumor reaches a face of the box inside the scan, where more of it may have been cut off.
    """

    side: str
    kidney_ml: float
    tumor_ml: float
    mean_hu: float | None
    sd_hu: float | None
    tumors: tuple[TumorMeasurement, ...] = ()
    touches_scan_border: tuple[str, ...] = ()
    touches_box: bool = False

    @property
    def kidney_and_tumor_ml(self) -> float:
        """What KiTS19 calls kidney."""
        return self.kidney_ml + self.tumor_ml

    @property
    def warnings(self) -> list[str]:
        """What the user should know before trusting the numbers, one sentence each. An empty box is the cascade's to report."""
        name = "The kidney mass across the midline" if self.side == "both" else f"The {self.side} kidney"
        sentences = []
        if self.touches_scan_border:
            faces = " and ".join(self.touches_scan_border)
            border = "border" if len(self.touches_scan_border) == 1 else "borders"
            sentences.append(f"{name} touches the {faces} {border} of the scan; its volume is incomplete.")
        if self.touches_box:
            sentences.append(f"{name} reaches the border of its box; enlarge the box and segment it again.")
        return sentences

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types for the manifest. Its diameters are those of the largest extent among all tumors, None without tumor."""
        return {
            "side": self.side,
            "kidney_ml": round(self.kidney_ml, DECIMALS),
            "tumor_ml": round(self.tumor_ml, DECIMALS),
            "kidney_and_tumor_ml": round(self.kidney_and_tumor_ml, DECIMALS),
            "tumors": len(self.tumors),
            "longest_mm": _largest(tumor.longest_diameter_mm for tumor in self.tumors),
            "longest_axial_mm": _largest(tumor.longest_axial_diameter_mm for tumor in self.tumors),
            "mean_hu": _rounded(self.mean_hu),
            "sd_hu": _rounded(self.sd_hu),
            "tumor_list": [_plain(tumor) for tumor in self.tumors],
            "touches_scan_border": list(self.touches_scan_border),
            "touches_box": self.touches_box,
            "warnings": self.warnings,
        }


def measure(parts: Sequence[LabelledBox], scan: Volume) -> list[SideMeasurement]:
    """Measurements of every box, in their order. The scan in LPS order, HU. Where boxes overlap, a voxel counts in both."""
    return [measure_side(part, scan) for part in parts]


def overlap_warnings(parts: Sequence[LabelledBox]) -> list[str]:
    """A sentence for the sides of which two boxes both found something in the same voxels, which both of their measurements count."""
    pairs = [(a.box.side, b.box.side) for a, b in combinations(parts, 2) if _share_labels(a, b)]
    return list(dict.fromkeys(_overlap_sentence(*pair) for pair in pairs))


def _overlap_sentence(a: str, b: str) -> str:
    if {a, b} == {"right", "left"}:
        return "The boxes of the right and the left side overlap; what lies in both is counted on both sides."
    return f"Two boxes ({a} and {b}) overlap; what lies in both is counted in both."


def _share_labels(a: LabelledBox, b: LabelledBox) -> bool:
    """Whether a voxel of the scan is labelled in both."""
    common = [slice(max(i.start, j.start), min(i.stop, j.stop)) for i, j in zip(a.slices, b.slices, strict=True)]
    if any(item.start >= item.stop for item in common):
        return False
    first, second = (
        part.labels[tuple(slice(item.start - own.start, item.stop - own.start) for item, own in zip(common, part.slices, strict=True))]
        for part in (a, b)
    )
    return bool(np.any((first > 0) & (second > 0)))


def measure_side(part: LabelledBox, scan: Volume) -> SideMeasurement:
    """Measurements of one box. The scan in LPS order, HU."""
    labels, hu = part.labels, scan.voxels[part.slices]
    if labels.shape != hu.shape:
        raise ValueError(f"labels of shape {labels.shape} do not fit the part of shape {hu.shape} of the scan")
    geometry = scan.geometry.cropped(part.slices)
    kidney = labels == KIDNEY
    mean_hu, sd_hu = _statistics(hu[kidney])
    on_scan, on_box = _touched_faces(labels > 0, part.slices, scan.geometry.shape_zyx)
    return SideMeasurement(
        side=part.box.side,
        kidney_ml=int(np.count_nonzero(kidney)) * geometry.voxel_ml,
        tumor_ml=int(np.count_nonzero(labels == TUMOR)) * geometry.voxel_ml,
        mean_hu=mean_hu,
        sd_hu=sd_hu,
        tumors=measure_tumors(labels == TUMOR, hu, geometry),
        touches_scan_border=on_scan,
        touches_box=on_box,
    )


def measure_tumors(mask: NDArray[np.bool_], hu: NDArray[Any], geometry: Geometry) -> tuple[TumorMeasurement, ...]:
    """Every connected part of the mask (z, y, x), largest first; `hu` and `geometry` are those of the mask's grid."""
    components, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    found = []
    for number, slices in enumerate(ndimage.find_objects(components), start=1):
        tumor = components[slices] == number
        border = any(item.start == 0 or item.stop == length for item, length in zip(slices, mask.shape, strict=True))
        found.append(_measure_tumor(tumor, hu[slices], geometry.cropped(slices), border))
    return tuple(sorted(found, key=lambda tumor: -tumor.volume_ml))


def _measure_tumor(mask: NDArray[np.bool_], hu: NDArray[Any], geometry: Geometry, border: bool) -> TumorMeasurement:
    values = hu[mask].astype(np.float64)
    return TumorMeasurement(
        volume_ml=len(values) * geometry.voxel_ml,
        longest_diameter_mm=longest_diameter(mask, geometry.spacing[::-1]),
        longest_axial_diameter_mm=max(longest_diameter(plane, geometry.spacing[1::-1]) for plane in mask),
        mean_hu=float(values.mean()),
        sd_hu=float(values.std()),
        center_lps_mm=as_vector(geometry.to_patient(np.argwhere(mask).mean(axis=0)[::-1])),
        touches_border=border,
    )


# --- diameters -------------------------------------------------------------------------------------------------------------------------------


def longest_diameter(mask: NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """The largest distance in mm between the centres of two pixels or voxels of a mask, 0 for less than two; spacing in the array's order."""
    points = np.argwhere(_without_inner_rows(mask)) * np.asarray(spacing)
    if len(points) < 2:
        return 0.0
    corners = _hull(points)
    return float(pdist(corners).max())


def _without_inner_rows(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without what lies between two neighbours of the mask along an axis: no such voxel is a corner of the convex hull."""
    kept = mask.copy()
    for axis in range(mask.ndim):
        along, result = np.moveaxis(mask, axis, 0), np.moveaxis(kept, axis, 0)
        result[1:-1] &= ~(along[:-2] & along[2:])
    return kept


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corners of the convex hull of two points or more; the two ends where all lie on a line, and of a flat set within its plane."""
    offsets = points - points[0]
    _, sizes, axes = np.linalg.svd(offsets, full_matrices=False)
    flat = offsets @ axes[: np.count_nonzero(sizes > 1e-9 * sizes[0])].T
    if flat.shape[1] == 1:
        return np.asarray(points[[flat[:, 0].argmin(), flat[:, 0].argmax()]])
    return np.asarray(points[ConvexHull(flat).vertices])


# --- borders, statistics, tables -------------------------------------------------------------------------------------------------------------


def _touched_faces(mask: NDArray[np.bool_], slices: Slices, shape: Sequence[int]) -> tuple[tuple[str, ...], bool]:
    """Names of the scan's faces that the mask (z, y, x) of this part of it reaches, and whether it reaches a face of the part inside the scan."""
    touched = [(name, end) for name, reached, end in _faces(mask, slices, shape) if reached]
    return tuple(name for name, of_scan in touched if of_scan), any(not of_scan for _, of_scan in touched)


def _faces(mask: NDArray[np.bool_], slices: Slices, shape: Sequence[int]) -> Iterator[tuple[str, bool, bool]]:
    """Of each of the six faces of a part: its name, whether the mask reaches it, whether it is a face of the scan."""
    for axis, (low, high) in enumerate(FACES):
        yield low, bool(mask.take(0, axis).any()), slices[axis].start == 0
        yield high, bool(mask.take(-1, axis).any()), slices[axis].stop == shape[axis]


def _statistics(values: NDArray[Any]) -> tuple[float | None, float | None]:
    """Mean and standard deviation, None without values."""
    if not values.size:
        return None, None
    exact = values.astype(np.float64)
    return float(exact.mean()), float(exact.std())


def _largest(values: Iterator[float]) -> float | None:
    return _rounded(max(values, default=None))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)


def _plain(tumor: TumorMeasurement) -> dict[str, Any]:
    values = asdict(tumor)
    center = [round(value, DECIMALS) for value in values.pop("center_lps_mm")]
    border = values.pop("touches_border")
    return {**{name: round(value, DECIMALS) for name, value in values.items()}, "center_lps_mm": center, "touches_border": border}
