"""JSON from strangers: whatever it holds, reading it ends, and what is said about it is one short line that a terminal can show."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from KidneyTumorCascadeLib.errors import BundleError
from KidneyTumorCascadeLib.json_fields import LONGEST_QUOTE, LONGEST_REASON, MAX_DEPTH, Fields, load_json, one_line, parse_json, quote, reason

FILE = Path("bundle.json")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@given(VALUES)
def test_what_json_can_say_is_read(value: object) -> None:
    assert load_json(json.dumps(value).encode()) == value


@given(st.binary(max_size=60))
def test_bytes_are_json_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        load_json(data)


def test_depth_is_counted() -> None:
    assert load_json(nested(MAX_DEPTH)) is not None
    assert load_json(json.dumps([[]] * 10_000).encode()) == [[]] * 10_000


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 500, *range(900, 1000, 10), 100_000])
@pytest.mark.parametrize("make", [nested, lambda depth: b'{"a":' * depth + b"1" + b"}" * depth], ids=["lists", "objects"])
def test_what_is_nested_deeply_is_refused(depth: int, make: object) -> None:
    """Somewhere below a thousand Python can read it and not show it."""
    with pytest.raises(BundleError, match=r"bundle\.json is not valid JSON \(it is nested"):
        parse_json(make(depth), FILE)  # type: ignore[operator]


def test_a_name_among_very_many_is_found_to_be_there_twice() -> None:
    """In a moment: to compare each with each would take minutes."""
    names = ",".join(f'"{number}":0' for number in range(100_000))
    with pytest.raises(ValueError, match="'99999' is there twice"):
        load_json(f'{{{names},"99999":1}}'.encode())


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "[1", "", "9" * 5000, '{"a":1,"a":2}'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_json(text.encode())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_what_windows_writes_is_read(encoding: str) -> None:
    assert load_json('{"größe": [1]}'.encode(encoding)) == {"größe": [1]}


@given(VALUES)
def test_a_quote_is_short_and_printable(value: object) -> None:
    assert quote(value).isprintable()
    assert len(quote(value)) <= LONGEST_QUOTE


@given(st.text())
def test_a_reason_is_one_short_line(text: str) -> None:
    assert reason(ValueError(text)).isprintable()
    assert 0 < len(reason(ValueError(text))) <= LONGEST_REASON


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError(""), "ValueError"),
        (OSError(36, "File name too long", "a.json"), "File name too long: a.json"),
        (OSError(22, "Invalid argument"), "Invalid argument"),
        (ValueError("node: <ast.Name object at 0x7fc1de2925c0>"), "node: <ast.Name>"),
        (ValueError("two\nlines \x1b[2J"), "two lines \\x1b[2J"),
    ],
)
def test_reasons_are_for_people(error: Exception, said: str) -> None:
    assert reason(error) == said


@pytest.mark.parametrize(
    ("text", "line"), [("a b", "a b"), (" a\n\tb ", "a b"), ("\x1b]0;x\x07", "\\x1b]0;x\\x07"), ("é 漢", "é 漢"), ("\udc80", "\\udc80")]
)
def test_a_line_holds_nothing_that_a_terminal_obeys(text: str, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize("name", ["\x1b[2J", "\u202e", "x" * 5000, "two\nlines"])
def test_names_of_fields_are_shown_and_not_obeyed(name: str) -> None:
    fields = Fields({name: 1, "inner": {name: {}}}, FILE)
    with pytest.raises(BundleError) as caught:
        fields.inner("inner").inner(name).text("more")
    fields.asked.add("inner")
    with pytest.raises(BundleError) as unknown:
        fields.done()
    for message in (str(caught.value), str(unknown.value)):
        assert message.isprintable()
        assert len(message) < 400


@pytest.mark.parametrize("text", ["\x1b[31m", "\0", "a\u202eb", "\ud800", "\r"])
def test_text_has_no_control_characters(text: str) -> None:
    with pytest.raises(BundleError, match="a must be"):
        Fields({"a": text}, FILE).text("a")
    assert Fields({"a": "two\nlines"}, FILE).text("a") == "two\nlines"
