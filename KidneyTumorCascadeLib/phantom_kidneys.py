"""Kidneys of a phantom with cortex, pyramids, sinus and collecting system; their tumors and cysts. LPS mm."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.geometry import Slices, Vector, as_vector
from KidneyTumorCascadeLib.phantom_anatomy import FAT
from KidneyTumorCascadeLib.phantom_shapes import Blob, Organ, Tube, tubes
from KidneyTumorCascadeLib.phantom_texture import Canvas, Coordinates, Field, Floats, Mask, generator

TUMOR_KINDS = ("clear_cell", "papillary", "chromophobe", "cystic", "angiomyolipoma", "oncocytoma")
TUMOR_SHARES = (0.45, 0.17, 0.11, 0.1, 0.09, 0.08)
# HU ranges of the solid part of a tumor: arterial, portal, no contrast.
TUMOR_HU: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "clear_cell": ((110, 180), (85, 130), (28, 42)),
    "papillary": ((42, 68), (50, 78), (28, 42)),
    "chromophobe": ((72, 110), (78, 105), (30, 44)),
    "cystic": ((70, 120), (70, 110), (28, 40)),
    "angiomyolipoma": ((40, 100), (40, 90), (20, 40)),
    "oncocytoma": ((115, 165), (95, 130), (30, 42)),
}
SMALLEST_TUMOR, LARGEST_TUMOR = 10.0, 80.0


@dataclass(frozen=True)
class Kidney:
    """One kidney, a bean.

    Attributes:
        side: the patient's side.
        center: LPS mm.
        semi: half length, half width (towards the hilum), half thickness, mm.
        axes: 3 x 3, columns: towards the upper pole, towards the hilum, and across.
        bend: mm that the poles bend towards the hilum.
        bumps: fields that make the surface irregular, and their amplitude in mm.
        pyramids: (n, 3) unit vectors in the kidney's own axes.
        sinus: half axes of the sinus, relative to `semi`.
    """

    side: str
    center: Vector
    semi: Vector
    axes: NDArray[np.float64]
    bend: float
    bumps: tuple[Field, Field, Field]
    bump: float
    pyramids: NDArray[np.float64]
    sinus: Vector
    cortex: float

    @classmethod
    def random(cls, seed: int, side: str) -> Kidney:
        """This patient's kidney of that side."""
        rng = generator(seed, f"kidney {side}")
        sign = -1.0 if side == "right" else 1.0
        length = float(np.clip(rng.normal(112, 9), 95, 130))
        semi = (length / 2, float(rng.uniform(28, 34)), float(rng.uniform(23, 28)))
        height = float(rng.normal(-8 if side == "right" else 8, 6))
        center = (sign * float(rng.uniform(68, 78)), float(rng.uniform(33, 41)), height)
        fields = (Field.random(rng, 20.0), Field.random(rng, 20.0), Field.random(rng, 20.0))
        sinus = (float(rng.uniform(0.46, 0.58)), float(rng.uniform(0.55, 0.68)), float(rng.uniform(0.36, 0.46)))
        return cls(
            side, center, semi, _kidney_axes(rng, sign), float(rng.uniform(6, 12)), fields, 1.3, _pyramids(rng), sinus, float(rng.uniform(5.5, 8))
        )

    @property
    def low(self) -> Vector:
        """Corner of a box that holds it and the fat around it."""
        return as_vector(np.array(self.center) - self.semi[0] - 20)

    @property
    def high(self) -> Vector:
        """The other corner."""
        return as_vector(np.array(self.center) + self.semi[0] + 20)

    def to_patient(self, own: Sequence[float] | NDArray[np.float64]) -> Vector:
        """LPS mm of a point in the kidney's axes."""
        return as_vector(self.axes @ np.asarray(own) + np.array(self.center))

    def own(self, canvas: Canvas, window: Slices) -> Coordinates:
        """Coordinates in the kidney's axes, straightened and with the bumps of its surface."""
        grid = (canvas.z[window[0]], canvas.y[window[1]], canvas.x[window[2]])
        offset = [
            part - np.float32(middle) + np.float32(self.bump) * field.sample(*grid)
            for part, middle, field in zip(canvas.coordinates(window), self.center, self.bumps, strict=True)
        ]
        along, hilum, across = (row[0] * offset[0] + row[1] * offset[1] + row[2] * offset[2] for row in self.axes.T.astype(np.float32))
        return along, hilum - np.float32(self.bend) * ((along / np.float32(self.semi[0])) ** 2 - 0.35), across

    def hull(self, own: Coordinates) -> Floats:
        """About the distance from the surface in mm, negative inside."""
        u, h, t = (part / np.float32(length) for part, length in zip(own, self.semi, strict=True))
        radius = np.sqrt(np.abs(u) ** np.float32(2.3) + h * h + t * t)
        return np.asarray((radius - 1) * np.float32(self.semi[2]))

    def paint_fat(self, canvas: Canvas) -> None:
        """The fat around the kidney, before muscles and vessels are painted."""
        window = canvas.window(self.low, self.high)
        if window is not None:
            near = self.hull(self.own(canvas, window)) < 7
            canvas.fill(window, near & canvas.cavity[window], FAT - 4, 6.0)

    def paint(self, canvas: Canvas, hu: dict[str, float]) -> None:
        """The kidney and its label: parenchyma, and in the sinus all that is not fat."""
        window = canvas.window(self.low, self.high)
        if window is None:
            return
        own = self.own(canvas, window)
        level = self.hull(own)
        free = ~canvas.firm[window]
        inside = (level < 0) & free
        sinus, pyramid, calyces = self._inner(own)
        sinus &= free
        canvas.fill(window, inside, hu["cortex"], 5.0)
        canvas.fill(window, inside & pyramid & (level < -self.cortex), hu["medulla"], 5.0)
        canvas.label(window, inside, 1)
        canvas.fill(window, sinus & (level < 2), FAT + 8, 12.0)
        canvas.label(window, sinus, 0)
        urine = sinus & calyces
        canvas.fill(window, urine & (level < 6), hu["urine"], 1.0)
        canvas.label(window, urine & inside, 1)
        self._paint_branches(canvas, window, hu, sinus & ~urine, inside)

    def _paint_branches(self, canvas: Canvas, window: Slices, hu: dict[str, float], sinus: Mask, outline: Mask) -> None:
        """Branches of the renal artery and vein through the fat of the sinus; inside the kidney's outline they count as kidney, as in KiTS19."""
        a, b, _ = self.semi
        at = canvas.coordinates(window)
        for part, across in itertools.product((-0.5, -0.2, 0.2, 0.5), (-7.0, 7.0)):
            vessel = Tube(self.to_patient((0, 0.85 * b, 3)), self.to_patient((part * a, 0.15 * b, across)), 3.2, 2.2)
            branch = sinus & (vessel.level(at) < 0)
            canvas.fill(window, branch, hu["renal vein"] if across > 0 else hu["aorta"], 2.0)
            canvas.label(window, branch & outline, 1)

    def _inner(self, own: Coordinates) -> tuple[Mask, Mask, Mask]:
        """Masks of the sinus, the pyramids, and the calyces with the pelvis."""
        u, h, t = own
        a, b, c = (share * length for share, length in zip(self.sinus, self.semi, strict=True))
        deep = h - np.float32(0.62 * self.semi[1])
        sinus = (u / a) ** 2 + (deep / b) ** 2 + (t / c) ** 2 < 1
        norm = np.sqrt(u * u + deep * deep + t * t) + np.float32(1e-3)
        nearest = np.full(u.shape, -1.0, np.float32)
        for x, y, z in self.pyramids.astype(np.float32):
            np.maximum(nearest, (x * u + y * deep + z * t) / norm, out=nearest)
        pelvis = (u / (0.45 * a)) ** 2 + ((deep - 4) / (0.6 * b)) ** 2 + (t / (0.5 * c)) ** 2 < 1
        calyces = nearest > np.cos(np.arctan2(3.2, np.maximum(norm, 4)))
        return sinus, nearest > np.float32(0.966), pelvis | (calyces & (h < 0.62 * self.semi[1] + 3))

    def vessels(self, hu: dict[str, float]) -> list[Organ]:
        """Renal artery and vein to the hilum."""
        sign = -1.0 if self.side == "right" else 1.0
        hilum = self.to_patient((0.0, 0.8 * self.semi[1], 0.0))
        root: Vector = (6 + 8 * sign, 16, self.center[2] + 12)
        vein_root: Vector = (-22, 8, self.center[2] + 12) if sign < 0 else (-16, -2, self.center[2] + 14)
        artery = [Organ(piece, hu["aorta"], 2.0, "cavity") for piece in tubes([root, hilum], [3.2, 2.6])]
        middle: list[Vector] = [vein_root] if sign < 0 else [vein_root, (14, -8, self.center[2] + 13), (32, 8, self.center[2] + 8)]
        above: Vector = (hilum[0], hilum[1] - 6, hilum[2] + 3)
        vein = [Organ(piece, hu["renal vein"], 2.0, "cavity") for piece in tubes([*middle, above], [5.5, 5.0, 5.0, 4.5])]
        return vein + artery


