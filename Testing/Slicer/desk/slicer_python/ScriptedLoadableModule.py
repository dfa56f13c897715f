"""slicer.ScriptedLoadableModule: the four base classes of a scripted module, as far as Slicer's documentation describes them."""

from __future__ import annotations

import logging
import sys
import unittest
from pathlib import Path
from typing import Any

import slicer

__all__ = ["ScriptedLoadableModule", "ScriptedLoadableModuleLogic", "ScriptedLoadableModuleTest", "ScriptedLoadableModuleWidget"]


def _resource(modulePath: str, fileName: str) -> str:
    return str(Path(modulePath).parent / "Resources" / fileName)


class ScriptedLoadableModule:
    """Describes the module to Slicer, through its parent."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, fileName: str) -> str:
        """The path of a file in the module's folder Resources."""
        return _resource(self.parent.path, fileName)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        """A sentence with a link for the module's help."""
        return f'<p>See <a href="{slicer.app.moduleDocumentationUrl(docPage or self.moduleName)}">the documentation</a>.</p>'

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        """Runs the module's self-test."""
        test = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The module's panel; what it shows lies in `self.layout`."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, fileName: str) -> str:
        """The path of a file in the module's folder Resources."""
        return _resource(slicer.util.modulePath(self.moduleName), fileName)

    def setup(self) -> None:
        """Called once, before the panel is shown first."""

    def cleanup(self) -> None:
        """Called when the panel is destroyed."""


class ScriptedLoadableModuleLogic:
    """What the module computes."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The module's node in the scene, made when there is none."""
        nodes = self.getAllParameterNodes()
        return nodes[0] if nodes else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        """All parameter nodes of this module in the scene."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        """A parameter node that is not in the scene yet."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's self-test."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.messageDelay = 0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Tells the user what the test does; here without a delay."""
        logging.info(message)
        slicer.app.processEvents()

    def runTest(self, **_: Any) -> None:
        """Runs every test method, each after setUp."""
        for name in unittest.TestLoader().getTestCaseNames(type(self)):
            if name != "runTest":
                self.setUp()
                getattr(self, name)()
                self.tearDown()
