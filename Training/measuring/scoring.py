"""Segment one scan with the library's own cascade, and put down in numbers how right the result is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from KidneyTumorCascadeLib.cascade import Cascade, Segmentation
from KidneyTumorCascadeLib.evaluation import RegionScores, compare_label_maps
from KidneyTumorCascadeLib.volume import Volume
from Training.cases import KIDNEY, TUMOR
from Training.measuring.calibration import REGIONS, reliability_in_boxes
from Training.measuring.lesion_detection import Detection, Lesion, detect
from Training.measuring.trials import Trial, touches_border


@dataclass(frozen=True)
class Row:
    """How right one trial came out.

    Attributes:
        origin: how the scan was made, one of those in `case_names`.
        whole: the scan shows its kidneys whole: as its source says, else that the reference touches no face of the scan; None without kidneys.
        kidney_hu: the median of the reference's kidney without tumor, which tells whether there is contrast medium in it; None without any.
        kidney_dice: of kidney and tumor together, as in KiTS19; None where the reference has none, or not all of it.
        tumor_dice: None where the reference has none, or marks no tumors.
        mean_dice: KiTS19's score, the mean of the two; None where one of them is.
        kidney_hd95_mm: infinite when nothing was found.
        tumor_hd95_mm: the same of tumors.
        kidney_ml: found, without tumor.
        reference_kidney_ml: there, without tumor; None without a reference.
        tumor_ml: found.
        reference_tumor_ml: there; None when the reference marks no tumors.
        lesions: the reference's tumors, one by one.
        false_tumors: tumors found where there is none.
        calibration: reliability tables by region.
    """

    name: str
    origin: str
    trained_on: bool
    whole: bool | None
    kidney_hu: float | None
    kidney_dice: float | None
    tumor_dice: float | None
    mean_dice: float | None
    kidney_hd95_mm: float | None
    tumor_hd95_mm: float | None
    kidney_ml: float
    reference_kidney_ml: float | None
    tumor_ml: float
    reference_tumor_ml: float | None
    lesions: list[Lesion]
    false_tumors: int
    seconds: float
    warnings: list[str]
    calibration: dict[str, Any] = field(default_factory=dict)


def segment_and_score(trial: Trial, cascade: Cascade) -> tuple[Row, Volume]:
    """Segment one scan and compare; also returns the label map that was found, on the scan's grid."""
    started = time.monotonic()
    result = cascade.segment(trial.scan, trial.boxes)
    return score(trial, result, cascade, time.monotonic() - started), result.labels


def score(trial: Trial, result: Segmentation, cascade: Cascade, seconds: float) -> Row:
    """Compare what was found with what is there."""
    kidney, tumor = scores_where_there_is_something(result.labels, trial)
    detection = detection_of(result.labels, trial)
    dices = (kidney.dice if kidney else None, tumor.dice if tumor else None)
    return Row(
        name=trial.name,
        origin=trial.origin,
        trained_on=trial.trained_on,
        whole=shows_kidneys_whole(trial),
        kidney_hu=kidney_hu_of(trial),
        kidney_dice=dices[0],
        tumor_dice=dices[1],
        mean_dice=None if dices[0] is None or dices[1] is None else (dices[0] + dices[1]) / 2.0,
        kidney_hd95_mm=kidney.hd95_mm if kidney else None,
        tumor_hd95_mm=tumor.hd95_mm if tumor else None,
        kidney_ml=ml_of(result.labels, KIDNEY),
        reference_kidney_ml=ml_of(trial.labels, KIDNEY) if trial.labels and trial.has_kidneys else None,
        tumor_ml=ml_of(result.labels, TUMOR),
        reference_tumor_ml=ml_of(trial.labels, TUMOR) if trial.labels and trial.has_tumors else None,
        lesions=detection.lesions,
        false_tumors=detection.false_tumors,
        seconds=seconds,
        warnings=result.warnings,
        calibration=calibration_of(trial, result, cascade),
    )


def scores_where_there_is_something(labels: Volume, trial: Trial) -> tuple[RegionScores | None, RegionScores | None]:
    """The scores of kidney and tumor, None for what the reference has none of: there is nothing to be right about."""
    if trial.labels is None:
        return None, None
    scores = compare_label_maps(labels, trial.labels, kidney_only=not trial.has_tumors)
    there = scores.kidney.reference_ml and trial.has_kidneys
    return scores.kidney if there else None, scores.tumor if scores.tumor.reference_ml else None


def detection_of(labels: Volume, trial: Trial) -> Detection:
    """Lesion by lesion; where the reference marks no tumors, all that are found are false."""
    found, there = labels.in_lps_order().voxels == TUMOR, reference_of(trial).voxels == TUMOR
    hu = trial.scan.in_lps_order().voxels
    return detect(found, there if trial.has_tumors else np.zeros_like(found), labels.geometry.voxel_ml, hu, kidney_hu_of(trial))


def calibration_of(trial: Trial, result: Segmentation, cascade: Cascade) -> dict[str, Any]:
    """The reliability tables, of kidney alone where the reference marks no tumors; none where it has not all kidney, which bounds the tumors."""
    if not trial.has_kidneys:
        return {}
    regions = REGIONS if trial.has_tumors else REGIONS[:1]
    tables = reliability_in_boxes(result.boxes, reference_of(trial), cascade.bundle, cascade.tumor_support, regions)
    return {region: table.to_dict() for region, table in tables.items()}


def reference_of(trial: Trial) -> Volume:
    """The reference in LPS order, on the scan's own grid (headers round); empty where there is nothing to find."""
    scan = trial.scan.in_lps_order()
    voxels = np.zeros(scan.voxels.shape, np.uint8) if trial.labels is None else trial.labels.in_lps_order().voxels
    return Volume(voxels, scan.geometry)


def shows_kidneys_whole(trial: Trial) -> bool | None:
    """What the source says; without that, whether the reference stays clear of the scan's faces. None without kidneys."""
    if trial.whole is not None or trial.labels is None or not trial.labels.voxels.any():
        return trial.whole
    return not touches_border(trial.labels)


def kidney_hu_of(trial: Trial) -> float | None:
    """The median HU of what the reference calls kidney and not tumor; None where there is none."""
    kidney = trial.scan.in_lps_order().voxels[reference_of(trial).voxels == KIDNEY]
    return float(np.median(kidney)) if kidney.size else None


def ml_of(labels: Volume, label: int) -> float:
    """Volume of a label."""
    return float(np.count_nonzero(labels.voxels == label)) * labels.geometry.voxel_ml
