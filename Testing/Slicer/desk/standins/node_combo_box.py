"""qMRMLNodeComboBox on the real scene."""

from __future__ import annotations

from typing import Any

from Testing.Slicer.desk.pythonqt.binding import QtWidgets
from Testing.Slicer.desk.standins.ctk_numbers import row
from Testing.Slicer.desk.standins.scene_widgets import Observation
from Testing.Slicer.desk.standins.skeleton import register, skeleton


@register
class qMRMLNodeComboBox(skeleton("qMRMLNodeComboBox", QtWidgets.QWidget)):  # type: ignore[misc]
    """A choice of nodes of some classes. As Slicer's, it selects no node by itself when nodes come; when its node goes, it selects none."""

    _initial = {  # noqa: RUF012
        "addEnabled": True,
        "removeEnabled": True,
        "selectNodeUponCreation": True,
        "showChildNodeTypes": True,
        "noneDisplay": "None",
    }
    _ANY = object()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox()
        row(self, self._box)
        self._box.activated.connect(self._activated)
        self._scene: Any = None
        self._ids: list[str] = []
        self._attributes: list[tuple[str, str, Any]] = []
        self._observation = Observation(self, self._sceneChanged)
        self.setEnabled(False)

    def setMRMLScene(self, scene: Any) -> None:
        self._observation.end()
        self._scene = scene
        if scene is not None:
            self._observation.watch(scene, scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent)
            self._observation.watch(scene, scene.EndCloseEvent, scene.EndImportEvent)
        self.setEnabled(scene is not None)
        self._refresh()

    def mrmlScene(self) -> Any:
        return self._scene

    def _sceneChanged(self) -> None:
        if not (self._scene.IsBatchProcessing() or self._scene.IsClosing()):
            self._refresh()

    def _refresh(self) -> None:
        nodes = self._acceptedNodes()
        self._ids = [node.GetID() for node in nodes]
        self._box.clear()
        self._box.addItems([self.noneDisplay] * self._offset() + [node.GetName() or "" for node in nodes])
        self._select(self.currentNodeID)

    def _acceptedNodes(self) -> list[Any]:
        if self._scene is None:
            return []
        nodes = (self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if self._accepts(node)]

    def _accepts(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        classes = [kind for kind in self.nodeTypes if node.GetClassName() == kind or (self.showChildNodeTypes and node.IsA(kind))]
        if not classes or any(node.IsA(kind) for kind in self.hideChildNodeTypes):
            return False
        return all(self._hasAttribute(node, name, value) for kind, name, value in self._attributes if node.IsA(kind))

    def _hasAttribute(self, node: Any, name: str, value: Any) -> bool:
        found = node.GetAttribute(name)
        return found is not None and (value is self._ANY or found == str(value))

    def _offset(self) -> int:
        """Rows before the first node's."""
        return int(self.noneEnabled)

    def _select(self, nodeID: str) -> None:
        nodeID = nodeID if nodeID in self._ids else ""
        self._box.setCurrentIndex(self._ids.index(nodeID) + self._offset() if nodeID else self._offset() - 1)
        if nodeID == self.currentNodeID:
            return
        self._store("currentNodeID", nodeID)
        self._store("currentNodeId", nodeID)
        self.currentNodeChanged.emit(self.currentNode())
        self._currentNodeChanged_bool.emit(bool(nodeID))
        self.currentNodeIDChanged.emit(nodeID)

    def _activated(self, index: int) -> None:
        self.setCurrentNodeIndex(index - self._offset())
        self.nodeActivated.emit(self.currentNode())

    def _propertyChanged(self, name: str) -> None:
        if name in ("currentNodeID", "currentNodeId"):
            wanted = self._value(name, str)
            self._store("currentNodeID", self._selectedBefore(name))
            self._select(wanted)
        elif name in ("nodeTypes", "hideChildNodeTypes", "noneEnabled", "noneDisplay", "showHidden", "showChildNodeTypes"):
            self._refresh()

    def _selectedBefore(self, assigned: str) -> str:
        """What was selected until one of the two properties of the same meaning was assigned."""
        return str(self._value("currentNodeId" if assigned == "currentNodeID" else "currentNodeID", str))

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self.currentNodeID) if self._scene is not None and self.currentNodeID else None

    def setCurrentNode(self, node: Any) -> None:
        self._select(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeID(self, nodeID: str | None) -> None:
        self._select(nodeID or "")

    def setCurrentNodeIndex(self, index: int) -> None:
        self._select(self._ids[index] if 0 <= index < len(self._ids) else "")

    def nodeCount(self) -> int:
        return len(self._ids)

    def nodeFromIndex(self, index: int) -> Any:
        return self._scene.GetNodeByID(self._ids[index]) if 0 <= index < len(self._ids) else None

    def addAttribute(self, nodeType: str, attributeName: str, attributeValue: Any = _ANY) -> None:
        self._attributes.append((nodeType, attributeName, attributeValue))
        self._refresh()

    def removeAttribute(self, nodeType: str, attributeName: str) -> None:
        self._attributes = [entry for entry in self._attributes if entry[:2] != (nodeType, attributeName)]
        self._refresh()

    def addNode(self, nodeType: str | None = None) -> Any:
        """What "Create new ..." in the list does."""
        kind = nodeType or self.nodeTypes[0]
        node = self._scene.AddNewNodeByClass(kind, self._scene.GenerateUniqueName(self.baseName or kind.removeprefix("vtkMRML")))
        if self.selectNodeUponCreation:
            self._select(node.GetID())
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())
