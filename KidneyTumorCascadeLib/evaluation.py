"""How good a segmentation is: the scores of the KiTS challenges, for one case or a folder of them.

- Dice as in KiTS19 (`starter_code/evaluation.py` of neheller/kits19): kidney means kidney and tumor together, tumor means tumor, and a
  case's score is the mean of the two. KiTS23's cysts (label 3) belong to the kidney.
- Surface Dice with the tolerances of KiTS23 (`kits23/configuration/labels.py` of neheller/kits23), and HD95 on the same surfaces.
- What is in neither label map scores 1, what is in one alone scores 0, both for Dice and surface Dice: `compute_metrics_for_label` in
  `kits23/evaluation/metrics.py`. KiTS19's code divides by zero there; all of its cases have both kidney and tumor. KiTS defines no HD95:
  here it is absent in the first case and infinite in the second.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.case_files import pairs_of
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Geometry, Slices, as_matrix, describe_mm, describe_size
from KidneyTumorCascadeLib.report import aligned
from KidneyTumorCascadeLib.surface_distance import surface_distances
from KidneyTumorCascadeLib.volume import Volume, read_label_map

TUMOR, CYST = 2, 3
KIDNEY_TOLERANCE_MM = 1.0330772532390826
TUMOR_TOLERANCE_MM = 1.1498198361434828


@dataclass(frozen=True)
class RegionScores:
    """Scores of kidney (with tumor) or of tumor; None where there is nothing to compare with.

    Attributes:
        dice: 0 to 1.
        surface_dice: share of the two surfaces that lies within the tolerance of the other, 0 to 1.
        hd95_mm: 95 % of either surface is within this distance of the other; infinite when only one label map has the region, None when none has.
        prediction_ml: the region's volume in the prediction.
        reference_ml: the region's volume in the reference.
    """

    dice: float | None
    surface_dice: float | None
    hd95_mm: float | None
    prediction_ml: float
    reference_ml: float | None


@dataclass(frozen=True)
class Scores:
    """One case. `tumor` has the predicted volume only when the reference says nothing about tumors."""

    kidney: RegionScores
    tumor: RegionScores

    @property
    def mean_dice(self) -> float | None:
        """KiTS19's score: the mean of kidney and tumor Dice."""
        if self.kidney.dice is None or self.tumor.dice is None:
            return None
        return (self.kidney.dice + self.tumor.dice) / 2.0


@dataclass(frozen=True)
class CaseScores:
    """The scores of a case with its name."""

    name: str
    scores: Scores


def evaluate_paths(
    prediction: str | Path, reference: str | Path, kidney_only: bool = False, on_case: Callable[[int, int, str], None] | None = None
) -> list[CaseScores]:
    """Scores of two label maps, or of all predictions in a folder against the references in another (`case_files.pairs_of`).

    Args:
        prediction: a file, or a folder of `prediction_00210.nii.gz` (KiTS19) or files of any other name.
        reference: a file, or a folder of `case_00210/segmentation.nii.gz` (KiTS19) or of files named as the predictions.
        kidney_only: the reference knows no tumors; all its labels are kidney (right and left, for instance).
        on_case: called with the number of cases done, of all cases, and the name of the next one.

    Raises:
        InputError: a file cannot be read, is no label map of kidney and tumor, or lies on another grid than its partner; nothing pairs up.
    """
    pairs = pairs_of(prediction, reference)
    rows = []
    for done, (name, predicted, expected) in enumerate(pairs):
        if on_case:
            on_case(done, len(pairs), name)
        scores = compare_label_maps(read_label_map(predicted), read_label_map(expected), kidney_only, names=(str(predicted), str(expected)))
        rows.append(CaseScores(name, scores))
    return rows


