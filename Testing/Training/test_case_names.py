"""A case's name tells how it was made."""

from __future__ import annotations

import pytest

from Training.case_names import ANATOMY, IMPLANTED, PHANTOM, REAL, SLAB, origin_of, scan_of_copy
from Training.synthesis import copy_name, phantom_name


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("phantom_20000", PHANTOM),
        ("anatomy_00012", ANATOMY),
        ("chaos_ct_3_k012", IMPLANTED),
        ("chaos_ct_3_v012", IMPLANTED),
        ("phantom_20000_v001", IMPLANTED),
        ("slice_10026_60f", SLAB),
        ("case_00012", REAL),
        ("very_viable", REAL),
        ("anatomy_atlas", REAL),
        ("scan_v1", REAL),
    ],
)
def test_names_tell_the_origin(name: str, origin: str) -> None:
    assert origin_of(name) == origin


def test_the_names_that_synthesis_gives_are_known() -> None:
    assert origin_of(copy_name("scan", 7)) == IMPLANTED
    assert origin_of(phantom_name(20_001)) == PHANTOM
    assert {origin_of(name) for name in ("case_00012", "chaos_ct_3")} == {REAL}


def test_a_copys_name_tells_its_scan_and_no_other_name_does() -> None:
    assert scan_of_copy(copy_name("chaos_ct_3", 7)) == "chaos_ct_3"
    assert scan_of_copy(copy_name("a_v001", 1234)) == "a_v001"
    assert {scan_of_copy(name) for name in ("chaos_ct_3", "chaos_ct_3_k012", "scan_v1", phantom_name(20_001), "anatomy_00012")} == {""}
