"""PyTorch is asked for once and comes through its extension; the phantom is a sample; the module's self-test."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import qt
import SampleData
import slicer
from PIL import Image
from slicer import packaging

from KidneyTumorCascadeLib.errors import SetupError
from KidneyTumorCascadeScene import environment, sample_data
from Testing.Slicer.module_at_desk import MODULE, warm_engine

if TYPE_CHECKING:
    from Testing.Slicer.desk.desk import Desk


class PyTorchExtension(ModuleType):
    """The extension's module: installs nothing, and remembers how it was asked."""

    def __init__(self, installed: set[str], torch: Any = "torch") -> None:
        super().__init__("PyTorchUtils")
        self.calls: list[dict[str, Any]] = []
        extension = self

        class PyTorchUtilsLogic:
            def installTorch(self, **options: Any) -> Any:
                extension.calls.append(options)
                installed.add("torch")
                if isinstance(torch, Exception):
                    raise torch
                return torch

        self.PyTorchUtilsLogic = PyTorchUtilsLogic


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What Slicer's Python has: nothing yet. pip adds to it."""
    present: set[str] = set()
    find = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        return (name if name in present else None) if name in ("torch", "safetensors") else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(packaging, "pip_install", lambda names, **_: present.update(name.split(">")[0] for name in names))
    return present


class TestEnvironment:
    def test_nothing_is_asked_when_all_is_there(self, desk: Desk) -> None:
        with desk.interactive():
            environment.ensurePackages()

    def test_it_asks_once_and_installs(self, desk: Desk, installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
        extension = PyTorchExtension(installed)
        monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
        with desk.interactive(qt.QMessageBox.Ok) as shown:
            environment.ensurePackages()
        assert len(shown) == 1
        assert shown[0].startswith("PyTorch is needed to segment.")
        assert extension.calls == [{"askConfirmation": False, "torchVersionRequirement": ">=2.2"}]
        assert installed == {"torch", "safetensors"}

    def test_refused_it_says_what_to_do(self, desk: Desk, installed: set[str]) -> None:
        with desk.interactive(qt.QMessageBox.Cancel), pytest.raises(SetupError, match="Install the extension PyTorch"):
            environment.ensurePackages()
        assert installed == set()

    def test_without_the_extension_it_says_what_to_do(self, desk: Desk, installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
        with desk.interactive(qt.QMessageBox.Ok), pytest.raises(SetupError, match="Install the extension PyTorch"):
            environment.ensurePackages()

    def test_a_failed_installation_is_told(self, desk: Desk, installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "PyTorchUtils", PyTorchExtension(installed, RuntimeError("no network")))
        with desk.interactive(qt.QMessageBox.Ok), pytest.raises(SetupError, match=r"could not be installed \(no network\)"):
            environment.ensurePackages()


class TestSampleData:
    def test_the_phantom_is_registered_when_slicer_has_started(self, desk: Desk) -> None:
        desk.load(MODULE)
        SampleData.SampleDataLogic.registered.clear()
        slicer.app.startupCompleted.emit()
        sample = SampleData.SampleDataLogic.registered["KidneyPhantom"]
        assert sample["category"] == "Kidney tumor cascade"
        with Image.open(sample["thumbnailFileName"]) as thumbnail:
            assert thumbnail.size == (128, 128)

    def test_it_is_made_here_and_shown(self, desk: Desk) -> None:
        volume = sample_data.addPhantom(spacing=(6.0, 6.0, 8.0))
        assert volume.GetName() == "KidneyPhantom"
        assert (volume.GetDisplayNode().GetWindow(), volume.GetDisplayNode().GetLevel()) == (400, 40)
        assert slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetBackgroundLayer().GetVolumeNode() is volume


def test_the_modules_self_test(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    code = desk.load(MODULE).code
    engine = warm_engine()
    monkeypatch.setattr(engine, "stop", lambda: None)
    monkeypatch.setattr(code, "Engine", lambda: engine)
    slicer.selfTests["KidneyTumorCascade"]()
