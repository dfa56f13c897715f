"""Where the patient is in a scan: midline and extent."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from KidneyTumorCascadeLib.body import body_midline, body_slices
from KidneyTumorCascadeLib.geometry import Geometry

AIR, TISSUE = -1000.0, 40.0


def test_the_midline_is_that_of_the_body() -> None:
    hu = torch.full((10, 20, 40), AIR)
    hu[:, 5:15, 20:35] = TISSUE
    grid = Geometry((40, 20, 10), (2.0, 2.0, 2.0), (-100.0, 0.0, 0.0))
    assert body_midline(hu, grid) == pytest.approx(-100.0 + 27.0 * 2.0)
    hu[:, :, :30] = TISSUE
    assert body_midline(hu, grid) is None, "the field of view cuts the body"
    assert body_midline(torch.full((2, 2, 2), AIR), Geometry((2, 2, 2), (1.0, 1.0, 1.0))) is None


def test_the_extent_is_that_of_the_body_and_a_voxel_around_it() -> None:
    hu = torch.full((10, 30, 40), AIR)
    hu[2:5, 5:15, 20:35] = TISSUE
    assert body_slices(hu, (1, 1, 1)) == (slice(0, 10), slice(4, 16), slice(19, 36))


def test_specks_and_the_edge_of_a_couch_are_no_body() -> None:
    hu = torch.full((20, 30, 40), AIR)
    hu[:, 5:15, 20:35] = TISSUE
    hu[7, 28, 30], hu[3, 2, 3] = TISSUE, 2000.0
    assert body_slices(hu, (1, 1, 1))[1:] == (slice(4, 16), slice(19, 36))


def test_a_scan_of_air_is_all_looked_at() -> None:
    assert body_slices(torch.full((4, 5, 6), AIR), (1, 1, 1)) == (slice(0, 4), slice(0, 5), slice(0, 6))


@given(st.integers(0, 19), st.integers(1, 20), st.integers(1, 40))
def test_the_part_holds_the_body_and_is_as_large_as_asked_for(start: int, length: int, least: int) -> None:
    hu = torch.full((3, 6, 30), AIR)
    hu[:, :, start : start + length] = TISSUE
    part = body_slices(hu, (1, 1, least))[2]
    assert 0 <= part.start <= max(0, start - 1)
    assert min(30, start + length + 1) <= part.stop <= 30
    assert part.stop - part.start >= min(least, 30)
