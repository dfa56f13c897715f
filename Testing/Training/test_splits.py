"""Splits: the seed and the names decide, and nothing else."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from KidneyTumorCascadeLib.errors import InputError
from Training.preparation.splits import Split, assign, default_split, drawn_order, require_enough, split_argument

NAMES = st.lists(st.integers(0, 99_999).map("case_{:05d}".format), min_size=2, max_size=60, unique=True)
SEEDS = st.integers(0, 1000)


@given(NAMES, SEEDS, st.data())
def test_a_split_has_its_numbers_and_does_not_depend_on_the_order_of_files(names: list[str], seed: int, data: st.DataObject) -> None:
    train = data.draw(st.integers(1, len(names) - 1))
    split = Split(train, data.draw(st.integers(1, len(names) - train)))
    sides = assign(names, split, seed)
    assert list(sides.values()).count("train") == split.train
    assert list(sides.values()).count("validation") == split.validation
    assert set(sides) <= set(names)
    assert assign(data.draw(st.permutations(names)), split, seed) == sides


@given(NAMES, SEEDS)
def test_a_case_more_or_less_leaves_the_others_in_their_order(names: list[str], seed: int) -> None:
    whole = drawn_order(names, seed)
    assert drawn_order(names[1:], seed) == [name for name in whole if name != names[0]]


def test_seeds_give_different_splits_that_are_written_in_stone() -> None:
    names = [f"case_{number:05d}" for number in range(210)]
    kept = {seed: sorted(name for name, side in assign(names, Split(190, 20), seed).items() if side == "validation") for seed in range(4)}
    assert len({tuple(cases) for cases in kept.values()}) == 4
    # As sha256sum and sort draw them. Published pools name their seed: what it means must never change.
    assert kept[1][:4] == ["case_00001", "case_00013", "case_00017", "case_00027"]


def test_without_a_wish_one_case_in_ten_is_kept() -> None:
    assert [default_split(count).validation for count in (2, 19, 20, 210)] == [1, 1, 2, 21]
    sides = assign([f"{number}" for number in range(30)], default_split(30), seed=1)
    assert list(sides.values()).count("train") == 27


def test_when_cases_are_lacking_the_training_split_is_smaller() -> None:
    assert sorted(assign("abcd", Split(5, 2), seed=1).values()) == ["train", "train", "validation", "validation"]


@pytest.mark.parametrize("text", ["190", "190/0", "0/20", "-1/2", "a/b", "1/2/3", "1.5/2", ""])
def test_what_is_no_split_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="like 190/20"):
        split_argument(text)


def test_a_split_is_read_and_written_alike() -> None:
    assert split_argument("190/20") == Split(190, 20)
    assert str(Split(190, 20)) == "190/20"
    assert str(Split(None, 3)) == "rest/3"


def test_too_few_cases_are_refused() -> None:
    with pytest.raises(InputError, match=r"DATA has 209 labelled cases, but a split of 190/20 needs 210"):
        require_enough(Split(190, 20), 209, "DATA")
    with pytest.raises(InputError, match=r"has 3 labelled cases, but a split of rest/3 needs 4"):
        require_enough(Split(None, 3), 3, "DATA")
    require_enough(Split(190, 20), 210, "DATA")
