"""Panels at the desk: .ui files, CTK's and qMRML's widgets, and scripted modules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctk
import numpy as np
import pytest
import qt
import slicer

from Testing.Slicer.desk.pythonqt.ui_loader import UiError
from Testing.Slicer.small_scene import add_ct, add_segmentation

if TYPE_CHECKING:
    from Testing.Slicer.desk.desk import Desk


PANEL = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Panel</class>
 <widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout">
  <item><widget class="ctkCollapsibleButton" name="inputs"><property name="text"><string>Inputs</string></property>
   <layout class="QFormLayout">
    <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="volume">
      <property name="nodeTypes"><stringlist notr="true"><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
      <property name="noneEnabled"><bool>true</bool></property>
      <property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget></item>
    <item row="1" column="1"><widget class="ctkPathLineEdit" name="folder">
      <property name="filters"><set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable</set></property></widget></item>
    <item row="2" column="1"><widget class="ctkSliderWidget" name="overlap">
      <property name="maximum"><double>0.9</double></property><property name="singleStep"><double>0.1</double></property></widget></item>
   </layout></widget></item>
  <item><widget class="QPushButton" name="apply"><property name="text"><string>Segment</string></property></widget></item>
 </layout></widget>
 <connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
  <receiver>volume</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections>
</ui>"""

MODULE = """
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

class DeskProbe(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Probe")
        parent.categories = ["Segmentation"]

class DeskProbeWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.log = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/Panel.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.ui.apply.connect("clicked(bool)", self.onApply)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, lambda caller, event: self.log.append("close"))

    def enter(self):
        self.log.append("enter")

    def exit(self):
        self.log.append("exit")

    def cleanup(self):
        self.removeObservers()
        self.log.append("cleanup")

    def onApply(self):
        self.log.append("apply")

class DeskProbeLogic(ScriptedLoadableModuleLogic):
    pass

class DeskProbeTest(ScriptedLoadableModuleTest):
    ran = []

    def test_something(self):
        self.ran.append(DeskProbeLogic().getParameterNode().GetAttribute("ModuleName"))
"""


def load_panel(folder: Path, text: str = PANEL) -> Any:
    path = folder / "Panel.ui"
    path.write_text(text, encoding="utf-8")
    return slicer.util.loadUI(str(path))


