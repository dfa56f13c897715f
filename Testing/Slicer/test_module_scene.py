"""Volumes, boxes, segments and tables of the module: real MRML, no worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Box, Geometry, Matrix, as_matrix
from KidneyTumorCascadeLib.volume import Volume
from KidneyTumorCascadeScene import results_table, roi_boxes, structures
from KidneyTumorCascadeScene.parameters import BY_KIND, BY_SIDE
from KidneyTumorCascadeScene.segments import Segments, SideLabels
from KidneyTumorCascadeScene.volumes import addVolume, geometryOf, placeBeside, toWorld
from Testing.Slicer.module_at_desk import add_scan, labels_of, mask_of, segment_names

SHAPE = (12, 14, 16)


def rotation(degrees: float) -> Matrix:
    """About the axis from feet to head, and then a little about the one from right to left."""
    a, b = np.radians(degrees), np.radians(degrees / 2)
    around_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    around_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return as_matrix(around_z @ around_x)


def make_volume(degrees: float = 0.0, name: str = "CT") -> Any:
    geometry = Geometry(SHAPE[::-1], (2.0, 2.5, 3.0), (-10.0, 20.0, 30.5), rotation(degrees))
    return add_scan(Volume(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), geometry), name)


def make_transform(translation: tuple[float, float, float] = (5.0, -6.0, 7.0), degrees: float = 30.0) -> Any:
    """Turns and moves."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(rotation(degrees)).reshape(3, 3)
    matrix[:3, 3] = translation
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def study_of(node: Any) -> int:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return int(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)))


def put_into_study(volume: Any) -> int:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = int(hierarchy.CreateStudyItem(patient, "Study"))
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    return study


class TestVolumes:
    @pytest.mark.parametrize("degrees", [0.0, 20.0])
    def test_a_volume_comes_back_with_its_grid(self, degrees: float) -> None:
        volume = make_volume(degrees)
        expected = Geometry(SHAPE[::-1], (2.0, 2.5, 3.0), (-10.0, 20.0, 30.5), rotation(degrees))
        assert geometryOf(volume).matches(expected)
        assert np.array_equal(slicer.util.arrayFromVolume(volume).ravel(), np.arange(np.prod(SHAPE)))

    def test_left_is_left(self) -> None:
        """LPS (10, 0, 0) is RAS (-10, 0, 0)."""
        volume = addVolume(np.zeros(SHAPE, np.int16), Geometry(SHAPE[::-1], (1.0, 1.0, 1.0), (10.0, 20.0, 30.0)), "CT")
        assert volume.GetOrigin() == (-10.0, -20.0, 30.0)

    def test_its_transform_is_left_out(self) -> None:
        volume = make_volume()
        before = geometryOf(volume)
        volume.SetAndObserveTransformNodeID(make_transform().GetID())
        assert geometryOf(volume) == before

    def test_a_point_is_found_in_the_scene(self) -> None:
        volume = make_volume()
        assert toWorld((1.0, 2.0, 3.0), volume) == pytest.approx((-1.0, -2.0, 3.0))
        volume.SetAndObserveTransformNodeID(make_transform(degrees=0.0).GetID())
        assert toWorld((1.0, 2.0, 3.0), volume) == pytest.approx((4.0, -8.0, 10.0))

    def test_a_volume_without_voxels_is_refused(self) -> None:
        with pytest.raises(InputError, match="Nothing has no voxels"):
            geometryOf(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing"))

    def test_results_lie_beside_the_volume(self) -> None:
        volume, transform = make_volume(), make_transform()
        study = put_into_study(volume)
        volume.SetAndObserveTransformNodeID(transform.GetID())
        box = roi_boxes.makeBox("left")
        placeBeside(box, volume)
        assert study_of(box) == study
        assert box.GetTransformNodeID() == transform.GetID()


class TestBoxes:
    BOX = Box((12.0, 30.0, 45.0), (10.0, 12.0, 14.0), "left")

    @pytest.mark.parametrize("degrees", [0.0, 20.0])
    @pytest.mark.parametrize("moved", [False, True])
    def test_a_box_comes_back(self, degrees: float, moved: bool) -> None:
        volume = make_volume(degrees)
        if moved:
            volume.SetAndObserveTransformNodeID(make_transform().GetID())
        box = Box(self.BOX.center, self.BOX.size, "left", "network", geometryOf(volume).in_lps_order().direction)
        node = roi_boxes.makeBox("left")
        roi_boxes.showFound(node, box, volume)
        assert roi_boxes.boxOf(node, "left", volume) == box
        node.SetSize(20.0, 12.0, 14.0)
        again = roi_boxes.boxOf(node, "left", volume)
        assert again.source == "user"
        assert again.center == pytest.approx(box.center)
        assert again.size == pytest.approx((20.0, 12.0, 14.0))
        assert again.direction == pytest.approx(box.direction)

    def test_it_lies_where_the_scene_shows_it(self) -> None:
        node = roi_boxes.makeBox("left")
        roi_boxes.showFound(node, self.BOX, make_volume())
        bounds = [0.0] * 6
        node.GetRASBounds(bounds)
        assert bounds == pytest.approx([-17, -7, -36, -24, 38, 52])
        assert np.allclose(slicer.util.arrayFromVTKMatrix(node.GetObjectToNodeMatrix())[:3, :3], np.eye(3))

    def test_a_box_of_its_own_transform_is_found_all_the_same(self) -> None:
        volume, node = make_volume(), roi_boxes.makeBox("left")
        roi_boxes.showFound(node, self.BOX, volume)
        node.SetAndObserveTransformNodeID(make_transform((1.0, 2.0, 3.0), 0.0).GetID())
        assert roi_boxes.boxOf(node, "left", volume).center == pytest.approx((11.0, 28.0, 48.0))

    def test_it_goes_back_to_where_it_was_found(self) -> None:
        volume, node = make_volume(), roi_boxes.makeBox("left")
        assert not roi_boxes.reset(node, volume)
        roi_boxes.showFound(node, self.BOX, volume)
        node.SetCenter(0.0, 0.0, 0.0)
        assert roi_boxes.boxOf(node, "left", volume).source == "user"
        assert roi_boxes.reset(node, volume)
        assert roi_boxes.boxOf(node, "left", volume) == self.BOX

    def test_letting_go_is_told_once_for_each_box(self) -> None:
        released: list[str] = []
        right, left = roi_boxes.makeBox("right"), roi_boxes.makeBox("left")
        watcher = roi_boxes.BoxWatcher(released.append)
        watcher.watch({"right": right, "left": left, "both": None})
        watcher.watch({"right": right, "left": left, "both": None})
        left.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
        assert released == ["left"]
        watcher.watch({})
        left.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
        assert released == ["left"]

    def test_it_is_named_and_has_handles(self) -> None:
        node = roi_boxes.makeBox("right")
        display = node.GetDisplayNode()
        assert node.GetName() == "Right kidney box"
        assert display.GetHandlesInteractive()
        assert display.GetScaleHandleVisibility()
        assert not display.GetRotationHandleVisibility()


def part(side: str, start: tuple[int, int, int], *, tumor: bool = True) -> SideLabels:
    """A kidney of 4 x 4 x 4 voxels, perhaps with a tumor in its middle."""
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:5, 1:5, 1:5] = 1
    if tumor:
        labels[2:4, 2:4, 2:4] = 2
    return SideLabels(side, start, labels)


