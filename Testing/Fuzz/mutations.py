"""Seeded changes to valid examples: of JSON by its structure, of bytes by bits and pieces. The same seed gives the same inputs."""

from __future__ import annotations

import json
import zipfile
from copy import deepcopy
from random import Random
from typing import Any

# Text that json.dumps would not write; each is put in place of a value once the rest has been written.
RAW_TEXT = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e308", "-0.0", "1e-320", "00", "+1", ".5", "0x10", "nul", "'a'", "{", "]", ""),
    *("9" * 400, "9" * 4_299, "9" * 5_000, "0." + "1" * 3_000, '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\\u001b[2J"', '"\x01"', '"\\x"'),
    *('{"a": 1, "a": 2}', '{"": 0}', '{"\\n": 0}', "[[]]", "[{}]", "[null]"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 255, 256, 65_535, 2**31, -(2**31) - 1, 2**53, 2**63, 2**64, -(2**64), 10**308, 10**309),
    *(0.5, -0.5, 1e-9, 1e9, -1e9, 1.7976931348623157e308, 5e-324),
    *("", " ", "\n", "a", "standard", "default", "tiny", "right", "left", "both", "fixed", "statistical", "batch", ".", "..", "/", "-", "--help"),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "~",
        "C:\\x",
        "a\\b",
        "a/b",
        "a\0b",
        "\u202e",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "é",
        "e\u0301",
        "漢字",
        "😀",
        "\ufeff",
    ),
    *("x" * 300, "x" * 5_000, "%s%n{0}", "<script>", "$(id)", "`id`", "; rm", "None", "true", "1", "1.0"),
    *([], {}, [[]], [1, 2], [1, 2, 3], [0, 0, 0], [-1, -1, -1], [1, 2, 3, 4], ["a", "b", "c"], [None] * 3, [True] * 3, {"a": {}}),
)
DEPTHS = (10, 60, 65, 100, 300, 500, 2_000, 100_000)
PLACEHOLDER = "\ue000raw\ue001"
WORDS = (
    b"\0",
    b"\n",
    b"\r\n",
    b"\xff",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"PK\x05\x06",
)
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 1000, 32_767, 32_768, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)

Place = tuple[Any, Any]


def mutated_json(random: Random, example: bytes) -> bytes:
    """The example with one to four changes to its structure, and sometimes one to its bytes."""
    holder = [json.loads(example)]
    raw: list[str] = []
    for _ in range(1 + min(random.getrandbits(2), random.getrandbits(2))):
        change_somewhere(random, holder, raw)
    text = json.dumps(holder[0], ensure_ascii=random.random() < 0.5) if holder else ""
    for piece in raw:
        text = text.replace(json.dumps(PLACEHOLDER, ensure_ascii=True), piece, 1).replace(f'"{PLACEHOLDER}"', piece, 1)
    data = text.encode("utf-8", "surrogatepass")
    return mutated_bytes(random, data) if random.random() < 0.15 else data


def change_somewhere(random: Random, holder: list[Any], raw: list[str]) -> None:
    """One change at a random place; `holder` holds the whole document."""
    places = list(places_in(holder))
    if places:
        container, key = random.choice(places)
        random.choice(CHANGES)(random, container, key, raw, places)


def places_in(container: Any) -> list[Place]:
    """Every value below, as what holds it and its key or index there."""
    found: list[Place] = []
    waiting = [container]
    while waiting:
        current = waiting.pop()
        keys = current.keys() if isinstance(current, dict) else range(len(current))
        found += [(current, key) for key in keys]
        waiting += [current[key] for key in keys if isinstance(current[key], (dict, list))]
    return found


def replace(random: Random, container: Any, key: Any, raw: list[str], places: list[Place]) -> None:
    container[key] = deepcopy(random.choice(VALUES))


def replace_by_text(random: Random, container: Any, key: Any, raw: list[str], places: list[Place]) -> None:
    raw.append(random.choice(RAW_TEXT))
    container[key] = PLACEHOLDER


def nest(random: Random, container: Any, key: Any, raw: list[str], places: list[Place]) -> None:
    depth = random.choice(DEPTHS) if random.random() < 0.5 else random.randrange(800, 1_100)
    opening, closing = random.choice((("[", "]"), ('{"a":', "}")))
    raw.append(opening * depth + "1" + closing * depth)
    container[key] = PLACEHOLDER


def remove(random: Random, container: Any, key: Any, raw: list[str], places: list[Place]) -> None:
    del container[key]


def take_from_elsewhere(random: Random, container: Any, key: Any, raw: list[str], places: list[Place]) -> None:
    other, other_key = random.choice(places)
    # A copy: a container must not come to hold itself.
    container[key] = deepcopy(other[other_key])


def rename_or_repeat(random: Random, container: Any, key: Any, raw: list[str], places: list[Place]) -> None:
    if isinstance(container, dict):
        name = random.choice([value for value in VALUES if isinstance(value, str)])
        container[name] = container.pop(key) if random.random() < 0.5 else container[key]
    else:
        container.extend([container[key]] * random.choice((1, 2, 10, 100, 1_000)))


def change_number(random: Random, container: Any, key: Any, raw: list[str], places: list[Place]) -> None:
    value = container[key]
    if isinstance(value, (int, float)) and abs(value) < 1e300:
        container[key] = random.choice((-value, value + 1, value - 1, value * 2, value * 1_000, value / 1_000, float(value), str(value)))
    else:
        container[key] = [value]


def change_text(random: Random, container: Any, key: Any, raw: list[str], places: list[Place]) -> None:
    value = str(container[key])[:100]
    at = random.randint(0, len(value))
    container[key] = value[:at] + random.choice(("", "\0", "\n", "/", "\\", ".", " ", "\x1b", "é", "x" * 200)) + value[at + random.getrandbits(1) :]


CHANGES = (replace, replace, replace, replace_by_text, remove, take_from_elsewhere, rename_or_repeat, change_number, change_number, change_text, nest)


def mutated_bytes(random: Random, example: bytes) -> bytes:
    """The example with one to four changes of bits, bytes or pieces."""
    data = bytearray(example)
    for _ in range(1 + min(random.getrandbits(2), random.getrandbits(2))):
        change_bytes(random, data)
    return bytes(data)


def change_bytes(random: Random, data: bytearray) -> None:
    """One change."""
    at = random.randint(0, max(0, len(data) - 1))
    kind = random.randrange(8)
    if kind == 0 and data:
        data[at] ^= 1 << random.randrange(8)
    elif kind == 1 and data:
        data[at] = random.getrandbits(8)
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        del data[at : at + random.randint(1, 16)]
    elif kind == 4:
        data[at:at] = random.randbytes(random.randint(1, 16))
    elif kind == 5:
        data[at:at] = data[random.randint(0, len(data)) :][: random.randint(1, 64)]
    elif kind == 6:
        data[at : at + random.getrandbits(2)] = random.choice(WORDS)
    else:
        number, width = random.choice(NUMBERS), random.choice((1, 2, 4, 8))
        data[at : at + width] = (number % 256**width).to_bytes(width, random.choice(("little", "big")))


def plain_entry(name: str, method: int) -> zipfile.ZipInfo:
    """An entry of a zip file without the time, which would be another one in the next run."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = method
    return entry