def compare_label_maps(
    prediction: Volume,
    reference: Volume,
    kidney_only: bool = False,
    kidney_tolerance_mm: float = KIDNEY_TOLERANCE_MM,
    tumor_tolerance_mm: float = TUMOR_TOLERANCE_MM,
    names: tuple[str, str] = ("the prediction", "the reference"),
) -> Scores:
    """Scores of a prediction whose axes may come in another order than the reference's.

    Labels are 0 background, 1 kidney, 2 tumor, 3 cyst.

    Args:
        prediction: label map.
        reference: label map of the same grid.
        kidney_only: the reference knows no tumors; any label is kidney, of the prediction too (its label 2 is still reported as predicted tumor).
        kidney_tolerance_mm: of kidney's surface Dice.
        tumor_tolerance_mm: of tumor's surface Dice.
        names: what messages call the two.

    Raises:
        InputError: the two lie on different grids, or a label is neither of the four.
    """
    prediction = _on_grid_of(reference.geometry, prediction, names)
    if not kidney_only:
        _check_labels(prediction, names[0])
        _check_labels(reference, names[1])
    part = _part_with_labels(prediction.voxels, reference.voxels)
    predicted, expected = prediction.voxels[part], reference.voxels[part]
    kidney = _compare_masks(predicted > 0, expected > 0, reference.geometry, kidney_tolerance_mm)
    if kidney_only:
        tumor_ml = int(np.count_nonzero(predicted == TUMOR)) * reference.geometry.voxel_ml
        return Scores(kidney, RegionScores(None, None, None, tumor_ml, None))
    return Scores(kidney, _compare_masks(predicted == TUMOR, expected == TUMOR, reference.geometry, tumor_tolerance_mm))


def _compare_masks(prediction: NDArray[np.bool_], reference: NDArray[np.bool_], geometry: Geometry, tolerance_mm: float) -> RegionScores:
    """Scores of two masks (z, y, x) of a grid with this geometry's spacing."""
    predicted, expected = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    volumes = predicted * geometry.voxel_ml, expected * geometry.voxel_ml
    if not predicted and not expected:
        return RegionScores(1.0, 1.0, None, *volumes)
    if not predicted or not expected:
        return RegionScores(0.0, 0.0, float("inf"), *volumes)
    dice = 2.0 * int(np.count_nonzero(prediction & reference)) / (predicted + expected)
    part = _part_with_labels(prediction, reference)
    distances = surface_distances(prediction[part], reference[part], geometry.spacing[::-1])
    return RegionScores(dice, distances.surface_dice(tolerance_mm), distances.robust_hausdorff(95.0), *volumes)


def _part_with_labels(prediction: NDArray[Any], reference: NDArray[Any]) -> Slices:
    """The smallest box (z, y, x) with all labels of both; a single voxel when there are none."""
    z, y, x = (_extent(prediction, reference, axis) for axis in range(3))
    return z, y, x


def _extent(prediction: NDArray[Any], reference: NDArray[Any], axis: int) -> slice:
    others = tuple({0, 1, 2} - {axis})
    where = np.flatnonzero(np.any(prediction, axis=others) | np.any(reference, axis=others))
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 1)


def _check_labels(volume: Volume, name: str) -> None:
    largest = volume.voxels.max()
    if largest > CYST:
        raise InputError(
            f"{name} has the label {largest:g}, but labels are 1 kidney, 2 tumor, 3 cyst; for a reference whose labels are all kidney, "
            "evaluate the kidney only."
        )


# --- geometry --------------------------------------------------------------------------------------------------------------------------------


def _on_grid_of(geometry: Geometry, volume: Volume, names: tuple[str, str]) -> Volume:
    """The volume with its axes reordered to those of the geometry; nothing is interpolated. Raises InputError when the grids differ."""
    turned = replace(volume.geometry, direction=as_matrix(geometry.axes.T @ volume.geometry.axes))
    # Seen from the reference's axes, the order closest to theirs is what LPS order is seen from the patient.
    order = turned.lps_order()
    moved = Volume(order.apply(volume.voxels), volume.geometry.reordered(order))
    # Headers round: a tenth of a voxel changes no label.
    if not moved.geometry.matches(geometry, tolerance_mm=0.1 * min(geometry.spacing)):
        raise InputError(
            f"{names[0]} and {names[1]} do not lie on the same grid ({_difference(moved.geometry, geometry)}); compare label maps of the same scan."
        )
    return moved


