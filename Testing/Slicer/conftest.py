"""The desk for the tests of the Slicer module. Test files may import slicer, qt, ctk and vtk at their top, as in Slicer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from Testing.Slicer.desk import boot, install, missing

if TYPE_CHECKING:
    from Testing.Slicer.desk.desk import Desk

MISSING = missing()


class SkippedFile(pytest.Module):
    """A test file that cannot even be imported here."""

    def collect(self) -> Iterator[pytest.Item]:
        pytest.skip(MISSING, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Before the first test file is imported, its imports must work; where they cannot, the reason is said once a file."""
    if MISSING:
        return SkippedFile.from_parent(parent, path=module_path)
    install()
    return None


@pytest.fixture(scope="session")
def started_desk() -> Desk:
    """The application of this process."""
    return boot()


@pytest.fixture(autouse=True)
def desk(started_desk: Desk) -> Iterator[Desk]:
    """The desk with an empty scene. Exceptions in slots and errors of VTK, which Slicer would only print, fail the test."""
    started_desk.reset()
    yield started_desk
    complaints = started_desk.complaints()
    started_desk.reset()
    assert not complaints, f"exceptions in slots or errors of VTK: {complaints}"