@dataclass(frozen=True)
class Lesion:
    """A tumor or a cyst.

    Attributes:
        kind: one of TUMOR_KINDS, or "cyst".
        side: the kidney it grows on.
        shape: its ellipsoid before it is made irregular.
        hu: of its solid part, of a cyst's fluid.
        bumps: fields of its surface (first) and of its tissue (second).
    """

    kind: str
    side: str
    shape: Blob
    hu: float
    bumps: tuple[Field, Field]

    @property
    def diameter(self) -> float:
        """Mean diameter, mm."""
        a, b, c = self.shape.semi
        return float(2.0 * (a * b * c) ** (1 / 3))

    def paint(self, canvas: Canvas) -> None:
        """Paint it and its label: tumor 2; a cyst counts as kidney, as in KiTS19."""
        window = canvas.window(as_vector(np.subtract(self.shape.low, 8)), as_vector(np.add(self.shape.high, 8)))
        if window is None:
            return
        grid = (canvas.z[window[0]], canvas.y[window[1]], canvas.x[window[2]])
        rough = 0.01 if self.kind == "cyst" else 0.04
        level = self.shape.level(canvas.coordinates(window)) + np.float32(rough * self.diameter) * self.bumps[0].sample(*grid)
        inside = (level < 0) & canvas.cavity[window] & ~canvas.firm[window]
        # The fat around the kidney is pushed ahead: without it a tumor as bright as the liver would have no border there.
        rim = (level < 2.5) & canvas.abdomen[window] & ~canvas.firm[window] & (canvas.labels[window] == 0)
        canvas.fill(window, rim, FAT - 4, 6.0)
        self._fill(canvas, window, inside, level, self.bumps[1].sample(*grid))
        if self.kind == "cyst":
            canvas.label(window, inside & (canvas.labels[window] != 2), 1)
        else:
            canvas.label(window, inside, 2)

    def _fill(self, canvas: Canvas, window: Slices, inside: Mask, level: Floats, tissue: Floats) -> None:
        depth = -level / np.float32(min(self.shape.semi))
        if self.kind == "cyst":
            canvas.fill(window, inside & (canvas.labels[window] != 2), self.hu, 1.0)
            return
        canvas.fill(window, inside, self.hu, 4.0)
        target = canvas.hu[window]
        if self.kind == "clear_cell":
            np.copyto(target, target + 0.22 * self.hu * tissue, where=inside)
            canvas.fill(window, inside & (depth + 0.35 * tissue > 0.75) & (self.diameter > 25), 25.0, 6.0)
        elif self.kind == "cystic":
            canvas.fill(window, inside & (level < -3) & (np.abs(tissue) > 0.16), 14.0, 3.0)
        elif self.kind == "angiomyolipoma":
            canvas.fill(window, inside & (tissue > -0.3), -75.0, 15.0)
        elif self.kind == "oncocytoma":
            canvas.fill(window, inside & (depth > 0.45) & (np.abs(tissue) < 0.3) & (self.diameter > 25), 0.4 * self.hu, 4.0)
        else:
            np.copyto(target, target + 0.08 * self.hu * tissue, where=inside)


