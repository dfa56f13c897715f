"""Loads a scripted module and opens its panel, as Slicer does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer

from Testing.Slicer.desk.pythonqt.binding import QtCore
from Testing.Slicer.desk.standins.modules import qSlicerScriptedLoadableModule, qSlicerScriptedLoadableModuleWidget


class ScriptedModule:
    """A loaded module. `code` is the Python module, `instance` the ScriptedLoadableModule."""

    def __init__(self, path: Path) -> None:
        """Imports the file, whose folder joins sys.path for good, and creates the class of the file's name."""
        self.name = path.stem
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        self.code: ModuleType = importlib.import_module(self.name)
        logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
        self.module = qSlicerScriptedLoadableModule(self.name, str(path), logic, slicer.app)
        self.instance: Any = getattr(self.code, self.name)(self.module)
        setattr(slicer.modules, f"{self.name}Instance", self.instance)
        if hasattr(self.instance, "setup"):
            self.instance.setup()
        slicer.app.moduleManager()._add(self.module)

    @contextmanager
    def panel(self) -> Iterator[Any]:
        """Opens the module's panel for a while: its ScriptedLoadableModuleWidget, set up and entered."""
        parent = qSlicerScriptedLoadableModuleWidget()
        parent._store("moduleName", self.name)
        parent.setMRMLScene(slicer.mrmlScene)
        self.module._representation = parent
        widget = parent._scripted = getattr(self.code, f"{self.name}Widget")(parent)
        setattr(slicer.modules, f"{self.name}Widget", widget)
        widget.setup()
        parent.enter()
        try:
            yield widget
        finally:
            self._close(parent, widget)

    def _close(self, parent: Any, widget: Any) -> None:
        parent.exit()
        widget.cleanup()
        delattr(slicer.modules, f"{self.name}Widget")
        self.module._representation = None
        parent.delete()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
