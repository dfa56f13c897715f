"""Widgets that show a parameter and change it: both follow each other, and none of it outlives the scene.

Lists of words are in `choices`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Binding:
    """One widget and one parameter.

    Args:
        widget: what shows it.
        signal: of the widget, when its value changes.
        parameter: the parameter's name.
        read, write: get the value from the widget, and show one.
    """

    def __init__(self, widget: Any, signal: str, parameter: str, read: Callable[[Any], Any], write: Callable[[Any, Any], None]) -> None:
        self._widget, self._name, self._read, self._write = widget, parameter, read, write
        self._parameters: Any = None
        self._showing = False
        widget.connect(signal, self._changed)

    def connect(self, parameters: Any) -> None:
        """Shows the parameter of this node from now on; of none when it is None."""
        self._parameters = parameters
        self.show()

    def show(self) -> None:
        """Shows the parameter's value."""
        if self._parameters is None or self._showing:
            return
        self._showing = True
        try:
            self._write(self._widget, getattr(self._parameters, self._name))
        finally:
            self._showing = False

    def _changed(self) -> None:
        if self._parameters is None or self._showing:
            return
        value = self._read(self._widget)
        if value != getattr(self._parameters, self._name):
            setattr(self._parameters, self._name, value)


def bindNode(selector: Any, parameter: str) -> Binding:
    """A qMRMLNodeComboBox."""
    signal = "currentNodeChanged(vtkMRMLNode*)"
    return Binding(selector, signal, parameter, lambda widget: widget.currentNode(), lambda widget, node: widget.setCurrentNode(node))


def bindProperty(widget: Any, signal: str, parameter: str, name: str) -> Binding:
    """A property of a widget."""
    return Binding(widget, signal, parameter, lambda item: getattr(item, name), lambda item, value: setattr(item, name, value))


def bindPanel(ui: Any) -> list[Binding]:
    """Every widget of the panel that shows a parameter as it is."""
    checked = {"liveCheckBox": "live", "keepBoxesCheckBox": "keepBoxes", "probabilitiesCheckBox": "probabilities"}
    collapsed = {name: f"{name.removesuffix('Section')}Collapsed" for name in ("boxesSection", "resultsSection", "advancedSection")}
    return [
        bindNode(ui.ctSelector, "ct"),
        bindNode(ui.segmentationSelector, "segmentation"),
        *(bindProperty(getattr(ui, name), "toggled(bool)", parameter, "checked") for name, parameter in checked.items()),
        *(bindProperty(getattr(ui, name), "contentsCollapsed(bool)", parameter, "collapsed") for name, parameter in collapsed.items()),
    ]
