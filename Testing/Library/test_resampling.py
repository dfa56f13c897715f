"""Resampling against torch's own interpolation, and on grids that lie askew."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from KidneyTumorCascadeLib.geometry import Geometry, as_vector
from KidneyTumorCascadeLib.resampling import SLAB_VOXELS, interpolation_matrix, resample, thinned

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def ramp(geometry: Geometry, slope: tuple[float, float, float]) -> np.ndarray:
    """A field that is linear in patient space, which linear interpolation gives back exactly."""
    z, y, x = np.indices(geometry.shape_zyx)
    points = geometry.to_patient(np.stack((x, y, z), axis=-1))
    return np.asarray(points @ np.array(slope), dtype=np.float32)


@given(st.integers(2, 9), st.integers(2, 9), st.integers(2, 9), st.integers(1, 4))
def test_finer_grids_agree_with_trilinear_interpolation(depth: int, height: int, width: int, factor: int) -> None:
    voxels = np.random.default_rng(depth).random((depth, height, width)).astype(np.float32)
    source = Geometry((width, height, depth), (1.0, 2.0, 3.0))
    target = source.resampled(as_vector(np.divide(source.spacing, factor)))
    expected = functional.interpolate(torch.from_numpy(voxels)[None, None], scale_factor=factor, mode="trilinear")[0, 0]
    torch.testing.assert_close(resample(voxels, source, target), expected, atol=1e-5, rtol=0)


@given(st.integers(8, 40), st.integers(8, 40), st.integers(2, 5))
def test_coarser_grids_agree_with_antialiased_interpolation(height: int, width: int, factor: int) -> None:
    voxels = np.random.default_rng(width).random((1, height, width)).astype(np.float32)
    source = Geometry((width, height, 1), (1.0, 1.0, 1.0))
    target = source.resampled((factor, factor, 1.0))
    expected = functional.interpolate(torch.from_numpy(voxels)[None], size=target.shape_zyx[1:], mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(resample(voxels, source, target)[0], expected[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("direction", [(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), OBLIQUE])
def test_a_linear_field_keeps_its_place_in_the_patient(direction: tuple[float, ...]) -> None:
    source = Geometry((20, 18, 16), (1.0, 1.5, 2.0), (5.0, -7.0, 11.0), direction)  # type: ignore[arg-type]
    target = source.cropped((slice(4, 12), slice(4, 14), slice(4, 16))).resampled((0.7, 0.9, 1.1))
    slope = (0.3, -0.2, 0.5)
    np.testing.assert_allclose(resample(ramp(source, slope), source, target), ramp(target, slope), atol=1e-4)


def test_slabs_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = np.random.default_rng(1).integers(-1000, 1000, (23, 17, 19), dtype=np.int16)
    source = Geometry((19, 17, 23), (1.0, 1.0, 1.0))
    target = source.resampled((2.3, 1.7, 3.1))
    whole = resample(voxels, source, target)
    monkeypatch.setattr("KidneyTumorCascadeLib.resampling.SLAB_VOXELS", 17 * 19 * 2)
    assert voxels.size < SLAB_VOXELS
    torch.testing.assert_close(resample(voxels, source, target), whole, atol=1e-2, rtol=1e-5)


def test_mirrored_views_are_read() -> None:
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    geometry = Geometry((5, 4, 3), (1.0, 1.0, 1.0))
    assert np.array_equal(resample(voxels[::-1, :, ::-1], geometry, geometry).numpy(), voxels[::-1, :, ::-1])


@given(st.tuples(*[st.integers(1, 12)] * 3), st.tuples(*[st.floats(0.3, 3.0)] * 3), st.tuples(*[st.floats(0.5, 6.0)] * 3))
def test_thinned_voxels_keep_their_values_and_places(size: tuple[int, int, int], spacing: tuple[float, ...], wanted: tuple[float, ...]) -> None:
    source = Geometry(size, as_vector(spacing), (5.0, -7.0, 11.0), OBLIQUE)
    target = source.resampled(as_vector(wanted))
    few, grid = thinned(ramp(source, (0.3, -0.2, 0.5)), source, target)
    assert few.shape == grid.shape_zyx
    np.testing.assert_allclose(few, ramp(grid, (0.3, -0.2, 0.5)), atol=1e-4)
    # Two to a voxel of the target are left, or as many as there were; one more would be too many to leave out.
    for present, kept, coarse in zip(source.spacing, grid.spacing, target.spacing, strict=True):
        assert kept == pytest.approx(present) or 2 * kept <= coarse * (1 + 1e-5)
        assert 2 * (kept + present) > coarse * (1 - 1e-5)


def test_a_thinned_scan_looks_like_the_whole_one_on_a_coarser_grid() -> None:
    random = np.random.default_rng(3)
    z, y, x = np.indices((24, 60, 64))
    voxels = (100 * np.sin(z / 5) * np.cos(y / 9) * np.sin(x / 8) + random.normal(0, 5, (24, 60, 64))).astype(np.float32)
    source = Geometry((64, 60, 24), (0.7, 0.7, 3.0))
    target = source.resampled((2.9, 4.3, 4.0))
    few, grid = thinned(voxels, source, target)
    assert few.shape == (24, 20, 32)
    assert float((resample(few, grid, target) - resample(voxels, source, target)).abs().mean()) < 3.0


def test_outside_lies_the_edge() -> None:
    weights = interpolation_matrix(4, 8, first=-2.0, step=1.0)
    assert np.allclose(weights.sum(axis=1), 1.0)
    assert weights[0, 0] == weights[7, 3] == 1.0


def test_grids_that_do_not_fit_are_refused() -> None:
    geometry = Geometry((5, 4, 3), (1.0, 1.0, 1.0))
    turned = Geometry((5, 4, 3), (1.0, 1.0, 1.0), direction=OBLIQUE)
    with pytest.raises(ValueError, match="same axes"):
        resample(np.zeros((3, 4, 5)), geometry, turned)
    with pytest.raises(ValueError, match="do not fit"):
        resample(np.zeros((3, 4, 4)), geometry, geometry)
