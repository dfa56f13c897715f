"""Errors that VTK and MRML report to their log and nowhere else. Tests fail over them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import vtk

recorded: list[str] = []


def watch() -> None:
    """Records every error from here on; warnings are only printed."""

    @vtk.calldata_type(vtk.VTK_STRING)  # type: ignore[untyped-decorator]
    def heard(_window: Any, _event: str, text: str) -> None:
        recorded.append(text.strip())

    vtk.vtkOutputWindow.GetInstance().AddObserver("ErrorEvent", heard)


@contextmanager
def expected(pattern: str) -> Iterator[None]:
    """For a test of something that VTK complains of: requires an error that contains the pattern, and forgets all that came with it."""
    before = len(recorded)
    yield
    raised = recorded[before:]
    assert any(re.search(pattern, text) for text in raised), f"expected an error of VTK with {pattern!r}, got {raised}"
    del recorded[before:]
