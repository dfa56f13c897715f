"""Connections between parameters and widgets."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ctk
import qt
import slicer


@dataclass(frozen=True)
class Kind:
    """How a kind of widget shows a value: the signal of a change, how to read and how to write."""

    signal: str
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], None]


def _property(signal: str, name: str) -> Kind:
    return Kind(signal, lambda widget: getattr(widget, name), lambda widget, value: setattr(widget, name, value))


def _path(signal: str, name: str) -> Kind:
    return Kind(signal, lambda widget: getattr(widget, name), lambda widget, value: setattr(widget, name, str(value)))


# Derived classes first.
KINDS = (
    (lambda: slicer.qMRMLNodeComboBox, Kind("currentNodeChanged(vtkMRMLNode*)", lambda w: w.currentNode(), lambda w, v: w.setCurrentNode(v))),
    (lambda: ctk.ctkPathLineEdit, _path("currentPathChanged(QString)", "currentPath")),
    (lambda: ctk.ctkDirectoryButton, _path("directoryChanged(QString)", "directory")),
    (lambda: ctk.ctkSliderWidget, _property("valueChanged(double)", "value")),
    (lambda: ctk.ctkDoubleSpinBox, _property("valueChanged(double)", "value")),
    (lambda: ctk.ctkCollapsibleButton, _property("contentsCollapsed(bool)", "collapsed")),
    (lambda: qt.QAbstractButton, _property("toggled(bool)", "checked")),
    (lambda: qt.QComboBox, Kind("currentTextChanged(QString)", lambda w: w.currentText, lambda w, v: w.setCurrentText(v))),
    (lambda: qt.QDoubleSpinBox, _property("valueChanged(double)", "value")),
    (lambda: qt.QSpinBox, _property("valueChanged(int)", "value")),
    (lambda: qt.QSlider, _property("valueChanged(int)", "value")),
    (lambda: qt.QLineEdit, _property("textChanged(QString)", "text")),
)


class Connector:
    """One widget, which shows one parameter."""

    def __init__(self, widget: Any, parameterKind: type) -> None:
        """Raises RuntimeError for a widget that shows no parameter."""
        kinds = [kind for cls, kind in KINDS if isinstance(widget, cls())]  # type: ignore[no-untyped-call]
        if not kinds:
            raise RuntimeError(f"a {type(widget).__name__} cannot be connected to a parameter")
        self._widget = widget
        self._kind = kinds[0]
        self._convert = parameterKind if parameterKind in (int, float, str, bool, pathlib.Path) else lambda value: value
        self._changed: Callable[[], None] | None = None

    def onChanged(self, changed: Callable[[], None] | None) -> None:
        """Calls this whenever the user or the program changes what the widget shows; None ends that."""
        if self._changed is not None:
            self._widget.disconnect(self._kind.signal, self._changed)
        self._changed = changed
        if changed is not None:
            self._widget.connect(self._kind.signal, changed)

    def read(self) -> Any:
        """What the widget shows, of the parameter's type."""
        return self._convert(self._kind.read(self._widget))

    def write(self, value: Any) -> None:
        """Shows the value."""
        self._kind.write(self._widget, value)
