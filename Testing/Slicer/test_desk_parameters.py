"""The desk's parameter nodes keep to what Slicer's documentation says of slicer.parameterNodeWrapper."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Annotated, Any

import ctk
import pytest
import qt
import slicer
from slicer.parameterNodeWrapper import Choice, Default, Minimum, WithinRange, isParameterNodeWrapper, parameterNodeWrapper

from Testing.Slicer.small_scene import add_ct


@parameterNodeWrapper
class Parameters:
    volume: slicer.vtkMRMLScalarVolumeNode
    preset: Annotated[str, Choice(["standard", "fast"])]
    overlap: Annotated[float, WithinRange(0.0, 0.9), Default(0.5)]
    count: Annotated[int, Minimum(0)] = 3
    keep: bool
    folder: Path


@pytest.fixture
def parameters() -> Any:
    return Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters"))  # type: ignore[call-arg]


def test_defaults(parameters: Any) -> None:
    found = parameters.volume, parameters.preset, parameters.overlap, parameters.count, parameters.keep, parameters.folder
    assert found == (None, "standard", 0.5, 3, False, Path())
    assert isParameterNodeWrapper(parameters)


def test_values_live_in_the_node(parameters: Any) -> None:
    parameters.volume, parameters.preset, parameters.keep, parameters.folder = add_ct(), "fast", True, Path("/data")
    again: Any = Parameters(parameters.parameterNode)  # type: ignore[call-arg]
    assert (again.volume.GetName(), again.preset, again.keep, again.folder) == ("CT", "fast", True, Path("/data"))


@pytest.mark.parametrize(("name", "value"), [("preset", "slow"), ("overlap", 1.0), ("count", -1), ("keep", None)])
def test_a_wrong_value_is_refused(parameters: Any, name: str, value: object) -> None:
    before = getattr(parameters, name)
    with pytest.raises(ValueError, match="Value must"):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


def test_a_value_of_another_type_is_refused(parameters: Any) -> None:
    with pytest.raises(TypeError, match="Value must be of type"):
        parameters.volume = slicer.vtkMRMLTableNode()


def test_a_type_that_is_not_adapted_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="'boxes'"):
        parameterNodeWrapper(type("More", (), {"__annotations__": {"boxes": list[str]}}))


def make_gui() -> Any:
    gui = types.SimpleNamespace(
        volume=slicer.qMRMLNodeComboBox(),
        preset=qt.QComboBox(),
        overlap=ctk.ctkSliderWidget(),
        count=qt.QSpinBox(),
        keep=qt.QCheckBox(),
        folder=ctk.ctkPathLineEdit(),
    )
    for name, widget in vars(gui).items():
        widget.setProperty("SlicerParameterName", name)
    gui.volume.nodeTypes = ("vtkMRMLScalarVolumeNode",)
    gui.volume.setMRMLScene(slicer.mrmlScene)
    gui.preset.addItems(["standard", "fast"])
    gui.overlap.maximum = 0.9
    return gui


def test_widgets_show_parameters(parameters: Any) -> None:
    gui = make_gui()
    parameters.connectGui(gui)
    assert gui.overlap.value == 0.5
    parameters.volume, parameters.preset, parameters.count, parameters.keep, parameters.folder = add_ct(), "fast", 7, True, Path("/data")
    shown = gui.volume.currentNode().GetName(), gui.preset.currentText, gui.count.value, gui.keep.checked, gui.folder.currentPath
    assert shown == ("CT", "fast", 7, True, "/data")


def test_widgets_set_parameters(parameters: Any) -> None:
    gui = make_gui()
    tag = parameters.connectGui(gui)
    gui.volume.setCurrentNode(add_ct())
    gui.preset.setCurrentText("fast")
    gui.overlap.value, gui.count.value, gui.keep.checked, gui.folder.currentPath = 0.25, 7, True, "/data"
    found = parameters.volume.GetName(), parameters.preset, parameters.overlap, parameters.count, parameters.keep, parameters.folder
    assert found == ("CT", "fast", 0.25, 7, True, Path("/data"))
    parameters.disconnectGui(tag)
    gui.count.value = 9
    assert parameters.count == 7


def test_a_widget_for_no_parameter_is_refused(parameters: Any) -> None:
    gui = make_gui()
    gui.count.setProperty("SlicerParameterName", "cuont")
    with pytest.raises(ValueError, match="cuont"):
        parameters.connectGui(gui)
