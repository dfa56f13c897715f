"""Kernel, slices and beam hardening against their definitions; projections against lengths known beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from Training.cases import AIR_HU, Case
from Training.variation.projections import ANGLES, Projector
from Training.variation.scan_filters import blurred, expanded, shrunk, smooth_field, without_noise
from Training.variation.scanner_changes import hardening_error, slab_matrix, with_beam_hardening, with_kernel, with_thick_slices


def test_nothing_asked_is_nothing_done(body: Case) -> None:
    assert with_kernel(body, 0.0) is body
    assert with_beam_hardening(body, 0.0) is body
    assert with_thick_slices(body, 1.0, 1.0) is body


@pytest.mark.parametrize("sigma", [0.4, 0.9, 2.3])
def test_blur_is_scipys(sigma: float) -> None:
    values = np.random.default_rng(0).normal(0, 100, (7, 19, 24)).astype(np.float32)
    expected = ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=np.ceil(2.5 * sigma) / sigma)
    assert np.allclose(blurred(torch.from_numpy(values), sigma).numpy(), expected, atol=1e-2)


def test_blur_of_less_than_a_kernel() -> None:
    assert torch.allclose(blurred(torch.full((1, 2, 3), 5.0), 3.0), torch.full((1, 2, 3), 5.0))


def test_noise_goes_and_edges_stay() -> None:
    hu = torch.zeros((20, 20, 20))
    hu[:, :, 10:] = 300.0
    noisy = hu + 8.0 * torch.from_numpy(np.random.default_rng(0).standard_normal((20, 20, 20), dtype=np.float32))
    calm = without_noise(noisy, 1.2)
    assert (calm - hu)[:, :, :6].std() < 3.0
    assert (calm - noisy).abs().max() < 25.01


@given(factor=st.integers(1, 5), shape=st.tuples(*[st.integers(1, 17)] * 3))
@settings(max_examples=25, deadline=None)
def test_coarse_voxels_keep_the_mean_and_come_back_in_shape(factor: int, shape: tuple[int, int, int]) -> None:
    coarse = shrunk(torch.full(shape, 7.0), factor)
    assert tuple(coarse.shape) == tuple(-(-length // factor) for length in shape)
    assert torch.allclose(expanded(coarse, factor, shape), torch.full(shape, 7.0))


def test_smooth_fields_have_sd_1() -> None:
    sds = [float(smooth_field((30, 40, 50), 5.0, np.random.default_rng(seed)).std()) for seed in range(6)]
    assert np.mean(sds) == pytest.approx(1.0, abs=0.1)


def test_a_soft_kernel_blurs_slices_and_not_across_them(body: Case) -> None:
    result = with_kernel(body, -1.5)
    expected = ndimage.gaussian_filter(body.hu.astype(np.float32), (0, 0.75, 0.75), mode="nearest", truncate=2 / 0.75)
    assert np.abs(result.hu - expected).max() < 1.5
    assert np.array_equal(result.labels, body.labels)


def test_a_sharp_kernel_raises_noise_and_keeps_the_mean(body: Case) -> None:
    sharp = with_kernel(body, 1.0)
    tissue = np.s_[10:60, 40:50, 2:8]
    assert sharp.hu[tissue].std() > 1.3 * body.hu[tissue].std()
    assert sharp.hu[tissue].mean() == pytest.approx(body.hu[tissue].mean(), abs=1.0)
    assert sharp.hu.min() >= AIR_HU


def test_whole_slabs_are_means_of_their_slices(body: Case) -> None:
    result = with_thick_slices(body, 8.0, 8.0, offset_mm=3.0)
    slabs = body.hu.reshape(18, 4, 72, 72).mean(axis=1)
    expected = [np.interp(index, 1.5 + 4 * np.arange(18), slabs[:, 30, 30]) for index in range(72)]
    assert np.abs(result.hu[:, 30, 30] - expected).max() <= 0.51
    assert np.array_equal(result.labels, body.labels)


@given(depth=st.integers(2, 40), thickness=st.floats(1.0, 9.0), overlap=st.floats(0.3, 1.5), start=st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_slabs_keep_what_is_even_and_what_rises_evenly(depth: int, thickness: float, overlap: float, start: float) -> None:
    increment = thickness * overlap
    matrix = slab_matrix(depth, thickness, increment, start * min(increment, depth - 1)).toarray()
    assert np.allclose(matrix.sum(axis=1), 1.0, atol=1e-5)
    assert (matrix >= 0).all()
    # Voxels are even within themselves, so a slab's border through one shifts its middle by up to an eighth.
    inner = np.arange(depth)[int(2 * thickness + increment) + 2 : depth - int(2 * thickness + increment) - 2]
    assert np.allclose((matrix @ np.arange(depth))[inner], inner, atol=0.13)


def test_a_point_becomes_as_long_as_a_slice(body: Case) -> None:
    hu = np.full(body.hu.shape, 0, dtype=np.int16)
    hu[36] = 1000
    thick = with_thick_slices(replace(body, hu=hu), 6.0, 2.0).hu[:, 5, 5]
    assert np.flatnonzero(thick).tolist() == [35, 36, 37]
    assert thick[36] == pytest.approx(333, abs=1)


def test_rays_through_a_disc_are_as_long_as_its_chords() -> None:
    y, x = np.mgrid[:61, :61] - 30.0
    disc = torch.from_numpy((y**2 + x**2 <= 20**2).astype(np.float32))[None]
    projections = Projector((61, 61), 2.0).project(disc)[:, :, 0]
    assert projections.max(axis=1) == pytest.approx(np.full(ANGLES, 80.0), rel=0.09)
    assert projections.sum(axis=1) * 2.0 == pytest.approx(np.full(ANGLES, float(disc.sum()) * 4.0), rel=1e-4)


def test_what_is_projected_is_reconstructed() -> None:
    y, x = np.mgrid[:60, :70] - 30.0
    smooth = np.exp(-((y / 9) ** 2 + ((x - 8) / 12) ** 2)).astype(np.float32)[None] * np.array([1.0, 3.0], dtype=np.float32)[:, None, None]
    projector = Projector((60, 70), 5.0)
    back = projector.reconstruct(projector.project(torch.from_numpy(smooth))).numpy()
    assert np.abs(back - smooth)[:, 15:45, 20:55].max() < 0.05 * smooth.max()


def test_the_ray_of_angle_0_runs_from_side_to_side() -> None:
    slices = torch.zeros((1, 40, 40))
    slices[0, 20, :] = 1.0
    assert int(Projector((40, 40), 1.0).project(slices)[:, :, 0].max(axis=1).argmax()) == 0


def test_beam_hardening_darkens_between_bones_and_cups() -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    hu = np.where((y / 22) ** 2 + (x / 29) ** 2 < 1, 0.0, -1000.0)
    water = hardening_error(torch.from_numpy(hu.astype(np.float32))[None], 6.0)[0].numpy()
    body = ndimage.binary_erosion(hu > -500, iterations=2)
    middle, rim = water[28:36, 28:36].mean(), water[body & ~ndimage.binary_erosion(body, iterations=2)].mean()
    assert middle < rim - 1.0
    hu[(y**2 + (np.abs(x) - 17) ** 2) < 16] = 900.0
    bones = hardening_error(torch.from_numpy(hu.astype(np.float32))[None], 6.0)[0].numpy() - water
    between, above = bones[30:34, 26:38].mean(), bones[16:20, 26:38].mean()
    assert between < above - 5.0
    assert -80.0 < between < -5.0


def test_beam_hardening_changes_no_label_and_no_air(body: Case) -> None:
    hu = body.hu.copy()
    hu[:, :, :5] = AIR_HU
    result = with_beam_hardening(replace(body, hu=hu), 2.0)
    assert (result.hu[:, :, :5] == AIR_HU).all()
    assert not np.array_equal(result.hu, hu)
    assert np.array_equal(result.labels, body.labels)
