"""Buttons, boxes and texts of CTK."""

from __future__ import annotations

from typing import Any

from Testing.Slicer.desk.pythonqt.binding import QtCore, QtGui, QtWidgets
from Testing.Slicer.desk.standins.skeleton import register, skeleton

HEADER = 24  # pixels
NO_LIMIT = 2**24 - 1  # C++'s QWIDGETSIZE_MAX


@register
class ctkCheckBox(skeleton("ctkCheckBox", QtWidgets.QCheckBox)):  # type: ignore[misc]
    """As Qt's; Slicer's has icons besides."""


@register
class ctkPushButton(skeleton("ctkPushButton", QtWidgets.QPushButton)):  # type: ignore[misc]
    """As Qt's; Slicer's aligns its text."""


@register
class ctkMenuButton(skeleton("ctkMenuButton", QtWidgets.QPushButton)):  # type: ignore[misc]
    """As Qt's; Slicer's opens a menu at its side."""


@register
class ctkComboBox(skeleton("ctkComboBox", QtWidgets.QComboBox)):  # type: ignore[misc]
    """As Qt's; Slicer's shows a default text, and may ignore the wheel."""

    NeverScroll, AlwaysScroll, ScrollWithFocus, ScrollWithNoFocus = range(4)
    _initial = {"scrollWheelEffect": 1}  # noqa: RUF012


@register
class ctkFittedTextBrowser(skeleton("ctkFittedTextBrowser", QtWidgets.QTextBrowser)):  # type: ignore[misc]
    """As Qt's; Slicer's is as high as its text."""


@register
class ctkMessageBox(skeleton("ctkMessageBox", QtWidgets.QMessageBox)):  # type: ignore[misc]
    """As Qt's; Slicer's can be told not to appear again."""


@register
class ctkCollapsibleGroupBox(skeleton("ctkCollapsibleGroupBox", QtWidgets.QGroupBox)):  # type: ignore[misc]
    """A group box that hides what is in it when it is unchecked."""

    def __init__(self, title: Any = "", parent: Any = None) -> None:
        if isinstance(title, QtWidgets.QWidget):
            title, parent = "", title
        super().__init__(title, parent)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._toggled)

    def _toggled(self, expanded: bool) -> None:
        self._store("collapsed", not expanded)
        show_contents(self, expanded)

    def _propertyChanged(self, name: str) -> None:
        if name == "collapsed":
            self.setChecked(not self.collapsed)


@register
class ctkCollapsibleButton(skeleton("ctkCollapsibleButton", QtWidgets.QAbstractButton)):  # type: ignore[misc]
    """A header that hides and shows the widgets under it."""

    def __init__(self, text: Any = "", parent: Any = None) -> None:
        if isinstance(text, QtWidgets.QWidget):
            text, parent = "", text
        super().__init__(parent)
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(6, HEADER, 6, 4)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Minimum)
        self.toggled.connect(self._toggled)

    def _toggled(self, expanded: bool) -> None:
        self._store("collapsed", not expanded)
        show_contents(self, expanded)
        self.setMaximumHeight(NO_LIMIT if expanded else HEADER)
        self.contentsCollapsed.emit(not expanded)

    def _propertyChanged(self, name: str) -> None:
        if name == "collapsed":
            self.setChecked(not self.collapsed)

    def sizeHint(self) -> Any:
        layout = self.layout()
        content = layout.totalSizeHint() if layout is not None else QtCore.QSize(0, HEADER)
        return QtCore.QSize(max(content.width(), 5 * HEADER), content.height() if self.checked else HEADER)

    def minimumSizeHint(self) -> Any:
        return self.sizeHint()

    def paintEvent(self, _event: Any) -> None:
        painter = QtGui.QPainter(self)
        header = QtCore.QRect(0, 0, self.width, HEADER - 2)
        painter.fillRect(header, self.palette.color(QtGui.QPalette.Button))
        painter.drawText(header.adjusted(HEADER, 0, 0, 0), QtCore.Qt.AlignVCenter, ("▸ " if self.collapsed else "▾ ") + self.text)
        painter.end()


def show_contents(widget: Any, visible: bool) -> None:
    """Shows or hides the direct children."""
    for child in widget.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
        child.setVisible(visible)
