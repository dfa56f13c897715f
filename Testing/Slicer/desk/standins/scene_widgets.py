"""Widgets that know the scene, and observation of MRML nodes that ends with the widget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from Testing.Slicer.desk.pythonqt.binding import QtWidgets, shiboken6
from Testing.Slicer.desk.standins.skeleton import register, skeleton


class Observation:
    """Observers that a widget has on VTK objects. VTK outlives the widget, so that each call checks that it is still there."""

    def __init__(self, widget: Any, changed: Callable[[], None]) -> None:
        self._widget = widget
        self._changed = changed
        self._observers: list[tuple[Any, int]] = []

    def watch(self, item: Any, *events: Any) -> None:
        """Calls `changed` at those events of `item`; nothing for None."""
        if item is not None:
            self._observers += [(item, item.AddObserver(event, self._call)) for event in events]

    def end(self) -> None:
        """Watches nothing any more."""
        for item, tag in self._observers:
            item.RemoveObserver(tag)
        self._observers = []

    def _call(self, *_: Any) -> None:
        if shiboken6.isValid(self._widget):
            self._changed()
        else:
            self.end()


class _SceneKeeper:
    """Keeps the scene, and tells those who are connected."""

    _scene: Any = None

    def setMRMLScene(self: Any, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@register
class qMRMLWidget(_SceneKeeper, skeleton("qMRMLWidget", QtWidgets.QWidget)):  # type: ignore[misc]
    """The root of a module's .ui file."""

    def mrmlScene(self) -> Any:
        return self._scene


@register
class qSlicerWidget(_SceneKeeper, skeleton("qSlicerWidget", QtWidgets.QWidget)):  # type: ignore[misc]
    """The widget that a module's panel lies in; it keeps its scene to itself."""