def drawn(*parts: SideLabels) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    for item in parts:
        z, y, x = item.start
        view = labels[z : z + 6, y : y + 6, x : x + 6]
        np.maximum(view, item.labels, out=view)
    return labels


class TestSegments:
    RIGHT, LEFT = part("right", (3, 2, 0)), part("left", (4, 5, 9))
    MOVED = part("left", (5, 6, 8), tumor=False)

    def make(self, volume: Any, scheme: str = BY_SIDE) -> tuple[Any, Segments]:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Kidneys")
        segments = Segments(node, volume)
        segments.replaceAll([self.RIGHT, self.LEFT], scheme)
        return node, segments

    @pytest.mark.parametrize("degrees", [0.0, 20.0])
    @pytest.mark.parametrize("scheme", [BY_SIDE, BY_KIND])
    def test_every_voxel_arrives(self, degrees: float, scheme: str) -> None:
        volume = make_volume(degrees)
        node, _ = self.make(volume, scheme)
        assert np.array_equal(labels_of(node, volume), drawn(self.RIGHT, self.LEFT))

    def test_they_are_named_and_ordered(self) -> None:
        assert segment_names(self.make(make_volume())[0]) == ["Right kidney", "Left kidney", "Right tumor", "Left tumor"]
        assert segment_names(self.make(make_volume(), BY_KIND)[0]) == ["Kidney", "Tumor"]

    @pytest.mark.parametrize("scheme", [BY_SIDE, BY_KIND])
    def test_one_side_is_replaced_and_the_other_stays(self, scheme: str) -> None:
        volume = make_volume()
        node, segments = self.make(volume, scheme)
        segments.replaceSide(self.MOVED, BY_SIDE)
        assert np.array_equal(labels_of(node, volume), drawn(self.RIGHT, self.MOVED))
        assert len(segment_names(node)) == (3 if scheme == BY_SIDE else 2)

    def test_a_segment_without_voxels_is_none(self) -> None:
        volume = make_volume()
        node, segments = self.make(volume)
        segments.replaceSide(self.MOVED, BY_SIDE)
        assert "Left tumor" not in segment_names(node)

    def test_sides_that_overlap_keep_their_own_voxels(self) -> None:
        volume = make_volume()
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Kidneys")
        near = part("left", (4, 5, 3), tumor=False)
        Segments(node, volume).replaceAll([self.RIGHT, near], BY_SIDE)
        assert np.array_equal(mask_of(node, "left_kidney", volume), drawn(near) == 1)
        assert np.array_equal(mask_of(node, "right_kidney", volume), drawn(self.RIGHT) == 1)

    def test_segments_of_others_stay(self) -> None:
        volume = make_volume()
        node, segments = self.make(volume)
        node.GetSegmentation().AddEmptySegment("liver", "Liver")
        segments.replaceAll([self.LEFT], BY_SIDE)
        assert sorted(segment_names(node)) == ["Left kidney", "Left tumor", "Liver"]

    def test_the_surface_follows(self) -> None:
        volume = make_volume()
        node, segments = self.make(volume)
        node.CreateClosedSurfaceRepresentation()
        segments.replaceSide(self.MOVED, BY_SIDE)
        bounds = [0.0] * 6
        node.GetClosedSurfaceInternalRepresentation("left_kidney").GetBounds(bounds)
        geometry = geometryOf(volume)
        assert -bounds[1] == pytest.approx(geometry.to_patient((9, 0, 0))[0], abs=2.0)

    def test_it_is_ready_for_dicom(self) -> None:
        volume, transform = make_volume(), make_transform()
        study = put_into_study(volume)
        volume.SetAndObserveTransformNodeID(transform.GetID())
        node, _ = self.make(volume)
        assert study_of(node) == study
        assert node.GetTransformNodeID() == transform.GetID()
        assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
        assert node.GetDisplayNode().GetSegmentOpacity3D("left_kidney") < node.GetDisplayNode().GetSegmentOpacity3D("left_tumor") == 1.0
        segment = node.GetSegmentation().GetSegment("left_tumor")
        assert segment.GetColor() == pytest.approx((144 / 255, 238 / 255, 144 / 255))
        assert segment.GetTerminology() == structures.Structure("left", structures.TUMOR).terminology

    def test_it_comes_back_from_a_file(self, tmp_path: Path) -> None:
        volume = make_volume(20.0)
        node, _ = self.make(volume)
        assert slicer.util.saveNode(node, str(tmp_path / "kidneys.seg.nrrd"))
        again = slicer.util.loadSegmentation(str(tmp_path / "kidneys.seg.nrrd"))
        assert np.array_equal(labels_of(again, volume), drawn(self.RIGHT, self.LEFT))


