"""The worker's messages: any line of bytes is a message or one error to answer; what is sent arrives as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from KidneyTumorCascadeLib.errors import BundleError, Cancelled, CascadeError, InputError, SetupError
from KidneyTumorCascadeLib.geometry import Box, Geometry
from KidneyTumorCascadeLib.worker_messages import (
    MAX_BOXES,
    Found,
    MapFile,
    Options,
    Part,
    ScanFile,
    Segmented,
    Step,
    box_from_dict,
    boxes_from_list,
    geometry_from_dict,
    object_of,
    text_of,
)
from KidneyTumorCascadeLib.worker_protocol import (
    BUNDLE_ERROR,
    CANCELLED,
    CHUNK,
    INPUT_ERROR,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    MAX_ID_LENGTH,
    MAX_MESSAGE_LENGTH,
    PARSE_ERROR,
    SETUP_ERROR,
    Answer,
    Call,
    InvalidParams,
    ProtocolError,
    code_of,
    decode_call,
    decode_message,
    encode,
    encode_call,
    encode_error,
    encode_result,
    error_of,
    read_lines,
)

GEOMETRY = Geometry((4, 5, 6), (0.7, 0.8, 3.0), (1.0, 2.0, 3.0))
BOX = Box((1.0, 2.0, 3.0), (40.0, 50.0, 60.0), "left", "user", (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
# Objects with the names that are looked for, so that what they hold is looked at, too.
NAMES = (
    "jsonrpc id method params path geometry name size spacing_mm origin_lps_mm direction_lps side source center_lps_mm size_mm bundle preset device"
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES.split()), JSON | st.sampled_from(["2.0", "hello", "left", "user", [1, 2, 3], [1e308] * 3, [1] * 9]))


def scan_file(values: Any) -> ScanFile:
    """With an object for its geometry, as a client would send it."""
    return ScanFile.from_dict({"path": "/x", "geometry": values})


Kind = TypeVar("Kind", bound=Exception)


def raised(kind: type[Kind], function: Callable[[Any], Any], argument: Any) -> Kind | None:
    """The error of that kind that a call ends with, if it does; any other is passed on."""
    try:
        function(argument)
    except kind as error:
        return error
    return None


@given(st.binary(max_size=200))
@example(b"\xff\xfe")
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"9" * 10_000)
@example(b'{"jsonrpc":"2.0","method":"hello","id":1e999}')
@example(b'{"jsonrpc":"2.0","method":"hello","id":NaN}')
@example(b'[{"jsonrpc":"2.0","method":"hello","id":1}]')
def test_any_bytes_are_a_call_or_an_error_to_answer(line: bytes) -> None:
    for read in (decode_call, decode_message):
        error = raised(ProtocolError, read, line)
        assert error is None or error.code in (PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS)


@given(JSON | OBJECTS)
def test_any_json_is_a_call_or_an_error_to_answer(content: Any) -> None:
    line = json.dumps(content).encode()
    for read in (decode_call, decode_message):
        try:
            message = read(line)
        except ProtocolError as error:
            encode_error(error.id, error.code, str(error))
        else:
            assert content.get("method") == message.method if isinstance(message, Call) else isinstance(message, Answer)


@pytest.mark.parametrize("read", [scan_file, ScanFile.from_dict, Options.from_dict, box_from_dict, geometry_from_dict])
@given(values=OBJECTS)
@example(values={"size": [4, 5, 6], "spacing_mm": [1, 1, 1], "origin_lps_mm": [1e308, 0, 0], "direction_lps": [1, 0, 0, 0, 1, 0, 0, 0, 1]})
@example(values={"side": "left", "center_lps_mm": [10**400, 0, 0], "size_mm": [1, 1, 1]})
@example(values={"path": "\ud800", "geometry": {}})
def test_any_params_are_taken_or_refused_with_a_sentence(read: Callable[[Any], Any], values: dict[str, Any]) -> None:
    error = raised(InputError, read, values)
    assert error is None or str(error).endswith(".")


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=8), st.integers(1, 9))
def test_lines_do_not_depend_on_how_they_arrive(lines: list[bytes], piece: int) -> None:
    data = b"".join(line + b"\n" for line in lines) + b"unfinished"
    pieces = iter([data[start : start + piece] for start in range(0, len(data), piece)])
    expected = [line if len(line) <= 20 else None for line in lines]
    assert list(read_lines(lambda most: next(pieces, b""), 20)) == expected


def test_a_line_without_end_is_not_held_in_memory() -> None:
    asked: list[int] = []

    def endless(most: int) -> bytes:
        asked.append(most)
        return b"\nafter\n" if len(asked) > 3000 else b"x" * most

    lines = read_lines(endless, 100)
    assert next(lines) is None
    assert next(lines) == b"after"
    assert set(asked) == {CHUNK}
    frame: Any = lines
    assert len(frame.gi_frame.f_locals["held"]) < 200


@given(st.integers(-(2**53), 2**53) | st.text(max_size=MAX_ID_LENGTH), st.text(), st.dictionaries(st.text(), st.integers() | st.text()))
def test_calls_arrive_as_they_were_sent(request_id: int | str, method: str, params: dict[str, Any]) -> None:
    line = encode_call(Call(method, params, request_id))
    assert line.index(b"\n") == len(line) - 1
    assert decode_call(line) == Call(method, params, request_id)


@pytest.mark.parametrize("request_id", [None, True, 1.5, [], {}, "x" * (MAX_ID_LENGTH + 1), 2**54])
def test_an_impossible_id_is_refused_and_not_repeated(request_id: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_call(json.dumps({"jsonrpc": "2.0", "method": "hello", "id": request_id}).encode())
    assert (caught.value.code, caught.value.id) == (INVALID_REQUEST, None)


def test_errors_of_a_request_carry_its_id() -> None:
    for rest, code in (({"method": "hello", "params": [1]}, INVALID_PARAMS), ({"method": 3}, INVALID_REQUEST), ({}, INVALID_REQUEST)):
        with pytest.raises(ProtocolError) as caught:
            decode_call(json.dumps({"jsonrpc": "2.0", "id": 7, **rest}).encode())
        assert (caught.value.code, caught.value.id) == (code, 7)


def test_numbers_that_are_none_are_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode({"result": float("nan")})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x."), INPUT_ERROR),
        (SetupError("x."), SETUP_ERROR),
        (BundleError("x."), BUNDLE_ERROR),
        (Cancelled("x."), CANCELLED),
        (InvalidParams("x."), INVALID_PARAMS),
        (CascadeError("x."), INTERNAL_ERROR),
    ],
)
def test_errors_keep_their_kind_and_sentence(error: CascadeError, code: int) -> None:
    assert code_of(error) == code
    answer = decode_message(encode_error(1, code_of(error), str(error)))
    assert isinstance(answer, Answer)
    back = error_of(answer)
    assert str(back) == "x."
    assert type(back) is (CascadeError if code in (INVALID_PARAMS, INTERNAL_ERROR) else type(error))


def test_a_long_message_becomes_one_short_line() -> None:
    answer = decode_message(encode_error(1, INTERNAL_ERROR, "much\n\ttext " * 10_000))
    assert isinstance(answer, Answer)
    assert len(answer.message) == MAX_MESSAGE_LENGTH
    assert answer.message.startswith("much text much text")


def test_what_is_answered_arrives_as_it_was(tmp_path: Path) -> None:
    part = Part(BOX, tmp_path / "labels.npy", (1, 2, 3), {"side": "left"}, {"tumor": MapFile(tmp_path / "p.npy", GEOMETRY)})
    for content in (
        Found([BOX], ["A warning."]),
        Segmented(tmp_path, [part], ["A warning."], {"schema": 1}),
        Options("mine", "fast", "cpu", "compare", True),
        ScanFile(tmp_path / "scan.npy", GEOMETRY, "Ünïcode"),
        Step(3, "left kidney", 0.5, 12.0),
    ):
        answer = decode_message(encode_result(1, content.to_dict()))
        assert isinstance(answer, Answer)
        assert type(content).from_dict(answer.result) == content


def test_options_that_are_missing_are_those_by_default() -> None:
    assert Options.from_dict({}) == Options()
    assert Options.from_dict({"bundle": None, "merge": None}) == Options()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"presets": "fast"}, "'presets' is not known"),
        ({"preset": None}, "preset must be"),
        ({"preset": "a\0b"}, "preset must be"),
        ({"probabilities": 1}, "probabilities must be true or false"),
        ({"merge": ""}, "merge must be"),
        ({"bundle": "x" * 5000}, "bundle must be"),
    ],
)
def test_options_that_are_wrong_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidParams, match=re.escape(words)):
        Options.from_dict(values)


@pytest.mark.parametrize(
    "change",
    [
        {"side": "middle"},
        {"size_mm": [0, 1, 1]},
        {"center_lps_mm": [1e7, 0, 0]},
        {"center_lps_mm": [None, 0, 0]},
        {"direction_lps": [1] * 9},
        {"source": "elsewhere"},
        {"source": []},
        {"corner": 1},
    ],
)
def test_impossible_boxes_are_refused(change: dict[str, Any]) -> None:
    assert box_from_dict(BOX.to_dict()) == BOX
    with pytest.raises(InvalidParams):
        box_from_dict({**BOX.to_dict(), **change})


def test_too_many_boxes_are_refused() -> None:
    assert len(boxes_from_list({"boxes": [BOX.to_dict()] * MAX_BOXES})) == MAX_BOXES
    with pytest.raises(InvalidParams):
        boxes_from_list({"boxes": [BOX.to_dict()] * (MAX_BOXES + 1)})
    with pytest.raises(InvalidParams):
        boxes_from_list({})


def test_fields_of_the_wrong_type_are_named() -> None:
    with pytest.raises(InvalidParams, match="options"):
        object_of({"options": []}, "options")
    with pytest.raises(InvalidParams, match="zip"):
        text_of({"zip": 3}, "zip")


def test_parts_are_drawn_into_the_scan_and_tumor_wins(tmp_path: Path) -> None:
    for name, label in (("a", 2), ("b", 1)):
        np.save(tmp_path / f"{name}.npy", np.full((2, 2, 2), label, dtype=np.uint8))
    parts = [Part(BOX, tmp_path / "a.npy", (0, 0, 0), {}), Part(BOX, tmp_path / "b.npy", (1, 1, 1), {})]
    labels = Segmented(tmp_path, parts, [], {}).label_map((3, 4, 5))
    expected = np.zeros((3, 4, 5), dtype=np.uint8)
    expected[1:3, 1:3, 1:3] = 1
    expected[:2, :2, :2] = 2
    assert np.array_equal(labels, expected)
    assert labels.dtype == np.uint8


@pytest.mark.parametrize("name", ["\n", "\x1b[2J", "x" * 5000])
def test_a_map_of_another_name_is_refused_in_a_short_line(name: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        Part.from_dict({"probabilities": {name: None}})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200
