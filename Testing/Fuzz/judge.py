"""What became of an input: accepted, refused in words for the user, or a finding."""

from __future__ import annotations

import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from types import FrameType
from typing import Any

from KidneyTumorCascadeLib.errors import CascadeError
from KidneyTumorCascadeLib.worker_protocol import ProtocolError

ACCEPTED, REFUSED = "accepted", "refused"
# No input of a fuzzer is worth more. Both are far beyond what the largest takes, so that a slow machine makes no findings.
SECONDS, EXTRA_BYTES = 20.0, 1 << 30
# For what waits and computes nothing; other programs may well keep the machine for a while.
PATIENCE_SECONDS = 600.0
LONGEST_MESSAGE = 1_000
PARTS_OF_TRACEBACKS = ("Traceback", "Errno", "<class", "object at 0x")


class Hang(BaseException):
    """Raised in the middle of what takes too long; no `except Exception` keeps it."""


@dataclass(frozen=True)
class Target:
    """A parser and what it is fed with.

    Attributes:
        name: for people.
        make: an input from a random source.
        feed: hands it over; raises CascadeError or ProtocolError when the parser refuses it, and anything else when it should not have.
        share: of all inputs; only the proportions count.
    """

    name: str
    make: Callable[[Random], bytes]
    feed: Callable[[bytes], Any]
    share: int = 1


@dataclass(frozen=True)
class Finding:
    """An input that was neither accepted nor refused as it should be, and what happened."""

    target: str
    data: bytes
    what: str


def judge(target: Target, data: bytes) -> str | Finding:
    """ACCEPTED, REFUSED, or what is wrong. To be called within `limits`."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
    try:
        target.feed(data)
        return ACCEPTED
    except (CascadeError, ProtocolError) as error:
        problem = problem_of(str(error))
        return Finding(target.name, data, f"{problem}: {str(error)[:300]!r}") if problem else REFUSED
    except Hang:
        return Finding(target.name, data, f"took more than {SECONDS:g} s of computing, or {PATIENCE_SECONDS:g} s of waiting")
    except (Exception, SystemExit):
        return Finding(target.name, data, "".join(traceback.format_exc(limit=-6)))
    finally:
        for clock in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(clock, 0)


def problem_of(message: str) -> str:
    """What keeps a message from being one sentence for the user; empty when nothing does."""
    if not message.strip():
        return "the message is empty"
    if len(message) > LONGEST_MESSAGE:
        return f"the message has {len(message)} characters"
    if not message.isprintable():
        return "the message has line ends or control characters"
    return next((f"the message shows {part}" for part in PARTS_OF_TRACEBACKS if part in message), "")


@contextmanager
def limits() -> Iterator[None]:
    """Within it, what hangs raises Hang, and what wants a gigabyte more than there is now gets a MemoryError."""
    handlers = {number: signal.signal(number, _hang) for number in (signal.SIGALRM, signal.SIGPROF)}
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + EXTRA_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for number, handler in handlers.items():
            signal.signal(number, handler)


def address_space() -> int:
    """Bytes of this process's address space."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang
