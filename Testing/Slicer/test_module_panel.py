"""The panel with a warm worker whose networks find bright voxels: what the user clicks, drags and gets."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import qt
import slicer

from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.device import choose_device
from KidneyTumorCascadeLib.geometry import Box
from KidneyTumorCascadeScene import environment, results_table, roi_boxes
from KidneyTumorCascadeScene.parameters import BY_KIND
from Testing.bright_blocks import make_bright_bundle, make_coronal_scan, make_scan, true_labels, use_brightness
from Testing.Slicer.module_at_desk import BRIGHT_WORKER, OpenPanel, add_scan, labels_of, mask_of, node_ids, open_panel, segment_names, warm_engine
from Testing.Slicer.small_scene import add_box, add_segmentation
from Testing.Slicer.test_module_scene import make_transform

if TYPE_CHECKING:
    from Testing.Slicer.desk.desk import Desk

MOODY = (sys.executable, "-m", "Testing.Slicer.moody_worker")
EARLIER: dict[str, object] = {
    "kidney_ml": 151.3,
    "tumor_ml": 0.0,
    "tumors": 0,
    "longest_mm": None,
    "mean_hu": 180.0,
    "tumor_list": [],
    "warnings": [],
}
BOTH = ["Right kidney", "Left kidney", "Left tumor"]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bright_bundle(tmp_path_factory.mktemp("bright") / "bundle")


@pytest.fixture
def volume(desk: Desk) -> Any:
    return add_scan(make_scan())


@pytest.fixture
def panel(desk: Desk, volume: Any, bundle: Path) -> Iterator[OpenPanel]:
    with open_panel(desk, warm_engine(BRIGHT_WORKER), bundle) as opened:
        yield opened


@pytest.fixture
def moody(desk: Desk, volume: Any) -> Iterator[OpenPanel]:
    with open_panel(desk, warm_engine(MOODY)) as opened:
        yield opened


def by_library(volume: Any, box: Box, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """What the library finds in a box of the small patient: the labels of its slices."""
    use_brightness(monkeypatch)
    part = Cascade(load_bundle(str(bundle)), choose_device("cpu")).segment_box(make_scan(), box).part
    labels = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    labels[part.slices] = part.labels
    return labels


def let_go(node: Any) -> None:
    """What the views tell when the user lets go of a box."""
    node.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)


def hidden_columns(panel: OpenPanel) -> list[int]:
    """Of the measurements."""
    return [column for column in range(10) if panel.ui.resultsTable.isColumnHidden(column)]


class TestInput:
    def test_the_first_ct_is_chosen(self, panel: OpenPanel, volume: Any) -> None:
        assert panel.ui.ctSelector.currentNode() is volume
        assert panel.ui.segmentButton.enabled
        assert panel.status == "Ready."

    def test_without_a_ct_it_says_what_to_do(self, panel: OpenPanel) -> None:
        panel.ui.ctSelector.setCurrentNode(None)
        assert not panel.ui.segmentButton.enabled
        assert panel.status == "Load a CT and choose it above."

    def test_every_control_explains_itself(self, panel: OpenPanel) -> None:
        controls = (qt.QAbstractButton, qt.QComboBox, slicer.qMRMLNodeComboBox, slicer.qMRMLTableView, qt.QProgressBar, qt.QPlainTextEdit)
        named = [widget for name, widget in vars(panel.ui).items() if isinstance(widget, controls) and not name.startswith("qt_")]
        assert len(named) > 20
        assert [widget.name for widget in named if not widget.toolTip] == []

    def test_another_ct_gets_results_of_its_own(self, panel: OpenPanel) -> None:
        panel.segment()
        first = panel.parameters.segmentation
        panel.ui.ctSelector.setCurrentNode(add_scan(make_scan(), "Second"))
        assert panel.parameters.segmentation is None
        panel.segment()
        assert panel.parameters.segmentation is not first
        assert segment_names(first) == segment_names(panel.parameters.segmentation) == BOTH


class TestSegment:
    def test_a_click_gives_boxes_segments_and_a_table(self, panel: OpenPanel, volume: Any) -> None:
        seen: list[tuple[int, str]] = []
        panel.ui.progressBar.connect("valueChanged(int)", lambda value: seen.append((value, panel.ui.progressBar.format)))
        panel.segment()
        parameters = panel.parameters
        assert np.array_equal(labels_of(parameters.segmentation, volume), true_labels(make_scan()).voxels)
        assert segment_names(parameters.segmentation) == BOTH
        assert parameters.rightBox.GetName() == "Right kidney box"
        assert parameters.leftBox.GetName() == "Left kidney box"
        assert [parameters.table.GetCellText(row, 0) for row in range(3)] == ["Right kidney", "Left kidney", "Left tumor 1"]
        assert panel.ui.progressBar.value == 100
        assert [value for value, _ in seen] == sorted(value for value, _ in seen)
        assert panel.status.endswith("Right kidney 173 ml, left kidney 224 ml, 1 tumor of 14 ml.")
        assert "6 mm" in panel.ui.warningsLabel.text

    def test_the_button_cancels_meanwhile(self, panel: OpenPanel) -> None:
        panel.ui.segmentButton.click()
        assert panel.ui.segmentButton.text == "Cancel"
        assert not panel.ui.leftSegmentButton.enabled
        assert not panel.ui.ctSelector.enabled
        panel.wait()
        assert panel.ui.segmentButton.text == "Segment"
        assert panel.ui.leftSegmentButton.enabled

    def test_a_coronal_scan(self, panel: OpenPanel) -> None:
        scan = make_coronal_scan()
        volume = add_scan(scan, "Coronal")
        panel.ui.ctSelector.setCurrentNode(volume)
        panel.segment()
        assert np.array_equal(labels_of(panel.parameters.segmentation, volume), true_labels(scan).voxels)

    def test_one_segment_for_both_sides(self, panel: OpenPanel, volume: Any) -> None:
        panel.parameters.segments = BY_KIND
        panel.segment()
        assert segment_names(panel.parameters.segmentation) == ["Kidney", "Tumor"]
        panel.ui.leftSegmentButton.click()
        panel.wait()
        assert np.array_equal(labels_of(panel.parameters.segmentation, volume), true_labels(make_scan()).voxels)

    def test_probabilities_by_choice(self, panel: OpenPanel) -> None:
        panel.ui.probabilitiesCheckBox.click()
        panel.segment()
        panel.segment()
        names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
        assert sorted(names[1:]) == ["Left kidney probability", "Left tumor probability", "Right kidney probability", "Right tumor probability"]

    def test_the_manifest_is_kept(self, panel: OpenPanel) -> None:
        panel.segment()
        assert '"preset": "standard"' in panel.parameters.segmentation.GetAttribute("KidneyTumorCascade.manifest")

    def test_no_file_stays_behind(self, panel: OpenPanel) -> None:
        panel.segment()
        assert list(panel.workflow.engine.folder.glob("result-*")) == []


class TestBoxes:
    def test_only_boxes(self, panel: OpenPanel) -> None:
        panel.ui.findButton.click()
        panel.wait()
        assert panel.parameters.leftBox is not None
        assert panel.parameters.segmentation is None
        assert panel.status.startswith("Found 2 kidneys.")

    def test_letting_go_segments_that_side_only(self, panel: OpenPanel, volume: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        panel.segment()
        segmentation, node = panel.parameters.segmentation, panel.parameters.leftBox
        right = mask_of(segmentation, "right_kidney", volume)
        segmentation.GetSegmentation().GetSegment("right_kidney").SetColor(0.0, 0.0, 1.0)
        size = node.GetSize()
        node.SetSize(size[0] * 0.5, size[1], size[2])
        let_go(node)
        panel.wait()
        box = roi_boxes.boxOf(node, "left", volume)
        expected = by_library(volume, box, bundle, monkeypatch)
        assert 0 < (expected == 1).sum() < (true_labels(make_scan()).voxels[:, :, 24:] == 1).sum()
        assert np.array_equal(mask_of(segmentation, "left_kidney", volume), expected == 1)
        assert np.array_equal(mask_of(segmentation, "right_kidney", volume), right)
        assert segmentation.GetSegmentation().GetSegment("right_kidney").GetColor() == (0.0, 0.0, 1.0)
        assert panel.parameters.table.GetCellText(0, 1) == "172.8"

    def test_what_the_user_corrected_on_the_other_side_stays(self, panel: OpenPanel, volume: Any) -> None:
        panel.segment()
        segmentation, table = panel.parameters.segmentation, panel.parameters.table
        corrected = mask_of(segmentation, "right_kidney", volume)
        corrected[: np.flatnonzero(corrected.any(axis=(1, 2))).mean().astype(int)] = False
        slicer.util.updateSegmentBinaryLabelmapFromArray(corrected.astype(np.uint8), segmentation, "right_kidney", volume)
        kept = {**results_table.measured(table)["right"], "mean_hu": 1234.0}
        results_table.keep(table, {"right": kept}, others=True)
        box = panel.parameters.rightBox.GetCenter()
        panel.parameters.rightBox.SetCenter(box[0] + 1.0, box[1], box[2])
        panel.ui.leftSegmentButton.click()
        panel.wait()
        assert np.array_equal(mask_of(segmentation, "right_kidney", volume), corrected)
        assert results_table.measured(table)["right"] == kept
        assert panel.parameters.rightBox.GetCenter() == pytest.approx((box[0] + 1.0, box[1], box[2]))
        assert panel.status.endswith("Left kidney 224 ml, 1 tumor of 14 ml.")

    def test_not_when_live_is_off(self, panel: OpenPanel) -> None:
        panel.segment()
        panel.ui.liveCheckBox.click()
        let_go(panel.parameters.leftBox)
        assert not panel.workflow.busy

    def test_a_box_let_go_meanwhile_waits(self, panel: OpenPanel, volume: Any) -> None:
        panel.segment()
        right, left = panel.parameters.rightBox, panel.parameters.leftBox
        runs: list[str | None] = []
        started = panel.workflow.onStarted

        def note(run: Any) -> None:
            runs.append(run.side)
            started(run)

        panel.workflow.onStarted = note
        let_go(right)
        let_go(left)
        left.SetSize(30.0, 30.0, 30.0)
        let_go(left)
        panel.desk.wait_until(lambda: runs == ["right", "left"] and not panel.workflow.busy)
        assert mask_of(panel.parameters.segmentation, "left_kidney", volume).sum() <= 125

    def test_the_same_box_let_go_again_starts_anew(self, panel: OpenPanel) -> None:
        panel.segment()
        left = panel.parameters.leftBox
        let_go(left)
        left.SetSize(30.0, 30.0, 30.0)
        let_go(left)
        panel.desk.wait_until(lambda: "left kidney" in panel.status.lower() and not panel.workflow.busy)
        found = results_table.measured(panel.parameters.table)["left"]["kidney_and_tumor_ml"]
        assert found < 50

    def test_segment_keeps_moved_boxes_and_finds_them_again_by_choice(self, panel: OpenPanel, volume: Any) -> None:
        panel.segment()
        left = panel.parameters.leftBox
        left.SetSize(30.0, 30.0, 30.0)
        panel.segment()
        assert left.GetSize() == (30.0, 30.0, 30.0)
        panel.ui.keepBoxesCheckBox.click()
        panel.segment()
        assert roi_boxes.boxOf(left, "left", volume).source == "network"

    def test_reset_and_hide(self, panel: OpenPanel, volume: Any) -> None:
        panel.segment()
        left = panel.parameters.leftBox
        left.SetSize(30.0, 30.0, 30.0)
        panel.ui.leftResetButton.click()
        assert roi_boxes.boxOf(left, "left", volume).source == "network"
        panel.ui.leftBoxVisible.click()
        assert not left.GetDisplayVisibility()
        left.SetDisplayVisibility(True)
        assert panel.ui.leftBoxVisible.checked

    def test_a_box_beside_the_scan_is_a_sentence(self, panel: OpenPanel) -> None:
        panel.segment()
        panel.parameters.leftBox.SetCenter(5000.0, 0.0, 0.0)
        panel.ui.leftSegmentButton.click()
        panel.wait()
        assert panel.status == "The box of the left side lies outside the scan; move it onto the patient."
        assert segment_names(panel.parameters.segmentation) == BOTH


class TestResults:
    def test_a_click_on_a_tumor_shows_it(self, panel: OpenPanel, desk: Desk) -> None:
        panel.segment()
        view = panel.ui.resultsTable
        view.clicked.emit(view.model().index(2, 0))
        assert desk.slice_view("Red").logic.GetSliceOffset() == pytest.approx(123.1, abs=0.1)
        assert desk.slice_view("Yellow").node.GetSliceToRAS().GetElement(0, 3) == pytest.approx(-66.5, abs=0.1)
        before = desk.slice_view("Red").logic.GetSliceOffset()
        view.clicked.emit(view.model().index(0, 0))
        assert desk.slice_view("Red").logic.GetSliceOffset() == before

    def test_all_results_follow_a_ct_that_was_moved(self, panel: OpenPanel, desk: Desk, volume: Any) -> None:
        transform = make_transform((10.0, 20.0, 30.0), 0.0)
        volume.SetAndObserveTransformNodeID(transform.GetID())
        panel.ui.probabilitiesCheckBox.click()
        panel.segment()
        parameters = panel.parameters
        maps = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        shown = [parameters.segmentation, parameters.rightBox, parameters.leftBox, *maps]
        assert len(maps) == 5
        assert {node.GetTransformNodeID() for node in shown} == {transform.GetID()}
        panel.ui.resultsTable.clicked.emit(panel.ui.resultsTable.model().index(2, 0))
        assert desk.slice_view("Red").logic.GetSliceOffset() == pytest.approx(123.1 + 30.0, abs=0.1)
        assert desk.slice_view("Yellow").node.GetSliceToRAS().GetElement(0, 3) == pytest.approx(-66.5 + 10.0, abs=0.1)

    def test_the_table_is_copied_and_saved(self, panel: OpenPanel, desk: Desk, tmp_path: Path) -> None:
        assert not panel.ui.copyButton.enabled
        panel.segment()
        panel.ui.copyButton.click()
        assert qt.QApplication.clipboard().text().splitlines()[1].split("\t")[:2] == ["Right kidney", "172.8"]
        with desk.interactive(str(tmp_path / "table.csv")):
            panel.ui.exportButton.click()
        assert (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()[1].startswith("Right kidney,172.8,")

    def test_positions_are_not_shown(self, panel: OpenPanel) -> None:
        panel.segment()
        assert hidden_columns(panel) == [6, 7, 8, 9]

    def test_warnings_are_shown_where_there_are_some(self, panel: OpenPanel) -> None:
        panel.segment()
        sides = results_table.measured(panel.parameters.table)
        sides["left"]["warnings"] = ["The kidney is cut by the border of the scan, so that its volume is too small."]
        results_table.keep(panel.parameters.table, sides, others=False)
        view = panel.ui.resultsTable
        assert hidden_columns(panel) == [7, 8, 9]
        assert view.columnWidth(6) == 240
        assert view.rowHeight(1) > view.rowHeight(0)
        assert view.height > sum(view.rowHeight(row) for row in range(3))

    def test_tables_are_not_shown_empty(self, panel: OpenPanel) -> None:
        tables = (panel.ui.segmentsTable, panel.ui.resultsTable)
        assert all(table.isHidden() for table in tables)
        panel.segment()
        assert not any(table.isHidden() for table in tables)


class TestEndings:
    @pytest.mark.parametrize("mood", ["halfway", "deaf"])
    def test_cancel_leaves_the_scene_as_it_was(self, moody: OpenPanel, mood: str) -> None:
        moody.parameters.preset = mood
        before = node_ids()
        moody.ui.segmentButton.click()
        moody.wait_for_progress(0.5)
        assert moody.ui.progressBar.format == "Finding kidneys – 50 % – about 5 s left"
        moody.ui.segmentButton.click()
        moody.wait()
        assert moody.status == "Cancelled. Nothing was changed."
        assert node_ids() == before

    @pytest.mark.parametrize("button", ["segmentButton", "leftSegmentButton", "findButton"])
    def test_cancel_keeps_earlier_results(self, moody: OpenPanel, volume: Any, button: str) -> None:
        parameters = moody.parameters
        parameters.preset = "halfway"
        parameters.segmentation, parameters.leftBox = add_segmentation(volume), add_box((-60.0, 0.0, 120.0), (60.0, 60.0, 60.0))
        parameters.table = results_table.makeTable("Earlier")
        results_table.keep(parameters.table, {"left": EARLIER}, others=False)
        before = node_ids(), results_table.textOf(parameters.table), labels_of(parameters.segmentation, volume), parameters.leftBox.GetSize()
        getattr(moody.ui, button).click()
        moody.wait_for_progress(0.5)
        moody.ui.segmentButton.click()
        moody.wait()
        assert (node_ids(), results_table.textOf(parameters.table)) == before[:2]
        assert before[2].any()
        assert np.array_equal(labels_of(parameters.segmentation, volume), before[2])
        assert parameters.leftBox.GetSize() == before[3]

    def test_cancel_before_the_scan_is_handed_over(self, moody: OpenPanel) -> None:
        moody.ui.segmentButton.click()
        moody.ui.segmentButton.click()
        assert not moody.workflow.busy
        assert moody.status == "Cancelled. Nothing was changed."

    def test_a_killed_worker_is_a_sentence_and_the_next_click_works(self, moody: OpenPanel) -> None:
        moody.parameters.preset = "halfway"
        before = node_ids()
        moody.ui.segmentButton.click()
        moody.wait_for_progress(0.5)
        os.kill(moody.workflow.engine.pid, signal.SIGKILL)
        moody.wait()
        assert moody.status.startswith("The segmentation process ended unexpectedly")
        assert node_ids() == before
        moody.ui.segmentButton.click()
        moody.wait_for_progress(0.5)
        moody.ui.segmentButton.click()
        moody.wait()

    def test_closing_the_scene_ends_the_run(self, moody: OpenPanel) -> None:
        moody.parameters.preset = "halfway"
        moody.ui.segmentButton.click()
        moody.wait_for_progress(0.5)
        slicer.mrmlScene.Clear(0)
        moody.wait()
        assert moody.ui.ctSelector.currentNode() is None

    def test_a_ct_that_is_removed_meanwhile(self, panel: OpenPanel, volume: Any) -> None:
        panel.ui.segmentButton.click()
        slicer.mrmlScene.RemoveNode(volume)
        panel.wait()
        assert panel.status == "The CT was removed while it was segmented."

    def test_without_pytorch_nothing_starts(self, panel: OpenPanel, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(environment, "missingPackages", lambda: ["torch"])
        panel.ui.segmentButton.click()
        assert not panel.workflow.busy
        assert panel.status.startswith("PyTorch is not installed. Install the extension PyTorch")


class TestScene:
    def test_a_saved_scene_brings_the_panel_back(self, panel: OpenPanel, tmp_path: Path) -> None:
        panel.segment()
        panel.ui.liveCheckBox.click()
        panel.parameters.preset, panel.parameters.merge = "fast", "compare"
        status, rows = panel.status, results_table.textOf(panel.parameters.table)
        labels = labels_of(panel.parameters.segmentation, panel.parameters.ct)
        box = roi_boxes.boxOf(panel.parameters.leftBox, "left", panel.parameters.ct)
        assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
        slicer.mrmlScene.Clear(0)
        assert panel.parameters.segmentation is None
        assert panel.status == "Load a CT and choose it above."
        slicer.util.loadScene(str(tmp_path / "case.mrb"))
        parameters = panel.parameters
        assert panel.ui.ctSelector.currentNode() is parameters.ct
        assert panel.ui.segmentationSelector.currentNode() is parameters.segmentation
        assert panel.ui.segmentsTable.segmentCount == 3
        assert not panel.ui.liveCheckBox.checked
        assert (panel.ui.presetComboBox.currentText, panel.ui.mergeComboBox.currentText) == ("Fast", "The more probable one")
        assert panel.status == status
        assert results_table.textOf(parameters.table) == rows
        assert np.array_equal(labels_of(parameters.segmentation, parameters.ct), labels)
        again = roi_boxes.boxOf(parameters.leftBox, "left", parameters.ct)
        assert roi_boxes.isSame(again, box)
        assert again.source == "network"
        parameters.preset, parameters.merge = "standard", ""
        panel.ui.leftSegmentButton.click()
        panel.wait()
        assert np.array_equal(labels_of(parameters.segmentation, parameters.ct), labels)
