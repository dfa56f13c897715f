"""The abdomen around the kidneys of a phantom: outline, fat, muscle, skeleton, organs, vessels, bowel and couch.

Coordinates are LPS mm; the origin is in front of the second lumbar vertebra: x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.geometry import Slices, Vector, as_vector
from KidneyTumorCascadeLib.phantom_shapes import Blob, Hollow, Organ, Tube, tubes
from KidneyTumorCascadeLib.phantom_texture import Canvas, Field, Floats, generator

PHASES = ("arterial", "portal", "none")
# HU ranges per phase: arterial (late arterial, corticomedullary), portal venous, no contrast.
ENHANCEMENT: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "aorta": ((250, 350), (150, 190), (36, 44)),
    "cava": ((90, 150), (135, 165), (36, 44)),
    "portal vein": ((90, 150), (160, 195), (36, 44)),
    "renal vein": ((140, 190), (150, 180), (36, 44)),
    "liver": ((62, 85), (100, 122), (50, 60)),
    "spleen": ((115, 150), (112, 132), (42, 50)),
    "pancreas": ((85, 115), (85, 105), (35, 43)),
    "bowel wall": ((70, 110), (80, 110), (35, 45)),
    "muscle": ((53, 60), (54, 62), (48, 55)),
    "cortex": ((150, 230), (140, 195), (27, 38)),
    "medulla": ((75, 115), (135, 185), (27, 38)),
    "urine": ((0, 14), (5, 60), (0, 14)),
    "hepatic vein": ((70, 95), (150, 180), (36, 44)),
}
FAT = -100.0


def enhancement(seed: int, phase: str) -> dict[str, float]:
    """HU of each tissue of this patient in this phase."""
    column = PHASES.index(phase)
    rng = generator(seed, "enhancement")
    drawn = {tissue: float(np.interp(rng.random(), (0, 1), ranges[column])) for tissue, ranges in ENHANCEMENT.items()}
    if phase != "arterial":
        drawn["medulla"] = 0.98 * drawn["cortex"]
    return drawn


@dataclass(frozen=True)
class Outline:
    """The trunk's cross-section: radii in mm around the body's axis per direction, and the domes of the diaphragm.

    Attributes:
        half: half width and half depth of the abdominal cavity.
        wall: thickness of the muscular wall.
        fat: thickness of the fat under the skin.
        ripple: amplitudes and phases of the outline's irregularities.
        dome: z of the top of the right dome; the left one is lower.
        square: exponent of the superellipse.
    """

    half: tuple[float, float]
    wall: float
    fat: float
    ripple: tuple[tuple[float, float], ...]
    dome: float
    square: float

    @classmethod
    def random(cls, seed: int) -> Outline:
        """The outline of this patient."""
        rng = generator(seed, "outline")
        half = (float(rng.uniform(122, 136)), float(rng.uniform(84, 96)))
        ripple = tuple((float(rng.normal(0, 0.008)), float(rng.uniform(0, 2 * np.pi))) for _ in range(4))
        fat = float(min(6 + rng.gamma(2.0, 6.0), 32))
        return cls(half, float(rng.uniform(9, 13)), fat, ripple, float(rng.uniform(108, 130)), float(rng.uniform(2.1, 2.5)))

    def back(self) -> float:
        """y of the skin of the back."""
        return self.half[1] + self.wall + 13.0 + 0.8 * self.fat

    def maps(self, y: Floats, x: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Per pixel (y, x): distance from the axis, its angle (0 = back, pi = front), and the radii of skin, wall and cavity there."""
        px, py = x[None, :].astype(np.float32), (y[:, None] - 6.0).astype(np.float32)
        distance = np.hypot(px, py)
        angle = np.arctan2(np.abs(px), py)
        turn = np.arctan2(px, py)
        ax, ay = self.half
        n = np.where(py > 0, self.square + 0.5, self.square)
        cavity = (np.abs(np.sin(turn) / ax) ** n + np.abs(np.cos(turn) / ay) ** n) ** (-1 / n)
        cavity = cavity * (1 + sum(size * np.cos((k + 1) * turn + phase) for k, (size, phase) in enumerate(self.ripple)))
        back = np.clip(np.cos(angle), 0, 1)
        wall = cavity + self.wall * (1 - 0.35 * np.clip(-np.cos(angle), 0, 1)) + 7 * back**4
        skin = wall + 3 + self.fat * (1 - 0.25 * np.clip(-np.cos(angle), 0, 1) - 0.2 * back)
        # The furrow over the spine and, in front, the linea alba are where the outline is not convex.
        skin = skin - 6 * np.exp(-((angle / 0.12) ** 2))
        return distance, angle, np.asarray(skin, np.float32), np.asarray(wall, np.float32), np.asarray(cavity, np.float32)

    def taper(self, z: Floats) -> Floats:
        """Relative width at a height."""
        return np.asarray(1.0 + 0.025 * np.cos((z + 40) / 70) - 0.0002 * np.clip(z - 60, 0, 200), np.float32)

    def dome_map(self, y: Floats, x: Floats) -> Floats:
        """Per pixel (y, x) the height of the diaphragm, z mm."""
        px, py = x[None, :], y[:, None]
        side = np.where(px < 0, 0.0, 14.0)
        bulge = ((np.abs(px) - 62) / 78) ** 2 + ((py + 8) / 105) ** 2
        return np.asarray(self.dome - side - 68 * bulge, np.float32)


