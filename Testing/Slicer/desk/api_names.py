"""The names that Slicer's Python exposes of CTK and qMRML classes: those that every supported Slicer has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PATH = Path(__file__).with_name("api_names.json")


@dataclass(frozen=True)
class ClassNames:
    """One class without what it inherits. `properties`: name -> (C++ type, writable); signals and slots are C++ signatures."""

    base: str
    properties: dict[str, tuple[str, bool]]
    signals: tuple[str, ...]
    slots: tuple[str, ...]
    invokable: tuple[str, ...]

    def public(self) -> set[str]:
        """Every name, without arguments."""
        return {*self.properties, *self.invokable, *(split(signature)[0] for signature in (*self.signals, *self.slots))}


@cache
def all_classes() -> dict[str, ClassNames]:
    """The whole list, by the classes' names."""
    return {name: _read(entry) for name, entry in json.loads(PATH.read_text(encoding="utf-8")).items()}


def _read(entry: dict[str, object]) -> ClassNames:
    properties = {name: (kind, writable) for name, (kind, writable) in entry["properties"].items()}  # type: ignore[attr-defined]
    return ClassNames(str(entry["base"]), properties, *(tuple(entry[kind]) for kind in ("signals", "slots", "invokable")))  # type: ignore[arg-type]


def lineage(name: str) -> Iterator[ClassNames]:
    """A class and its bases, as far as they are no classes of Qt itself."""
    while name in all_classes():
        yield all_classes()[name]
        name = all_classes()[name].base


def public_names(name: str) -> set[str]:
    """Every name that a class offers to Python, inherited ones included, those of Qt's own classes not."""
    return set().union(*(names.public() for names in lineage(name)))


def split(signature: str) -> tuple[str, list[str]]:
    """Takes "valueChanged(double)" apart: the name, and the types of its arguments without spaces, const and &."""
    name, _, rest = signature.partition("(")
    arguments = rest.strip().removesuffix(")")
    return name.strip(), [normalized(argument) for argument in arguments.split(",") if argument.strip()]


def normalized(argument: str) -> str:
    """A C++ type as Qt's meta-objects write it."""
    return argument.replace("const ", "").replace("&", "").replace(" ", "")
