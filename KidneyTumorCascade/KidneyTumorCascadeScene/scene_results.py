"""Puts what the worker found into the scene: boxes, segments, table, probabilities. Only when all is there: a cancelled run leaves nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from KidneyTumorCascadeLib.geometry import Box
from KidneyTumorCascadeLib.worker_messages import Found, Part, Segmented
from KidneyTumorCascadeScene import results_table, roi_boxes
from KidneyTumorCascadeScene.parameters import Parameters
from KidneyTumorCascadeScene.segments import Segments, SideLabels
from KidneyTumorCascadeScene.volumes import addVolume, placeBeside

MANIFEST = "KidneyTumorCascade.manifest"
MAP_OF = "KidneyTumorCascade.probability"


def boxNodes(parameters: Parameters) -> dict[str, Any]:
    """The boxes' nodes by side; None where there is none."""
    return {"right": parameters.rightBox, "left": parameters.leftBox, "both": parameters.bothBox}


def setBoxNode(parameters: Parameters, side: str, node: Any) -> None:
    """Remembers a side's box, or that there is none."""
    setattr(parameters, f"{side}Box", node)


def showBoxes(parameters: Parameters, boxes: Sequence[Box], volume: Any) -> None:
    """Shows the boxes that were found, and takes away those of other sides."""
    found = {box.side: box for box in boxes}
    for side, node in boxNodes(parameters).items():
        if side in found:
            node = node or roi_boxes.makeBox(side)
            setBoxNode(parameters, side, node)
            roi_boxes.showFound(node, found[side], volume)
        elif node is not None:
            setBoxNode(parameters, side, None)
            slicer.mrmlScene.RemoveNode(node)


def showFound(parameters: Parameters, volume: Any, found: Found) -> None:
    """After "Find kidneys only"."""
    showBoxes(parameters, found.boxes, volume)
    parameters.warnings = "\n".join(found.warnings)


def showSegmented(parameters: Parameters, volume: Any, result: Segmented, side: str | None) -> None:
    """After a segmentation: of everything, or of one side only, whose counterpart then stays untouched. Removes the result's files."""
    for _step in segmentedSteps(parameters, volume, result, side):
        pass


def segmentedSteps(parameters: Parameters, volume: Any, result: Segmented, side: str | None) -> Iterator[None]:
    """`showSegmented` in steps, between which events may be served: together they would be felt as a halt."""
    found = [part.box for part in result.parts if part.box.source != "user"]
    if side is None and len(found) == len(result.parts):
        with slicer.util.RenderBlocker():
            showBoxes(parameters, found, volume)
        yield
    with slicer.util.RenderBlocker():
        labels = [SideLabels(part.box.side, part.start_zyx, np.load(part.labels, allow_pickle=False)) for part in result.parts]
        showSegments(parameters, volume, labels, side)
        parameters.segmentation.SetAttribute(f"{MANIFEST}.{side}" if side else MANIFEST, json.dumps(result.manifest))
    yield
    with slicer.util.RenderBlocker():
        showTable(parameters, volume, result.parts, side)
        for part in result.parts:
            showProbabilities(part, volume)
        parameters.warnings = "\n".join(result.warnings)
    shutil.rmtree(result.folder, ignore_errors=True)


def showSegments(parameters: Parameters, volume: Any, labels: Sequence[SideLabels], side: str | None) -> None:
    """Writes the segments; makes the segmentation when none was chosen."""
    node = parameters.segmentation
    if node is None:
        name = _("{name} kidneys").format(name=volume.GetName())
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", slicer.mrmlScene.GenerateUniqueName(name))
        parameters.segmentation = node
    segments = Segments(node, volume)
    if side is None:
        segments.replaceAll(labels, parameters.segments)
    else:
        for part in labels:
            segments.replaceSide(part, parameters.segments)


def showTable(parameters: Parameters, volume: Any, parts: Sequence[Part], side: str | None) -> None:
    """Writes the measurements; makes the table when there is none."""
    if parameters.table is None:
        name = _("{name} kidney measurements").format(name=volume.GetName())
        parameters.table = results_table.makeTable(slicer.mrmlScene.GenerateUniqueName(name))
    results_table.keep(parameters.table, {part.box.side: part.measurement for part in parts}, others=side is not None)
    placeBeside(parameters.table, volume)


def showProbabilities(part: Part, volume: Any) -> None:
    """Probability volumes of one side, in the place of those of an earlier run."""
    titles = {
        "kidney": {"right": _("Right kidney probability"), "left": _("Left kidney probability"), "both": _("Kidneys probability")},
        "tumor": {"right": _("Right tumor probability"), "left": _("Left tumor probability"), "both": _("Tumors probability")},
    }
    for kind, file in part.probabilities.items():
        key = f"{volume.GetID()} {part.box.side} {kind}"
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            if node.GetAttribute(MAP_OF) == key:
                slicer.mrmlScene.RemoveNode(node)
        node = addVolume(np.load(file.path, allow_pickle=False), file.geometry, titles[kind][part.box.side])
        node.SetAttribute(MAP_OF, key)
        placeBeside(node, volume)
