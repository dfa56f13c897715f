"""How a client and the worker talk: JSON-RPC 2.0, one message a line of UTF-8, over the worker's standard input and output.

Any line of bytes either is a message, or gives one error that can be answered. Nothing here needs PyTorch, so that 3D Slicer's own Python can
use it. What the messages carry is in `worker_messages`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from KidneyTumorCascadeLib.errors import BundleError, Cancelled, CascadeError, InputError, SetupError
from KidneyTumorCascadeLib.json_fields import load_json, one_line

PROTOCOL = 1

HELLO, SHUTDOWN, CANCEL = "hello", "shutdown", "cancel"
ENVIRONMENT = "environment"
LIST_BUNDLES, INSTALL_BUNDLE, VERIFY_BUNDLE, REMOVE_BUNDLE = "list_bundles", "install_bundle", "verify_bundle", "remove_bundle"
OPEN_SCAN, CLOSE_SCAN = "open_scan", "close_scan"
FIND_KIDNEYS, SEGMENT_BOXES, SEGMENT = "find_kidneys", "segment_boxes", "segment"
METHODS = (
    *(HELLO, SHUTDOWN, CANCEL),
    ENVIRONMENT,
    *(LIST_BUNDLES, INSTALL_BUNDLE, VERIFY_BUNDLE, REMOVE_BUNDLE),
    *(OPEN_SCAN, CLOSE_SCAN),
    *(FIND_KIDNEYS, SEGMENT_BOXES, SEGMENT),
)
# What the worker says without being asked.
PROGRESS, LOG, ENDING = "progress", "log", "ending"

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
INPUT_ERROR, SETUP_ERROR, BUNDLE_ERROR, CANCELLED, BUSY = -32001, -32002, -32003, -32004, -32005

# What the worker takes, and what its client does: a manifest lists every tumor.
MAX_LINE_BYTES, MAX_ANSWER_BYTES = 1024 * 1024, 64 * 1024 * 1024
MAX_ID_LENGTH = 100
MAX_MESSAGE_LENGTH = 600
# JavaScript and most other readers of JSON hold no larger whole numbers exactly.
LARGEST_ID = 2**53
CHUNK = 65_536

Id = int | str


class ProtocolError(Exception):
    """A line that cannot be obeyed; `code` and `id` are those of the answer to it."""

    def __init__(self, code: int, message: str, request_id: Id | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.id = request_id


class InvalidParams(InputError):
    """A request's parameters are not what its method takes."""


@dataclass(frozen=True)
class Call:
    """A request, or a notification when `id` is None."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    id: Id | None = None


@dataclass(frozen=True)
class Answer:
    """What a request was answered with. `code` is 0 when all went well; else `message` is the sentence for the user."""

    id: Id | None
    result: Any = None
    code: int = 0
    message: str = ""


# --- lines -----------------------------------------------------------------------------------------------------------------------------------


def read_lines(read: Callable[[int], bytes], most: int = MAX_LINE_BYTES) -> Iterator[bytes | None]:
    """Lines without their ends until `read` (of at most so many bytes; none at the end) comes to the end; None for each that is too long.

    A line too long is never held in memory; a last one without an end is dropped, as its writer died over it.
    """
    held, too_long = bytearray(), False
    while chunk := read(CHUNK):
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            held += end
            yield None if too_long or len(held) > most else bytes(held)
            held, too_long = bytearray(), False
        held += rest
        if len(held) > most:
            held, too_long = bytearray(), True


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as the line that carries it, its end included. Raises ValueError for numbers that are not finite, TypeError for what is no JSON."""
    return json.dumps({"jsonrpc": "2.0", **message}, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The JSON object of a line. Raises ProtocolError when there is none."""
    try:
        content = load_json(line)
    except ValueError as error:
        raise ProtocolError(PARSE_ERROR, "The line is no JSON.") from error
    if not isinstance(content, dict):
        raise ProtocolError(INVALID_REQUEST, "A message is one JSON object; lists of them are not understood.")
    return content


# --- from the client to the worker -----------------------------------------------------------------------------------------------------------


def encode_call(call: Call) -> bytes:
    """The line of a request or notification."""
    content: dict[str, Any] = {"method": call.method, "params": dict(call.params)}
    return encode(content if call.id is None else {"id": call.id, **content})


def decode_call(line: bytes) -> Call:
    """The request or notification in a line. Raises ProtocolError with the code, and the id as far as there is one, of the answer."""
    content = decode(line)
    request_id = content.get("id")
    if "id" in content and not is_id(request_id):
        raise ProtocolError(INVALID_REQUEST, f"An id is a whole number or a text of at most {MAX_ID_LENGTH} characters.")
    method, params = content.get("method"), content.get("params", {})
    if content.get("jsonrpc") != "2.0" or not isinstance(method, str):
        raise ProtocolError(INVALID_REQUEST, 'A request has "jsonrpc": "2.0" and a method.', request_id)
    if not isinstance(params, dict):
        raise ProtocolError(INVALID_PARAMS, "The params must be an object with names.", request_id)
    return Call(method, params, request_id)


def is_id(value: Any) -> TypeGuard[Id]:
    """Whether this can be a request's id."""
    if isinstance(value, str):
        return len(value) <= MAX_ID_LENGTH
    return type(value) is int and abs(value) <= LARGEST_ID


# --- from the worker to the client -----------------------------------------------------------------------------------------------------------


def encode_result(request_id: Id, result: Any) -> bytes:
    """The line of an answer to a request that went well."""
    return encode({"id": request_id, "result": result})


def encode_error(request_id: Id | None, code: int, message: str) -> bytes:
    """The line of an answer to one that did not."""
    return encode({"id": request_id, "error": {"code": code, "message": short_line(message)}})


def decode_message(line: bytes) -> Call | Answer:
    """What the worker says: a notification, or the answer to a request. Raises ProtocolError for anything else."""
    content = decode(line)
    if "method" in content:
        return decode_call(line)
    error = content.get("error")
    if error is None and "result" in content and is_id(content.get("id")):
        return Answer(content["id"], content["result"])
    if not isinstance(error, dict) or type(error.get("code")) is not int or not isinstance(error.get("message"), str):
        raise ProtocolError(INVALID_REQUEST, "The message is neither a notification nor an answer.")
    return Answer(content.get("id"), code=error["code"], message=error["message"])


def short_line(text: str) -> str:
    """A message without line ends, short enough to be shown."""
    line = one_line(text)
    return line if len(line) <= MAX_MESSAGE_LENGTH else f"{line[: MAX_MESSAGE_LENGTH - 3]}..."


# --- errors ----------------------------------------------------------------------------------------------------------------------------------

# The first that fits counts: the more special ones come first.
_CODES: tuple[tuple[type[CascadeError], int], ...] = (
    (Cancelled, CANCELLED),
    (InvalidParams, INVALID_PARAMS),
    (BundleError, BUNDLE_ERROR),
    (SetupError, SETUP_ERROR),
    (InputError, INPUT_ERROR),
)
_KINDS: Mapping[int, type[CascadeError]] = {CANCELLED: Cancelled, BUNDLE_ERROR: BundleError, SETUP_ERROR: SetupError, INPUT_ERROR: InputError}


def code_of(error: CascadeError) -> int:
    """The code of an error that is meant for the user."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL_ERROR)


def error_of(answer: Answer) -> CascadeError:
    """The library's error that an answer reports; CascadeError itself where the fault is the client's or the worker's."""
    return _KINDS.get(answer.code, CascadeError)(answer.message)
