"""The module with the networks that come with it, on a phantom: straight, oblique, and moved by a transform."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import slicer
from numpy.typing import NDArray

from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.device import choose_device
from KidneyTumorCascadeLib.geometry import Box
from KidneyTumorCascadeLib.phantom import Phantom, PhantomSettings, make_phantom
from KidneyTumorCascadeScene import results_table, roi_boxes
from Testing.Slicer.desk import mouse
from Testing.Slicer.module_at_desk import OpenPanel, add_scan, labels_of, mask_of, node_ids, open_panel, segment_names, warm_engine
from Testing.Slicer.test_module_scene import make_transform

if TYPE_CHECKING:
    from Testing.Slicer.desk.desk import Desk

SECONDS = 400.0
PLACES = ("straight", "oblique", "moved")


@cache
def patient(oblique: bool) -> Phantom:
    """Small, and coarse enough for a laptop."""
    return make_phantom(PhantomSettings(spacing=(2.0, 2.0, 4.0), size_mm=(340, 250, 230), oblique_degrees=12.0 if oblique else 0.0))


@cache
def cascade() -> Cascade:
    return Cascade(load_bundle(None), choose_device("cpu"), "fast")


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def volume(desk: Desk, place: str) -> Any:
    node = add_scan(patient(place == "oblique").volume)
    if place == "moved":
        node.SetAndObserveTransformNodeID(make_transform((15.0, -20.0, 25.0), 8.0).GetID())
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


@pytest.fixture
def panel(desk: Desk, volume: Any) -> Iterator[OpenPanel]:
    with open_panel(desk, warm_engine()) as opened:
        opened.parameters.preset = "fast"
        yield opened


def by_library(box: Box, oblique: bool) -> NDArray[np.uint8]:
    """What the library finds in the box; phantoms are in LPS order."""
    scan = patient(oblique).volume
    part = cascade().segment_box(scan, box).part
    labels = np.zeros(scan.voxels.shape, np.uint8)
    labels[part.slices] = part.labels
    return labels


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def drag_outer_face(desk: Desk, node: Any, millimeters: float) -> None:
    """Drags the face that looks to the patient's left, in the axial view, towards the spine."""
    to_world = slicer.util.arrayFromVTKMatrix(node.GetObjectToWorldMatrix())
    face = to_world @ np.array([-node.GetSize()[0] / 2, 0.0, 0.0, 1.0])
    inwards = to_world[:3, 0]
    red = desk.slice_view("Red")
    red.fit()
    red.logic.SetSliceOffset(face[2])
    red.picture()
    mouse.drag(red, red.pixel(face[:3]), red.pixel(face[:3] + millimeters * inwards))


def test_from_a_click_to_a_dragged_box(panel: OpenPanel, desk: Desk, volume: Any, place: str, tmp_path: Path) -> None:
    values: list[int] = []
    panel.ui.progressBar.connect("valueChanged(int)", values.append)
    panel.segment(SECONDS)
    parameters = panel.parameters
    truth = patient(place == "oblique").labels.voxels
    labels = labels_of(parameters.segmentation, volume)
    assert dice(labels > 0, truth > 0) > 0.85
    assert segment_names(parameters.segmentation)[:2] == ["Right kidney", "Left kidney"]
    assert parameters.table.GetNumberOfRows() >= 2
    assert values[-1] == 100
    assert values == sorted(values)
    # The box is where the kidney is shown, whatever the scan's axes and its transform.
    assert parameters.leftBox.GetTransformNodeID() == parameters.segmentation.GetTransformNodeID() == volume.GetTransformNodeID()

    before = roi_boxes.boxOf(parameters.leftBox, "left", volume)
    right = {name: mask_of(parameters.segmentation, name, volume) for name in ids_of(parameters.segmentation) if name.startswith("right")}
    rows = results_table.measured(parameters.table)["right"]
    drag_outer_face(desk, parameters.leftBox, 30.0)
    desk.wait_until(lambda: panel.workflow.busy)
    panel.wait(SECONDS)
    box = roi_boxes.boxOf(parameters.leftBox, "left", volume)
    assert box.size[0] == pytest.approx(before.size[0] - 30.0, abs=3.0)
    assert box.size[1:] == pytest.approx(before.size[1:], abs=1e-3)
    expected = by_library(box, place == "oblique")
    assert expected.any()
    left = np.zeros(truth.shape, np.uint8)
    for name in ids_of(parameters.segmentation):
        mask = mask_of(parameters.segmentation, name, volume)
        if name in right:
            assert np.array_equal(mask, right[name])
        else:
            left[mask] = 2 if name.endswith("tumor") else 1
    assert np.array_equal(left, expected)
    assert results_table.measured(parameters.table)["right"] == rows

    shown = labels_of(parameters.segmentation, volume)
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    again = panel.parameters
    assert panel.ui.ctSelector.currentNode() is again.ct
    assert np.array_equal(labels_of(again.segmentation, again.ct), shown)
    assert roi_boxes.isSame(roi_boxes.boxOf(again.leftBox, "left", again.ct), box)
    assert again.table.GetNumberOfRows() == len(results_table.textOf(again.table).splitlines()) - 1


def ids_of(segmentation: Any) -> list[str]:
    segments = segmentation.GetSegmentation()
    return [segments.GetNthSegmentID(index) for index in range(segments.GetNumberOfSegments())]


def test_cancelled_half_way_and_killed(panel: OpenPanel) -> None:
    before = node_ids()
    panel.ui.segmentButton.click()
    panel.wait_for_progress(0.4, SECONDS)
    panel.ui.segmentButton.click()
    panel.wait()
    assert panel.status == "Cancelled. Nothing was changed."
    assert node_ids() == before
    panel.ui.segmentButton.click()
    panel.wait_for_progress(0.2, SECONDS)
    os.kill(panel.workflow.engine.pid, signal.SIGKILL)
    panel.wait()
    assert panel.status.startswith("The segmentation process ended unexpectedly")
    assert node_ids() == before
    panel.ui.findButton.click()
    panel.wait(SECONDS)
    assert panel.parameters.leftBox is not None
