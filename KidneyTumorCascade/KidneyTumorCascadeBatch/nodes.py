"""A case as nodes of the scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from KidneyTumorCascadeBatch.reading import ijkToRas
from KidneyTumorCascadeLib.geometry import Size
from KidneyTumorCascadeLib.volume import Volume
from KidneyTumorCascadeLib.worker_messages import Part, Segmented

KIDNEY, TUMOR = 1, 2
NAMES = {
    "right": {KIDNEY: "Right kidney", TUMOR: "Right tumor"},
    "left": {KIDNEY: "Left kidney", TUMOR: "Left tumor"},
    "both": {KIDNEY: "Kidney", TUMOR: "Tumor"},
}
COLORS = {KIDNEY: (185 / 255, 102 / 255, 83 / 255), TUMOR: (144 / 255, 238 / 255, 144 / 255)}


def addScan(scan: Volume, name: str) -> Any:
    """The CT as a volume node."""
    node = slicer.util.addVolumeFromArray(scan.voxels, ijkToRas(scan.geometry), name)
    node.CreateDefaultDisplayNodes()
    return node


def addSegmentation(result: Segmented, scanNode: Any, shape: Size) -> Any:
    """The result as a segmentation node with a segment for kidney and tumor of each box."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{scanNode.GetName()} segmentation")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(scanNode)
    labels = result.label_map(shape)
    for part in result.parts:
        for value in (KIDNEY, TUMOR):
            mask = maskOf(part, value, labels)
            if mask.any():  # Slicer cannot export empty segments as DICOM.
                addSegment(node, NAMES[part.box.side][value], COLORS[value], mask, scanNode)
    return node


def maskOf(part: Part, value: int, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Where a part has this label and no other part a larger one (z, y, x)."""
    own = np.zeros_like(labels)
    part.put_into(own)
    return ((own == value) & (labels == value)).astype(np.uint8)


def addSegment(node: Any, name: str, color: tuple[float, ...], mask: NDArray[np.uint8], scanNode: Any) -> None:
    """One segment."""
    identifier = node.GetSegmentation().AddEmptySegment("", name, color)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, scanNode)
