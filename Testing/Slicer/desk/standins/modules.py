"""What Slicer keeps about a module: the module object, and the widget that its panel lies in."""

from __future__ import annotations

from typing import Any

from Testing.Slicer.desk.pythonqt.binding import QtCore, QtWidgets
from Testing.Slicer.desk.standins.scene_widgets import qSlicerWidget
from Testing.Slicer.desk.standins.skeleton import register, skeleton


@register
class qSlicerAbstractCoreModule(skeleton("qSlicerAbstractCoreModule", QtCore.QObject)):  # type: ignore[misc]
    """A module of Slicer: its name, where it lies, and its logic."""

    def __init__(self, name: str, path: str, logic: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic = logic
        self._representation: Any = None
        for key, value in (("name", name), ("path", path), ("title", name)):
            self._store(key, value)

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> Any:
        """The module's panel, while one is open."""
        return self._representation


@register
class qSlicerAbstractModule(skeleton("qSlicerAbstractModule", qSlicerAbstractCoreModule)):  # type: ignore[misc]
    """A module with an icon."""


@register
class qSlicerLoadableModule(skeleton("qSlicerLoadableModule", qSlicerAbstractModule)):  # type: ignore[misc]
    """A module that Slicer loads at its start."""


@register
class qSlicerScriptedLoadableModule(skeleton("qSlicerScriptedLoadableModule", qSlicerLoadableModule)):  # type: ignore[misc]
    """A module written in Python, the `parent` of its ScriptedLoadableModule."""


@register
class qSlicerAbstractModuleWidget(skeleton("qSlicerAbstractModuleWidget", qSlicerWidget)):  # type: ignore[misc]
    """A module's panel."""


@register
class qSlicerScriptedLoadableModuleWidget(skeleton("qSlicerScriptedLoadableModuleWidget", qSlicerAbstractModuleWidget)):  # type: ignore[misc]
    """The `parent` of a ScriptedLoadableModuleWidget. The desk's ModulePanel sets `_scripted`."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scripted: Any = None
        QtWidgets.QVBoxLayout(self)

    def self(self) -> Any:
        return self._scripted

    def enter(self) -> None:
        self._store("isEntered", True)
        if hasattr(self._scripted, "enter"):
            self._scripted.enter()

    def exit(self) -> None:
        self._store("isEntered", False)
        if hasattr(self._scripted, "exit"):
            self._scripted.exit()