class TestTerminology:
    @pytest.mark.parametrize(
        ("side", "label", "codes"),
        [
            ("right", 1, ["123037004", "64033007", "24028007"]),
            ("left", 1, ["123037004", "64033007", "7771000"]),
            ("right", 2, ["49755003", "108369006", "64033007", "24028007"]),
            ("left", 2, ["49755003", "108369006", "64033007", "7771000"]),
            (None, 1, ["123037004", "64033007"]),
            (None, 2, ["49755003", "108369006", "64033007"]),
        ],
    )
    def test_the_codes(self, side: str | None, label: int, codes: list[str]) -> None:
        entry = structures.Structure(side, label).terminology.split("~")
        assert len(entry) == 7
        assert [item.split("^")[1] for item in entry if item.startswith("SCT^")] == codes


def measurement(side: str, tumors: int = 1) -> dict[str, Any]:
    """As the worker gives it."""
    tumor = {"volume_ml": 3.25, "longest_diameter_mm": 21.04, "mean_hu": 80.6, "touches_border": False, "center_lps_mm": [1.0, 2.0, 3.0]}
    numbers = {"kidney_ml": 151.26, "tumor_ml": 3.25 * tumors, "tumors": tumors, "longest_mm": 21.04 if tumors else None, "mean_hu": 180.4}
    return {"side": side, **numbers, "tumor_list": [tumor] * tumors, "warnings": ["Be careful."] if tumors else []}


class TestTable:
    def make(self) -> Any:
        table = results_table.makeTable("Measurements")
        results_table.keep(table, {"right": measurement("right", 0), "left": measurement("left")}, others=False)
        return table

    def rows(self, table: Any) -> list[list[str]]:
        return [[table.GetCellText(row, column) for column in range(7)] for row in range(table.GetNumberOfRows())]

    def test_a_row_for_each_kidney_and_tumor(self) -> None:
        assert self.rows(self.make()) == [
            ["Right kidney", "151.3", "0.0", "0", "", "180", ""],
            ["Left kidney", "151.3", "3.2", "1", "21.0", "180", "Be careful."],
            ["Left tumor 1", "", "3.2", "", "21.0", "81", ""],
        ]

    def test_a_side_is_replaced(self) -> None:
        table = self.make()
        results_table.keep(table, {"left": measurement("left", 2)}, others=True)
        assert [row[0] for row in self.rows(table)] == ["Right kidney", "Left kidney", "Left tumor 1", "Left tumor 2"]
        results_table.keep(table, {"left": measurement("left", 0)}, others=False)
        assert [row[0] for row in self.rows(table)] == ["Left kidney"]

    def test_a_tumor_has_a_place_and_a_kidney_none(self) -> None:
        table = self.make()
        assert results_table.positionOf(table, 1) is None
        assert results_table.positionOf(table, 2) == (1.0, 2.0, 3.0)

    def test_as_text(self) -> None:
        lines = results_table.textOf(self.make()).splitlines()
        assert lines[0].startswith("Side,Kidney ml,Tumor ml,Tumors,")
        assert lines[3] == "Left tumor 1,,3.2,,21.0,81,,1.0,2.0,3.0"
