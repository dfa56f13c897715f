"""What the panel says: stages, remaining time, and how a run ended."""

from __future__ import annotations

import time

from slicer.i18n import tr as _

from KidneyTumorCascadeLib.errors import Cancelled
from KidneyTumorCascadeLib.worker_messages import FINDING, MERGING, PREPARING, Found, Segmented, Step
from KidneyTumorCascadeScene.workflow import Run


def stageName(stage: str) -> str:
    """A stage of the worker in words."""
    names = {
        PREPARING: _("Preparing"),
        FINDING: _("Finding kidneys"),
        "right kidney": _("Right kidney"),
        "left kidney": _("Left kidney"),
        "both kidneys": _("Both kidneys"),
        MERGING: _("Merging"),
    }
    return names.get(stage, stage)


def progressText(step: Step) -> str:
    """Stage, percent and remaining time, for a progress bar. Qt takes a percent sign followed by a space as it stands."""
    text = f"{stageName(step.stage)} – {percent(step)} %"
    return text if step.seconds_left is None else f"{text} – {remaining(step.seconds_left)}"


def percent(step: Step) -> int:
    """How far it is."""
    return int(100 * step.fraction)


def remaining(seconds: float) -> str:
    """A remaining time, no more precise than it can be."""
    if seconds < 2:
        return _("almost done")
    if seconds < 50:
        return _("about {n} s left").format(n=max(5, 5 * round(seconds / 5)))
    return _("about {n} min left").format(n=max(1, round(seconds / 60)))


def duration(seconds: float) -> str:
    """How long something took."""
    whole = max(1, round(seconds))
    return _("{n} s").format(n=whole) if whole < 60 else _("{m} min {n} s").format(m=whole // 60, n=whole % 60)


def outcome(run: Run) -> str:
    """How a run ended."""
    if isinstance(run.error, Cancelled):
        return _("Cancelled. Nothing was changed.")
    if run.error is not None:
        return str(run.error)
    if isinstance(run.result, Found):
        return _("Found {n} kidneys. Correct the boxes if need be, then click Segment.").format(n=len(run.result.boxes))
    if isinstance(run.result, Segmented):
        return _("Done in {time}.").format(time=duration(time.monotonic() - run.startedAt)) + " " + summary(run.result)
    return ""


def summary(result: Segmented) -> str:
    """What was found, in one sentence, with the numbers of the table."""
    names = {"right": _("right kidney"), "left": _("left kidney"), "both": _("both kidneys")}
    sides = [f"{names[part.box.side]} {part.measurement['kidney_ml']:.0f} ml" for part in result.parts]
    tumors = sum(part.measurement["tumors"] for part in result.parts)
    counted = {0: _("no tumor"), 1: _("1 tumor of {ml} ml")}.get(tumors, _("{n} tumors of {ml} ml together"))
    milliliters = sum(part.measurement["tumor_ml"] for part in result.parts)
    text = ", ".join([*sides, counted.format(n=tumors, ml=f"{milliliters:.0f}")])
    return f"{text[:1].upper()}{text[1:]}."
