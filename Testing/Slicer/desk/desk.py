"""The running application, and what a test does with it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import slicer

from Testing.Slicer.desk import vtk_errors
from Testing.Slicer.desk.application import qSlicerApplication
from Testing.Slicer.desk.pythonqt import dialogs, slot_errors
from Testing.Slicer.desk.pythonqt.binding import QtCore
from Testing.Slicer.desk.scene import LOGICS, make_module_logic
from Testing.Slicer.desk.scripted_module import ScriptedModule
from Testing.Slicer.desk.slice_view import SliceView
from Testing.Slicer.desk.standins.modules import qSlicerAbstractCoreModule
from Testing.Slicer.desk.three_d_view import ThreeDView


class WaitedInVain(AssertionError):
    """What a test waited for did not come."""


class Desk:
    """One for each process."""

    def __init__(self, application: qSlicerApplication) -> None:
        self.app = application

    def reset(self) -> None:
        """Forgets what an earlier test left: nodes, errors, dialogs. Views stay, with their settings as at the start."""
        slicer.mrmlScene.Clear(0)
        slot_errors.recorded.clear()
        vtk_errors.recorded.clear()
        dialogs.reset()
        self.app._testing = True

    @cache  # noqa: B019 -- a module is loaded once in a process, as in Slicer
    def load(self, path: Path) -> ScriptedModule:
        """The scripted module of that file."""
        return ScriptedModule(path)

    @property
    def slot_errors(self) -> list[BaseException]:
        """Exceptions in slots, timers and observers. Those that are left when a test ends make it fail."""
        return slot_errors.recorded

    def expect_slot_error(self, kind: type[BaseException]) -> Any:
        """`with desk.expect_slot_error(ValueError): ...` for a slot that must raise."""
        return slot_errors.expected(kind)

    @property
    def vtk_errors(self) -> list[str]:
        """Errors in VTK's log. Those that are left when a test ends make it fail."""
        return vtk_errors.recorded

    def complaints(self) -> list[object]:
        """What must not be left when a test ends."""
        return [*self.slot_errors, *self.vtk_errors]

    def expect_vtk_error(self, pattern: str) -> Any:
        """`with desk.expect_vtk_error("cannot be read"): ...` for what VTK must complain of."""
        return vtk_errors.expected(pattern)

    @contextmanager
    def interactive(self, *answers: Any) -> Iterator[list[str]]:
        """Slicer without --testing, and a user who answers the next dialogs so: with a value, or a function of the dialog.

        Yields the texts of the dialogs as they appear. All answers must be used; one dialog too many raises UnexpectedDialog.
        """
        self.app._testing = False
        dialogs.reset()
        dialogs.answers.extend(answers)
        try:
            yield dialogs.shown
            assert not dialogs.answers, f"fewer dialogs than expected: {list(dialogs.answers)} left over"
        finally:
            self.app._testing = True
            dialogs.answers.clear()

    def wait_until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Runs Qt's event loop until the condition holds, looking whenever something happened. Raises WaitedInVain."""
        deadline = QtCore.QDeadlineTimer(int(1000 * seconds))
        clock = QtCore.QTimer()  # wakes the loop for conditions that change without an event
        clock.start(10)
        while not condition():
            if deadline.hasExpired():
                raise WaitedInVain(f"nothing after {seconds} s")
            QtCore.QCoreApplication.processEvents(QtCore.QEventLoop.WaitForMoreEvents)

    def slice_view(self, name: str = "Red") -> SliceView:
        """Red is axial, Green coronal, Yellow sagittal."""
        return self.app.layoutManager().sliceWidget(name).sliceView()._view  # type: ignore[no-any-return]

    def three_d_view(self) -> ThreeDView:
        """The 3D view."""
        return self.app.layoutManager().threeDWidget(0).threeDView()._view  # type: ignore[no-any-return]


@cache
def running() -> Desk:
    """Starts the application, once in a process."""
    home = Path(tempfile.mkdtemp(prefix="slicer-desk-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    application = qSlicerApplication(home)
    slicer.app, slicer.mrmlScene = application, application.mrmlScene()
    for name in LOGICS:
        logic = make_module_logic(name, slicer.mrmlScene, application.applicationLogic())
        application.moduleManager()._add(qSlicerAbstractCoreModule(name, "", logic, application))
    vtk_errors.watch()
    return Desk(application)
