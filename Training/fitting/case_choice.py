"""How often training draws a case: faint tumors never, small or large ones more often, as the stage asks. Validation draws all alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from Training.cases import KIDNEY, TUMOR, Case


@dataclass(frozen=True)
class CaseChoice:
    """What makes a case be drawn more or less often. Raises ValueError, from the constructor, for impossible numbers.

    Attributes:
        least_contrast_hu: cases whose tumors differ less than this from the kidney (medians) are not drawn: nobody could learn to see them.
        faint_tumor_ml: tumors of this or more are drawn however faint they are, as they bulge; null: none are.
        small_tumor_ml: tumors of less than this are small.
        small_tumor_weight: how many times as often as others cases with small tumors are drawn.
        large_tumor_ml: tumors of this or more are large; null: none are.
        large_tumor_weight: how many times as often as others cases with large tumors are drawn.
    """

    least_contrast_hu: float = 0.0
    faint_tumor_ml: float | None = None
    small_tumor_ml: float = 0.0
    small_tumor_weight: float = 1.0
    large_tumor_ml: float | None = None
    large_tumor_weight: float = 1.0

    def __post_init__(self) -> None:
        if min(self.least_contrast_hu, self.faint_tumor_ml or 0.0, self.small_tumor_ml, self.large_tumor_ml or 0.0) < 0:
            raise ValueError(f"least_contrast_hu and the volumes of tumors are 0 or more, unlike {self}")
        if self.large_tumor_ml is not None and self.large_tumor_ml < self.small_tumor_ml:
            raise ValueError(f"large_tumor_ml is not less than small_tumor_ml, unlike {self}")
        if min(self.small_tumor_weight, self.large_tumor_weight) <= 0:
            raise ValueError(f"small_tumor_weight and large_tumor_weight are above 0, unlike {self}")

    def weight(self, case: Case) -> float:
        """How often a case is drawn, 1 being usual."""
        tumor = case.labels == TUMOR
        if not tumor.any():
            return 1.0
        volume_ml = np.count_nonzero(tumor) * case.spacing_mm**3 / 1000.0
        bulges = self.faint_tumor_ml is not None and volume_ml >= self.faint_tumor_ml
        if not bulges and tumor_contrast_hu(case) < self.least_contrast_hu:
            return 0.0
        if self.large_tumor_ml is not None and volume_ml >= self.large_tumor_ml:
            return self.large_tumor_weight
        return self.small_tumor_weight if volume_ml < self.small_tumor_ml else 1.0


def tumor_contrast_hu(case: Case) -> float:
    """Between the medians of tumor and kidney; infinite where one of them is missing, as nothing is then known to be faint."""
    tumor, kidney = case.hu[case.labels == TUMOR], case.hu[case.labels == KIDNEY]
    if not tumor.size or not kidney.size:
        return float("inf")
    return abs(float(np.median(tumor)) - float(np.median(kidney)))
