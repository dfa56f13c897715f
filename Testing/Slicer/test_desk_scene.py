"""The desk's scene, files, views and mouse are Slicer's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import slicer
import vtk

from Testing.Slicer.desk import mouse
from Testing.Slicer.small_scene import add_box, add_ct, add_segmentation, bounds, red_pixels

if TYPE_CHECKING:
    from Testing.Slicer.desk.desk import Desk


def ijk_to_ras(volume: Any) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.asarray(slicer.util.arrayFromVTKMatrix(matrix))


class TestScene:
    def test_a_test_starts_with_an_empty_scene(self) -> None:
        assert slicer.util.getNodesByClass("vtkMRMLVolumeNode") == []

    def test_nodes_have_items_in_the_subject_hierarchy(self) -> None:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        volume = add_ct()
        assert hierarchy.GetItemName(hierarchy.GetItemByDataNode(volume)) == "CT"
        slicer.mrmlScene.RemoveNode(volume)
        assert hierarchy.GetItemByName("CT") == 0

    def test_a_bundle_holds_everything(self, tmp_path: Path) -> None:
        volume, box = add_ct(), add_box((20, 30, 40), (10, 20, 30))
        segmentation = add_segmentation(volume)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters")
        node.SetParameter("preset", "fast")
        node.SetNodeReferenceID("box", box.GetID())
        assert segmentation.GetSegmentation().GetNumberOfSegments() == 1
        assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
        slicer.mrmlScene.Clear(0)
        slicer.util.loadScene(str(tmp_path / "case.mrb"))
        volume, node = slicer.util.getNode("CT"), slicer.util.getNode("Parameters")
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(slicer.util.getNode("Result"), "kidney", volume)
        assert np.array_equal(mask > 0, slicer.util.arrayFromVolume(volume) > 0)
        assert node.GetParameter("preset") == "fast"
        assert bounds(node.GetNodeReference("box")) == [15, 25, 20, 40, 25, 55]

    @pytest.mark.parametrize("name", ["ct.nrrd", "ct.nii.gz", "ct.mha"])
    def test_a_volume_comes_back_as_it_was(self, tmp_path: Path, name: str) -> None:
        volume = add_ct()
        assert slicer.util.saveNode(volume, str(tmp_path / name))
        loaded = slicer.util.loadVolume(str(tmp_path / name), {"name": "again"})
        assert loaded.GetName() == "again"
        assert np.array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume))
        np.testing.assert_allclose(ijk_to_ras(loaded), ijk_to_ras(volume), atol=1e-6)

    def test_a_segmentation_and_a_box_come_back_too(self, tmp_path: Path) -> None:
        volume = add_ct()
        assert slicer.util.saveNode(add_segmentation(volume), str(tmp_path / "a.seg.nrrd"))
        assert slicer.util.saveNode(add_box((1, 2, 3), (4, 4, 4)), str(tmp_path / "b.mrk.json"))
        segmentation = slicer.util.loadSegmentation(str(tmp_path / "a.seg.nrrd"))
        assert segmentation.GetSegmentation().GetNthSegment(0).GetName() == "Kidney"
        assert bounds(slicer.util.loadMarkups(str(tmp_path / "b.mrk.json"))) == [-1, 3, 0, 4, 1, 5]

    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match=r"nothing\.nrrd"):
            slicer.util.loadVolume(str(tmp_path / "nothing.nrrd"))


class TestViews:
    def test_the_user_drags_a_face_of_a_box(self, desk: Desk) -> None:
        volume, box = add_ct(), add_box((23, 31, 40), (20, 20, 20))
        slicer.util.setSliceViewerLayers(background=volume)
        red = desk.slice_view("Red")
        red.fit()
        red.logic.SetSliceOffset(40)
        red.picture()
        before = bounds(box)
        mouse.drag(red, red.pixel((before[1], 31, 40)), red.pixel((before[1] + 8, 31, 40)))
        after = bounds(box)
        assert after[1] == pytest.approx(before[1] + 8, abs=0.5)
        assert after[0] == pytest.approx(before[0])
        assert after[2:] == pytest.approx(before[2:])

    def test_the_wheel_scrolls(self, desk: Desk) -> None:
        slicer.util.setSliceViewerLayers(background=add_ct())
        red = desk.slice_view("Red")
        red.fit()
        offset = red.logic.GetSliceOffset()
        mouse.wheel(red, (200, 200))
        assert abs(red.logic.GetSliceOffset() - offset) == pytest.approx(2.0)

    def test_a_segment_is_seen_in_a_slice(self, desk: Desk) -> None:
        volume = add_ct()
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        desk.slice_view("Red").logic.SetSliceOffset(40)
        assert red_pixels(desk.slice_view("Red").picture()) == 0
        add_segmentation(volume)
        assert red_pixels(desk.slice_view("Red").picture()) > 1000

    def test_the_ct_is_seen_through_a_segment(self, desk: Desk) -> None:
        volume = add_ct()
        add_segmentation(volume).GetDisplayNode().SetOpacity2DFill(0.5)
        volume.GetDisplayNode().SetAutoWindowLevel(False)
        red = desk.slice_view("Red")
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        red.logic.SetSliceOffset(40)
        greens = []
        for level in (-900, 900):  # the block is white, then black
            volume.GetDisplayNode().SetWindowLevel(100, level)
            greens.append(int(red.picture()[200, 200, 1]))
        assert greens[0] > greens[1] + 50

    def test_a_surface_is_seen_in_3d(self, desk: Desk) -> None:
        segmentation = add_segmentation(add_ct())
        desk.three_d_view().fit()
        frame = red_pixels(desk.three_d_view().picture())
        segmentation.CreateClosedSurfaceRepresentation()
        slicer.util.resetThreeDViews()
        assert red_pixels(desk.three_d_view().picture()) > frame + 1000
