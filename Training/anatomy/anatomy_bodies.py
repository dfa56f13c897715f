"""The body around organs of a label map: outline, fat, muscle, skeleton, vessels, lungs, bowel contents. Arrays are z, y, x; lengths mm.

Everything is drawn at random around the organs at hand, and lies behind them: where organs and these tissues overlap, organs win.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from Training.anatomy.anatomy_labels import Tissue
from Training.anatomy.anatomy_shapes import eroded, paint_tube, random_field
from Training.anatomy.anatomy_sides import between_kidneys
from Training.cases import around

Floats = NDArray[np.floating[Any]]
LabelArray = NDArray[np.uint8]
Mask = NDArray[np.bool_]
# Directions in which organs are looked for, and among which the wall's distance is interpolated.
ANGLES, SECTORS = 180, 1440
# The vertebral bodies' centres lie in front of the kidneys' by about this much.
SPINE_BEFORE_KIDNEYS_MM = 10.0
AXIS_BEFORE_SPINE_MM = 35.0
HOLLOW = (Tissue.STOMACH, Tissue.DUODENUM, Tissue.COLON, Tissue.SMALL_BOWEL, Tissue.RECTUM)
KIDNEYS = (Tissue.KIDNEY, Tissue.TUMOR, Tissue.CYST)
SPINE = (Tissue.CORTICAL, Tissue.MARROW, Tissue.DISC, Tissue.CORD)
UNDER_DIAPHRAGM = (Tissue.LIVER, Tissue.SPLEEN, Tissue.STOMACH)


@dataclass(frozen=True)
class Frame:
    """The body's own coordinates in a grid: midline (x), centre of the vertebral bodies (y) at the height of the kidneys' middle (z); mm."""

    x: float
    y: float
    z: float
    spacing_mm: float
    bend: tuple[float, float, float]

    def along(self, shape: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
        """Per slice: height over the kidneys' middle, x of the midline and y of the spine."""
        height = np.arange(shape[0], dtype=np.float32) * self.spacing_mm - self.z
        part = np.clip(height / 100.0, -2.0, 2.0)
        tilt, curve, side = self.bend
        return height, self.x + side * part**2, self.y + tilt * part + curve * part**2


def frame_of(kidneys: Mask, spacing_mm: float, rng: np.random.Generator) -> Frame:
    """The frame of a body with those kidneys. Raises ValueError without kidneys."""
    middle = between_kidneys(kidneys, kidneys, spacing_mm) * spacing_mm
    bend = (float(rng.normal(4.0, 3.0)), float(rng.normal(5.0, 3.0)), float(rng.normal(0.0, 2.0)))
    return Frame(float(middle[2]), float(middle[1]) - SPINE_BEFORE_KIDNEYS_MM + float(rng.normal(0.0, 3.0)), float(middle[0]), spacing_mm, bend)


def body_of(organs: LabelArray, frame: Frame, rng: np.random.Generator) -> LabelArray:
    """The whole body: `organs` (numbers of `Tissue`, kidneys, tumors and cysts among them) and everything around them.

    `organs` is changed where kidneys of another patient would lie in the spine, and where vessels run through the liver.
    """
    depth, sector, angle = wall_depth(organs > 0, frame, rng)
    body = trunk(depth, sector, angle, rng)
    inside = depth < -1.0
    paint_lungs(body, organs, inside, frame, rng)
    paint_muscles(body, frame, rng)
    paint_ribs(body, depth, angle, frame, rng)
    paint_pelvis(body, frame, rng)
    paint_spine(body, frame, rng)
    paint_small_vessels(body, organs, rng, frame.spacing_mm)
    paint_vessels(body, organs, frame, rng)
    give_way_to_spine(organs, body, frame)
    np.copyto(body, organs, where=organs > 0)
    paint_contents(body, frame.spacing_mm, rng)
    paint_couch(body, frame.spacing_mm, rng)
    return body


