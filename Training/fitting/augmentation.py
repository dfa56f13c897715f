"""Random crops, deformations and changes of contrast, in torch, on the device that trains.

Spatial changes are one `grid_sample`: rotation, stretch along the patient's axes, scale, mirroring and a smooth elastic field together move
the voxel centres of the patch into the source case. Intensity changes act on HU, before normalization.

Every random number comes from one generator on the CPU, so that the same seed gives the same patch on any device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from Training.cases import AIR_HU


@dataclass(frozen=True)
class SpatialRange:
    """How far a patch may be deformed; `PLAIN_SPATIAL` gives the plain patch.

    Attributes:
        rotation_degrees: about each axis, either way.
        scale: as a power of two, either way: 0.25 is a factor of 0.84 to 1.19.
        stretch: of each of the patient's axes on its own, as a fraction, either way.
        elastic_mm: largest reach of the elastic field; the sd of its nodes is half of a reach drawn for each patch.
        mirror: exchange left and right in half of the patches.
    """

    rotation_degrees: float = 18.0
    scale: float = 0.25
    stretch: float = 0.1
    elastic_mm: float = 7.0
    mirror: bool = True


@dataclass(frozen=True)
class IntensityRange:
    """How far HU may be changed; `PLAIN_INTENSITY` leaves them as they are.

    Attributes:
        offset_hu: added, either way.
        slope: of the HU scale, as a fraction, either way.
        curve_hu: largest height of a wave over the HU scale.
        organ_hu: added to kidneys and tumors alone, either way, in 4 of 10 patches.
        noise_hu: largest sd of the noise.
        blur_probability: of a softer kernel.
        thick_probability: of thicker slices.
        field_of_view_probability: of a patch that the scan's end cuts.
    """

    offset_hu: float = 20.0
    slope: float = 0.15
    curve_hu: float = 25.0
    organ_hu: float = 40.0
    noise_hu: float = 30.0
    blur_probability: float = 0.25
    thick_probability: float = 0.3
    field_of_view_probability: float = 0.15


PLAIN_SPATIAL = SpatialRange(rotation_degrees=0.0, scale=0.0, stretch=0.0, elastic_mm=0.0, mirror=False)
PLAIN_INTENSITY = IntensityRange(
    offset_hu=0.0,
    slope=0.0,
    curve_hu=0.0,
    organ_hu=0.0,
    noise_hu=0.0,
    blur_probability=0.0,
    thick_probability=0.0,
    field_of_view_probability=0.0,
)


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """One number, evenly drawn."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def rotation(degrees: float, generator: torch.Generator) -> Tensor:
    """Rotation by up to `degrees` about each axis, 3 x 3."""
    matrix = torch.eye(3)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        angle = torch.tensor(uniform(-degrees, degrees, generator)).deg2rad()
        turn = torch.eye(3)
        turn[first, first] = turn[second, second] = angle.cos()
        turn[first, second], turn[second, first] = -angle.sin(), angle.sin()
        matrix = matrix @ turn
    return matrix


def patch_points(
    patch: tuple[int, int, int], spacing_mm: float, ranges: SpatialRange, generator: torch.Generator, device: torch.device | None = None
) -> Tensor:
    """Offsets (z, y, x, 3) in mm, in the order x, y, z, of the patch's voxels from its centre after a random deformation, on the device."""
    axes = [(torch.arange(length, device=device) - (length - 1) / 2.0) * spacing_mm for length in patch]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    points = torch.stack((x, y, z), dim=-1)
    scale = 2.0 ** uniform(-ranges.scale, ranges.scale, generator) if ranges.scale else 1.0
    stretch = torch.tensor([1.0 + uniform(-ranges.stretch, ranges.stretch, generator) for _ in range(3)])
    if ranges.mirror and uniform(0, 1, generator) < 0.5:
        stretch[0] = -stretch[0]
    turn = rotation(ranges.rotation_degrees, generator)
    points = points @ turn.T.to(points.device) * stretch.to(points.device) * scale
    if ranges.elastic_mm:
        return points + elastic_field(patch, uniform(0.0, ranges.elastic_mm, generator), generator, device)
    return points


def elastic_field(patch: tuple[int, int, int], reach_mm: float, generator: torch.Generator, device: torch.device | None = None) -> Tensor:
    """Smooth displacements (z, y, x, 3) in mm between 5 x 5 x 5 nodes over the patch, whose sd is half of `reach_mm`."""
    coarse = torch.randn((1, 3, 5, 5, 5), generator=generator) * reach_mm / 2.0
    smooth = F.interpolate(coarse.to(device or "cpu"), size=patch, mode="trilinear", align_corners=True)
    return smooth[0].permute(1, 2, 3, 0)


