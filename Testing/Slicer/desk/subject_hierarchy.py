"""Items of the subject hierarchy, which plugins written with Qt make and remove in Slicer."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

# Node classes that Slicer's subject hierarchy takes up by itself.
IN_HIERARCHY = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode")


def keep(scene: Any) -> None:
    """Gives each node of the scene an item for as long as it is there. While a file is read, the items in it come first."""

    @vtk.calldata_type(vtk.VTK_OBJECT)  # type: ignore[untyped-decorator]
    def added(_scene: Any, _event: str, node: Any) -> None:
        if not scene.IsImporting():
            _add(scene, node)

    @vtk.calldata_type(vtk.VTK_OBJECT)  # type: ignore[untyped-decorator]
    def removed(_scene: Any, _event: str, node: Any) -> None:
        if not (scene.IsImporting() or scene.IsClosing()) and _belongs(node):
            _remove(scene, node)

    def imported(*_: Any) -> None:
        for index in range(scene.GetNumberOfNodes()):
            _add(scene, scene.GetNthNode(index))

    scene.AddObserver(scene.NodeAddedEvent, added)
    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, removed)
    scene.AddObserver(scene.EndImportEvent, imported)


def _belongs(node: Any) -> bool:
    return not node.GetHideFromEditors() and any(node.IsA(kind) for kind in IN_HIERARCHY)


def _add(scene: Any, node: Any) -> None:
    if not _belongs(node):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def _remove(scene: Any, node: Any) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.RemoveItem(item, False, False)