def paint_trunk(canvas: Canvas, outline: Outline, hu: dict[str, float]) -> None:
    """Skin, fat, abdominal wall, the cavity with its fat, and the lungs above the diaphragm."""
    distance, angle, skin, wall, cavity = outline.maps(canvas.y, canvas.x)
    everything = (slice(None), slice(None), slice(None))
    scaled = distance[None] / outline.taper(canvas.z)[:, None, None]
    canvas.fill(everything, scaled < skin, 20.0, 8.0)
    canvas.fill(everything, scaled < skin - 2.2, FAT - 5, 6.0)
    alba = angle > np.pi - 0.03
    canvas.fill(everything, (scaled < wall) & ~alba, hu["muscle"], 5.0)
    # Fat between the layers of the wall's muscles.
    layers = np.abs((wall - scaled) / np.maximum(wall - cavity, 1) - 0.45) < 0.07
    canvas.fill(everything, layers & (angle > 0.9) & (angle < 2.5), -55.0, 25.0)
    np.copyto(canvas.cavity, scaled < cavity)
    canvas.fill(everything, canvas.cavity, FAT, 7.0)
    height = canvas.z[:, None, None] - outline.dome_map(canvas.y, canvas.x)[None]
    np.copyto(canvas.abdomen, canvas.cavity & (height < 0))
    canvas.fill(everything, canvas.cavity & (height > 0) & (height < 3.5), hu["muscle"])
    middle = (np.abs(canvas.x) < 20)[None, None, :]
    canvas.fill(everything, canvas.cavity & (height > 3.5) & ~middle, -840.0, 35.0)


def paint_couch(canvas: Canvas, outline: Outline) -> None:
    """A curved table under the patient: two thin shells with foam between them."""
    top = outline.back() + 9.0 + 0 * canvas.x - 0.0006 * canvas.x**2
    depth = canvas.y[:, None] - top[None, :]
    wide = np.abs(canvas.x)[None, :] < 200
    air = canvas.hu < -950
    canvas.hu[air & ((depth > 0) & (depth < 22) & wide)[None]] = -930.0
    canvas.hu[air & (((depth > 0) & (depth < 2)) | ((depth > 20) & (depth < 22)))[None] & wide[None]] = 60.0


def paint_ribs(canvas: Canvas, outline: Outline) -> None:
    """Ribs 7 to 12, falling towards the front."""
    distance, angle, _, wall, cavity = outline.maps(canvas.y, canvas.x)
    shell = np.nonzero((distance > 0.8 * cavity) & (distance < 1.08 * wall))
    depth = distance[shell][None] / outline.taper(canvas.z)[:, None] - (0.35 * wall + 0.65 * cavity)[shell][None]
    turn = angle[shell][None]
    painted, firm = canvas.hu[:, shell[0], shell[1]], canvas.firm[:, shell[0], shell[1]]
    for number, reach in ((12, 0.95), (11, 1.5), (10, 2.1), (9, 2.3), (8, 2.5), (7, 2.6)):
        middle = 76 + 35 * (12 - number) - 46 * turn
        round_ = (depth / 4.2) ** 2 + ((canvas.z[:, None] - middle) / 6.5) ** 2
        bone = (turn < reach) & (turn > 0.3) & (round_ < 1)
        painted = np.where(bone, np.where(round_ < 0.4, 180.0, 480.0), painted)
        firm = firm | bone
    canvas.hu[:, shell[0], shell[1]], canvas.firm[:, shell[0], shell[1]] = painted, firm