def sample(volume: Tensor, center: Tensor, points: Tensor, spacing_mm: float, mode: str = "bilinear") -> Tensor:
    """Values (z, y, x) of a float volume (z, y, x) at `center` (voxel index x, y, z) + points (mm); outside lies 0."""
    size = torch.tensor(list(reversed(volume.shape)), dtype=torch.float32, device=volume.device)
    index = center.to(volume.device) + points.to(volume.device) / spacing_mm
    grid = (index + 0.5) / size * 2.0 - 1.0
    return F.grid_sample(volume[None, None], grid[None], mode=mode, padding_mode="zeros", align_corners=False)[0, 0]


def gaussian_blur(values: Tensor, sigma: float) -> Tensor:
    """A (z, y, x) tensor blurred by a separable Gaussian of that sd in voxels."""
    reach = max(1, round(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=values.device) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    blurred = values[None, None]
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = -1
        # Padding is listed from the last axis to the first, two numbers each.
        padding = [reach if index // 2 == 2 - axis else 0 for index in range(6)]
        blurred = F.conv3d(F.pad(blurred, padding, mode="replicate"), kernel.reshape(shape))
    return blurred[0, 0]


def change_contrast(hu: Tensor, labels: Tensor, ranges: IntensityRange, generator: torch.Generator) -> Tensor:
    """Another scanner and another phase: slope and offset, a wave over the HU scale, and the kidneys against the rest."""
    hu = hu * (1.0 + uniform(-ranges.slope, ranges.slope, generator)) + uniform(-ranges.offset_hu, ranges.offset_hu, generator)
    phase = uniform(0.0, math.tau, generator)
    wave = torch.sin(hu * (math.tau / uniform(150.0, 500.0, generator)) + phase)
    hu = hu + wave * uniform(0.0, ranges.curve_hu, generator)
    if uniform(0, 1, generator) < 0.4:
        hu = hu + (labels > 0) * uniform(-ranges.organ_hu, ranges.organ_hu, generator)
    return hu


def change_sharpness(hu: Tensor, ranges: IntensityRange, generator: torch.Generator) -> Tensor:
    """Another kernel, or thicker slices along one axis."""
    if uniform(0, 1, generator) < ranges.blur_probability:
        hu = gaussian_blur(hu, uniform(0.3, 1.0, generator))
    if uniform(0, 1, generator) < ranges.thick_probability:
        factor = uniform(1.2, 3.5, generator)
        axis = 0 if uniform(0, 1, generator) < 0.8 else int(torch.randint(1, 3, (), generator=generator))
        size = list(hu.shape)
        size[axis] = max(2, round(size[axis] / factor))
        thick = F.interpolate(hu[None, None], size=size, mode="area")
        hu = F.interpolate(thick, size=hu.shape, mode="trilinear", align_corners=False)[0, 0]
    return hu


def add_noise(hu: Tensor, ranges: IntensityRange, generator: torch.Generator) -> Tensor:
    """Noise correlated over one to a few voxels."""
    if not ranges.noise_hu or uniform(0, 1, generator) < 0.3:
        return hu
    noise = torch.randn(hu.shape, generator=generator).to(hu.device)
    if uniform(0, 1, generator) < 0.6:
        noise = gaussian_blur(noise, uniform(0.4, 1.0, generator))
        noise = noise / noise.std()
    return hu + noise * uniform(0.0, ranges.noise_hu, generator)


def cut_field_of_view(hu: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The scan ends inside the patch: beyond a plane along one axis there is neither tissue nor label."""
    axis = int(torch.randint(0, 3, (), generator=generator))
    length = hu.shape[axis]
    cut = int(length * uniform(0.1, 0.45, generator))
    start = 0 if uniform(0, 1, generator) < 0.5 else length - cut
    hu, labels = hu.clone(), labels.clone()
    hu.narrow(axis, start, cut).fill_(AIR_HU)
    labels.narrow(axis, start, cut).fill_(0)
    return hu, labels


def change_intensity(hu: Tensor, labels: Tensor, ranges: IntensityRange, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """All of the above in the order in which they arise: patient, scanner, reconstruction, field of view."""
    hu = change_contrast(hu, labels, ranges, generator)
    hu = change_sharpness(hu, ranges, generator)
    hu = add_noise(hu, ranges, generator)
    if uniform(0, 1, generator) < ranges.field_of_view_probability:
        hu, labels = cut_field_of_view(hu, labels, generator)
    return hu, labels
