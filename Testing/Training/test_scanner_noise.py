"""Noise has the sd, the spectrum and the direction that were asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from Training.cases import AIR_HU, Case
from Training.variation.scanner_noise import Spectrum, noise_sds, noise_tiles, repeated, wedge, with_noise


@pytest.fixture(scope="module")
def cylinder() -> Case:
    """An elliptic cylinder of water, wider from side to side, on voxels of 3 mm."""
    y, x = np.mgrid[:72, :110]
    hu = np.where(((y - 35.5) / 30) ** 2 + ((x - 54.5) / 50) ** 2 < 1, 0, -1000).astype(np.int16)
    hu = np.repeat(hu[None], 24, axis=0)
    return Case("cylinder", hu, np.zeros(hu.shape, dtype=np.uint8), 3.0)


@pytest.mark.parametrize("sd", [5.0, 20.0])
def test_the_sd_over_the_body_is_as_asked(cylinder: Case, sd: float) -> None:
    noise = with_noise(cylinder, sd, np.random.default_rng(0)).hu - cylinder.hu.astype(float)
    assert np.sqrt((noise[cylinder.hu == 0] ** 2).mean()) == pytest.approx(sd, rel=0.12)
    assert abs(noise[cylinder.hu == 0].mean()) < 1.0


def test_none_is_none(cylinder: Case) -> None:
    assert with_noise(cylinder, 0.0, np.random.default_rng(0)) is cylinder


def test_no_noise_where_nothing_was_reconstructed(cylinder: Case) -> None:
    hu = cylinder.hu.copy()
    hu[:, :, :8] = AIR_HU
    assert (with_noise(replace(cylinder, hu=hu), 30.0, np.random.default_rng(0)).hu[:, :, :8] == AIR_HU).all()


def test_the_spectrum_is_the_one_asked_for() -> None:
    """An oracle of its own: numpy's full FFT, power averaged over rings of in-plane frequency and over z."""
    spectrum = Spectrum(cutoff=0.3, floor=0.2, slice_sigma_voxels=0.6)
    rng = np.random.default_rng(0)
    measured = np.mean([np.abs(np.fft.fftn(noise_tiles(spectrum, rng, 48)[1].numpy())) ** 2 for _ in range(6)], axis=0)
    frequency = np.fft.fftfreq(48)
    z, y, x = np.meshgrid(frequency, frequency, frequency, indexing="ij")
    radius = np.hypot(y, x)
    others = np.abs(x) > 1.1 * np.tan(np.radians(35.0)) * np.abs(y)
    ring = [(np.abs(radius - middle) < 0.03) & others & (np.abs(z) < 0.1) for middle in (0.08, 0.16, 0.3, 0.45)]
    expected = np.array(
        [(((0.06 + radius) * np.exp(-2 * (radius / 0.3) ** 2)) * np.exp(-((2 * np.pi * z * 0.6) ** 2)))[where].mean() for where in ring]
    )
    found = np.array([measured[where].mean() for where in ring])
    assert found / found[1] == pytest.approx(expected / expected[1], rel=0.1)
    along_z = [measured[(np.abs(np.abs(z) - level) < 0.03) & others & (np.abs(radius - 0.16) < 0.05)].mean() for level in (0.03, 0.4)]
    assert along_z[1] / along_z[0] == pytest.approx(np.exp(-((2 * np.pi * 0.4 * 0.6) ** 2)), rel=0.35)


def test_neighbours_are_correlated_over_one_to_three_voxels() -> None:
    for cutoff, least in ((0.2, 0.45), (0.5, -0.2)):
        tile = torch.stack(list(noise_tiles(Spectrum(cutoff=cutoff), np.random.default_rng(0)))).sum(dim=0)
        next_one = float((tile * tile.roll(1, 2)).mean() / (tile**2).mean())
        sixth = float((tile * tile.roll(6, 2)).mean() / (tile**2).mean())
        assert next_one > least
        assert abs(sixth) < 0.12


def test_the_two_tiles_share_all_frequencies_between_them() -> None:
    sides, others = (np.abs(np.fft.rfftn(tile.numpy())) for tile in noise_tiles(Spectrum(), np.random.default_rng(0), 32))
    near = np.broadcast_to(wedge(32), sides.shape)
    assert sides[~near].max() < 1e-3 * sides.max()
    assert others[near].max() < 1e-3 * others.max()


def test_streaks_run_from_side_to_side(cylinder: Case) -> None:
    noise = with_noise(cylinder, 20.0, np.random.default_rng(0), Spectrum(cutoff=0.25), 1.0).hu - cylinder.hu.astype(float)
    middle = noise[:, 26:46, 30:80]
    along_x = (middle[:, :, 2:] * middle[:, :, :-2]).mean() / (middle**2).mean()
    along_y = (middle[:, 2:] * middle[:, :-2]).mean() / (middle**2).mean()
    assert along_x > along_y + 0.15


def test_noise_is_strongest_where_the_body_is_thickest(cylinder: Case) -> None:
    coarse = torch.from_numpy(cylinder.hu[::4, ::2, ::2].astype(np.float32))
    for strength in (0.3, 1.0):
        sides, others = noise_sds(coarse, 6.0, strength)
        total = torch.sqrt(sides**2 + others**2)[3]
        assert total[18, 27] > total[18, 6] > 0
        assert float((sides**2 + others**2)[coarse > -500].mean()) == pytest.approx(1.0, rel=1e-3)


def test_a_scan_of_air_gets_finite_noise(cylinder: Case) -> None:
    empty = replace(cylinder, hu=np.full(cylinder.hu.shape, -1000, dtype=np.int16))
    assert 5.0 < with_noise(empty, 10.0, np.random.default_rng(0)).hu.std() < 20.0


def test_tiles_are_laid_out_without_seams() -> None:
    tile = torch.arange(27.0).reshape(3, 3, 3)
    assert torch.equal(repeated(tile, (7, 2, 4))[3:6, :2, :3], tile[:, :2, :3])
    assert repeated(tile, (7, 2, 4)).shape == (7, 2, 4)


def test_the_same_seed_makes_the_same_noise(cylinder: Case) -> None:
    first, again, other = (with_noise(cylinder, 10.0, np.random.default_rng(seed)).hu for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
