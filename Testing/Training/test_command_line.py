"""What the commands of Training share."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from Training.command_line import heeded


def pressing(swallow: bool) -> Iterator[int]:
    """Pieces of work during the second of which control-C is pressed."""
    yield 1
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        if not swallow:
            raise
    yield 2
    yield 3


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    """As in a terminal, whatever the tests were started by."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("swallow", [False, True])
def test_control_c_ends_the_work_also_where_it_is_swallowed(swallow: bool) -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        done.extend(heeded(pressing(swallow)))
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_where_control_c_is_ignored_it_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert list(heeded(pressing(False))) == [1, 2, 3]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_get_the_pieces_as_they_are() -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(heeded([1, 2])))
    thread.start()
    thread.join()
    assert found == [1, 2]
