"""Label maps of boxes -> segments. Another side's segments, and those that others made, stay as they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from KidneyTumorCascadeLib.geometry import Size, mask_extent
from KidneyTumorCascadeScene.parameters import BY_SIDE
from KidneyTumorCascadeScene.structures import ALL, KIDNEY, Structure, structuresOf
from KidneyTumorCascadeScene.volumes import orientedImage, placeBeside

SCHEME, REGION = "KidneyTumorCascade.segments", "KidneyTumorCascade.region."
# A tumor inside of the kidney is seen through it in 3D.
KIDNEY_OPACITY = 0.6
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SideLabels:
    """What was found in one side's box: labels z, y, x (1 kidney, 2 tumor), and where in the volume's array they begin."""

    side: str
    start: Size
    labels: NDArray[np.uint8]


class Segments:
    """The module's segments of one segmentation node, on the grid of the volume that was segmented."""

    def __init__(self, node: Any, volume: Any) -> None:
        self._node = node
        self._volume = volume
        self._segmentation = node.GetSegmentation()

    def replaceAll(self, parts: Sequence[SideLabels], scheme: str) -> None:
        """Makes these parts all that the module's segments show. `scheme`: a segment for each side, or one for all of them."""
        self._prepare()
        self._node.SetAttribute(SCHEME, scheme)
        for structure in ALL:
            self._segmentation.RemoveSegment(structure.identifier)
        for side in ("right", "left", "both"):
            self._node.RemoveAttribute(REGION + side)
        for part in parts:
            self._put(part, scheme)
        self._sort()

    def replaceSide(self, part: SideLabels, scheme: str) -> None:
        """Replaces one side. Where the segmentation has the module's segments already, its own scheme stays."""
        self._prepare()
        scheme = self._node.GetAttribute(SCHEME) or scheme
        self._node.SetAttribute(SCHEME, scheme)
        self._put(part, scheme)
        self._sort()

    def _prepare(self) -> None:
        if self._node.GetDisplayNode() is None:
            self._node.CreateDefaultDisplayNodes()
        placeBeside(self._node, self._volume)
        self._node.SetReferenceImageGeometryParameterFromVolumeNode(self._volume)

    def _put(self, part: SideLabels, scheme: str) -> None:
        for structure in structuresOf(part.side, scheme):
            start, mask = part.start, part.labels == structure.label
            if scheme != BY_SIDE:
                start, mask = self._withOtherSides(structure, part, mask)
            self._write(structure, start, mask)
        self._node.SetAttribute(REGION + part.side, json.dumps([list(map(int, part.start)), list(part.labels.shape)]))

    def _write(self, structure: Structure, start: Size, mask: Mask) -> None:
        """An empty segment is none: it could not be exported as DICOM."""
        extent = mask_extent(mask)
        found = mask[extent]
        if not found.size:
            self._segmentation.RemoveSegment(structure.identifier)
            return
        if self._segmentation.GetSegment(structure.identifier) is None:
            self._add(structure)
        # Slicer goes over every voxel that it is given several times, and of its box a kidney fills a part, a tumor less.
        z, y, x = (first + part.start for first, part in zip(start, extent, strict=True))
        image = orientedImage(found.view(np.uint8), (z, y, x), self._volume)
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        logic.SetBinaryLabelmapToSegment(image, self._node, structure.identifier, logic.MODE_REPLACE, image.GetExtent())

    def _add(self, structure: Structure) -> None:
        self._segmentation.AddEmptySegment(structure.identifier, structure.name, structure.color)
        segment = self._segmentation.GetSegment(structure.identifier)
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), structure.terminology)
        if structure.label == KIDNEY:
            self._node.GetDisplayNode().SetSegmentOpacity3D(structure.identifier, KIDNEY_OPACITY)

    def _sort(self) -> None:
        """Kidneys before tumors, right before left."""
        wanted = [structure.identifier for structure in ALL if self._segmentation.GetSegment(structure.identifier) is not None]
        self._segmentation.ReorderSegments(wanted)

    # --- one segment for all sides ---

    def _withOtherSides(self, structure: Structure, part: SideLabels, mask: Mask) -> tuple[Size, Mask]:
        """The new mask together with what the segment shows of other sides, on a grid that holds both."""
        old = self._current(structure)
        if old is None:
            return part.start, mask
        oldStart, oldMask = old
        z, y, x = (int(value) for value in np.minimum(part.start, oldStart))
        start = (z, y, x)
        stop = np.maximum(np.add(part.start, mask.shape), np.add(oldStart, oldMask.shape))
        whole = np.zeros(stop - start, dtype=bool)
        view(whole, start, oldStart, oldMask.shape)[:] = oldMask
        whole &= ~self._ownRegion(part.side, start, whole.shape)
        view(whole, start, part.start, mask.shape)[:] |= mask
        return start, whole

    def _current(self, structure: Structure) -> tuple[Size, Mask] | None:
        """Where the segment's voxels begin (z, y, x), and which they are; None when it has none."""
        segment = self._segmentation.GetSegment(structure.identifier)
        image = self._node.GetBinaryLabelmapInternalRepresentation(structure.identifier) if segment is not None else None
        if image is None or image.GetPointData().GetScalars() is None or image.IsEmpty():
            return None
        x, _x, y, _y, z, _z = image.GetExtent()
        shape = image.GetDimensions()[::-1]
        return (z, y, x), vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape) == segment.GetLabelValue()

    def _ownRegion(self, side: str, start: Size, shape: Sequence[int]) -> Mask:
        """Which voxels of a grid were segmented in that side's last box and in no other one."""
        own = np.zeros(shape, dtype=bool)
        for other, value in ((side, True), *((name, False) for name in ("right", "left", "both") if name != side)):
            text = self._node.GetAttribute(REGION + other)
            if text:
                first, count = json.loads(text)
                view(own, start, first, count)[:] = value
        return own


def view(array: NDArray[Any], arrayStart: Sequence[int], start: Sequence[int], shape: Sequence[int]) -> NDArray[Any]:
    """The part of an array, which begins at `arrayStart`, that a region covers; all in z, y, x of one grid."""
    first = np.maximum(np.subtract(start, arrayStart), 0)
    last = np.maximum(np.add(np.subtract(start, arrayStart), shape), 0)
    return array[tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))]
