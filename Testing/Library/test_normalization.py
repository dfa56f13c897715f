"""HU to network input: fixed statistics, and the publication's window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from KidneyTumorCascadeLib.normalization import FixedNormalization, StatisticalNormalization, for_scan, mean_and_sd, normalization_from_dict


def test_fixed_clips_shifts_and_scales() -> None:
    normalization = FixedNormalization((-200.0, 400.0), 80.0, 90.0)
    result = normalization.apply(torch.tensor([-1000.0, -200.0, 80.0, 170.0, 3000.0]))
    torch.testing.assert_close(result, torch.tensor([-280 / 90, -280 / 90, 0.0, 1.0, 320 / 90]))
    assert normalization.air == pytest.approx(-280 / 90)


def test_statistical_maps_its_window_to_bytes() -> None:
    scan = np.random.default_rng(0).normal(-360.0, 463.0, (40, 30, 20)).astype(np.int16)
    low, high = scan.mean() - 2.5 * scan.std(), scan.mean() + 2.5 * scan.std()
    normalization = StatisticalNormalization(2.5).for_scan(scan)
    ends = normalization.apply(torch.tensor([low - 500, low, (low + high) / 2, high, high + 500], dtype=torch.float32))
    torch.testing.assert_close(ends, torch.tensor([0.0, 0.0, 127.5, 255.0, 255.0]), atol=1e-2, rtol=0)


def test_a_narrow_window_blinds_the_network_to_kidneys() -> None:
    """Why the paper preset has a sigma of 2.5: with 0.25 all soft tissue of an abdominal CT saturates."""
    narrow = StatisticalNormalization(0.25)
    scan = np.random.default_rng(0).normal(-360.0, 463.0, (40, 30, 20)).astype(np.int16)
    muscle, kidney = narrow.for_scan(scan).apply(torch.tensor([55.0, 180.0]))
    assert muscle == kidney


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
def test_statistics_without_a_copy_are_numpys(dtype: Any) -> None:
    scan = np.random.default_rng(3).integers(0, 200, (7, 9, 11)).astype(dtype)
    assert mean_and_sd(scan) == pytest.approx((scan.mean(dtype=np.float64), scan.std(dtype=np.float64)))


def test_only_the_statistical_one_looks_at_the_scan() -> None:
    fixed = FixedNormalization()
    assert for_scan(fixed, np.zeros((1, 1, 1))) is fixed
    assert for_scan(StatisticalNormalization(), np.zeros((2, 2, 2))).clip_hu[0] < 0


@pytest.mark.parametrize("normalization", [FixedNormalization((-100.0, 300.0), 70.0, 60.0), StatisticalNormalization(1.5)])
def test_json_and_back(normalization: Any) -> None:
    assert normalization_from_dict(normalization.to_dict()) == normalization


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"kind": "magic"},
        {"kind": "fixed"},
        {"kind": "fixed", "clip_hu": [400, -200], "mean_hu": 80, "sd_hu": 90},
        {"kind": "fixed", "clip_hu": [-200, 400], "mean_hu": 80, "sd_hu": 0},
        {"kind": "fixed", "clip_hu": [-200, 400], "mean_hu": float("nan"), "sd_hu": 90},
        {"kind": "fixed", "clip_hu": [-200, 400], "surprise": 1},
        {"kind": "fixed", "clip_hu": 3},
        {"kind": "statistical", "sigma": 0},
        {"kind": "statistical", "sigma": "wide"},
    ],
)
def test_unusable_settings_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"normalization|convert"):
        normalization_from_dict(values)
