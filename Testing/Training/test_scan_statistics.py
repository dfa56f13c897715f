"""The statistical normalization of a case is that of the scan that it was cut out of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from KidneyTumorCascadeLib.normalization import FixedNormalization, StatisticalNormalization
from Training.cases import Case
from Training.fitting.scan_statistics import normalization_of_cases

PUBLISHED = StatisticalNormalization(sigma=2.5)


def test_mean_and_sd_are_of_the_whole_scan_where_it_is_there(body: Case, tmp_path: Path) -> None:
    part = replace(body.cropped((slice(20, 50), slice(20, 50), slice(5, 30))), name="a")
    alone = replace(part, name="b")
    for folder in ("fine", "coarse"):
        (tmp_path / folder).mkdir()
    replace(body, name="a").save(tmp_path / "coarse")
    found = normalization_of_cases(PUBLISHED, [part, alone], tmp_path / "fine")
    for normalization, hu in zip(found, (body.hu, alone.hu), strict=True):
        low, high = hu.mean() - 2.5 * hu.std(), hu.mean() + 2.5 * hu.std()
        assert normalization.clip_hu == pytest.approx((low, high))
        values = normalization.mean_hu + normalization.sd_hu * np.array([0.0, 255.0])
        assert values == pytest.approx((low, high))


def test_a_fixed_one_is_the_same_for_all(body: Case, tmp_path: Path) -> None:
    fixed = FixedNormalization()
    assert normalization_of_cases(fixed, [body, body], tmp_path) == [fixed, fixed]