def paint_pelvis(canvas: Canvas) -> None:
    """The wings of the ilium, wider towards the crest, between iliacus and the gluteal muscles."""
    window = canvas.window((-170, -80, -1e4), (170, 120, -70))
    if window is None:
        return
    x, y, z = canvas.coordinates(window)
    along = (72 - y) / np.float32(115)
    below = -84 - 75 * (along - 0.4) ** 2 - z
    outward = np.abs(x) - (58 + 62 * np.sqrt(np.clip(along, 0, 1))) + np.float32(0.28) * np.clip(below, 0, 200)
    wing = (along > 0) & (along < 1) & (below > 0)
    body = canvas.hu[window] > -900
    canvas.fill(window, wing & body & (outward > -14) & (outward < 4) & canvas.cavity[window], 56.0, 4.0)
    canvas.fill(window, wing & body & (outward > 0) & (outward < np.minimum(0.55 * below, 28)), 56.0, 6.0)
    canvas.fill(window, wing & body & (np.abs(outward) < 4.5), 520.0, 40.0)
    canvas.fill(window, wing & body & (np.abs(outward) < 2.2) & (below > 3), 190.0, 25.0)
    canvas.firm[window] |= wing & body & (np.abs(outward) < 14)


@dataclass(frozen=True)
class Spine:
    """A column of vertebrae and discs.

    Attributes:
        first: z of the lower end of a vertebra.
        semi: half width and half depth of a vertebral body.
        marrow: HU inside the vertebral bodies.
    """

    first: float
    semi: tuple[float, float]
    marrow: float

    @classmethod
    def random(cls, seed: int) -> Spine:
        """The spine of this patient."""
        rng = generator(seed, "spine")
        return cls(float(rng.uniform(-20, 15)), (float(rng.uniform(22, 25)), float(rng.uniform(16, 18))), float(rng.uniform(130, 220)))

    def paint(self, canvas: Canvas) -> None:
        """Paint it."""
        window = canvas.window((-60, 0, -1e4), (60, 115, 1e4))
        if window is None:
            return
        x, y, z = canvas.coordinates(window)
        side = np.abs(x)
        height = np.mod(z - self.first, 35.0)
        self._arch(canvas, window, side, y, height)
        waist = 1 - 0.07 * np.cos((height - 21.5) / 13.5 * np.pi / 2)
        radius = np.sqrt((side / self.semi[0]) ** 2 + (np.maximum(y - 40, -(y - 40) * 0.95) / self.semi[1]) ** 2)
        body, disc = radius < waist, height < 8
        canvas.fill(window, body, 330.0, 25.0)
        core = body & (radius < waist - 0.1) & (np.abs(height - 21.5) < 12)
        canvas.fill(window, core, self.marrow, 22.0)
        canvas.fill(window, body & disc, 85.0, 8.0)
        canvas.firm[window] |= body | ((side < 25) & (y > 52))

    def _arch(self, canvas: Canvas, window: Slices, side: Floats, y: Floats, height: Floats) -> None:
        ring = np.sqrt((side / 18) ** 2 + ((y - 64) / 14) ** 2)
        lamina = (ring < 1) & (height > 10) & (height < 32)
        spinous = (side < 3.5) & (y > 70) & (y < 97 - 0.2 * height) & (height > 6) & (height < 26)
        transverse = (np.abs(y - 62 - 0.1 * side) < 3.5) & (side < 42) & (side > 8) & (np.abs(height - 25) < 5)
        facet = (np.hypot(side - 17, y - 70) < 7) & ((height < 12) | (height > 26))
        canvas.fill(window, lamina | spinous | transverse | facet, 380.0, 60.0)
        canvas.fill(window, (side < 9) & (np.hypot(side / 11, (y - 64) / 8.5) < 1), 25.0, 4.0)


def muscles(outline: Outline, hu: dict[str, float]) -> list[Organ]:
    """Back muscles, psoas, quadratus lumborum and crura of both sides."""
    value, back = hu["muscle"], outline.half[1] + 1
    found = []
    for side in (-1, 1):
        found.append(Organ(Blob((side * 33, back, 0), (27, 21, 1e5)), value, 6.0, "body", firm=True))
        found.append(Organ(Blob((side * 13, back + 4, 0), (13, 19, 1e5)), value, 6.0, "body", firm=True))
        psoas: list[Vector] = [(side * 25, 46, 50), (side * 31, 45, 0), (side * 43, 38, -60), (side * 52, 22, -140), (side * 58, 0, -200)]
        found += [Organ(piece, value, 3.0, firm=True) for piece in tubes(psoas, [4, 12, 19, 22, 20])]
        found.append(Organ(Blob((side * 60, back - 16, -50), (19, 8, 72)), value, 4.0))
        found += [Organ(piece, value, 3.0, "cavity", firm=True) for piece in tubes([(side * 12, 18, 10), (side * 14, 22, 110)], [4, 6])]
    return found


