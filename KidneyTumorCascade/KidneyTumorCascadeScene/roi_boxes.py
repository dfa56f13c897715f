"""The boxes around the kidneys as markups that the user can drag: vtkMRMLMarkupsROINode <-> the library's Box."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Box, as_matrix, as_vector
from KidneyTumorCascadeScene.volumes import RAS_TO_LPS, placeBeside

SIDES = ("right", "left", "both")
CT = "KidneyTumorCascade.ct"
FOUND = "KidneyTumorCascade.found"
# So far a box may be from the one that was found before it counts as moved.
SAME_MM = 0.01
# Okabe and Ito's colors, which all eyes can tell apart.
COLORS = {"right": (0.90, 0.62, 0.0), "left": (0.34, 0.71, 0.91), "both": (0.0, 0.62, 0.45)}
# The library's boxes have their axes close to L, P, S. Turned by half a turn, they are close to R, A, S: a straight scan's box is the identity.
HALF_TURN = np.diag([-1.0, -1.0, 1.0])


def nameOf(side: str) -> str:
    """What the box of a side is called in the scene."""
    return {"right": _("Right kidney box"), "left": _("Left kidney box"), "both": _("Both kidneys box")}[side]


def makeBox(side: str) -> Any:
    """A new node with handles on its faces and corners, without a place yet."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", nameOf(side))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*COLORS[side])
    display.SetColor(*COLORS[side])
    # Nothing lies over the CT but the segments.
    display.SetFillVisibility(False)
    display.SetInteractionHandleScale(2.0)
    display.SetPropertiesLabelVisibility(False)
    display.SetHandlesInteractive(True)
    display.SetTranslationHandleVisibility(True)
    display.SetScaleHandleVisibility(True)
    # A turned box would be enclosed by a straight one: it stays aligned with the scan.
    display.SetRotationHandleVisibility(False)
    return node


def showFound(node: Any, box: Box, volume: Any) -> None:
    """Shows a box that was found in the volume; `reset` comes back to it."""
    node.SetAttribute(FOUND, json.dumps(box.to_dict()))
    place(node, box, volume)


def place(node: Any, box: Box, volume: Any) -> None:
    """Moves the node to a box in the volume's own frame."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(box.direction).reshape(3, 3) @ HALF_TURN
    matrix[:3, 3] = box.center
    placeBeside(node, volume)
    node.SetNodeReferenceID(CT, volume.GetID())
    modifying = node.StartModify()
    node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(RAS_TO_LPS @ matrix))
    node.SetSize(*box.size)
    node.EndModify(modifying)


def foundBox(node: Any) -> Box | None:
    """The box as it was found; None for one that the user made."""
    text = node.GetAttribute(FOUND)
    return Box.from_dict(json.loads(text)) if text else None


def reset(node: Any, volume: Any) -> bool:
    """Moves the box back to where it was found; False when it never was."""
    box = foundBox(node)
    if box is not None:
        place(node, box, volume)
    return box is not None


def boxOf(node: Any, side: str, volume: Any) -> Box:
    """The box in LPS in the volume's own frame, wherever its node's own transform puts it. Raises InputError for one without a size."""
    toVolume = vtk.vtkMatrix4x4()
    linear = slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), volume.GetParentTransformNode(), toVolume)
    if not linear:
        raise InputError(_("{name} is under a warped transform; take it out of there.").format(name=node.GetName()))
    matrix = RAS_TO_LPS @ slicer.util.arrayFromVTKMatrix(toVolume)
    matrix = matrix @ slicer.util.arrayFromVTKMatrix(node.GetObjectToNodeMatrix())
    scale = np.linalg.norm(matrix[:3, :3], axis=0)
    axes = matrix[:3, :3] / scale @ HALF_TURN
    box = Box(as_vector(matrix[:3, 3]), as_vector(np.multiply(node.GetSize(), scale)), side, "user", as_matrix(axes))
    found = foundBox(node)
    return found if found is not None and isSame(box, found) else box


def belongsTo(node: Any, volume: Any) -> bool:
    """Whether the box was placed in this volume."""
    return bool(node.GetNodeReferenceID(CT) == volume.GetID())


def isSame(box: Box, other: Box) -> bool:
    """Whether two boxes have their corners at the same places."""
    return bool(np.abs(box.corners() - other.corners()).max() <= SAME_MM)


class BoxWatcher(VTKObservationMixin):
    """Tells when the user has let go of a box."""

    def __init__(self, onReleased: Callable[[str], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._onReleased = onReleased
        self._watched: dict[str, Any] = {}

    def watch(self, nodes: Mapping[str, Any]) -> None:
        """Watches these boxes, given by their sides, and no others. Sides without a box may be None."""
        nodes = {side: node for side, node in nodes.items() if node is not None}
        if nodes == self._watched:
            return
        self.removeObservers()
        self._watched = nodes
        for side, node in nodes.items():
            self.addObserver(node, slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent, self._teller(side))

    def _teller(self, side: str) -> Callable[..., None]:
        return lambda caller, event: self._onReleased(side)
