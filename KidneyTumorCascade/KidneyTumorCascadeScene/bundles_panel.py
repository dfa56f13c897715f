"""The panel's part for model bundles and for the report about this computer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from KidneyTumorCascadeLib.errors import CascadeError
from KidneyTumorCascadeLib.worker_protocol import ENVIRONMENT, INSTALL_BUNDLE, LIST_BUNDLES, REMOVE_BUNDLE, VERIFY_BUNDLE
from KidneyTumorCascadeScene import choices
from KidneyTumorCascadeScene.engine import Engine
from KidneyTumorCascadeScene.environment import ensurePackages

DEFAULT = "default"


class BundlesPanel:
    """Asks the worker for its bundles and shows what it answers.

    Args:
        ui: the panel's widgets by name.
        engine: the worker.
        tell: shows a sentence in the status line; the second argument says whether something went wrong.
    """

    def __init__(self, ui: Any, engine: Engine, tell: Callable[[str, bool], None]) -> None:
        self._ui = ui
        self._engine = engine
        self._tell = tell
        self._parameters: Any = None
        self._bundles: list[Mapping[str, Any]] = []
        self._closed = False
        self.bundle = choices.Choice(ui.bundleComboBox, "bundle")
        self.preset = choices.Choice(ui.presetComboBox, "preset")
        self.bundle.fill([("", _("Default"))])
        self.preset.fill(choices.presets())
        ui.bundleComboBox.connect("activated(int)", self._bundleChosen)
        ui.advancedSection.connect("contentsCollapsed(bool)", self._collapsed)
        ui.installBundleButton.connect("clicked()", self._install)
        ui.verifyBundleButton.connect("clicked()", self._verify)
        ui.removeBundleButton.connect("clicked()", self._remove)
        ui.environmentButton.connect("clicked()", self._check)
        ui.copyReportButton.connect("clicked()", self._copyReport)

    def connect(self, parameters: Any) -> None:
        """Shows the choices of these parameters."""
        self._parameters = parameters
        self.bundle.connect(parameters)
        self.preset.connect(parameters)

    def _ask(self, method: str, params: Mapping[str, Any], done: Callable[[Mapping[str, Any]], None]) -> None:
        try:
            ensurePackages()
        except CascadeError as error:
            self._tell(str(error), True)
            return
        self._call(method, params, done, lambda error: self._tell(str(error), True))

    def _call(self, method: str, params: Mapping[str, Any], done: Callable[..., None], failed: Callable[..., None]) -> None:
        """Asks the worker. An answer that comes when the panel is gone has no widgets to be shown in."""
        self._engine.call(method, params, self._whileOpen(done), self._whileOpen(failed))

    def _whileOpen(self, show: Callable[..., None]) -> Callable[..., None]:
        return lambda answer: None if self._closed else show(answer)

    def close(self) -> None:
        """The panel is destroyed; answers that are under way are not shown any more."""
        self._closed = True

    # --- the list ---

    def _collapsed(self, collapsed: bool) -> None:
        """The list is asked for when it is looked at, and where that needs no installation."""
        if not collapsed and not self._bundles:
            self._call(LIST_BUNDLES, {}, self._listed, lambda error: None)

    def _list(self) -> None:
        self._ask(LIST_BUNDLES, {}, self._listed)

    def _listed(self, answer: Mapping[str, Any]) -> None:
        self._bundles = list(answer["bundles"])
        others = [bundle for bundle in self._bundles if bundle["name"] != DEFAULT]
        self.bundle.fill([("", _("Default")), *((bundle["name"], titleOf(bundle)) for bundle in others)])
        self._bundleChosen()

    def _bundleChosen(self) -> None:
        """Offers the presets of the bundle."""
        name = self._name()
        for bundle in self._bundles:
            if bundle["name"] == name and bundle["presets"]:
                names = [preset["name"] for preset in bundle["presets"]]
                if self._parameters is not None and self._parameters.preset not in names:
                    self._parameters.preset = names[0]
                self.preset.fill(choices.presets(names))

    def _name(self) -> str:
        return (self._parameters.bundle if self._parameters is not None else "") or DEFAULT

    # --- what can be done with them ---

    def _install(self) -> None:
        path = qt.QFileDialog.getOpenFileName(self._ui.installBundleButton, _("Install a model bundle"), "", _("Model bundles (*.zip)"))
        if path:
            self._ask(INSTALL_BUNDLE, {"zip": path}, self._installed)

    def _installed(self, answer: Mapping[str, Any]) -> None:
        bundle = answer["bundle"]
        self._tell(_("Installed the model bundle {name}. Its licence: {licence}.").format(**bundle), False)
        if self._parameters is not None:
            self._parameters.bundle = bundle["name"]
        self._list()

    def _verify(self) -> None:
        name = self._name()
        self._ask(VERIFY_BUNDLE, {"name": name}, lambda answer: self._tell(_("The model bundle {name} is intact.").format(name=name), False))

    def _remove(self) -> None:
        name = self._name()
        if name == DEFAULT:
            self._tell(_("The default bundle belongs to the extension; it cannot be removed."), True)
        elif slicer.util.confirmOkCancelDisplay(_("Delete the model bundle {name} from the disk?").format(name=name)):
            self._ask(REMOVE_BUNDLE, {"name": name}, lambda answer: self._removed(name))

    def _removed(self, name: str) -> None:
        self._tell(_("Removed the model bundle {name}.").format(name=name), False)
        if self._parameters is not None:
            self._parameters.bundle = ""
        self._list()

    # --- the report ---

    def _check(self) -> None:
        self._ask(ENVIRONMENT, {}, self._report)

    def _report(self, answer: Mapping[str, Any]) -> None:
        self._ui.reportText.plainText = answer["report"]
        self._ui.reportText.visible = True
        self._ui.copyReportButton.enabled = True

    def _copyReport(self) -> None:
        qt.QApplication.clipboard().setText(self._ui.reportText.plainText)


def titleOf(bundle: Mapping[str, Any]) -> str:
    """A bundle in the list."""
    return _("{name} (damaged)").format(name=bundle["name"]) if bundle["problem"] else f"{bundle['name']} {bundle['version']}"
