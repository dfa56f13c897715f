"""Sliding window: the same numbers as MONAI, whole coverage, one pass for several networks, progress, cancel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from KidneyTumorCascadeLib.errors import Cancelled
from KidneyTumorCascadeLib.sliding_window import WeightedMeans, count_patches, gaussian_weights, patch_slices, sliding_window, stretched_patch

SIZES = st.tuples(*[st.integers(1, 15)] * 3)
PATCHES = st.tuples(*[st.integers(1, 9)] * 3)
OVERLAPS = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.7])


def position_dependent(patches: Tensor) -> Tensor:
    """(B, 1, z, y, x) -> (B, 2, z, y, x); what it says about a voxel depends on where in the patch the voxel is."""
    return torch.cat((patches.cumsum(2), torch.sin(patches).cumsum(4)), dim=1)


def image_of(size: tuple[int, int, int], seed: int = 0) -> Tensor:
    return torch.randn((1, *size), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("size", "patch", "overlap", "batch"),
    [
        ((16, 16, 16), (8, 8, 8), 0.0, 3),
        ((16, 16, 16), (8, 8, 8), 0.5, 1),
        ((17, 23, 11), (8, 6, 5), 0.25, 4),
        ((17, 23, 11), (8, 9, 5), 0.5, 4),
        ((13, 9, 11), (8, 6, 5), 0.75, 7),
        ((9, 9, 9), (9, 9, 9), 0.5, 1),
        ((5, 20, 3), (8, 8, 8), 0.6, 2),
        ((3, 4, 5), (8, 8, 8), 0.25, 1),
        ((7, 1, 30), (4, 3, 16), 0.5, 3),
    ],
)
def test_equals_monai(size: tuple[int, int, int], patch: tuple[int, int, int], overlap: float, batch: int) -> None:
    inferers = pytest.importorskip("monai.inferers")
    image = image_of(size)
    (result,) = sliding_window(image, [position_dependent], patch, overlap, batch, padding_value=-2.5)
    expected = inferers.sliding_window_inference(
        image[None], patch, batch, position_dependent, overlap=overlap, mode="gaussian", sigma_scale=0.125, padding_mode="constant", cval=-2.5
    )[0]
    assert result.shape == (2, *size)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(size=SIZES, patch=PATCHES, overlap=OVERLAPS)
def test_patches_cover_the_image_and_stay_inside(size: tuple[int, int, int], patch: tuple[int, int, int], overlap: float) -> None:
    padded = np.maximum(size, patch)
    seen = np.zeros(padded, dtype=int)
    for slices in patch_slices(size, patch, overlap):
        assert tuple(item.stop - item.start for item in slices) == patch
        assert all(item.start >= 0 and item.stop <= length for item, length in zip(slices, padded, strict=True))
        seen[slices] += 1
    assert seen.min() >= 1
    assert count_patches(size, patch, overlap) == len(patch_slices(size, patch, overlap))


@settings(max_examples=15, deadline=None)
@given(size=SIZES, patch=PATCHES, overlap=OVERLAPS)
def test_an_image_is_the_mean_of_its_own_patches(size: tuple[int, int, int], patch: tuple[int, int, int], overlap: float) -> None:
    image = image_of(size)
    (result,) = sliding_window(image, [lambda patches: patches], patch, overlap, batch=5)
    torch.testing.assert_close(result, image, rtol=1e-4, atol=1e-5)


def test_no_overlap_tiles_the_image_without_a_patch_too_many() -> None:
    assert count_patches((16, 8, 24), (8, 8, 8), 0.0) == 6
    assert count_patches((17, 8, 24), (8, 8, 8), 0.0) == 9
    assert count_patches((16, 16, 16), (8, 8, 8), 0.5) == 27


@given(
    size=st.tuples(*[st.integers(1, 120)] * 3),
    patch=st.tuples(*[st.sampled_from([16, 32, 48])] * 3),
    overlap=st.sampled_from([0.0, 0.1, 0.5]),
    stretch=st.floats(1.0, 2.0),
)
def test_a_stretched_patch_covers_the_image_with_no_more_voxels(
    size: tuple[int, int, int], patch: tuple[int, int, int], overlap: float, stretch: float
) -> None:
    longer = stretched_patch(size, patch, overlap, stretch, 16)
    for axis, (edge, plain) in enumerate(zip(longer, patch, strict=True)):
        assert edge % 16 == 0
        assert plain <= edge <= plain * stretch
        counts = [count_patches((size[axis], 1, 1), (length, 1, 1), overlap) for length in (edge, plain)]
        assert counts[0] * edge <= counts[1] * plain


def test_a_patch_is_stretched_where_that_saves_work_and_only_there() -> None:
    # Two of 80 against one of 112; nothing to save; two of 96 against one of 112; as long as allowed, and no longer.
    assert stretched_patch((112, 80, 100), (80, 80, 96), 0.1, 1.5, 16) == (112, 80, 112)
    assert stretched_patch((112, 80, 100), (80, 80, 96), 0.1, 1.0, 16) == (80, 80, 96)
    assert stretched_patch((112, 80, 100), (80, 80, 96), 0.1, 1.3, 16) == (80, 80, 112)
    assert stretched_patch((30, 30, 30), (80, 80, 96), 0.5, 2.0, 16) == (80, 80, 96)


def test_weights_are_gaussian_and_nowhere_zero() -> None:
    weights = gaussian_weights((9, 16, 1))
    assert weights.shape == (9, 16, 1)
    assert weights[4, 7, 0] == weights[4, 8, 0] == weights.max()
    assert weights[4, 7, 0] == pytest.approx(np.exp(-0.5 * (0.5 / 2) ** 2))
    # One standard deviation, an eighth of the edge, from the middle of the first axis.
    assert gaussian_weights((8, 1, 1))[3, 0, 0] / gaussian_weights((9, 1, 1))[4, 0, 0] == pytest.approx(np.exp(-0.125))
    assert weights.min() == pytest.approx(1e-3)


def test_several_networks_share_one_pass_and_see_every_patch_once() -> None:
    image = image_of((13, 10, 9))
    seen: list[list[Tensor]] = [[], []]

    def first(patches: Tensor) -> Tensor:
        seen[0].append(patches.clone())
        return patches * 2

    def second(patches: Tensor) -> Tensor:
        seen[1].append(patches.clone())
        return position_dependent(patches)

    together = sliding_window(image, [first, second], (6, 6, 6), 0.5, batch=4)
    assert [len(result) for result in together] == [1, 2]
    every_patch = torch.stack([image[(slice(None), *slices)] for slices in patch_slices((13, 10, 9), (6, 6, 6), 0.5)])
    for patches in seen:
        assert torch.equal(torch.cat(patches), every_patch)
    torch.testing.assert_close(together[0], sliding_window(image, [lambda patches: patches * 2], (6, 6, 6), 0.5)[0])
    torch.testing.assert_close(together[1], sliding_window(image, [position_dependent], (6, 6, 6), 0.5)[0])


def test_channels_reach_the_network() -> None:
    image = torch.cat((image_of((7, 7, 7), 1), image_of((7, 7, 7), 2)))
    (result,) = sliding_window(image, [lambda patches: patches[:, :1] - patches[:, 1:]], (4, 4, 4))
    torch.testing.assert_close(result[0], image[0] - image[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 4, 1000])
def test_progress_rises_to_the_number_of_patches(batch: int) -> None:
    reports: list[tuple[int, int]] = []
    sliding_window(image_of((12, 12, 12)), [position_dependent], (6, 6, 6), 0.5, batch, on_patch=lambda done, total: reports.append((done, total)))
    done = [report[0] for report in reports]
    assert {report[1] for report in reports} == {27}
    assert all(later > earlier for earlier, later in itertools.pairwise(done))
    assert done[-1] == 27


def test_cancel_stops_before_the_next_patch() -> None:
    calls = []

    def network(patches: Tensor) -> Tensor:
        calls.append(len(patches))
        return patches

    with pytest.raises(Cancelled):
        sliding_window(image_of((12, 12, 12)), [network], (6, 6, 6), 0.5, should_stop=lambda: len(calls) == 3)
    assert len(calls) == 3


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_sums_are_float32_whatever_the_network_returns(kind: torch.dtype) -> None:
    image = image_of((9, 9, 9))
    (result,) = sliding_window(image, [lambda patches: patches.to(kind)], (4, 4, 4))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, image.to(kind).float(), rtol=1e-2, atol=1e-3)


def test_sums_can_be_held_on_another_device() -> None:
    results = sliding_window(image_of((5, 5, 5)), [position_dependent], (4, 4, 4), sums_on=torch.device("meta"))
    assert results[0].device.type == "meta"


def test_one_sum_of_weights_serves_all_networks_and_channels() -> None:
    means = WeightedMeans((6, 7, 8), gaussian_weights((4, 4, 4)))
    means.add((slice(0, 4), slice(0, 4), slice(0, 4)), [torch.ones(2, 4, 4, 4), torch.ones(3, 4, 4, 4)])
    assert means.weight_sum.shape == (6, 7, 8)
    assert [tuple(total.shape) for total in means.sums] == [(2, 6, 7, 8), (3, 6, 7, 8)]


def test_nothing_is_remembered_for_gradients() -> None:
    layer = torch.nn.Conv3d(1, 2, 3, padding=1)
    (result,) = sliding_window(image_of((5, 5, 5)), [layer], (4, 4, 4))
    assert not result.requires_grad


@pytest.mark.parametrize(("patch", "overlap", "batch"), [((4, 4, 4), 1.0, 1), ((4, 4, 4), -0.1, 1), ((0, 4, 4), 0.5, 1), ((4, 4, 4), 0.5, 0)])
def test_impossible_settings_are_refused(patch: tuple[int, int, int], overlap: float, batch: int) -> None:
    with pytest.raises(ValueError, match="patch"):
        sliding_window(image_of((5, 5, 5)), [position_dependent], patch, overlap, batch)
