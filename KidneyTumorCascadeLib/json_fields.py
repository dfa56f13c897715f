"""Reading JSON that somebody else wrote: every field is checked, and what is wrong is said with its place and value.

Whatever a file holds, a message stays short enough to be read and holds nothing that a terminal would obey.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.errors import BundleError

MAX_BYTES = 1024 * 1024
# What is nested deeper is no description of anything; Python itself fails somewhere near a thousand.
MAX_DEPTH = 50
LONGEST_QUOTE, LONGEST_REASON, LONGEST_PATH = 80, 300, 200


class Fields:
    """An object of a JSON file. Each method takes one field, checks it and returns it; `done` refuses what nobody asked for.

    Args:
        values: the object.
        file: for messages.
        place: where in the file, such as "networks.roi"; empty for the whole file.
    """

    def __init__(self, values: Any, file: Path, place: str = "") -> None:
        self.file, self.place = file, place
        if not isinstance(values, dict):
            raise BundleError(f"{file}: {place or 'the file'} must be an object, not {quote(values)}; get a new copy of the bundle.")
        self.values: dict[str, Any] = values
        self.asked: set[str] = set()

    def problem(self, name: str, expected: str) -> BundleError:
        """The error that says what a field must be and what it is."""
        found = quote(self.values[name]) if name in self.values else "missing"
        what = f"is missing; it must be {expected}" if found == "missing" else f"must be {expected}, not {found}"
        return BundleError(f"{self.file}: {self._path(name)} {what}; correct it or get a new copy of the bundle.")

    def _path(self, name: str) -> str:
        path = f"{self.place}.{name}" if self.place else name
        return path if path.isprintable() and len(path) <= LONGEST_PATH else quote(path)

    def take(self, name: str) -> Any:
        """The field as it is, None when missing."""
        self.asked.add(name)
        return self.values.get(name)

    def text(self, name: str, pattern: str = r".*", expected: str = "text") -> str:
        """Text that the pattern matches as a whole, without control characters but for line ends."""
        value = self.take(name)
        if not isinstance(value, str) or not is_text(value) or not re.fullmatch(pattern, value, re.DOTALL):
            raise self.problem(name, expected)
        return value

    def choice(self, name: str, choices: Iterable[str]) -> str:
        """One of these words."""
        value = self.take(name)
        if not isinstance(value, str) or value not in choices:
            raise self.problem(name, f"one of {', '.join(choices)}")
        return value

    def flag(self, name: str) -> bool:
        """true or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            raise self.problem(name, "true or false")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """A number in that range, both ends included."""
        value = self.take(name)
        if not is_number(value) or not low <= value <= high:
            raise self.problem(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def three_numbers(self, name: str, low: float, high: float) -> tuple[float, float, float]:
        """Three numbers in that range."""
        value = self.take(name)
        if not isinstance(value, list) or len(value) != 3 or not all(is_number(item) and low <= item <= high for item in value):
            raise self.problem(name, f"three numbers from {low:g} to {high:g}")
        return float(value[0]), float(value[1]), float(value[2])

    def three_wholes(self, name: str, low: int, high: int) -> tuple[int, int, int]:
        """Three whole numbers in that range."""
        value = self.take(name)
        if not isinstance(value, list) or len(value) != 3 or not all(type(item) is int and low <= item <= high for item in value):
            raise self.problem(name, f"three whole numbers from {low} to {high}")
        return value[0], value[1], value[2]

    def inner(self, name: str) -> Fields:
        """An object within this one."""
        if not isinstance(self.take(name), dict):
            raise self.problem(name, "an object")
        return Fields(self.values[name], self.file, self._path(name))

    def items(self, name: str) -> list[Any]:
        """A list of anything."""
        value = self.take(name)
        if not isinstance(value, list):
            raise self.problem(name, "a list")
        return value

    def has(self, name: str) -> bool:
        """True when there is such a field."""
        return name in self.values

    def done(self) -> None:
        """Refuses fields that were never asked for: a misspelt setting must not go unnoticed."""
        unknown = sorted(set(self.values) - self.asked)
        if unknown:
            known = ", ".join(sorted(self.asked))
            raise BundleError(f"{self.file}: {self._path(unknown[0])} is not known (known here: {known}); correct or remove it.")


def is_number(value: Any) -> bool:
    """True for numbers that a float can hold; true, false, NaN and infinities are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_text(value: str) -> bool:
    """False for what holds control characters, which a terminal would obey, or halves of characters, which no file can hold."""
    return value.replace("\n", "").isprintable()


def quote(value: Any) -> str:
    """A value for a message, short enough to be read."""
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 3]}..."


def reason(error: Exception) -> str:
    """What an exception says, in one short line; of the system's errors the words without the number."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    # Where an object lies in memory is of no use to anybody.
    text = re.sub(r" object at 0x[0-9a-f]+", "", text)
    line = one_line(text)
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3]}..."


def one_line(text: str) -> str:
    """A text without line ends and control characters, which names of files may hold and a terminal would obey; these are written out."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def load_json(data: bytes) -> Any:
    """What JSON text says, in UTF-8, or in what Windows writes with a mark at the beginning. Raises ValueError when it is none, is nested too
    deeply, says a name twice, or holds NaN or Infinity.
    """
    try:
        content = json.loads(data.decode(json.detect_encoding(data)), object_pairs_hook=_without_repetition, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _require_shallow(content)
    return content


def _require_shallow(content: Any) -> None:
    level = [content]
    for _ in range(MAX_DEPTH):
        values = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list)))
        level = [value for inner in values for value in inner if isinstance(value, (dict, list))]
    if level:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def parse_json(data: bytes, file: Path) -> Any:
    """`load_json` for a bundle. Raises BundleError when it is no JSON or too large."""
    if len(data) > MAX_BYTES:
        raise BundleError(f"{file} has {len(data)} bytes, more than the {MAX_BYTES} that such a file may have; get a new copy of the bundle.")
    try:
        return load_json(data)
    except ValueError as error:
        raise BundleError(f"{file} is not valid JSON ({reason(error)}); get a new copy of the bundle.") from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"{quote(name)} is there twice")
        content[name] = value
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")
