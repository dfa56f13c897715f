"""The worker's loop without its process: what comes in, what goes out, what is cancelled, and when it ends. No time passes here."""

from __future__ import annotations

import json
import queue
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.worker_protocol import (
    BUSY,
    CANCELLED,
    INPUT_ERROR,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    METHODS,
    PARSE_ERROR,
    PROTOCOL,
    SETUP_ERROR,
    SHUTDOWN,
    Call,
    decode_message,
)
from KidneyTumorCascadeLib.worker_server import MOST_WAITING, Idleness, Patience, Server
from KidneyTumorCascadeLib.worker_task import SECONDS_BETWEEN_STEPS, SEGMENTING, WEIGHTS, Task, TaskProgress
from Testing.Library.test_progress import FakeClock


class PatientInbox:
    """A queue in which waiting only moves the clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.items: deque[Task | None] = deque()
        self.waited: list[float] = []
        self._clock = clock

    def put(self, item: Task | None) -> None:
        self.items.append(item)

    def get(self, block: bool, timeout: float) -> Task | None:
        if self.items:
            return self.items.popleft()
        self.waited.append(timeout)
        self._clock.now += timeout
        raise queue.Empty


class FakeBench:
    """Does what a test says, and counts."""

    def __init__(self) -> None:
        self.work: Callable[[Task], Mapping[str, Any]] = lambda task: {"done": task.method}
        self.released_at: list[float] = []
        self.clock = FakeClock()

    def run(self, task: Task, folder: Path) -> Mapping[str, Any]:
        return self.work(task)

    def release(self) -> None:
        self.released_at.append(self.clock.now)


class Desk:
    """A server, what it said, and a way to ask."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.bench = FakeBench()
        self.bench.clock = self.clock
        self.inbox = PatientInbox(self.clock)
        self.said: list[dict[str, Any]] = []
        self.server = Server(self.say, Patience(60.0, 900.0), lambda: self.bench, self.clock, self.inbox)
        self.folder = folder

    def say(self, line: bytes) -> None:
        assert line.count(b"\n") == 1
        decode_message(line)
        self.said.append(json.loads(line))

    def ask(self, method: str, request_id: Any = None, **params: Any) -> None:
        call = {"jsonrpc": "2.0", "method": method, "params": params}
        self.server.receive(json.dumps(call if request_id is None else {**call, "id": request_id}).encode())

    def hello(self) -> None:
        self.ask("hello", 0, protocol=PROTOCOL, folder=str(self.folder))

    def serve(self) -> None:
        """Until everything is answered and the client hangs up."""
        self.inbox.put(None)
        self.server.serve()

    def answer(self, request_id: Any) -> dict[str, Any]:
        (found,) = [message for message in self.said if message.get("id") == request_id and "method" not in message]
        return found

    def code(self, request_id: Any) -> int:
        code: int = self.answer(request_id)["error"]["code"]
        return code


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# --- what comes in ---------------------------------------------------------------------------------------------------------------------------


# A shutdown would leave what comes after it without an answer.
CALLS = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "method": st.sampled_from([method for method in METHODS if method != SHUTDOWN] + ["nonsense"])},
    optional={"id": st.integers(1, 20), "params": st.dictionaries(st.sampled_from(["id", "protocol", "folder"]), st.integers(0, 3) | st.text())},
)
NO_CALLS = st.none() | st.binary(max_size=60).filter(lambda line: b"id" not in line)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(NO_CALLS | CALLS, max_size=12))
def test_whatever_comes_in_every_request_is_answered_once(lines: list[Any], tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for line in lines:
        desk.server.receive(json.dumps(line).encode() if isinstance(line, dict) else line)
    desk.serve()
    asked = Counter(line["id"] for line in lines if isinstance(line, dict) and "id" in line)
    answered = Counter(message["id"] for message in desk.said if "method" not in message and message["id"] is not None)
    assert answered == asked


def test_what_is_no_message_is_answered_and_the_next_one_works(desk: Desk) -> None:
    for line in (b"nonsense", None, b"[]", b"\xff", b"  ", b""):
        desk.server.receive(line)
    assert [(message["id"], message["error"]["code"]) for message in desk.said] == [
        (None, PARSE_ERROR),
        (None, PARSE_ERROR),
        (None, INVALID_REQUEST),
        (None, PARSE_ERROR),
    ]
    desk.hello()
    desk.serve()
    assert desk.answer(0)["result"]["protocol"] == PROTOCOL


def test_unknown_methods_and_notifications(desk: Desk) -> None:
    desk.ask("nonsense", 1)
    desk.ask("nonsense")
    desk.ask("segment")
    assert [message["error"]["code"] for message in desk.said] == [METHOD_NOT_FOUND]
    assert not desk.inbox.items


def test_hello_comes_first(desk: Desk) -> None:
    desk.ask("list_bundles", 1)
    desk.serve()
    assert desk.code(1) == INPUT_ERROR


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"protocol": PROTOCOL + 1}, INPUT_ERROR),
        ({"protocol": True}, INPUT_ERROR),
        ({"protocol": None}, INPUT_ERROR),
        ({"folder": "relative"}, INPUT_ERROR),
        ({"folder": "/does/not/exist"}, INPUT_ERROR),
        ({"folder": 3}, INVALID_PARAMS),
        ({"folder": "/a\0b"}, INVALID_PARAMS),
        ({"more": 1}, INVALID_PARAMS),
    ],
)
def test_a_wrong_hello_is_refused(desk: Desk, change: dict[str, Any], code: int) -> None:
    desk.ask("hello", 1, **{"protocol": PROTOCOL, "folder": str(desk.folder), **change})
    desk.ask("list_bundles", 2)
    desk.serve()
    assert desk.code(1) == code
    assert desk.code(2) == INPUT_ERROR


