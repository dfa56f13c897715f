"""Augmentation: nothing asked for changes nothing, and image and labels move as one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from Training.cases import AIR_HU
from Training.fitting.augmentation import (
    PLAIN_INTENSITY,
    PLAIN_SPATIAL,
    IntensityRange,
    SpatialRange,
    change_intensity,
    cut_field_of_view,
    gaussian_blur,
    patch_points,
    rotation,
    sample,
)

PATCH = (9, 10, 11)
CENTER = torch.tensor([14.3, 12.9, 13.6])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def volume() -> Tensor:
    """Smooth values (z, y, x)."""
    return torch.from_numpy(ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(28, 27, 29)), 1.5).astype(np.float32))


def scipy_sample(volume: Tensor, center: Tensor, points: Tensor, spacing_mm: float, order: int) -> np.ndarray:
    index = (center + points / spacing_mm).numpy()[..., ::-1]
    return np.asarray(ndimage.map_coordinates(volume.numpy(), np.moveaxis(index, -1, 0), order=order, mode="constant"))


def test_plain_points_are_the_voxels_of_the_patch() -> None:
    points = patch_points(PATCH, 2.0, PLAIN_SPATIAL, seeded())
    assert points.shape == (*PATCH, 3)
    torch.testing.assert_close(points[0, 0, 0], torch.tensor([-10.0, -9.0, -8.0]))
    torch.testing.assert_close(points[1, 2, 3] - points[0, 0, 0], torch.tensor([6.0, 4.0, 2.0]))


@pytest.mark.parametrize("spatial", [PLAIN_SPATIAL, SpatialRange()], ids=["plain", "deformed"])
def test_sampling_is_that_of_scipy(volume: Tensor, spatial: SpatialRange) -> None:
    points = patch_points(PATCH, 2.0, spatial, seeded(3))
    found = sample(volume, CENTER, points, 1.5)
    np.testing.assert_allclose(found.numpy(), scipy_sample(volume, CENTER, points, 1.5, order=1), atol=2e-5)


def test_outside_lies_zero(volume: Tensor) -> None:
    points = patch_points(PATCH, 2.0, PLAIN_SPATIAL, seeded())
    assert not sample(volume + 5.0, torch.tensor([-80.0, 12.0, 12.0]), points, 1.0).any()


@pytest.mark.parametrize("seed", range(4))
def test_image_and_labels_move_together(seed: int) -> None:
    labels = torch.zeros((40, 40, 40))
    labels[12:26, 14:24, 8:30] = 1.0
    points = patch_points((24, 24, 24), 1.5, SpatialRange(), seeded(seed))
    center = torch.tensor([19.0, 19.0, 19.0])
    image, kinds = sample(labels * 100.0, center, points, 1.0), sample(labels, center, points, 1.0, mode="nearest")
    assert kinds.any()
    # Linear interpolation of a box of height 100 exceeds 50 where the nearest voxel is inside, but for the box's edges.
    assert ((image > 50.0) == (kinds > 0.5)).float().mean() > 0.985
    assert (image[kinds == 0] <= 90.0).all()


def test_a_mirrored_patch_is_the_patch_mirrored_left_to_right(volume: Tensor) -> None:
    mirroring = replace(PLAIN_SPATIAL, mirror=True)
    plain = patch_points(PATCH, 2.0, PLAIN_SPATIAL, seeded())
    drawn = [patch_points(PATCH, 2.0, mirroring, seeded(seed)) for seed in range(12)]
    mirrored = [points for points in drawn if not torch.equal(points, plain)]
    assert 0 < len(mirrored) < len(drawn)
    middle = torch.tensor([14.0, 13.0, 13.0])
    image = sample(volume, middle, plain, 2.0)
    for points in mirrored:
        torch.testing.assert_close(sample(volume, middle, points, 2.0), image.flip(2))


def test_rotations_turn_and_do_not_mirror() -> None:
    matrix = rotation(40.0, seeded(2))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3))
    assert float(torch.linalg.det(matrix)) == pytest.approx(1.0, abs=1e-5)
    assert not torch.allclose(matrix, torch.eye(3), atol=0.05)


def test_scale_stays_within_its_range() -> None:
    only_scale = replace(PLAIN_SPATIAL, scale=0.25)
    plain = patch_points(PATCH, 1.0, PLAIN_SPATIAL, seeded())
    factors = torch.stack([(patch_points(PATCH, 1.0, only_scale, seeded(seed)).norm() / plain.norm()) for seed in range(20)])
    assert 2.0**-0.25 - 1e-4 <= factors.min() < 0.95
    assert 1.05 < factors.max() <= 2.0**0.25 + 1e-4


def test_elastic_field_is_smooth() -> None:
    bent = patch_points((32, 32, 32), 1.0, replace(PLAIN_SPATIAL, elastic_mm=6.0), seeded(1)) - patch_points(
        (32, 32, 32), 1.0, PLAIN_SPATIAL, seeded()
    )
    assert bent.abs().max() > 0.5
    assert bent.diff(dim=0).abs().max() < 0.25 * bent.abs().max()


def test_plain_intensity_changes_nothing(volume: Tensor) -> None:
    labels = (volume > 0.1).to(torch.uint8)
    hu, kinds = change_intensity(volume * 500.0, labels, PLAIN_INTENSITY, seeded())
    assert torch.equal(hu, volume * 500.0)
    assert torch.equal(kinds, labels)


def test_the_same_seed_gives_the_same_patch(volume: Tensor) -> None:
    labels = (volume > 0.1).to(torch.uint8)
    first, again, other = (change_intensity(volume * 500.0, labels, IntensityRange(), seeded(seed))[0] for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    points = [patch_points(PATCH, 2.0, SpatialRange(), seeded(seed)) for seed in (7, 7, 8)]
    assert torch.equal(points[0], points[1])
    assert not torch.equal(points[0], points[2])


@pytest.mark.parametrize("seed", range(6))
def test_beyond_the_field_of_view_is_air_without_labels(seed: int) -> None:
    hu, labels = torch.full((20, 22, 24), 50.0), torch.ones((20, 22, 24), dtype=torch.uint8)
    cut_hu, cut_labels = cut_field_of_view(hu, labels, seeded(seed))
    gone = cut_hu == AIR_HU
    assert 0.08 < gone.float().mean() < 0.46
    assert torch.equal(cut_labels == 0, gone)
    assert (cut_hu[~gone] == 50.0).all()
    assert (hu == 50.0).all()
    assert labels.all()


def test_blur_is_that_of_scipy(volume: Tensor) -> None:
    # scipy's "nearest" is torch's "replicate"; both kernels end at 3 standard deviations.
    expected = ndimage.gaussian_filter(volume.numpy(), 1.0, mode="nearest", truncate=3.0)
    np.testing.assert_allclose(gaussian_blur(volume, 1.0).numpy(), expected, atol=1e-5)


def test_noise_alone_is_noise_of_no_mean() -> None:
    flat = torch.zeros((24, 24, 24))
    changed = [change_intensity(flat, flat, replace(PLAIN_INTENSITY, noise_hu=30.0), seeded(seed))[0] for seed in range(8)]
    deviations = torch.stack([hu.std() for hu in changed])
    assert deviations.max() <= 31.0
    assert (deviations > 1.0).any()
    assert max(abs(float(hu.mean())) for hu in changed) < 2.0


def test_organ_change_acts_on_the_kidneys_alone() -> None:
    flat, labels = torch.zeros((8, 8, 8)), torch.zeros((8, 8, 8), dtype=torch.uint8)
    labels[2:5] = 1
    results = [change_intensity(flat, labels, replace(PLAIN_INTENSITY, organ_hu=40.0), seeded(seed))[0] for seed in range(10)]
    assert all(not hu[labels == 0].any() for hu in results)
    assert any((hu[labels > 0] != 0.0).all() for hu in results)
