"""Exceptions that Slicer would print and forget: in slots, timers and VTK observers. Tests fail over them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

recorded: list[BaseException] = []


def guarded(slot: Callable[..., Any], count: int | None) -> Callable[..., Any]:
    """The slot as Qt may call it: with its first `count` arguments (None: all), printing and recording what it raises."""

    def call(*arguments: object) -> Any:
        try:
            return slot(*arguments[:count])
        except Exception as error:
            recorded.append(error)
            traceback.print_exc()
            return None

    return call


def watch_unhandled() -> None:
    """Also records what PySide6 and VTK hand to sys.excepthook: slots connected by `signal.connect`, and observers."""
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        recorded.append(error)
        previous(kind, error, trace)

    sys.excepthook = hook


@contextmanager
def expected(kind: type[BaseException]) -> Iterator[None]:
    """For a test of a slot that raises: requires just one exception of that kind, and forgets it."""
    before = len(recorded)
    yield
    raised = recorded[before:]
    assert [type(error) for error in raised] == [kind], f"expected one {kind.__name__} in a slot, got {raised}"
    del recorded[before:]