class TestUi:
    def test_a_panel_gets_stand_ins_with_their_properties(self, tmp_path: Path) -> None:
        panel = load_panel(tmp_path)
        ui = slicer.util.childWidgetVariables(panel)
        assert ui.volume.nodeTypes == ("vtkMRMLScalarVolumeNode",)
        assert ui.volume.noneEnabled
        assert ui.volume.property("SlicerParameterName") == "volume"
        assert (ui.inputs.text, ui.apply.text) == ("Inputs", "Segment")
        assert ui.folder.filters == ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Readable
        ui.overlap.value = 5
        assert ui.overlap.value == 0.9

    def test_its_connections_hand_the_scene_on(self, tmp_path: Path) -> None:
        panel = load_panel(tmp_path)
        volume = slicer.util.childWidgetVariables(panel).volume
        assert not volume.enabled
        panel.setMRMLScene(slicer.mrmlScene)
        assert volume.mrmlScene() is slicer.mrmlScene

    @pytest.mark.parametrize(
        ("old", "new", "error"),
        [
            ("ctkPathLineEdit", "ctkPathEdit", UiError),
            ("noneEnabled", "noneEnable", UiError),
            ("mrmlSceneChanged(", "sceneChanged(", AttributeError),
            ("<slot>setMRMLScene(", "<slot>setScene(", AttributeError),
        ],
    )
    def test_a_slip_in_the_file_is_an_error(self, tmp_path: Path, old: str, new: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            load_panel(tmp_path, PANEL.replace(old, new))


class TestWidgets:
    def test_a_node_selector_follows_the_scene(self) -> None:
        changes: list[Any] = []
        combo = slicer.qMRMLNodeComboBox()
        combo.nodeTypes = ("vtkMRMLScalarVolumeNode",)
        combo.noneEnabled = True
        combo.setMRMLScene(slicer.mrmlScene)
        combo.connect("currentNodeChanged(vtkMRMLNode*)", changes.append)
        combo.connect("currentNodeChanged(bool)", changes.append)
        volume = add_ct()
        assert combo.nodeCount() == 1
        assert combo.currentNode() is None, "a selector selects no node by itself"
        combo.setCurrentNode(volume)
        assert combo.currentNodeID == volume.GetID()
        slicer.mrmlScene.RemoveNode(volume)
        assert combo.currentNode() is None
        assert changes == [volume, True, None, False]

    def test_a_node_selector_is_set_by_its_property_too(self) -> None:
        combo = slicer.qMRMLNodeComboBox()
        combo.nodeTypes = ("vtkMRMLScalarVolumeNode",)
        combo.setMRMLScene(slicer.mrmlScene)
        combo.currentNodeID = add_ct().GetID()
        assert combo.currentNode().GetName() == "CT"
        combo.currentNodeID = "vtkMRMLScalarVolumeNode999"
        assert combo.currentNode() is None

    def test_a_node_selector_outlived_by_the_scene_does_no_harm(self) -> None:
        combo = slicer.qMRMLNodeComboBox()
        combo.setMRMLScene(slicer.mrmlScene)
        combo.delete()
        add_ct()

    def test_segments_are_listed_and_hidden(self) -> None:
        table, segmentation = slicer.qMRMLSegmentsTableView(), add_segmentation(add_ct())
        table.setSegmentationNode(segmentation)
        assert table.displayedSegmentIDs() == ("kidney",)
        table.tableWidget().item(0, 0).setCheckState(qt.Qt.Unchecked)
        assert not segmentation.GetDisplayNode().GetSegmentVisibility("kidney")
        segmentation.GetSegmentation().RemoveSegment("kidney")
        assert table.segmentCount == 0

    def test_a_segment_is_selected(self) -> None:
        selector, segmentation = slicer.qMRMLSegmentSelectorWidget(), add_segmentation(add_ct())
        segmentation.GetSegmentation().AddEmptySegment("tumor", "Tumor", (0.0, 1.0, 0.0))
        selector.setMRMLScene(slicer.mrmlScene)
        selector.setCurrentNode(segmentation)
        assert selector.currentSegmentID() == "kidney"
        selector.setCurrentSegmentID("tumor")
        assert selector.currentSegmentID() == "tumor"

    def test_the_3d_button_makes_surfaces(self) -> None:
        button, segmentation = slicer.qMRMLSegmentationShow3DButton(), add_segmentation(add_ct())
        button.setSegmentationNode(segmentation)
        button.click()
        assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
        assert button.checked
        button.click()
        assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")

    def test_a_table_shows_its_node(self) -> None:
        view, table = slicer.qMRMLTableView(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
        view.setMRMLTableNode(table)
        slicer.util.updateTableFromArray(table, [np.array([151.0])], ["ml"])
        assert view.model().data(view.model().index(0, 0)) == "151"

    def test_a_collapsed_section_hides_its_contents(self, tmp_path: Path) -> None:
        panel = load_panel(tmp_path)
        panel.show()
        ui = slicer.util.childWidgetVariables(panel)
        ui.inputs.collapsed = True
        assert not ui.volume.visible
        assert ui.inputs.height < 30
        panel.delete()


class TestScriptedModule:
    @pytest.fixture
    def probe(self, desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Any:
        path = tmp_path_factory.getbasetemp() / "DeskProbe" / "DeskProbe.py"
        if not path.exists():
            (path.parent / "Resources" / "UI").mkdir(parents=True)
            path.write_text(MODULE, encoding="utf-8")
            (path.parent / "Resources" / "UI" / "Panel.ui").write_text(PANEL, encoding="utf-8")
        return desk.load(path)

    def test_it_describes_itself(self, probe: Any) -> None:
        assert slicer.modules.deskprobe.title == "Probe"
        assert slicer.modules.deskprobe.categories == ("Segmentation",)
        assert slicer.util.modulePath("DeskProbe").endswith("DeskProbe.py")

    def test_its_panel_lives_and_ends_as_in_slicer(self, probe: Any) -> None:
        with probe.panel() as widget:
            assert slicer.util.getModuleWidget("DeskProbe") is widget
            widget.ui.apply.click()
            slicer.mrmlScene.Clear(0)
        assert widget.log == ["enter", "apply", "close", "exit", "cleanup"]
        assert not hasattr(slicer.modules, "DeskProbeWidget")

    def test_its_self_test_runs(self, probe: Any) -> None:
        probe.code.DeskProbeTest.ran.clear()
        slicer.selfTests["DeskProbe"]()
        assert probe.code.DeskProbeTest.ran == ["DeskProbe"]

    def test_a_scene_has_one_parameter_node_of_it(self, probe: Any) -> None:
        logic = probe.code.DeskProbeLogic()
        assert logic.getParameterNode() is logic.getParameterNode()
