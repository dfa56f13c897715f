"""A small scene for tests: a CT with a bright block, a box, a segmentation of the block."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray


def add_ct() -> Any:
    """A CT of 48 x 64 x 80 mm (RAS x, y, z): air, and a brighter block in the middle."""
    voxels = np.full((40, 32, 24), -1000, np.int16)
    voxels[10:30, 8:24, 6:18] = 100
    return slicer.util.addVolumeFromArray(voxels, np.diag([2.0, 2.0, 2.0, 1.0]), "CT")


def add_box(center: tuple[float, float, float], size: tuple[float, float, float]) -> Any:
    """A box with its middle and edge lengths, both RAS, in mm."""
    box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    box.SetCenter(*center)
    box.SetSize(*size)
    box.CreateDefaultDisplayNodes()
    return box


def add_segmentation(volume: Any) -> Any:
    """One segment, "Kidney", where the block of add_ct is."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Result")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("kidney", "Kidney", (1.0, 0.0, 0.0))
    mask = (slicer.util.arrayFromVolume(volume) > 0).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "kidney", volume)
    return node


def bounds(box: Any) -> list[float]:
    """A box's lower and upper bound along R, A and S, in mm."""
    values = [0.0] * 6
    box.GetRASBounds(values)
    return values


def red_pixels(picture: NDArray[np.uint8]) -> int:
    """Pixels that are clearly more red than green."""
    values = picture.astype(int)
    return int((values[..., 0] - values[..., 1] > 40).sum())
