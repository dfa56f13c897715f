"""The panel's section for model bundles and the report about this computer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import qt

from KidneyTumorCascadeLib.bundle import store_folder
from KidneyTumorCascadeLib.worker_protocol import LIST_BUNDLES
from Testing.Slicer.module_at_desk import BRIGHT_WORKER, OpenPanel, open_panel, warm_engine
from Testing.tiny_bundle import make_tiny_bundle

if TYPE_CHECKING:
    from Testing.Slicer.desk.desk import Desk

# The first of these tests waits for the worker's start.
SECONDS = 60.0


@pytest.fixture
def panel(desk: Desk) -> Iterator[OpenPanel]:
    with open_panel(desk, warm_engine(BRIGHT_WORKER)) as opened:
        yield opened


def zipped_tiny_bundle(folder: Path) -> Path:
    """As one gets a bundle from elsewhere."""
    return Path(shutil.make_archive(str(folder / "tiny"), "zip", make_tiny_bundle(folder / "tiny")))


def offered_bundles(panel: OpenPanel) -> str:
    """The texts of all choices."""
    return " ".join(panel.ui.bundleComboBox.itemText(index) for index in range(panel.ui.bundleComboBox.count))


def test_the_report_is_shown_and_copied(panel: OpenPanel) -> None:
    panel.ui.environmentButton.click()
    panel.desk.wait_until(lambda: panel.ui.copyReportButton.enabled, SECONDS)
    panel.ui.copyReportButton.click()
    assert "torch" in qt.QApplication.clipboard().text()


def test_bundles_are_listed_when_they_are_looked_at(panel: OpenPanel) -> None:
    panel.ui.advancedSection.collapsed = False
    panel.desk.wait_until(lambda: bool(panel.panel._bundles._bundles), SECONDS)
    assert panel.ui.bundleComboBox.itemText(0) == "Default"
    panel.ui.verifyBundleButton.click()
    panel.desk.wait_until(lambda: panel.status == "The model bundle default is intact.", SECONDS)


def test_the_default_bundle_stays(panel: OpenPanel) -> None:
    panel.ui.removeBundleButton.click()
    assert panel.status == "The default bundle belongs to the extension; it cannot be removed."


def test_a_file_that_is_no_bundle(panel: OpenPanel, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"nothing")
    with desk.interactive(str(tmp_path / "no.zip")):
        panel.ui.installBundleButton.click()
    desk.wait_until(lambda: "no.zip" in panel.status, SECONDS)


def test_a_bundle_is_installed_verified_and_removed(panel: OpenPanel, desk: Desk, tmp_path: Path) -> None:
    package, store = zipped_tiny_bundle(tmp_path), store_folder()
    panel.ui.advancedSection.collapsed = False
    with desk.interactive(str(package)):
        panel.ui.installBundleButton.click()
        desk.wait_until(lambda: "tiny" in offered_bundles(panel), SECONDS)
    assert panel.status == "Installed the model bundle tiny. Its licence: CC0-1.0."
    assert (store / "tiny" / "bundle.json").is_file()
    assert panel.parameters.bundle == "tiny"
    panel.ui.verifyBundleButton.click()
    desk.wait_until(lambda: panel.status == "The model bundle tiny is intact.", SECONDS)
    with desk.interactive(qt.QMessageBox.Cancel):
        panel.ui.removeBundleButton.click()
    assert panel.parameters.bundle == "tiny"
    with desk.interactive(qt.QMessageBox.Ok) as dialogs:
        panel.ui.removeBundleButton.click()
        desk.wait_until(lambda: "tiny" not in offered_bundles(panel), SECONDS)
    assert dialogs == ["Delete the model bundle tiny from the disk?"]
    assert panel.status == "Removed the model bundle tiny."
    assert panel.parameters.bundle == ""
    assert not (store / "tiny").exists()


def test_a_damaged_bundle_is_found_out(panel: OpenPanel, desk: Desk, tmp_path: Path) -> None:
    with desk.interactive(str(zipped_tiny_bundle(tmp_path))):
        panel.ui.installBundleButton.click()
        desk.wait_until(lambda: panel.parameters.bundle == "tiny", SECONDS)
    (store_folder() / "tiny" / "tumor.safetensors").write_bytes(b"something else")
    panel.ui.verifyBundleButton.click()
    desk.wait_until(lambda: "tumor.safetensors" in panel.status, SECONDS)
    with desk.interactive(qt.QMessageBox.Ok):
        panel.ui.removeBundleButton.click()
        desk.wait_until(lambda: panel.parameters.bundle == "", SECONDS)
    assert not (store_folder() / "tiny").exists()


def test_an_answer_that_comes_after_the_panel_is_gone_is_dropped(desk: Desk) -> None:
    """The worker outlives a panel that is reloaded; what it says of bundles then has no widgets to be shown in."""
    engine = warm_engine(BRIGHT_WORKER)
    answered: list[str] = []
    with open_panel(desk, engine) as opened:
        opened.ui.advancedSection.collapsed = False
        opened.ui.environmentButton.click()
    engine.call(LIST_BUNDLES, {}, lambda answer: answered.append("after"), lambda error: answered.append(str(error)))
    desk.wait_until(lambda: bool(answered), SECONDS)
    assert answered == ["after"]