def organs(seed: int, hu: dict[str, float]) -> list[Organ | Hollow]:
    """Liver, gallbladder, spleen, stomach, pancreas and heart of this patient, in painting order."""
    rng = generator(seed, "organs")
    size = float(rng.uniform(0.94, 1.08))
    low = float(rng.uniform(-12, 12))
    liver, wall = hu["liver"], hu["bowel wall"]
    stomach = Blob((54, -24, 66 + low), (46, 38, 56), _turned(rng, 0.2))
    head: list[Vector] = [(-28, -8, -12 + low / 2), (-22, -14, 12), (8, -26, 22), (45, -8, 36), (78, 22, 48)]
    found: list[Organ | Hollow] = [
        Organ(Blob((30, -32, 168), (62, 48, 62)), 0.55 * hu["aorta"] + 10, 6.0, "cavity"),
        Hollow(stomach, wall, float(rng.uniform(5, 40)), 5.0, float(rng.uniform(-62, -30))),
        Organ(Blob((-86, 0, 52 + low), (64 * size, 92, 88 * size), _turned(rng, 0.08)), liver, 3.0),
        Organ(Blob((-12, -48, 66 + low), (92 * size, 38, 44 * size), _turned(rng, 0.1)), liver, 3.0),
        Organ(Blob((-55, -48, -2 + low), (16, 22, 24)), float(rng.uniform(2, 15)), 1.0),
        Organ(Blob((104, 30, 72 + low), (34 * size, 50 * size, 54 * size), _turned(rng, 0.2)), hu["spleen"], 3.0),
    ]
    found += [Organ(piece, hu["pancreas"], 7.0) for piece in tubes(head, [14, 13, 10, 9, 7])]
    return found


def vessels(seed: int, hu: dict[str, float]) -> list[Organ]:
    """Aorta, cava, iliac, mesenteric, portal and splenic vessels."""
    rng = generator(seed, "vessels")
    shift, fork = float(rng.uniform(-4, 4)), float(rng.uniform(-85, -70))
    aorta = float(rng.uniform(8.5, 11.5))
    trunk: list[Vector] = [(10 + shift, 22, 320), (9 + shift, 20, 120), (6 + shift, 12, 20), (4, 8, fork)]
    cava: list[Vector] = [(-22, -12, 140), (-26, -8, 90), (-24, 6, 20), (-22, 12, fork - 12)]
    portal: list[Vector] = [(-5, -22, -100), (-8, -20, -10), (-15, -18, 22), (-42, -22, 45), (-80, -22, 62)]
    splenic: list[Vector] = [(-12, -18, 22), (20, -14, 27), (52, 4, 40), (90, 32, 55)]
    trunks: list[tuple[list[Vector], list[float], str]] = [
        (trunk, [aorta + 3, aorta + 2, aorta, aorta - 1.5], "aorta"),
        (cava, [14, 13, 12, 10], "cava"),
        (portal, [4, 5, 7, 7, 4], "portal vein"),
    ]
    trunks += [(splenic, [4.5, 4.5, 4, 3], "portal vein"), ([(6 + shift, 10, 25), (3, -14, 8), (2, -22, -90)], [4, 3.5, 2.5], "aorta")]
    for side in (-1, 1):
        trunks.append(([(4, 8, fork), (side * 35, 20, fork - 55), (side * 55, 15, fork - 130)], [aorta - 3, 5.5, 4.5], "aorta"))
        trunks.append(([(-22, 12, fork - 12), (side * 34, 30, fork - 65), (side * 54, 26, fork - 130)], [9, 6.5, 6], "cava"))
    inside = [Organ(piece, hu["hepatic vein"], 2.0) for piece in _hepatic_veins(rng)]
    return inside + [Organ(piece, hu[name], 3.0, "cavity") for points, radii, name in trunks for piece in tubes(points, radii)]


def _hepatic_veins(rng: np.random.Generator) -> list[Tube]:
    root: Vector = (-28, -10, 92)
    ends = rng.uniform((-110, -50, 20), (-60, 45, 85), (6, 3))
    bends = (root + ends) / 2 + rng.normal(0, 6, ends.shape)
    return [piece for bend, end in zip(bends, ends, strict=True) for piece in tubes([root, as_vector(bend), as_vector(end)], [4.5, 3.2, 1.4])]


