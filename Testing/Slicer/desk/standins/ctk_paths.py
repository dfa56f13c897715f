"""Widgets of CTK that hold the path of a file or folder."""

from __future__ import annotations

import os
from typing import Any

from Testing.Slicer.desk.pythonqt.binding import QtCore, QtWidgets
from Testing.Slicer.desk.standins.ctk_numbers import row
from Testing.Slicer.desk.standins.skeleton import register, skeleton


@register
class ctkPathLineEdit(skeleton("ctkPathLineEdit", QtWidgets.QWidget)):  # type: ignore[misc]
    """A path to type in, or to choose with a file dialog."""

    Dirs, Files, Drives = int(QtCore.QDir.Dirs), int(QtCore.QDir.Files), int(QtCore.QDir.Drives)
    Readable, Writable, Executable = int(QtCore.QDir.Readable), int(QtCore.QDir.Writable), int(QtCore.QDir.Executable)
    _initial = {"showBrowseButton": True, "showHistoryButton": True, "filters": Files, "nameFilters": []}  # noqa: RUF012

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit = QtWidgets.QComboBox()
        self._edit.setEditable(True)
        self._button = QtWidgets.QToolButton()
        self._button.setText("...")
        row(self, self._edit, self._button)
        self._edit.editTextChanged.connect(self._edited)
        self._button.clicked.connect(self.browse)

    def _edited(self, text: str) -> None:
        if text != self.currentPath:
            self._store("currentPath", text)
            self.currentPathChanged.emit(text)

    def _propertyChanged(self, name: str) -> None:
        if name == "currentPath" and self._edit.currentText != self.currentPath:
            path = self.currentPath
            self._store("currentPath", self._edit.currentText)
            self._edit.setEditText(path)

    def setCurrentPath(self, path: str) -> None:
        self.currentPath = path

    def browse(self) -> None:
        ask = QtWidgets.QFileDialog.getExistingDirectory if self.filters & self.Dirs else QtWidgets.QFileDialog.getOpenFileName
        path = ask(self, self.label, self.currentPath)
        if path:
            self.currentPath = path

    def comboBox(self) -> Any:
        return self._edit

    def addCurrentPathToHistory(self) -> None:
        if self.currentPath and self._edit.findText(self.currentPath) < 0:
            self._edit.addItem(self.currentPath)


@register
class ctkDirectoryButton(skeleton("ctkDirectoryButton", QtWidgets.QWidget)):  # type: ignore[misc]
    """A folder, on a button that opens a file dialog."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._button = QtWidgets.QPushButton()
        row(self, self._button)
        self._button.clicked.connect(self.browse)
        self.directory = os.curdir

    def _propertyChanged(self, name: str) -> None:
        if name == "directory":
            path = os.path.abspath(self.directory) if self.directory else ""
            self._store("directory", path)
            self._button.setText(path)
            self.directoryChanged.emit(path)

    def browse(self) -> None:
        path = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption, self.directory)
        if path:
            self.directory = path
            self.directorySelected.emit(path)