def _difference(a: Geometry, b: Geometry) -> str:
    """In what two grids with the same order of axes differ first."""
    if a.size != b.size:
        return f"{describe_size(a.size)} against {describe_size(b.size)} voxels"
    if not np.allclose(a.spacing, b.spacing, rtol=1e-3):
        return f"voxels of {describe_mm(a.spacing)} against {describe_mm(b.spacing)}"
    if not np.allclose(a.direction, b.direction, atol=1e-3):
        return "their axes point in different directions"
    return f"their origins are {np.linalg.norm(np.subtract(a.origin, b.origin)):.3g} mm apart"


# --- tables ----------------------------------------------------------------------------------------------------------------------------------

# Key, title in two lines, decimals. NSD: normalized surface Dice.
COLUMNS = (
    ("kidney_dice", "kidney", "Dice", 3),
    ("tumor_dice", "tumor", "Dice", 3),
    ("mean_dice", "mean", "Dice", 3),
    ("kidney_surface_dice", "kidney", "NSD", 3),
    ("tumor_surface_dice", "tumor", "NSD", 3),
    ("kidney_hd95_mm", "kidney", "HD95 mm", 2),
    ("tumor_hd95_mm", "tumor", "HD95 mm", 2),
    ("kidney_ml", "kidney", "ml", 1),
    ("kidney_reference_ml", "kidney", "ref. ml", 1),
    ("tumor_ml", "tumor", "ml", 1),
    ("tumor_reference_ml", "tumor", "ref. ml", 1),
)
HD95_NOTE = "The mean HD95 leaves out cases with the structure in only one of the two label maps (inf)."


def score_values(scores: Scores) -> dict[str, float | None]:
    """The scores by column of the table and the CSV. NSD is the normalized surface Dice; kidney includes the tumor."""
    kidney, tumor = scores.kidney, scores.tumor
    return {
        "kidney_dice": kidney.dice,
        "tumor_dice": tumor.dice,
        "mean_dice": scores.mean_dice,
        "kidney_surface_dice": kidney.surface_dice,
        "tumor_surface_dice": tumor.surface_dice,
        "kidney_hd95_mm": kidney.hd95_mm,
        "tumor_hd95_mm": tumor.hd95_mm,
        "kidney_ml": kidney.prediction_ml,
        "kidney_reference_ml": kidney.reference_ml,
        "tumor_ml": tumor.prediction_ml,
        "tumor_reference_ml": tumor.reference_ml,
    }


def mean_values(rows: Sequence[CaseScores]) -> dict[str, float | None]:
    """Each column's mean over the cases that have a finite value there; None where no case has one."""
    values = [score_values(row.scores) for row in rows]
    return {key: _mean(value[key] for value in values) for key, *_ in COLUMNS}


def scores_table(rows: Sequence[CaseScores]) -> str:
    """The scores for a terminal, one line a case and the mean below, without a final line end.

    A dash stands for what cannot be compared; a column of dashes is left out.
    """
    values = [(row.name, score_values(row.scores)) for row in rows]
    columns = [column for column in COLUMNS if any(value[column[0]] is not None for _, value in values)]
    lines = [["", *(first for _, first, _, _ in columns)], ["case", *(second for _, _, second, _ in columns)]]
    for name, value in [*values, ("mean", mean_values(rows))]:
        lines.append([name, *(_cell(value[key], decimals) for key, _, _, decimals in columns)])
    infinite = any(number == math.inf for _, value in values for number in value.values())
    return aligned(lines) + (f"\n{HD95_NOTE}" if infinite else "")


def scores_csv(rows: Sequence[CaseScores]) -> str:
    """The scores as CSV text, one line a case; no mean, so that the file can be computed with as it is."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", *(key for key, *_ in COLUMNS)])
    for row in rows:
        writer.writerow([row.name, *("" if value is None else f"{value:.6g}" for value in score_values(row.scores).values())])
    return text.getvalue()


def _cell(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _mean(values: Iterable[float | None]) -> float | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None
