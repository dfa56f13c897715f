"""Whole anatomies as labelled cases: a body of one label map, with its own kidneys or with those of another patient and their tumors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from Training.anatomy.anatomies import CYST, KIDNEY, TUMOR, KidneyMap, OrganMap
from Training.anatomy.anatomy_bodies import body_of, frame_of
from Training.anatomy.anatomy_kidneys import paint_kidneys, paint_sinuses
from Training.anatomy.anatomy_labels import Tissue
from Training.anatomy.anatomy_sides import between_kidneys, sides_of
from Training.anatomy.anatomy_tissue import painted, random_look, random_scanner, scanned
from Training.anatomy.anatomy_warp import Shape, random_warp, warped
from Training.cases import KIDNEY as CASE_KIDNEY
from Training.cases import TUMOR as CASE_TUMOR
from Training.cases import Case, as_hu

SPACING_MM = 1.5
WIDTH_MM, DEPTH_MM = (360.0, 450.0), (270.0, 360.0)
ABOVE_LIVER_MM, BELOW_KIDNEYS_MM = (-20.0, 60.0), (10.0, 170.0)
MIRRORED_PROBABILITY = 0.5
LabelArray = NDArray[np.uint8]


@dataclass(frozen=True)
class Wish:
    """What an anatomy is to show.

    Attributes:
        kidneys: "both", "one" (the other was removed), or "none".
        cut: whether the field of view may end within the kidneys.
    """

    kidneys: str = "both"
    cut: bool = False


def random_wish(rng: np.random.Generator) -> Wish:
    """Mostly both kidneys, whole."""
    return Wish(str(rng.choice(["both", "one", "none"], p=[0.86, 0.08, 0.06])), bool(rng.random() < 0.12))


def anatomy_case(
    name: str,
    organs: OrganMap,
    kidneys: KidneyMap | None,
    rng: np.random.Generator,
    wish: Wish | None = None,
    device: torch.device | None = None,
) -> Case:
    """A synthetic patient at 1.5 mm, drawn at random.

    Args:
        name: of the case.
        organs: the abdomen that the body is built around.
        kidneys: another patient's kidneys, tumors and cysts to put in place of the abdomen's own; None keeps those.
        rng: where all randomness comes from.
        wish: what it is to show; drawn at random by default.
        device: where large arrays are worked on; the CPU by default. Other devices draw other noise.
    """
    device = device or torch.device("cpu")
    wish = wish or random_wish(rng)
    tissues, frame_kidneys = placed_organs(organs, rng, device)
    frame = frame_of(frame_kidneys, SPACING_MM, rng)
    labels = frame_kidneys.astype(np.uint8) * KIDNEY
    if kidneys is not None:
        labels = placed_kidneys(kidneys, frame_kidneys, rng, device)
    labels = kept(labels, wish.kidneys, rng)
    tissues[tissues == Tissue.KIDNEY] = 0
    for value, tissue in ((KIDNEY, Tissue.KIDNEY), (TUMOR, Tissue.TUMOR), (CYST, Tissue.CYST)):
        tissues[labels == value] = tissue
    body = body_of(tissues, frame, rng)
    labels[(tissues == 0) & (labels > 0)] = 0
    paint_sinuses(body, labels, SPACING_MM, rng)
    return rendered(name, body, labels, rng, device, wish.cut)


def placed_organs(organs: OrganMap, rng: np.random.Generator, device: torch.device) -> tuple[LabelArray, NDArray[np.bool_]]:
    """The abdomen, deformed, on a grid of random extent; and its own kidneys in that grid."""
    own = np.argwhere(organs.tissues == Tissue.KIDNEY)
    upper = np.flatnonzero((organs.tissues == Tissue.LIVER).any(axis=(1, 2)))
    top = max(own[:, 0].max(), upper.max(initial=0)) * organs.spacing_mm + rng.uniform(*ABOVE_LIVER_MM)
    top = max(top, float(own[:, 0].max()) * organs.spacing_mm + 10.0)
    bottom = own[:, 0].min() * organs.spacing_mm - rng.uniform(*BELOW_KIDNEYS_MM)
    lengths = (1.05 * (top - bottom), rng.uniform(*DEPTH_MM), rng.uniform(*WIDTH_MM))
    shape: Shape = tuple(round(float(length) / SPACING_MM) for length in lengths)  # type: ignore[assignment]
    occupied = np.argwhere(organs.tissues[::3, ::3, ::3]) * 3.0
    middle = (occupied.min(axis=0) + occupied.max(axis=0)) / 2.0
    centre = np.array([(top + bottom) / 2.0 / organs.spacing_mm, middle[1], own[:, 2].mean()])
    warp = random_warp(rng, shape, SPACING_MM, bool(rng.random() < MIRRORED_PROBABILITY))
    target = np.array(shape) / 2.0 - 0.5
    tissues = warped(organs.tissues, organs.spacing_mm, centre, shape, SPACING_MM, target, warp, device)
    return tissues, tissues == Tissue.KIDNEY


def placed_kidneys(kidneys: KidneyMap, own: NDArray[np.bool_], rng: np.random.Generator, device: torch.device) -> LabelArray:
    """Another patient's kidneys where the own ones (z, y, x) lie: the point between both on the point between both."""
    size: Shape = (own.shape[0], own.shape[1], own.shape[2])
    warp = random_warp(rng, size, SPACING_MM, bool(rng.random() < MIRRORED_PROBABILITY), (0.92, 1.08))
    middle = between_kidneys(kidneys.labels == KIDNEY, kidneys.labels > 0, kidneys.spacing_mm)
    return warped(kidneys.labels, kidneys.spacing_mm, middle, size, SPACING_MM, between_kidneys(own, own, SPACING_MM), warp, device)


def kept(labels: LabelArray, kidneys: str, rng: np.random.Generator) -> LabelArray:
    """The kidneys that are wished for."""
    if kidneys == "none":
        return np.zeros_like(labels)
    sides = sides_of(labels > 0, SPACING_MM, None)
    if kidneys == "one" and len(sides) == 2:
        return np.where(sides[str(rng.choice(["right", "left"]))], labels, 0).astype(np.uint8)
    return labels


def rendered(name: str, body: LabelArray, kidneys: LabelArray, rng: np.random.Generator, device: torch.device, cut: bool) -> Case:
    """The case of a body whose tissues are known."""
    look, scanner = random_look(rng), random_scanner(rng)
    noise = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    hu = painted(body, look, SPACING_MM, noise, device).cpu().numpy()
    paint_kidneys(hu, kidneys, SPACING_MM, look, rng)
    scan = scanned(torch.from_numpy(hu).to(device), scanner, SPACING_MM, noise).cpu().numpy()
    scan = scan[: hu.shape[0]] if len(scan) >= len(hu) else np.concatenate([scan, scan[-1:].repeat(len(hu) - len(scan), axis=0)])
    labels = np.where(kidneys == TUMOR, CASE_TUMOR, np.where(kidneys > 0, CASE_KIDNEY, 0)).astype(np.uint8)
    case = Case(name, as_hu(scan), labels, SPACING_MM)
    return cut_through(case, rng) if cut and labels.any() else case


def cut_through(case: Case, rng: np.random.Generator) -> Case:
    """The part of a case that ends within its kidneys, above or below."""
    slices = np.flatnonzero(case.labels.any(axis=(1, 2)))
    at = int(slices[0] + rng.uniform(0.2, 0.8) * (slices[-1] - slices[0]))
    everything = slice(None)
    return case.cropped((slice(0, at) if rng.random() < 0.5 else slice(at, None), everything, everything))
