"""slicer.app.moduleManager() and slicer.modules."""

from __future__ import annotations

from typing import Any

import slicer

from Testing.Slicer.desk.pythonqt.binding import QtCore
from Testing.Slicer.desk.standins.modules import qSlicerAbstractCoreModule
from Testing.Slicer.desk.standins.skeleton import register, skeleton


@register
class qSlicerModuleManager(skeleton("qSlicerModuleManager", QtCore.QObject)):  # type: ignore[misc]
    """The modules that are loaded."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        self._modules: dict[str, Any] = {}

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(self._modules)

    def _add(self, module: qSlicerAbstractCoreModule) -> None:
        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), module)
        setattr(slicer.moduleNames, module.name, module.name)
        self.moduleLoaded.emit(module.name)
