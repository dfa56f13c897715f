"""qMRMLTableView: the text of a table node."""

from __future__ import annotations

from typing import Any

import vtk

from Testing.Slicer.desk.pythonqt.binding import QtGui, QtWidgets
from Testing.Slicer.desk.standins.scene_widgets import Observation, _SceneKeeper
from Testing.Slicer.desk.standins.skeleton import register, skeleton


@register
class qMRMLTableView(_SceneKeeper, skeleton("qMRMLTableView", QtWidgets.QTableView)):  # type: ignore[misc]
    """Shows a table node, with its column names as the header, and follows its changes. It does not edit the node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._observation = Observation(self, self._fill)
        self._items = QtGui.QStandardItemModel(self)
        self.setModel(self._items)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLTableNode(self, node: Any) -> None:
        self._observation.end()
        self._node = node
        self._observation.watch(node, vtk.vtkCommand.ModifiedEvent)
        self._fill()

    def mrmlTableNode(self) -> Any:
        return self._node

    def _fill(self) -> None:
        self._items.clear()
        if self._node is None:
            return
        columns = range(self._node.GetNumberOfColumns())
        self._items.setHorizontalHeaderLabels([self._node.GetColumnName(column) for column in columns])
        for row in range(self._node.GetNumberOfRows()):
            self._items.appendRow([QtGui.QStandardItem(self._node.GetCellText(row, column)) for column in columns])
