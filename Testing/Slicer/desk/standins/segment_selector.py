"""qMRMLSegmentSelectorWidget: a segmentation, and one of its segments."""

from __future__ import annotations

from typing import Any

import vtk

from Testing.Slicer.desk.pythonqt.binding import QtWidgets
from Testing.Slicer.desk.standins.ctk_numbers import row
from Testing.Slicer.desk.standins.node_combo_box import qMRMLNodeComboBox
from Testing.Slicer.desk.standins.scene_widgets import Observation, qMRMLWidget
from Testing.Slicer.desk.standins.skeleton import register, skeleton


@register
class qMRMLSegmentSelectorWidget(skeleton("qMRMLSegmentSelectorWidget", qMRMLWidget)):  # type: ignore[misc]
    """Two lists beside each other. Selection of several segments is not adapted."""

    _initial = {"segmentationNodeSelectorVisible": True, "selectNodeUponCreation": True}  # noqa: RUF012

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._nodes = qMRMLNodeComboBox()
        self._nodes.nodeTypes = ("vtkMRMLSegmentationNode",)
        self._nodes.noneEnabled = True
        self._segments = QtWidgets.QComboBox()
        row(self, self._nodes, self._segments)
        self._observation = Observation(self, self._fill)
        self.mrmlSceneChanged.connect(self._nodes.setMRMLScene)
        self._nodes.currentNodeChanged.connect(self._nodeChanged)
        self._segments.currentIndexChanged.connect(lambda *_: self.currentSegmentChanged.emit(self.currentSegmentID()))

    def _nodeChanged(self, node: Any) -> None:
        self._observation.end()
        if node is not None:
            self._observation.watch(node.GetSegmentation(), vtk.vtkCommand.AnyEvent)
        self._fill()
        self.currentNodeChanged.emit(node)
        self._currentNodeChanged_bool.emit(node is not None)

    def _fill(self) -> None:
        wanted = self.currentSegmentID()
        blocked = self._segments.blockSignals(True)
        self._segments.clear()
        for identifier in self.segmentIDs():
            self._segments.addItem(self.currentNode().GetSegmentation().GetSegment(identifier).GetName(), identifier)
        self._segments.setCurrentIndex(max(self._segments.findData(wanted), 0))
        self._segments.blockSignals(blocked)
        if self.currentSegmentID() != wanted:
            self.currentSegmentChanged.emit(self.currentSegmentID())

    def currentNode(self) -> Any:
        return self._nodes.currentNode()

    def currentNodeID(self) -> str:
        return str(self._nodes.currentNodeID)

    def setCurrentNode(self, node: Any) -> None:
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, nodeID: str) -> None:
        self._nodes.setCurrentNodeID(nodeID)

    def segmentIDs(self) -> tuple[str, ...]:
        segmentation = self.currentNode().GetSegmentation() if self.currentNode() is not None else None
        return tuple(segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())) if segmentation is not None else ()

    def currentSegmentID(self) -> str:
        return self._segments.currentData or ""

    def setCurrentSegmentID(self, identifier: str) -> None:
        self._segments.setCurrentIndex(self._segments.findData(identifier))