def bowel(seed: int, hu: dict[str, float]) -> list[Organ | Hollow]:
    """Colon with gas and stool, duodenum, and loops of small bowel."""
    rng = generator(seed, "bowel")
    wall = hu["bowel wall"]
    loops = _small_bowel(rng, (5, -44, -80), (85, 36, 75), 120) + _small_bowel(rng, (58, -40, 8), (40, 28, 32), 30)
    found: list[Organ | Hollow] = [_branch(rng, piece, hu) for piece in loops[::4]]
    found += [_loop(rng, piece, wall) for piece in loops]
    up: list[Vector] = [(-66, -15, -180), (-86, -4, -105), (-90, -12, -38), (-72, -48, -42)]
    across: list[Vector] = [(-72, -48, -42), (-30, -68, -62), (25, -70, -50), (75, -50, 0), (100, -5, 30)]
    down: list[Vector] = [(100, -5, 30), (106, 22, -20), (90, 8, -105), (66, -12, -180)]
    for path, radius in ((up, 23.0), (across, 17.0), (down, 14.0)):
        sizes = [radius * float(rng.uniform(0.85, 1.15)) for _ in path]
        found += [Hollow(piece, wall, float(rng.uniform(5, 60)), 2.5, _gas(rng, piece, 0.6), 45.0) for piece in _split(tubes(path, sizes))]
    duodenum: list[Vector] = [(-38, -22, 20), (-44, -4, -5), (-40, 0, -38), (0, -8, -46), (30, -12, -30)]
    found += [Hollow(piece, wall, 25.0, 2.5, -1e3) for piece in tubes(duodenum, [12, 12, 11, 10, 10])]
    return found


def _split(pieces: Sequence[Tube]) -> list[Tube]:
    """Halves, so that contents and gas change along the colon."""
    halves = []
    for piece in pieces:
        middle, radius = as_vector(np.add(piece.start, piece.stop) / 2), 0.85 * (piece.radius + piece.end_radius) / 2
        halves += [Tube(piece.start, middle, piece.radius, radius), Tube(middle, piece.stop, radius, piece.end_radius)]
    return halves


def _small_bowel(rng: np.random.Generator, center: Vector, reach: Vector, steps: int) -> list[Tube]:
    """A path that wanders about a centre."""
    point, heading = np.array(center), rng.standard_normal(3)
    points: list[Vector] = []
    for _ in range(steps):
        points.append(as_vector(point))
        heading = 0.55 * heading / np.linalg.norm(heading) + 0.75 * rng.standard_normal(3)
        pull = (np.array(center) - point) / np.array(reach)
        heading = heading + 0.9 * pull * np.linalg.norm(pull)
        point = point + 26 * heading / np.linalg.norm(heading)
        point[1] = min(point[1], -8.0 if abs(point[0]) < 60 else 18.0)
    return tubes(points, list(rng.uniform(8.5, 13.5, len(points))))


def _loop(rng: np.random.Generator, piece: Tube, wall: float) -> Hollow:
    return Hollow(piece, wall + float(rng.normal(0, 6)), float(rng.uniform(5, 45)), 2.5, _gas(rng, piece, 0.12))


def _branch(rng: np.random.Generator, piece: Tube, hu: dict[str, float]) -> Organ:
    """A mesenteric vessel to a loop."""
    root = (2 + rng.normal(0, 4), -20.0, float(np.clip(piece.start[2] + 15, -90, 0)))
    return Organ(Tube(root, piece.start, 2.0, 1.2), hu["aorta" if rng.random() < 0.4 else "portal vein"], 2.0)


def _gas(rng: np.random.Generator, piece: Tube, chance: float) -> float:
    """y above which (in front of which) there is gas."""
    if rng.random() > chance:
        return -1e3
    return float((piece.start[1] + piece.stop[1]) / 2 + rng.uniform(-0.6, 0.5) * piece.radius)


def _turned(rng: np.random.Generator, amount: float) -> NDArray[np.float64]:
    """A small random rotation: the orthonormal part of identity plus a little."""
    q, r = np.linalg.qr(np.eye(3) + amount * rng.standard_normal((3, 3)))
    return np.asarray(q * np.sign(np.diag(r)))


def warp_fields(seed: int) -> tuple[Field, Field, Field]:
    """How the whole anatomy of this patient is bent."""
    rng = generator(seed, "warp")
    return Field.random(rng, 55.0), Field.random(rng, 55.0), Field.random(rng, 55.0)
