"""The desk itself keeps PythonQt's conventions, invents no name, and asks nobody."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import ctk
import pytest
import qt
import slicer
import vtk

from Testing.Slicer.desk import api_names, derive_api_names
from Testing.Slicer.desk.pythonqt.dialogs import UnexpectedDialog
from Testing.Slicer.desk.standins.checking import invented_names
from Testing.Slicer.desk.standins.skeleton import InventedName, register, registry, skeleton

if TYPE_CHECKING:
    from Testing.Slicer.desk.desk import Desk


API_LISTS = Path(__file__).resolve().parents[3] / "shared" / "slicer-desk" / "api"


class TestPythonQt:
    def test_a_property_hides_its_getter(self) -> None:
        button = qt.QPushButton("Apply")
        assert button.text == "Apply"
        button.enabled = False
        assert not button.isEnabled()
        with pytest.raises(TypeError):
            button.text()

    def test_an_unknown_attribute_is_refused(self) -> None:
        for widget in (qt.QPushButton(), ctk.ctkSliderWidget(), slicer.qMRMLNodeComboBox()):
            with pytest.raises(AttributeError, match="enbaled"):
                widget.enbaled = True

    def test_a_python_class_keeps_its_own_attributes(self) -> None:
        class Mine(qt.QWidget):  # type: ignore[misc]
            pass

        mine = Mine()
        mine.anything = 3
        assert mine.anything == 3

    def test_a_read_only_property_stays(self) -> None:
        with pytest.raises(AttributeError, match="read-only"):
            qt.QWidget().minimized = True

    def test_a_property_refuses_a_value_of_another_kind(self) -> None:
        with pytest.raises(AttributeError, match="maximum"):
            ctk.ctkSliderWidget().maximum = "ten"

    def test_a_wrong_signal_raises(self) -> None:
        with pytest.raises(AttributeError, match="clickd"):
            qt.QPushButton().connect("clickd()", print)
        with pytest.raises(AttributeError, match="currentNodeChanged"):
            slicer.qMRMLNodeComboBox().connect("currentNodeChanged(int)", print)

    def test_a_slot_gets_as_many_arguments_as_it_takes(self) -> None:
        button, calls = qt.QPushButton(), []
        button.connect("clicked(bool)", lambda: calls.append("none"))
        button.connect("clicked(bool)", lambda checked: calls.append(checked))
        button.click()
        assert calls == ["none", False]

    def test_disconnect_ends_one_connection(self) -> None:
        button, calls = qt.QPushButton(), []

        def first() -> None:
            calls.append("first")

        button.connect("clicked()", first)
        button.connect("clicked()", lambda: calls.append("second"))
        assert button.disconnect("clicked()", first)
        assert not button.disconnect("clicked()", first)
        button.click()
        assert calls == ["second"]

    def test_string_lists_are_tuples_and_enums_ints(self) -> None:
        combo = slicer.qMRMLNodeComboBox()
        combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        assert combo.nodeTypes == ("vtkMRMLScalarVolumeNode",)
        assert qt.QTextBrowser().searchPaths == ()
        assert qt.Qt.Checked == 2
        assert qt.QMessageBox.Ok | qt.QMessageBox.Cancel == 0x400400

    def test_exec_has_pythonqts_name_only(self) -> None:
        with pytest.raises(AttributeError, match="exec_"):
            qt.QDialog().exec()


class TestSlotErrors:
    def test_an_exception_in_a_slot_is_recorded(self, desk: Desk) -> None:
        button = qt.QPushButton()
        button.connect("clicked()", lambda: 1 / 0)
        with desk.expect_slot_error(ZeroDivisionError):
            button.click()

    def test_so_is_one_in_a_timer_or_an_observer(self, desk: Desk) -> None:
        with desk.expect_slot_error(ZeroDivisionError):
            qt.QTimer.singleShot(0, lambda: 1 / 0)
            desk.app.processEvents()
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: 1 / 0)
        with desk.expect_slot_error(ZeroDivisionError):
            node.Modified()

    def test_one_that_is_left_is_complained_of(self, desk: Desk) -> None:
        button = qt.QPushButton()
        button.connect("clicked()", lambda: 1 / 0)
        button.click()
        assert [type(complaint) for complaint in desk.complaints()] == [ZeroDivisionError]
        desk.reset()

    def test_what_must_raise_and_does_not_is_noticed(self, desk: Desk) -> None:
        with pytest.raises(AssertionError, match="expected one ValueError"), desk.expect_slot_error(ValueError):
            qt.QPushButton().click()


class TestVtkErrors:
    def test_an_error_is_recorded(self, desk: Desk) -> None:
        slicer.mrmlScene.AddNode(None)
        assert "null node" in str(desk.complaints())
        desk.reset()

    def test_one_may_be_expected(self, desk: Desk) -> None:
        with desk.expect_vtk_error("null node"):
            slicer.mrmlScene.AddNode(None)
        with pytest.raises(AssertionError, match="expected an error of VTK"), desk.expect_vtk_error("null node"):
            pass


class TestDialogs:
    def test_slicers_testing_mode_shows_none(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.ERROR):
            slicer.util.errorDisplay("out of memory")
        assert "out of memory" in caplog.text
        assert not slicer.util.confirmOkCancelDisplay("Install?")

    def test_a_test_answers_for_the_user(self, desk: Desk) -> None:
        with desk.interactive(qt.QMessageBox.Ok, qt.QMessageBox.Cancel) as shown:
            assert slicer.util.confirmOkCancelDisplay("Install?")
            assert not slicer.util.confirmOkCancelDisplay("Really?")
            assert shown == ["Install?", "Really?"]

    def test_a_dialog_without_an_answer_does_not_wait(self, desk: Desk) -> None:
        with desk.interactive(), pytest.raises(UnexpectedDialog, match="Install"):
            slicer.util.confirmOkCancelDisplay("Install?")

    def test_an_answer_without_a_dialog_is_noticed(self, desk: Desk) -> None:
        with pytest.raises(AssertionError, match="fewer dialogs"), desk.interactive(qt.QMessageBox.Ok):
            pass

    def test_file_dialogs_are_answered_too(self, desk: Desk, tmp_path: Path) -> None:
        edit = ctk.ctkPathLineEdit()
        with desk.interactive(str(tmp_path)):
            edit.browse()
        assert edit.currentPath == str(tmp_path)


class TestNames:
    def test_no_stand_in_invents_a_name(self) -> None:
        assert {name: invented_names(cls) for name, cls in registry.items() if invented_names(cls)} == {}

    def test_an_invention_is_refused(self) -> None:
        with pytest.raises(InventedName, match="setFancyScene"):

            @register
            class qMRMLWidget(skeleton("qMRMLWidget", qt.QWidget)):  # type: ignore[misc]
                def setFancyScene(self) -> None:
                    pass

    def test_every_adapted_class_has_a_stand_in(self) -> None:
        assert set(derive_api_names.ADAPTED) <= set(registry)

    def test_only_what_all_versions_have_is_offered(self) -> None:
        assert "nodeAddedByUserAction" not in api_names.public_names("qMRMLNodeComboBox"), "only 5.12 has it"
        assert "fileNameRegExp" not in api_names.public_names("qSlicerIOManager"), "only 5.10 has it"
        assert {"nodeTypes", "currentNode", "setMRMLScene", "currentNodeChanged"} <= api_names.public_names("qMRMLNodeComboBox")

    def test_the_list_is_derived_from_slicers(self) -> None:
        paths = sorted(API_LISTS.glob("slicer-*.json"), key=lambda path: int(path.stem.rpartition(".")[2]))
        if not paths:
            pytest.skip(f"no lists of Slicer's names at {API_LISTS}")
        lists = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        assert derive_api_names.to_json(derive_api_names.derive(lists)) == api_names.PATH.read_text(encoding="utf-8")


class TestApplication:
    def test_modules_have_their_logics(self) -> None:
        assert slicer.modules.segmentations.logic().IsA("vtkSlicerSegmentationsModuleLogic")
        assert slicer.util.getModuleLogic("Volumes") is slicer.app.moduleLogic("Volumes")

    def test_python_slicer_runs(self) -> None:
        program = shutil.which("PythonSlicer")
        assert program is not None
        assert program.startswith(slicer.app.slicerHome)
        assert subprocess.run([program, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True).stdout == "42\n"

    def test_a_process_talks_through_signals(self, desk: Desk) -> None:
        process, heard, ended = qt.QProcess(), [], []
        process.connect("readyReadStandardOutput()", lambda: heard.append(process.readAllStandardOutput().data()))
        process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ended.append((code, status)))
        process.start("PythonSlicer", ["-c", "import sys; print(input()); sys.exit(3)"])
        process.write(b"hello\n")
        desk.wait_until(lambda: bool(ended))
        assert b"".join(heard) == b"hello\n"
        assert ended == [(3, qt.QProcess.NormalExit)]

    def test_settings_are_the_tests_own(self) -> None:
        assert slicer.app.userSettings().fileName().startswith(slicer.app.slicerHome)


def test_the_application_is_started_once(desk: Desk) -> None:
    assert importlib.import_module("Testing.Slicer.desk").boot() is desk
