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


class SkippedFile(pytest.File):
    """A test file that cannot even be imported here."""

    def collect(self) -> Iterator[pytest.Item]:
        pytest.skip(MISSING, allow_module_level=True)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Before the first test file is imported, its imports must work; where they cannot, the reason is said once a file."""
    if not file_path.match("test_*.py"):
        return None
    if MISSING:
        return SkippedFile.from_parent(parent, path=file_path)
    install()
    return None


@pytest.fixture(scope="session")
def started_desk() -> Desk:
    """The application of this process."""
    return boot()


@pytest.fixture(autouse=True)
def desk(started_desk: Desk) -> Iterator[Desk]:
    """The desk with an empty scene. An exception in a slot, timer or observer, which Slicer would only print, fails the test."""
    started_desk.reset()
    yield started_desk
    errors = list(started_desk.slot_errors)
    started_desk.slot_errors.clear()
    assert not errors, f"exceptions in slots: {errors}"
