"""A seeded analytic CT of an abdomen with kidneys and tumors, and its true label map. No network, no files.

A phantom is for demonstrations and tests: the anatomy is schematic, the truth is exact. The seed decides the patient; spacing, size,
orientation and contrast phase decide how the patient was scanned.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import AxisOrder, Geometry, Matrix, Size, Vector, as_matrix, as_vector, describe_mm
from KidneyTumorCascadeLib.phantom_anatomy import (
    PHASES,
    Outline,
    Spine,
    bowel,
    enhancement,
    muscles,
    organs,
    paint_couch,
    paint_pelvis,
    paint_ribs,
    paint_trunk,
    vessels,
    warp_fields,
)
from KidneyTumorCascadeLib.phantom_kidneys import Kidney, Lesion, lesions
from KidneyTumorCascadeLib.phantom_shapes import Hollow, Organ
from KidneyTumorCascadeLib.phantom_texture import Canvas, Field, Floats, generator, noise
from KidneyTumorCascadeLib.volume import Volume

MOST_LESIONS = 6
SMALLEST_EDGE_MM = 40.0
SLAB_VOXELS = 1_500_000
OBLIQUE_AXIS = (0.48, 0.6, 0.64)
_TOWARDS = {"L": (0, False), "R": (0, True), "P": (1, False), "A": (1, True), "S": (2, False), "I": (2, True)}


@dataclass(frozen=True)
class PhantomSettings:
    """What to make.

    Attributes:
        seed: the patient, 0 or more.
        tumors, cysts: how many, 0 to 6 each.
        phase: "arterial", "portal" or "none".
        spacing: mm between voxels along the patient's x, y, z.
        size_mm: extent of the scan along x, y, z.
        noise_sd: HU.
        orientation: three letters, the directions that the array's axes i, j, k run towards, as in ITK and nibabel.
        oblique_degrees: turns grid and patient together about an oblique axis: the same voxels under a turned direction.
        kidneys: which kidneys there are, of "right" and "left".

    Raises InputError, from the constructor, for values that make no phantom.
    """

    seed: int = 0
    tumors: int = 1
    cysts: int = 1
    phase: str = "arterial"
    spacing: Vector = (1.5, 1.5, 2.5)
    size_mm: Vector = (380, 300, 320)
    noise_sd: float = 12
    orientation: str = "LPS"
    oblique_degrees: float = 0
    kidneys: tuple[str, ...] = ("right", "left")

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"A phantom's seed is 0 or more, not {self.seed}.")
        for name, count in (("tumors", self.tumors), ("cysts", self.cysts)):
            if not 0 <= count <= MOST_LESIONS:
                raise InputError(f"A phantom has 0 to {MOST_LESIONS} {name}, not {count}.")
        if self.phase not in PHASES:
            raise InputError(f"A phantom's phase is one of {', '.join(PHASES)}, not {self.phase!r}.")
        self._check_grid()
        self._check_kidneys()

    def _check_grid(self) -> None:
        numbers = (*self.spacing, *self.size_mm, self.noise_sd, self.oblique_degrees)
        if len(numbers) != 8 or not np.isfinite(numbers).all() or min(self.spacing) <= 0 or self.noise_sd < 0:
            raise InputError("A phantom needs three spacings above zero, three sizes in mm, a noise of zero or more and a finite angle.")
        if min(self.size_mm) < SMALLEST_EDGE_MM or min(np.divide(self.size_mm, self.spacing)) < 4:
            raise InputError(
                f"A phantom of {describe_mm(self.size_mm)} at {describe_mm(self.spacing)} is too small; "
                f"each edge needs at least {SMALLEST_EDGE_MM:g} mm and 4 voxels."
            )
        if self.orientation not in orientations():
            raise InputError(f"An orientation has one letter each of L/R, P/A and S/I, like LPS or RAS, not {self.orientation!r}.")

    def _check_kidneys(self) -> None:
        if len(set(self.kidneys)) != len(self.kidneys) or not set(self.kidneys) <= {"right", "left"}:
            raise InputError(f"A phantom's kidneys are 'right', 'left', both or none, not {self.kidneys!r}.")
        if not self.kidneys and self.tumors + self.cysts > 0:
            raise InputError("A phantom without kidneys cannot have tumors or cysts; set both to 0.")


@dataclass(frozen=True)
class Phantom:
    """The scan (int16 HU), its true label map (uint8: 0, 1 kidney, 2 tumor), what was asked for, and the lesions."""

    volume: Volume
    labels: Volume
    settings: PhantomSettings
    lesions: tuple[Lesion, ...]

    @property
    def tumor_kinds(self) -> tuple[str, ...]:
        """The kind of each tumor."""
        return tuple(lesion.kind for lesion in self.lesions if lesion.kind != "cyst")


def orientations() -> list[str]:
    """The 48 three-letter codes."""
    return ["".join(code) for pairs in itertools.permutations(("LR", "PA", "SI")) for code in itertools.product(*pairs)]


def make_phantom(settings: PhantomSettings) -> Phantom:
    """The phantom of these settings; the same settings give the same bits."""
    grid = _lps_grid(settings)
    patient = _Patient.of(settings)
    hu = np.empty(grid.shape_zyx, np.int16)
    labels = np.empty(grid.shape_zyx, np.uint8)
    thick = max(1, SLAB_VOXELS // (grid.size[0] * grid.size[1]))
    for start in range(0, grid.size[2], thick):
        stop = min(start + thick, grid.size[2])
        canvas = patient.painted(grid, start, stop)
        hu[start:stop] = _scanned(canvas.hu, settings, grid, start)
        labels[start:stop] = canvas.labels
    order = _order_of(settings.orientation)
    turned = _turned(grid, settings.oblique_degrees).reordered(order)
    volume, truth = (Volume(np.ascontiguousarray(order.apply(array)), turned) for array in (hu, labels))
    return Phantom(volume, truth, settings, tuple(patient.lesions))


@dataclass(frozen=True)
class _Patient:
    """All structures of one patient in one phase."""

    seed: int
    hu: dict[str, float]
    outline: Outline
    spine: Spine
    warp: tuple[Field, Field, Field]
    texture: Field
    soft: list[Organ | Hollow]
    firm: list[Organ]
    kidneys: list[Kidney]
    lesions: list[Lesion]

    @classmethod
    def of(cls, settings: PhantomSettings) -> _Patient:
        seed, hu = settings.seed, enhancement(settings.seed, settings.phase)
        outline = Outline.random(seed)
        kidneys = [Kidney.random(seed, side) for side in settings.kidneys]
        soft: list[Organ | Hollow] = [*bowel(seed, hu), *organs(seed, hu)]
        firm = [*muscles(outline, hu), *vessels(seed, hu)]
        firm += [piece for kidney in kidneys for piece in kidney.vessels(hu)]
        found = lesions(seed, kidneys, settings.tumors, settings.cysts, PHASES.index(settings.phase)) if kidneys else []
        texture = Field.random(generator(seed, "texture"), 7.0)
        return cls(seed, hu, outline, Spine.random(seed), warp_fields(seed), texture, soft, firm, kidneys, found)

    def painted(self, grid: Geometry, start: int, stop: int) -> Canvas:
        """The slices start to stop of the LPS grid, without noise."""
        x, y, z = (
            (np.float64(first) + step * np.arange(a, b)).astype(np.float32)
            for first, step, a, b in zip(grid.origin, grid.spacing, (0, 0, start), (grid.size[0], grid.size[1], stop), strict=True)
        )
        canvas = Canvas.blank(z, y, x, self.warp, 3.5, self.texture)
        paint_trunk(canvas, self.outline, self.hu)
        for organ in self.soft:
            organ.paint(canvas)
        for kidney in self.kidneys:
            kidney.paint_fat(canvas)
        for piece in self.firm:
            piece.paint(canvas)
        self.spine.paint(canvas)
        paint_ribs(canvas, self.outline)
        paint_pelvis(canvas)
        for kidney in self.kidneys:
            kidney.paint(canvas, self.hu)
        for lesion in self.lesions:
            lesion.paint(canvas)
        paint_couch(canvas, self.outline)
        return canvas


def _scanned(hu: Floats, settings: PhantomSettings, grid: Geometry, start: int) -> NDArray[np.int16]:
    """Blurred in the slice as a scanner does, with noise, in whole HU."""
    sigma = (0.0, 0.6 / grid.spacing[1], 0.6 / grid.spacing[0])
    seen = ndimage.gaussian_filter(hu, sigma, truncate=3.0)
    if settings.noise_sd > 0:
        seen += noise(settings.seed, start, (hu.shape[0], hu.shape[1], hu.shape[2]), settings.noise_sd)
    return np.asarray(np.clip(np.rint(seen), -1024, 3071), np.int16)


def _lps_grid(settings: PhantomSettings) -> Geometry:
    """The scan in LPS order; the patient lies a little off its centre."""
    x, y, z = (max(1, round(extent / step)) for extent, step in zip(settings.size_mm, settings.spacing, strict=True))
    size: Size = (x, y, z)
    rng = generator(settings.seed, "position")
    center = np.array([0.0, 12.0, -10.0]) + rng.uniform(-1, 1, 3) * (7.0, 6.0, 14.0)
    first = center - (np.array(size) - 1) * settings.spacing / 2
    return Geometry(size, as_vector(settings.spacing), as_vector(first))


def _turned(grid: Geometry, degrees: float) -> Geometry:
    """The grid turned about its centre and an oblique axis."""
    direction = _rotation(degrees)
    half = (np.array(grid.size) - 1) * grid.spacing / 2
    center = np.array(grid.origin) + half
    origin = center - np.array(direction).reshape(3, 3) @ half
    return Geometry(grid.size, grid.spacing, as_vector(origin), direction)


def _rotation(degrees: float) -> Matrix:
    """Rodrigues' formula about OBLIQUE_AXIS."""
    axis = np.array(OBLIQUE_AXIS) / np.linalg.norm(OBLIQUE_AXIS)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.radians(degrees)
    return as_matrix(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def _order_of(code: str) -> AxisOrder:
    """How an LPS array is viewed with its axes towards these letters."""
    i, j, k = (_TOWARDS[letter] for letter in code)
    return AxisOrder((i[0], j[0], k[0]), (i[1], j[1], k[1]))
