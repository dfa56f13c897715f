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

GIVEN_BACK = """
import os, sys
import numpy
from KidneyTumorCascadeLib import allocator
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
allocator.keep_freed_memory()
blocks = [numpy.ones(2 << 20, numpy.uint8) for _ in range(100)]
del blocks
before = resident()
GIVE_BACK()
sys.exit(before - resident() < 100 << 20)
"""


def faults(kind: str) -> int:
    """Pages that a process asks the system for when it needs memory that it had before."""
    return int(subprocess.run([sys.executable, "-c", FAULTS, kind], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not GLIBC, reason="only glibc can be told")
def test_memory_is_kept_and_large_blocks_are_not() -> None:
    assert faults("kept") < 100 < faults("plain")


@pytest.mark.skipif(not GLIBC, reason="only glibc can be told")
def test_memory_can_be_given_back() -> None:
    code = GIVEN_BACK.replace("GIVE_BACK", "allocator.give_back_freed_memory")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    idle = GIVEN_BACK.replace("GIVE_BACK", "bool")
    assert subprocess.run([sys.executable, "-c", idle], check=False).returncode == 1


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()
    assert not allocator.give_back_freed_memory()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not allocator.keep_freed_memory()
