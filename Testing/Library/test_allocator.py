"""Memory that is free again is used again."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from KidneyTumorCascadeLib import allocator

GLIBC = allocator.c_library("mallopt") is not None
FAULTS = """
import resource, sys
import numpy
from KidneyTumorCascadeLib.allocator import keep_freed_memory
assert sys.argv[1] == "plain" or keep_freed_memory()
def touch():
    # One after the other, so that glibc's own guess at a threshold is no help.
    for megabytes in (20, 40, 60):
        numpy.ones(megabytes << 20, numpy.uint8)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kind: str) -> int:
    """Pages that a process asks the system for when it needs memory that it had before."""
    return int(subprocess.run([sys.executable, "-c", FAULTS, kind], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not GLIBC, reason="only glibc can be told")
def test_memory_is_kept_and_large_blocks_are_not() -> None:
    assert faults("kept") < 100 < faults("plain")


@pytest.mark.skipif(not GLIBC, reason="only glibc can be told")
def test_memory_can_be_given_back() -> None:
    assert allocator.keep_freed_memory()
    assert allocator.give_back_freed_memory() in (True, False)


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()
    assert not allocator.give_back_freed_memory()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not allocator.keep_freed_memory()