def give_way_to_spine(organs: LabelArray, body: LabelArray, frame: Frame) -> None:
    """Take kidneys and tumors off the spine: kidneys of another patient may be set closer than this one's spine allows."""
    reach = round(32.0 / frame.spacing_mm)
    middle = round(frame.x / frame.spacing_mm)
    columns = slice(max(0, middle - reach), middle + reach)
    inner = organs[:, :, columns]
    inner[np.isin(inner, KIDNEYS) & np.isin(body[:, :, columns], SPINE)] = 0


def wall_depth(occupied: Mask, frame: Frame, rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Distance (z, y, x) outwards from the inner face of the body's wall, and per pixel (y, x) sector and angle about the axis.

    The angle is 0 behind and pi in front, on either side; sectors number `SECTORS` parts of the full turn.
    """
    shape, step = occupied.shape, frame.spacing_mm
    y = (np.arange(shape[1], dtype=np.float32) * step - (frame.y - AXIS_BEFORE_SPINE_MM))[:, None]
    x = (np.arange(shape[2], dtype=np.float32) * step - frame.x)[None, :]
    radius, turn = np.hypot(x, y), np.arctan2(x, y)
    sector = ((turn + np.pi) / (2 * np.pi) * SECTORS).astype(np.int64) % SECTORS
    reach = smooth_reach(reach_of_organs(occupied, radius, sector * ANGLES // SECTORS), step, rng)
    reach = between_angles(reach)
    return radius[None] - reach[:, sector], sector, np.abs(turn)


def reach_of_organs(occupied: Mask, radius: Floats, sector: NDArray[np.int64]) -> Floats:
    """The farthest organ per slice and direction (z, angle), from every second voxel."""
    thin = occupied[:, ::2, ::2]
    z, y, x = np.nonzero(thin)
    reach = np.zeros((occupied.shape[0], ANGLES), dtype=np.float32)
    np.maximum.at(reach, (z, sector[::2, ::2][y, x]), radius[::2, ::2][y, x])
    return reach


def smooth_reach(reach: Floats, step: float, rng: np.random.Generator) -> Floats:
    """The wall's inner face: near the organs, at least an oval, and smooth."""
    used = reach.max(axis=1) > 60.0
    usual = np.quantile(reach[used], 0.8, axis=0)
    usual = ndimage.gaussian_filter1d(usual, 8.0, mode="wrap")
    turn = (np.arange(ANGLES) + 0.5) / ANGLES * 2 * np.pi - np.pi
    behind = np.clip(np.cos(turn), 0.0, 1.0)
    floor = np.maximum(0.88 * usual, np.where(behind > 0.6, (AXIS_BEFORE_SPINE_MM + 30.0) / np.maximum(behind, 0.6), 0.0))
    reach = np.maximum(reach, floor[None])
    smooth = ndimage.gaussian_filter(ndimage.maximum_filter(reach, (7, 5), mode=("nearest", "wrap")), (18.0 / step, 3.5), mode=("nearest", "wrap"))
    ripple = np.ones(ANGLES)
    for order in (2, 3, 4):
        ripple += rng.normal(0.0, 0.006) * np.cos(order * turn + rng.uniform(0, 2 * np.pi))
    return np.asarray(smooth * ripple[None] + rng.uniform(0.0, 4.0), dtype=np.float32)


def between_angles(values: Floats) -> Floats:
    """Values (z, angle) interpolated to (z, sector)."""
    places = (np.arange(SECTORS) + 0.5) * ANGLES / SECTORS - 0.5
    low = np.floor(places).astype(np.int64)
    share = (places - low).astype(np.float32)
    return np.asarray(values[:, low % ANGLES] * (1 - share) + values[:, (low + 1) % ANGLES] * share, dtype=np.float32)


def trunk(depth: Floats, sector: NDArray[np.int64], angle: Floats, rng: np.random.Generator) -> LabelArray:
    """Cavity, muscular wall, fat under the skin, skin."""
    front, back = np.clip(-np.cos(angle), 0, 1), np.clip(np.cos(angle), 0, 1)
    thickness = rng.uniform(9.0, 16.0)
    wall = thickness * (1.0 - 0.35 * front) + rng.uniform(20.0, 34.0) * back**2
    fat = min(4.0 + rng.gamma(2.0, 7.0), 60.0)
    skin = wall + 2.0 + fat * (1.0 - rng.uniform(0.0, 0.5) * front + rng.uniform(-0.3, 0.3) * back)
    # The furrow over the spine.
    skin = skin - 7.0 * np.exp(-((angle / 0.12) ** 2))
    wall, skin = wall.astype(np.float32), skin.astype(np.float32)
    body = np.full(depth.shape, Tissue.VISCERAL_FAT, dtype=np.uint8)
    layer = depth / wall[None]
    body[layer > 0.0] = Tissue.MUSCLE
    # Fat between the layers of the wall, thinner here and thicker there.
    width = np.clip(random_field((depth.shape[0], 1, SECTORS), 40.0, rng)[:, 0], 0.0, 1.5).astype(np.float32)[:, sector] * rng.uniform(0.01, 0.06)
    seam = (np.abs(layer - 0.38) < width) | (np.abs(layer - 0.68) < width)
    body[seam & ((angle > 0.7) & (angle < 2.5))[None]] = Tissue.VISCERAL_FAT
    body[(layer > 0.0) & (layer < 1.0) & (angle < 0.2)[None]] = Tissue.FAT
    body[(layer > 0.0) & (layer < 1.0) & (angle > np.pi - 0.035)[None]] = Tissue.FAT
    body[layer >= 1.0] = Tissue.FAT
    body[depth > skin[None]] = Tissue.SKIN
    body[depth > skin[None] + 2.0] = Tissue.AIR
    return body


def paint_lungs(body: LabelArray, organs: LabelArray, inside: Mask, frame: Frame, rng: np.random.Generator) -> None:
    """Lungs, diaphragm and heart above liver, spleen and stomach."""
    step = frame.spacing_mm
    upper = np.isin(organs, UNDER_DIAPHRAGM)
    columns = np.asarray(upper.any(axis=0))
    if not columns.any():
        return
    top = organs.shape[0] - 1 - np.argmax(upper[::-1], axis=0)
    away, nearest = ndimage.distance_transform_edt(~columns, return_indices=True)
    dome = ndimage.gaussian_filter((top[tuple(nearest)] - 0.9 * away).astype(np.float32), 4.0 / step)
    lowest = (frame.z + rng.uniform(10.0, 50.0)) / step
    dome = np.maximum(dome, lowest)
    low = int(dome.min())
    above = np.arange(low, body.shape[0], dtype=np.float32)[:, None, None] - dome[None]
    y, x = np.mgrid[: body.shape[1], : body.shape[2]] * step
    middle = (np.abs(x - frame.x) < 28.0) & (y < frame.y + 14.0)
    chest = inside[low:] & ~(organs[low:] > 0)
    body[low:][chest & (above > 0) & ~middle[None]] = Tissue.MUSCLE
    body[low:][chest & (above > 2.5 / step) & ~middle[None]] = Tissue.LUNG
    paint_heart(body, top, columns, frame, rng)


def paint_heart(body: LabelArray, top: NDArray[np.int64], columns: Mask, frame: Frame, rng: np.random.Generator) -> None:
    """An ellipsoid on the diaphragm, left of the midline."""
    step = frame.spacing_mm
    centre = (float(np.quantile(top[columns], 0.97)) * step + 40.0, frame.y - rng.uniform(70, 85), frame.x + rng.uniform(18, 34))
    z, y, x = (np.arange(size, dtype=np.float32) * step - middle for size, middle in zip(body.shape, centre, strict=True))
    level = (z[:, None, None] / 48.0) ** 2 + (y[None, :, None] / 42.0) ** 2 + (x[None, None, :] / 55.0) ** 2
    chest = np.isin(body, (Tissue.LUNG, Tissue.VISCERAL_FAT))
    body[chest & (level < 1.0)] = Tissue.HEART
    body[chest & (level >= 1.0) & (level < 1.15)] = Tissue.VISCERAL_FAT


def paint_ribs(body: LabelArray, depth: Floats, angle: Floats, frame: Frame, rng: np.random.Generator) -> None:
    """Ribs 7 to 12 with their cartilages, falling towards the front."""
    height = frame.along(body.shape)[0]
    first = int(np.searchsorted(height, -40.0))
    shell = np.nonzero((depth[first:] > -1.0) & (depth[first:] < 14.0) & (angle > 0.3)[None])
    z, turn = height[first:][shell[0]], angle[shell[1], shell[2]]
    level = (depth[first:][shell] - 5.5 + 2.0 * np.clip(turn - 1.5, 0, 1)) / 4.0
    pitch, fall, base = rng.uniform(30.0, 38.0), rng.uniform(35.0, 55.0), rng.uniform(55.0, 90.0)
    painted = body[first:][shell]
    for number, reach in ((12, 0.95), (11, 1.5), (10, 2.0), (9, 2.1), (8, 2.2), (7, 2.3)):
        middle = base + pitch * (12 - number) - fall * np.minimum(turn, reach) + 60.0 * np.clip(turn - reach, 0, 2)
        round_ = level**2 + ((z - middle) / 6.5) ** 2
        painted = np.where((round_ < 1.0) & (turn < reach), Tissue.RIB, painted)
        painted = np.where((round_ < 0.35) & (turn < reach), Tissue.MARROW, painted)
        painted = np.where((round_ < 0.9) & (turn >= reach) & (number < 11) & (turn < reach + 0.7), Tissue.CARTILAGE, painted)
    body[first:][shell] = painted


def paint_pelvis(body: LabelArray, frame: Frame, rng: np.random.Generator) -> None:
    """The wings of the ilium between iliacus and the gluteal muscles."""
    height, middle, back = frame.along(body.shape)
    crest = rng.uniform(-100.0, -75.0)
    last = int(np.searchsorted(height, crest))
    if last < 2:
        return
    y = np.arange(body.shape[1], dtype=np.float32)[None, :, None] * frame.spacing_mm - back[:last, None, None] + 40.0
    x = np.abs(np.arange(body.shape[2], dtype=np.float32)[None, None, :] * frame.spacing_mm - middle[:last, None, None])
    along = (72.0 - y) / 115.0
    below = crest - 75.0 * (along - 0.4) ** 2 - height[:last, None, None]
    outward = x - (58.0 + 62.0 * np.sqrt(np.clip(along, 0, 1))) + 0.28 * np.clip(below, 0, 200)
    part = body[:last]
    wing = (along > 0) & (along < 1) & (below > 0) & (part != Tissue.AIR) & (part != Tissue.SKIN)
    part[wing & (outward > -12.0) & (outward < np.minimum(0.55 * below, 28.0)) & (part != Tissue.FAT)] = Tissue.MUSCLE
    part[wing & (np.abs(outward) < 4.5)] = Tissue.CORTICAL
    part[wing & (np.abs(outward) < 2.2) & (below > 3)] = Tissue.MARROW


def paint_muscles(body: LabelArray, frame: Frame, rng: np.random.Generator) -> None:
    """Psoas, quadratus lumborum and the muscles of the back on both sides, and the crura of the diaphragm."""
    height, middle, back = frame.along(body.shape)
    size, full = rng.uniform(0.75, 1.15), np.ones(body.shape[0])
    for side in (-1.0, 1.0):
        erector = (rng.uniform(15.0, 19.0) + 2.0 * np.cos(height / 60.0)) * full
        paint_discs(body, Tissue.BACK_MUSCLE, middle + side * 33.0, back + 46.0, erector, frame.spacing_mm, (1.45, 1.0))
        paint_discs(body, Tissue.BACK_MUSCLE, middle + side * 13.0, back + 44.0, 12.0 * full, frame.spacing_mm, (1.0, 1.4))
        x = middle + side * np.interp(height, (-200, -140, -60, 0, 50), (60, 54, 45, 34, 28))
        y = back + np.interp(height, (-200, -140, -60, 0, 50), (-38, -16, 0, 6, 8))
        radius = size * np.interp(height, (-200, -140, -60, 0, 50, 62), (20, 23, 19, 12, 5, 0))
        paint_discs(body, Tissue.MUSCLE, x, y, radius, frame.spacing_mm, (1.0, 1.2))
        low = np.interp(height, (-110, -80, 20, 50, 60), (0, 8, 8, 5, 0)) * size
        paint_discs(body, Tissue.MUSCLE, middle + side * 62.0, back + 24.0, low, frame.spacing_mm, (2.2, 1.0))
        crus = np.interp(height, (-15, 0, 40, 110, 120), (0, 4, 6, 6, 0))
        paint_discs(body, Tissue.MUSCLE, middle + side * 13.0, back - 20.0, crus, frame.spacing_mm, (0.8, 1.5))


def paint_discs(body: LabelArray, tissue: Tissue, x: Floats, y: Floats, radius: Floats, step: float, oval: tuple[float, float]) -> None:
    """An upright column: an ellipse per slice, `oval` times the radius wide (x) and deep (y); only within fat and muscle."""
    reach = float(radius.max()) * max(oval) + step
    low_y, high_y = max(0, int((y.min() - reach) / step)), int((y.max() + reach) / step) + 2
    low_x, high_x = max(0, int((x.min() - reach) / step)), int((x.max() + reach) / step) + 2
    part = body[:, low_y:high_y, low_x:high_x]
    dy = np.arange(low_y, low_y + part.shape[1], dtype=np.float32)[None, :, None] * step - y[:, None, None]
    dx = np.arange(low_x, low_x + part.shape[2], dtype=np.float32)[None, None, :] * step - x[:, None, None]
    inside = (dx / oval[0]) ** 2 + (dy / oval[1]) ** 2 < radius[:, None, None] ** 2
    part[inside & (part != Tissue.AIR) & (part != Tissue.SKIN)] = tissue


def paint_spine(body: LabelArray, frame: Frame, rng: np.random.Generator) -> None:
    """Vertebral bodies with their arches and processes, discs, and the cord in its canal."""
    height, middle, back = frame.along(body.shape)
    step, size = frame.spacing_mm, rng.uniform(0.9, 1.08)
    low_y, low_x = max(0, int((back.min() - 30) / step)), max(0, int((middle.min() - 60) / step))
    part = body[:, low_y : int((back.max() + 75) / step), low_x : int((middle.max() + 60) / step)]
    side = np.abs(np.arange(low_x, low_x + part.shape[2], dtype=np.float32)[None, None, :] * step - middle[:, None, None]) / size
    y = (np.arange(low_y, low_y + part.shape[1], dtype=np.float32)[None, :, None] * step - back[:, None, None]) / size
    level = np.mod(height - rng.uniform(0, 35), 35.0)[:, None, None]
    semi = (rng.uniform(22, 25), rng.uniform(15.5, 18))
    waist = 1.0 - 0.08 * np.cos((level - 21.5) / 13.5 * np.pi / 2)
    radius = np.sqrt((side / semi[0]) ** 2 + (np.maximum(y, -y * 0.95) / semi[1]) ** 2)
    ring = np.sqrt((side / 18) ** 2 + ((y - 24) / 14) ** 2)
    arch = (ring < 1) & (level > 10) & (level < 32)
    arch = arch | ((side < 3.5) & (y > 30) & (y < 57 - 0.2 * level) & (level > 6) & (level < 26))
    process = (np.abs(y - 22 - 0.1 * side) < 3.5) & (side < 42) & (side > 8) & (np.abs(level - 25) < 5)
    facet = (np.hypot(side - 17, y - 30) < 7) & ((level < 12) | (level > 26))
    bone = (arch | process | facet) & (part != Tissue.AIR)
    part[bone] = Tissue.CORTICAL
    part[bone & eroded(bone)] = Tissue.MARROW
    part[(radius < waist)] = Tissue.CORTICAL
    part[(radius < waist - 0.09) & (np.abs(level - 21.5) < 12.5)] = Tissue.MARROW
    part[(radius < waist) & (level < 7.5)] = Tissue.DISC
    canal = np.hypot(side / 11, (y - 24) / 8.5)
    part[canal < 1] = Tissue.VISCERAL_FAT
    part[canal < 0.8] = Tissue.CORD


def paint_vessels(body: LabelArray, organs: LabelArray, frame: Frame, rng: np.random.Generator) -> None:
    """Aorta, cava, their iliac branches, portal vein, mesenteric and renal vessels."""
    height, middle, back = frame.along(body.shape)
    step, fork = frame.spacing_mm, rng.uniform(-95, -70)
    aorta = rng.uniform(7.5, 12.5) * np.interp(height, (fork - 1, fork, 120), (0.0, 0.85, 1.2))
    aorta_x = middle + np.interp(height, (fork, 0, 120), (3, 7, 12)) + rng.normal(0, 2)
    aorta_y = back - np.interp(height, (fork, 60, 140), (25, 28, 24)) - aorta
    cava = rng.uniform(8.0, 12.0) * np.interp(height, (fork - 12, fork - 11, 130, 131), (0.0, 0.9, 1.1, 0.0))
    cava_x = middle - 22.0 + rng.normal(0, 2)
    cava_y = back - np.interp(height, (fork, 20, 100), (24, 30, 50)) - 0.5 * cava
    paint_discs(body, Tissue.CAVA, cava_x, cava_y, cava, step, (rng.uniform(0.95, 1.3), rng.uniform(0.6, 1.0)))
    paint_discs(body, Tissue.AORTA, aorta_x, aorta_y, aorta, step, (1.0, 1.0))
    at = int(np.argmin(np.abs(height - 5.0)))
    roots = ((aorta_x[at], aorta_y[at]), (cava_x[at], cava_y[at]))
    paint_renal_vessels(body, organs, frame, roots, rng)
    z = frame.z
    x, y = float(aorta_x[at]), float(aorta_y[at])
    paint_tube(body, Tissue.AORTA, [(z + 22, y, x), (z + 5, y - 22, x - 3), (z - 90, y - 30, x - 6)], [4.0, 3.5, 2.5], step)
    portal = [(z - 80, y - 32, x - 16), (z + 8, y - 28, x - 20), (z + 38, y - 20, x - 45), (z + 62, y - 14, x - 80)]
    paint_tube(body, Tissue.PORTAL, portal, [4.0, 5.5, 6.5, 5.0], step)
    for side in (-1.0, 1.0):
        ends = [(z + fork + 4, y + 4, x - 2), (z + fork - 55, y + 12, x + side * 36), (z + fork - 120, y + 8, x + side * 56)]
        paint_tube(body, Tissue.AORTA, ends, [6.5, 5.5, 4.5], step)
        veins = [(z + fork - 8, y + 10, x - 26), (z + fork - 60, y + 20, x - 8 + side * 36), (z + fork - 120, y + 18, x + side * 54)]
        paint_tube(body, Tissue.CAVA, veins, [8.0, 6.5, 6.0], step)


def paint_renal_vessels(
    body: LabelArray, organs: LabelArray, frame: Frame, roots: tuple[tuple[float, float], tuple[float, float]], rng: np.random.Generator
) -> None:
    """An artery and a vein from aorta and cava into the middle of each kidney."""
    step = frame.spacing_mm
    parts, count = ndimage.label(organs == Tissue.KIDNEY)
    sizes = np.bincount(parts.ravel())[1:] if count else np.zeros(0)
    for index in np.argsort(sizes)[-2:]:
        if sizes[index] * step**3 < 15_000:
            continue
        z, y, x = np.array(ndimage.center_of_mass(parts == index + 1)) * step
        inner = float(x + 0.25 * (frame.x - x))
        for tissue, (root_x, root_y), radius in (
            (Tissue.RENAL_VEIN, roots[1], rng.uniform(3.5, 6.0)),
            (Tissue.AORTA, roots[0], rng.uniform(2.0, 3.2)),
        ):
            bend = (float(z + rng.uniform(0, 15)), float((root_y + y) / 2), float((root_x + x) / 2))
            paint_tube(body, tissue, [(frame.z + rng.uniform(0, 18), root_y, root_x), bend, (float(z), float(y), inner)], [radius] * 3, step)


def paint_small_vessels(body: LabelArray, organs: LabelArray, rng: np.random.Generator, step: float) -> None:
    """Threads where two random fields both cross zero: vessels of the mesentery and of the fat around the kidneys, and those in the liver."""
    first, second, third = (random_field(body.shape, length / step, rng) for length in (14.0, 14.0, 9.0))
    distance = np.hypot(first, second)
    fat = body == Tissue.VISCERAL_FAT
    body[fat & (np.hypot(second, third) < rng.uniform(0.05, 0.16))] = Tissue.PORTAL
    body[fat & (distance < rng.uniform(0.03, 0.12))] = Tissue.PORTAL
    liver = organs == Tissue.LIVER
    organs[liver & (distance < rng.uniform(0.08, 0.2))] = Tissue.HEPATIC_VEIN


def paint_contents(body: LabelArray, step: float, rng: np.random.Generator) -> None:
    """Gas, fluid and stool within the walls of stomach and bowel."""
    hollow = np.isin(body, HOLLOW)
    if not hollow.any():
        return
    where = around(hollow, 1)
    part, lumen = body[where], eroded(hollow[where])
    kinds = part.copy()
    wall = rng.random() < 0.5
    lumen = lumen if wall else eroded(lumen)
    mood, second = (random_field(part.shape, rng.uniform(14.0, 30.0) / step, rng) for _ in range(2))
    for tissue, gas, stool in ((Tissue.STOMACH, 0.35, 0.1), (Tissue.DUODENUM, 0.1, 0.0), (Tissue.COLON, 0.4, 0.5), (Tissue.SMALL_BOWEL, 0.1, 0.05)):
        inside = lumen & (kinds == tissue)
        part[inside] = Tissue.FLUID
        # Loops without contents are collapsed: wall all through.
        part[inside & (second > rng.uniform(0.0, 1.6))] = tissue
        part[inside & (second < rng.normal(-0.7, 0.5) + 1.4 * (stool - 0.2))] = Tissue.STOOL if stool else Tissue.FLUID
        part[inside & (mood > rng.normal(1.6 - 2.4 * gas, 0.5))] = Tissue.GAS
    stomach = lumen & (kinds == Tissue.STOMACH)
    if stomach.any():
        rows = np.nonzero(stomach.any(axis=(0, 2)))[0]
        level = int(np.quantile(rows, rng.uniform(0.0, 0.6)))
        part[:, :level][stomach[:, :level]] = Tissue.GAS
        part[:, level:][stomach[:, level:]] = Tissue.FLUID


def paint_couch(body: LabelArray, step: float, rng: np.random.Generator) -> None:
    """Two thin shells with foam between them, behind the back."""
    rows = np.flatnonzero((body == Tissue.SKIN).any(axis=(0, 2)))
    if not rows.size or rng.random() < 0.25:
        return
    x = (np.arange(body.shape[2]) - body.shape[2] / 2) * step
    top = rows[-1] * step + rng.uniform(0.0, 8.0) - rng.uniform(0.0, 0.0012) * x**2
    depth = np.arange(body.shape[1])[:, None] * step - top[None, :]
    air = body == Tissue.AIR
    thick = rng.uniform(15, 30)
    body[air & ((depth > 0) & (depth < thick))[None]] = Tissue.FOAM
    shell = ((depth > 0) & (depth < 2.2)) | ((depth > thick - 2.2) & (depth < thick))
    body[air & shell[None]] = Tissue.COUCH