def test_an_id_in_use_and_too_many_requests_are_refused(desk: Desk) -> None:
    for number in range(MOST_WAITING + 1):
        desk.ask("list_bundles", number)
    desk.ask("list_bundles", 5)
    assert [(message["id"], message["error"]["code"]) for message in desk.said] == [(MOST_WAITING, BUSY), (5, INVALID_REQUEST)]


# --- what goes wrong -------------------------------------------------------------------------------------------------------------------------


def failing(error: Exception) -> Callable[[Task], Mapping[str, Any]]:
    def work(task: Task) -> Mapping[str, Any]:
        if task.id == 1:
            raise error
        return {"fine": float("nan")}

    return work


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("The box\nis wrong."), INPUT_ERROR, "The box is wrong."),
        (OSError(28, "No space left on device"), SETUP_ERROR, "No space left"),
        (KeyError("tumour"), INTERNAL_ERROR, "KeyError: 'tumour'"),
        (MemoryError(), INTERNAL_ERROR, "MemoryError"),
    ],
)
def test_an_error_is_one_sentence_and_the_next_request_works(
    desk: Desk, capsys: pytest.CaptureFixture[str], error: Exception, code: int, words: str
) -> None:
    desk.bench.work = failing(error)
    desk.hello()
    desk.ask("list_bundles", 1)
    desk.ask("list_bundles", 2)
    desk.serve()
    assert desk.code(1) == code
    assert words in desk.answer(1)["error"]["message"]
    assert desk.answer(2)["result"] == {"fine": None}
    assert ("Traceback" in capsys.readouterr().err) == (not isinstance(error, InputError))


def test_a_result_that_cannot_be_sent_is_an_error(desk: Desk) -> None:
    desk.bench.work = lambda task: {"what": object()}
    desk.hello()
    desk.ask("list_bundles", 1)
    desk.serve()
    assert desk.code(1) == INTERNAL_ERROR


def test_missing_packages_are_said_to_the_request_that_needs_them(desk: Desk) -> None:
    def without_torch() -> FakeBench:
        raise ImportError("No module named 'torch'")

    desk.server = Server(desk.say, Patience(), without_torch, desk.clock, desk.inbox)
    desk.hello()
    desk.ask("environment", 1)
    desk.serve()
    assert "result" in desk.answer(0)
    assert desk.code(1) == SETUP_ERROR
    assert "PyTorch" in desk.answer(1)["error"]["message"]


# --- cancelling ------------------------------------------------------------------------------------------------------------------------------


def test_a_running_request_is_cancelled_and_the_next_one_works(desk: Desk) -> None:
    def work(task: Task) -> Mapping[str, Any]:
        if task.id == 1:
            desk.ask("cancel", "c", id=1)
            task.check()
        return {}

    desk.bench.work = work
    desk.hello()
    desk.ask("segment", 1)
    desk.ask("segment", 2)
    desk.serve()
    assert desk.answer("c")["result"] == {"cancelled": True}
    assert desk.code(1) == CANCELLED
    assert desk.answer(2)["result"] == {}


def test_a_waiting_request_is_cancelled_by_a_notification_and_never_begun(desk: Desk) -> None:
    begun: list[Any] = []

    def work(task: Task) -> Mapping[str, Any]:
        begun.append(task.id)
        return {}

    desk.bench.work = work
    desk.hello()
    desk.ask("segment", 1)
    desk.ask("segment", 2)
    desk.ask("cancel", id=2)
    desk.serve()
    assert begun == [1]
    assert desk.code(2) == CANCELLED


