"""The figures that a model card is made of, computed from the cases of evaluations; and the aims that they are held against.

All take cases as they stand in an evaluation's file (see `evaluation_files`), of which the weights that were measured had not been trained.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from Training.case_names import ANATOMY, IMPLANTED, REAL, SLAB
from Training.measuring.calibration import Reliability
from Training.measuring.evaluation_files import Case
from Training.measuring.lesion_detection import LARGE_MM

PATIENTS = 50
# Fewer real scans, or tumors in them, than this decide nothing.
ENOUGH = 10
# Kidneys below this many HU have no contrast medium in them: without it they have 20 to 45 HU, with it mostly more than 90.
UNENHANCED_HU = 70.0


@dataclass(frozen=True)
class Aim:
    """One figure and what it is to reach.

    Attributes:
        criterion: the letter of the criterion that it belongs to.
        figure: what it is, and of what.
        values: of the cases (or lesions) that it is taken over.
        statistic: how the values become one.
        target: to be reached.
        at_least: the target is a lower bound, else an upper one.
        digits: to be told.
        least_values: fewer do not decide.
        others: further statistics that are told beside it.
    """

    criterion: str
    figure: str
    values: Sequence[float]
    statistic: Callable[[Sequence[float]], float]
    target: float
    at_least: bool = True
    digits: int = 3
    least_values: int = 1
    others: tuple[tuple[str, Callable[[Sequence[float]], float]], ...] = ()

    @property
    def value(self) -> float | None:
        """What was measured; None when there is nothing that it could be measured on."""
        return self.statistic(self.values) if self.values else None

    @property
    def verdict(self) -> str:
        """Whether the target is reached, by the figure itself and not by its rounding."""
        if self.value is None:
            return "no case"
        if not (self.value >= self.target if self.at_least else self.value <= self.target):
            return "**not reached**"
        few = len(self.values) < self.least_values
        return f"reached, but on {len(self.values)} instead of {self.least_values}" if few else "reached"


def aims(cases: Sequence[Case]) -> list[Aim]:
    """The aims of the project, with what was measured on cases not trained on."""
    real, rendered, implanted = (of_origin(cases, origin) for origin in (REAL, ANATOMY, IMPLANTED))
    whole = [case for case in real if case["whole"]]
    kidneys, tumors = known(dices(rendered, "kidney")), known(dices(rendered, "tumor"))
    invented = [case["tumor_ml"] for case in real if shows_kidneys_without_tumor(case)]
    large = large_tumors(implanted)
    mean, median = statistics.fmean, statistics.median
    rest = (("median", median), ("lowest", min))
    return [
        Aim("a", "rendered label maps of unseen patients: mean kidney Dice", kidneys, mean, 0.95, least_values=PATIENTS, others=rest),
        Aim("a", "rendered label maps of unseen patients: mean tumor Dice", tumors, mean, 0.80, least_values=PATIENTS, others=rest),
        Aim("b", "real CT with whole kidneys: mean kidney Dice", known(dices(whole, "kidney")), mean, 0.93, least_values=ENOUGH, others=rest[:1]),
        Aim("b", "real CT with whole kidneys: lowest kidney Dice", known(dices(whole, "kidney")), min, 0.88, least_values=ENOUGH),
        Aim("c", "real CT of kidneys without tumor: median tumor volume invented (ml)", invented, median, 0.5, False, 2, ENOUGH, (("largest", max),)),
        Aim("d", "tumors implanted in unseen real CT: share found of those of 2 cm and more", large, mean, 0.85, least_values=ENOUGH),
        Aim(
            "d", "tumors implanted in unseen real CT: mean tumor Dice", known(dices(implanted, "tumor")), mean, 0.75, least_values=ENOUGH, others=rest
        ),
    ]


def large_tumors(cases: Iterable[Case]) -> list[float]:
    """1 for each tumor of 2 cm and more that was found, 0 for each that was not."""
    return [float(lesion["found"]) for case in cases for lesion in case["lesions"] if lesion["diameter_mm"] >= LARGE_MM]


def by_contrast(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """The cases that show kidneys, without and with contrast medium in them."""
    shown = [case for case in cases if case["kidney_hu"] is not None]
    return {
        "without contrast": [case for case in shown if case["kidney_hu"] < UNENHANCED_HU],
        "with contrast": [case for case in shown if case["kidney_hu"] >= UNENHANCED_HU],
    }


def of_origin(cases: Iterable[Case], origin: str) -> list[Case]:
    """The cases that were made so."""
    return [case for case in cases if case["origin"] == origin]


def dices(cases: Iterable[Case], region: str) -> list[float | None]:
    """The Dice of kidney or tumor in each case."""
    return [case[f"{region}_dice"] for case in cases]


def known(values: Iterable[float | None]) -> list[float]:
    """Those that are there."""
    return [value for value in values if value is not None]


def shows_kidneys_without_tumor(case: Case) -> bool:
    """Whether every tumor voxel found in a case is an invented one, in kidneys that were there to be found, and is known."""
    return case["kidney_dice"] is not None and not case["reference_tumor_ml"] and case["tumor_ml"] is not None


def accuracy_of(unseen: Sequence[Case], left_out: Sequence[Case]) -> dict[str, float]:
    """The figures that a bundle carries, each of cases that were not trained on; `left_out` were measured with other weights."""
    real, synthetic = of_origin(unseen, REAL), [case for case in unseen if case["origin"] not in (REAL, SLAB)]
    figures = {
        "real_kidney_dice": mean_of(dices(real, "kidney")),
        "real_tumor_dice": mean_of(dices(real, "tumor")),
        "real_invented_tumor_ml_median": median_of(case["tumor_ml"] for case in real if shows_kidneys_without_tumor(case)),
        "left_out_real_kidney_dice": mean_of(dices(of_origin(left_out, REAL), "kidney")),
        "real_slice_tumor_dice": mean_of(dices(of_origin(unseen, SLAB), "tumor")),
        "synthetic_kidney_dice": mean_of(dices(synthetic, "kidney")),
        "synthetic_tumor_dice": mean_of(dices(synthetic, "tumor")),
    }
    return {name: round(value, 4) for name, value in figures.items() if value is not None}


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of what is there."""
    there = known(values)
    return statistics.fmean(there) if there else None


def median_of(values: Iterable[float | None]) -> float | None:
    """The median of what is there."""
    there = known(values)
    return statistics.median(there) if there else None


def reliability_of(cases: Iterable[Case], region: str) -> Reliability:
    """The table of one network over several cases."""
    return sum((Reliability.from_dict(case["calibration"][region]) for case in cases if region in case["calibration"]), Reliability.none())
