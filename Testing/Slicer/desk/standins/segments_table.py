"""qMRMLSegmentsTableView: the segments of a segmentation node."""

from __future__ import annotations

from typing import Any

import vtk

from Testing.Slicer.desk.pythonqt.binding import QtCore, QtGui, QtWidgets
from Testing.Slicer.desk.standins.scene_widgets import Observation, qMRMLWidget
from Testing.Slicer.desk.standins.skeleton import register, skeleton

VISIBILITY, COLOR, NAME = range(3)


@register
class qMRMLSegmentsTableView(skeleton("qMRMLSegmentsTableView", qMRMLWidget)):  # type: ignore[misc]
    """Visibility, color and name of each segment. Ticking the visibility off hides the segment; names and colors are not edited."""

    _initial = {"headerVisible": True, "visibilityColumnVisible": True, "colorColumnVisible": True, "opacityColumnVisible": True}  # noqa: RUF012

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._observation = Observation(self, self._fill)
        self._table = QtWidgets.QTableWidget(0, 3)
        self._table.setHorizontalHeaderLabels(["", "", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.setColumnWidth(VISIBILITY, 24)
        self._table.setColumnWidth(COLOR, 24)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        self._table.itemChanged.connect(self._edited)
        self._table.itemSelectionChanged.connect(lambda: self.selectionChanged.emit(QtCore.QItemSelection(), QtCore.QItemSelection()))

    def setSegmentationNode(self, node: Any) -> None:
        self._observation.end()
        self._node = node
        if node is not None:
            self._observation.watch(node.GetSegmentation(), vtk.vtkCommand.AnyEvent)
            self._observation.watch(node, node.DisplayModifiedEvent)
        self._fill()

    def segmentationNode(self) -> Any:
        return self._node

    def displayedSegmentIDs(self) -> tuple[str, ...]:
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        return tuple(segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())) if segmentation is not None else ()

    def _fill(self) -> None:
        blocked = self._table.blockSignals(True)
        identifiers = self.displayedSegmentIDs()
        self._store("segmentCount", len(identifiers))
        self._table.setRowCount(len(identifiers))
        for row, identifier in enumerate(identifiers):
            self._fillRow(row, identifier)
        self._table.blockSignals(blocked)

    def _fillRow(self, row: int, identifier: str) -> None:
        segment = self._node.GetSegmentation().GetSegment(identifier)
        display = self._node.GetDisplayNode()
        visible = display is None or display.GetSegmentVisibility(identifier)
        items = [QtWidgets.QTableWidgetItem(), QtWidgets.QTableWidgetItem(), QtWidgets.QTableWidgetItem(segment.GetName())]
        items[VISIBILITY].setCheckState(QtCore.Qt.Checked if visible else QtCore.Qt.Unchecked)
        items[COLOR].setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
        for column, item in enumerate(items):
            self._table.setItem(row, column, item)

    def _edited(self, item: Any) -> None:
        if item.column() == VISIBILITY and self._node.GetDisplayNode() is not None:
            self._node.GetDisplayNode().SetSegmentVisibility(self.segmentIDForRow(item.row()), item.checkState() == QtCore.Qt.Checked)

    def segmentIDForRow(self, row: int) -> str:
        return self.displayedSegmentIDs()[row]

    def rowForSegmentID(self, identifier: str) -> int:
        return self.displayedSegmentIDs().index(identifier) if identifier in self.displayedSegmentIDs() else -1

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        rows = sorted({item.row() for item in self._table.selectedItems()})
        return tuple(self.segmentIDForRow(row) for row in rows)

    def setSelectedSegmentIDs(self, identifiers: Any) -> None:
        self._table.clearSelection()
        for identifier in identifiers:
            for column in range(self._table.columnCount()):
                self._table.item(self.rowForSegmentID(identifier), column).setSelected(True)

    def clearSelection(self) -> None:
        self._table.clearSelection()

    def tableWidget(self) -> Any:
        return self._table