def lesions(seed: int, kidneys: Sequence[Kidney], tumors: int, cysts: int, phase: int) -> list[Lesion]:
    """The cysts, then the tumors of this patient, each grown on one of the kidneys and clear of the others."""
    found: list[Lesion] = []
    for number in range(tumors):
        rng = generator(seed, f"tumor {number}")
        kind = str(rng.choice(TUMOR_KINDS, p=TUMOR_SHARES))
        hu = float(rng.uniform(*TUMOR_HU[kind][phase]))
        diameter = float(np.exp(rng.uniform(np.log(SMALLEST_TUMOR + 2), np.log(LARGEST_TUMOR - 10))))
        found.append(_grown(rng, kidneys, kind, hu, diameter, found))
    grown: list[Lesion] = []
    for number in range(cysts):
        rng = generator(seed, f"cyst {number}")
        grown.append(_grown(rng, kidneys, "cyst", float(rng.uniform(0, 18)), float(np.exp(rng.uniform(np.log(8), np.log(42)))), found + grown))
    return grown + found


def _grown(rng: np.random.Generator, kidneys: Sequence[Kidney], kind: str, hu: float, diameter: float, others: Sequence[Lesion]) -> Lesion:
    """A lesion at a place where it fits; it shrinks when there is none."""
    bumps = (Field.random(rng, 0.35 * diameter), Field.random(rng, max(0.16 * diameter, 4.0)))
    smallest = SMALLEST_TUMOR + 1 if kind != "cyst" else 6.0
    while True:
        for _ in range(30):
            kidney = kidneys[int(rng.integers(len(kidneys)))]
            center = _site(rng, kidney, diameter)
            if _fits(center, diameter, others):
                semi = diameter / 2 * np.exp(rng.normal(0, 0.07, 3))
                return Lesion(kind, kidney.side, Blob(center, as_vector(np.clip(semi, smallest / 2, LARGEST_TUMOR / 2))), hu, bumps)
        diameter = max(0.85 * diameter, smallest)
        if diameter == smallest:
            others = others[:-1]


