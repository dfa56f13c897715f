"""slicer.app."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from Testing.Slicer.desk import scene as mrml
from Testing.Slicer.desk import subject_hierarchy
from Testing.Slicer.desk.io_manager import qSlicerIOManager
from Testing.Slicer.desk.layout_manager import qSlicerLayoutManager
from Testing.Slicer.desk.module_manager import qSlicerModuleManager
from Testing.Slicer.desk.pythonqt.binding import QtCore, QtWidgets
from Testing.Slicer.desk.standins.skeleton import register, skeleton


@register
class qSlicerCoreApplication(skeleton("qSlicerCoreApplication", QtWidgets.QApplication)):  # type: ignore[misc]
    """The application without its windows."""

    def __init__(self, home: Path) -> None:
        """`home`: an empty folder that the application may fill; it takes the place of Slicer's own and of temporary ones."""
        super().__init__(["Slicer"])
        self.setApplicationName("Slicer")
        self.setOrganizationName("SlicerDesk")
        self._testing = True
        self._store("majorVersion", 5)
        self._store("minorVersion", 12)
        self._makeFolders(home)
        self._scene = mrml.make_scene(home / "cache")
        self._logic = mrml.make_application_logic(self._scene)

    def _makeFolders(self, home: Path) -> None:
        for name, folder in (("slicerHome", home), ("temporaryPath", home / "temporary"), ("cachePath", home / "cache")):
            folder.mkdir(exist_ok=True)
            self._store(name, str(folder))
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(home / "settings"))
        make_python_slicer(home / "bin")

    def mrmlScene(self) -> Any:
        return self._scene

    def applicationLogic(self) -> Any:
        return self._logic

    def moduleLogic(self, name: str) -> Any:
        return self._logic.GetModuleLogic(name)

    def moduleManager(self) -> Any:
        return self._modules

    def coreIOManager(self) -> Any:
        return self._io

    def settings(self) -> Any:
        return QtCore.QSettings()

    def userSettings(self) -> Any:
        return QtCore.QSettings()

    def startupEnvironment(self) -> Any:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def environment(self) -> Any:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"https://slicer.invalid/{name}"

    def restart(self) -> None:
        raise RuntimeError("the module asked Slicer to restart")

    def testingEnabled(self) -> bool:
        return bool(self._testing)


@register
class qSlicerApplication(skeleton("qSlicerApplication", qSlicerCoreApplication)):  # type: ignore[misc]
    """The application."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._io = qSlicerIOManager(self)
        self._modules = qSlicerModuleManager(self)
        self._layout = qSlicerLayoutManager(self._scene, self._logic, self)
        subject_hierarchy.keep(self._scene)

    def ioManager(self) -> Any:
        return self._io

    def layoutManager(self) -> Any:
        return self._layout

    def pauseRender(self) -> None:
        """Views draw only when a test asks for a picture."""

    def resumeRender(self) -> None:
        """Views draw only when a test asks for a picture."""


def make_python_slicer(folder: Path) -> None:
    """Slicer's PythonSlicer, found on the PATH as in Slicer: here it runs the interpreter of the tests."""
    folder.mkdir()
    launcher = folder / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    launcher.chmod(0o755)
    os.environ["PATH"] = os.pathsep.join([str(folder), os.environ.get("PATH", "")])
