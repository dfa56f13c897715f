"""Which cases are trained on and which are kept for validation: decided by a seed and the cases' names alone."""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from KidneyTumorCascadeLib.errors import InputError

# Without a wish, one case in so many is kept for validation.
DEFAULT_VALIDATION_SHARE = 10


@dataclass(frozen=True)
class Split:
    """How many cases to train on and to validate with; `train` None: all that remain."""

    train: int | None
    validation: int

    def __str__(self) -> str:
        return f"{'rest' if self.train is None else self.train}/{self.validation}"

    @property
    def total(self) -> int | None:
        """How many cases it takes; None for all there are."""
        return None if self.train is None else self.train + self.validation


def split_argument(text: str) -> Split:
    """`190/20` as an argument's type."""
    numbers = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not numbers or 0 in (wanted := [int(number) for number in numbers.groups()]):
        raise argparse.ArgumentTypeError(f"a split is two numbers from 1, training and validation cases, like 190/20, not {text!r}")
    return Split(*wanted)


def default_split(count: int) -> Split:
    """One case in ten for validation, at least one."""
    return Split(None, max(1, count // DEFAULT_VALIDATION_SHARE))


def require_enough(split: Split, count: int, place: object) -> None:
    """Raises InputError when there are fewer cases than the split takes."""
    needed = split.validation + 1 if split.total is None else split.total
    if count < needed:
        raise InputError(f"{place} has {count} labelled cases, but a split of {split} needs {needed}; complete the data or choose a smaller split.")


def drawn_order(names: Iterable[str], seed: int) -> list[str]:
    """The names in an order that seems random. Whether one name comes before another depends on the seed and these two names alone."""
    return sorted(names, key=lambda name: (hashlib.sha256(f"{seed}:{name}".encode()).digest(), name))


def assign(names: Iterable[str], split: Split, seed: int) -> dict[str, str]:
    """The side of each case that the split takes. Validation comes first: when cases are lacking, the training split is the smaller for it."""
    drawn = drawn_order(names, seed)[: split.total]
    return {name: "validation" if place < split.validation else "train" for place, name in enumerate(drawn)}