def test_too_late_to_cancel_means_that_the_result_comes(desk: Desk) -> None:
    def work(task: Task) -> Mapping[str, Any]:
        task.settle()
        desk.ask("cancel", "c", id=1)
        return {"whole": True}

    desk.bench.work = work
    desk.hello()
    desk.ask("segment", 1)
    desk.serve()
    assert desk.answer("c")["result"] == {"cancelled": False}
    assert desk.answer(1)["result"] == {"whole": True}


@pytest.mark.parametrize("wanted", [99, None, [], {}, 1.5, "1"])
def test_cancelling_what_is_not_there_does_nothing(desk: Desk, wanted: Any) -> None:
    desk.hello()
    desk.ask("cancel", "c", id=wanted)
    desk.serve()
    assert desk.answer("c")["result"] == {"cancelled": False}
    assert "result" in desk.answer(0)


@pytest.mark.parametrize("request_id", [None, 9])
def test_shutdown_stops_what_is_going_on(desk: Desk, request_id: int | None) -> None:
    def work(task: Task) -> Mapping[str, Any]:
        desk.ask("shutdown", request_id)
        task.check()
        return {}

    desk.bench.work = work
    desk.hello()
    desk.ask("segment", 1)
    desk.ask("segment", 2)
    desk.server.serve()
    assert desk.code(1) == desk.code(2) == CANCELLED
    if request_id is not None:
        assert desk.answer(9)["result"] == {}


def test_the_end_of_the_input_stops_what_is_going_on(desk: Desk) -> None:
    def work(task: Task) -> Mapping[str, Any]:
        desk.server.hang_up()
        task.check()
        return {}

    desk.bench.work = work
    desk.hello()
    desk.ask("segment", 1)
    desk.server.serve()
    assert desk.code(1) == CANCELLED


# --- nothing to do ---------------------------------------------------------------------------------------------------------------------------


def test_memory_is_given_back_once_and_later_the_worker_ends(desk: Desk) -> None:
    desk.hello()
    start = desk.clock.now
    desk.server.serve()
    assert desk.bench.released_at == [start + 60.0]
    assert desk.clock.now == start + 900.0
    assert desk.inbox.waited == [60.0, 840.0]
    assert desk.said[-1]["method"] == "ending"
    assert desk.said[-1]["params"] == {"reason": "idle"}


def test_a_request_makes_it_wait_again(desk: Desk) -> None:
    def work(task: Task) -> Mapping[str, Any]:
        desk.clock.now += 5000.0  # A long one is no idling.
        return {}

    desk.bench.work = work
    desk.hello()
    desk.ask("list_bundles", 1)
    desk.server.serve()
    assert desk.bench.released_at == [100.0 + 5000.0 + 60.0]
    assert desk.clock.now == 100.0 + 5000.0 + 900.0


def test_release_comes_again_after_more_work() -> None:
    clock = FakeClock()
    idle = Idleness(Patience(10.0, 30.0), clock)
    assert not idle.release_is_due()
    clock.now += 10.0
    assert [idle.release_is_due(), idle.release_is_due(), idle.ends] == [True, False, False]
    idle.touch()
    assert idle.wait() == 10.0
    clock.now += 30.0
    assert [idle.release_is_due(), idle.ends, idle.wait()] == [True, True, 0.0]


# --- progress --------------------------------------------------------------------------------------------------------------------------------


def progress_of(desk: Desk, method: str) -> TaskProgress:
    return TaskProgress(Task(Call(method, {}, 1), desk.say), desk.clock)


def test_progress_names_the_side_and_is_not_sent_too_often(desk: Desk) -> None:
    progress = progress_of(desk, "segment_boxes")
    progress.side = "right"
    for patch in range(1, 101):
        desk.clock.now += SECONDS_BETWEEN_STEPS / 10
        progress(SEGMENTING, patch, 200)
    progress.side = "left"
    desk.clock.now += 5.0
    progress(SEGMENTING, 101, 200)
    progress.finish()
    steps = [message["params"] for message in desk.said]
    assert [step["stage"] for step in steps[:2]] == ["preparing", "right kidney"]
    assert 10 <= len(steps) <= 14
    assert steps[-2]["stage"] == "left kidney"
    fractions = [step["fraction"] for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert 5.0 < steps[-2]["seconds_left"] < 7.0


@pytest.mark.parametrize("method", WEIGHTS)
def test_all_stages_together_are_the_whole(desk: Desk, method: str) -> None:
    progress = progress_of(desk, method)
    for stage in WEIGHTS[method]:
        progress(stage, 1, 1)
    assert desk.said[-1]["params"]["fraction"] == 1.0
