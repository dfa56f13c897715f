"""Widgets of CTK that hold a number."""

from __future__ import annotations

from typing import Any

from Testing.Slicer.desk.pythonqt.binding import QtCore, QtWidgets
from Testing.Slicer.desk.standins.skeleton import register, skeleton

SPIN_BOX_PROPERTIES = ("decimals", "minimum", "maximum", "singleStep", "prefix", "suffix")


def row(parent: Any, *widgets: Any) -> None:
    """Lays widgets out beside each other, without a margin."""
    layout = QtWidgets.QHBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)


class _Number:
    """A value within limits, of some decimals. `valueChanged` is emitted once for each real change."""

    _initial = {"minimum": 0.0, "maximum": 99.0, "value": 0.0, "singleStep": 1.0, "decimals": 2}  # noqa: RUF012

    def _propertyChanged(self: Any, name: str) -> None:
        for key in SPIN_BOX_PROPERTIES:
            blocked = self._box.blockSignals(True)
            setattr(self._box, key, getattr(self, key))
            self._box.blockSignals(blocked)
        self._set(self.value)

    def _set(self: Any, value: float) -> None:
        value = round(min(max(value, self.minimum), self.maximum), self.decimals)
        self._store("value", value)
        self._show(value)
        if value != self._announced:
            self._announced = value
            self.valueChanged.emit(value)

    def _show(self: Any, value: float) -> None:
        blocked = self._box.blockSignals(True)
        self._box.setValue(value)
        self._box.blockSignals(blocked)

    def setValue(self: Any, value: float) -> None:
        self.value = value

    def setDecimals(self: Any, decimals: int) -> None:
        self.decimals = decimals


@register
class ctkDoubleSpinBox(_Number, skeleton("ctkDoubleSpinBox", QtWidgets.QWidget)):  # type: ignore[misc]
    """A spin box."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._announced = 0.0
        self._box = QtWidgets.QDoubleSpinBox()
        row(self, self._box)
        self._box.valueChanged.connect(self._set)
        self._box.editingFinished.connect(self.editingFinished)


@register
class ctkSliderWidget(_Number, skeleton("ctkSliderWidget", QtWidgets.QWidget)):  # type: ignore[misc]
    """A slider with a spin box."""

    _initial = {**_Number._initial, "tracking": True, "spinBoxVisible": True, "pageStep": 10.0}  # noqa: RUF012

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._announced = 0.0
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        row(self, self._slider, self._box)
        self._propertyChanged("")
        self._box.valueChanged.connect(self._set)
        self._slider.valueChanged.connect(lambda steps: self._set(self.minimum + steps * self.singleStep))

    def _propertyChanged(self, name: str) -> None:
        self._box.setVisible(self.spinBoxVisible)
        super()._propertyChanged(name)

    def _show(self, value: float) -> None:
        super()._show(value)
        blocked = self._slider.blockSignals(True)
        self._slider.setRange(0, round((self.maximum - self.minimum) / self.singleStep))
        self._slider.setValue(round((value - self.minimum) / self.singleStep))
        self._slider.blockSignals(blocked)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self.spinBoxVisible = visible

    def reset(self) -> None:
        self.value = self.minimum


@register
class qMRMLSliderWidget(skeleton("qMRMLSliderWidget", ctkSliderWidget)):  # type: ignore[misc]
    """A slider that follows the scene's units in Slicer; here it only keeps the scene."""

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def mrmlScene(self) -> Any:
        return self._scene