def _site(rng: np.random.Generator, kidney: Kidney, diameter: float) -> Vector:
    """A centre on the outer side of the kidney, between deep inside and mostly outside."""
    direction = rng.standard_normal(3)
    direction[1] = -abs(direction[1]) + 0.25
    direction /= np.linalg.norm(direction)
    surface = 1 / np.linalg.norm(direction / np.array(kidney.semi))
    offset = rng.uniform(-0.75, 0.35) * diameter / 2
    return kidney.to_patient(direction * max(surface + offset, 0.3 * surface) + np.array([0, kidney.bend * (direction[0] ** 2 - 0.35), 0]))


def _fits(center: Vector, diameter: float, others: Sequence[Lesion]) -> bool:
    """Inside the cavity, off the spine, and apart from the other lesions."""
    x, y, _ = center
    radius = diameter / 2
    in_cavity = (abs(x) + 0.7 * radius) / 128 < 1 and y + 0.75 * radius < 82 and abs(x) - radius > 18
    return in_cavity and all(np.linalg.norm(np.subtract(center, other.shape.center)) > 0.6 * (diameter + other.diameter) + 5 for other in others)


def _kidney_axes(rng: np.random.Generator, sign: float) -> NDArray[np.float64]:
    """Upper pole towards the midline and the back; hilum towards the midline and the front."""
    medial, back = np.tan(np.radians(rng.uniform((8, 16), (20, 32))))
    up = np.array([-sign * medial, back, 1.0])
    up /= np.linalg.norm(up)
    forward = np.radians(rng.uniform(25, 50))
    hilum = np.array([-sign * np.cos(forward), -np.sin(forward), 0.0])
    hilum -= up * (hilum @ up)
    hilum /= np.linalg.norm(hilum)
    return np.stack([up, hilum, np.cross(up, hilum)], axis=1)


def _pyramids(rng: np.random.Generator) -> NDArray[np.float64]:
    """Directions of the pyramids from the sinus: a front and a back row, and one to each pole."""
    rows = []
    for along in np.linspace(-1.1, 1.1, int(rng.integers(4, 6))):
        rows += [(np.tan(0.95 * along), -1.0, side * rng.uniform(0.45, 0.8)) for side in (-1, 1)]
    rows += [(1.0, -0.15, 0.0), (-1.0, -0.15, 0.0)]
    directions = np.array(rows) + rng.normal(0, 0.06, (len(rows), 3))
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))
