"""Finds and segments kidneys and kidney tumors in CT. Registration and wiring only; what happens is in KidneyTumorCascadeScene."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if importlib.util.find_spec("KidneyTumorCascadeLib") is None:
    # In the source tree the library lies beside the module's folder; in an installed extension, beside this file.
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeScene import sample_data
from KidneyTumorCascadeScene.engine import Engine
from KidneyTumorCascadeScene.panel import Panel
from KidneyTumorCascadeScene.parameters import Parameters
from KidneyTumorCascadeScene.workflow import Run, Workflow


class KidneyTumorCascade(ScriptedLoadableModule):
    """Describes the module to Slicer."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Kidney Tumor Cascade")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["The KidneyTumorCascade contributors"]
        parent.helpText = _("Segments kidneys and kidney tumors in CT: click Segment, drag a box, get that side again.")
        parent.helpText += self.getDefaultModuleDocumentationLink()
        parent.acknowledgementText = _("A cascade of three V-Nets, trained on the data of the KiTS challenge.")
        slicer.app.connect("startupCompleted()", self.registerSampleData)

    def registerSampleData(self) -> None:
        """Called when all modules are loaded."""
        sample_data.register(Path(self.resourcePath("Icons/KidneyPhantom.png")))


class KidneyTumorCascadeWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel, as long as Slicer shows it."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self.panel: Any = None

    def setup(self) -> None:
        """Called once, when the module is opened first."""
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/KidneyTumorCascade.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = KidneyTumorCascadeLogic()
        self.panel = Panel(self.ui, self.logic.workflow)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneChanged)
        self.panel.connect(self.logic.getParameters())

    def enter(self) -> None:
        """The user comes to the panel."""
        self.panel.connect(self.logic.getParameters())

    def cleanup(self) -> None:
        """The panel is destroyed, and the worker ends."""
        self.removeObservers()
        self.panel.disconnect()
        self.logic.stop()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """Nodes go; a run on them is of no more use."""
        self.logic.workflow.cancel()
        self.panel.connect(None)

    def onSceneChanged(self, caller: Any, event: Any) -> None:
        """A new scene, with parameters of its own if it was a saved one."""
        self.panel.connect(self.logic.getParameters())


class KidneyTumorCascadeLogic(ScriptedLoadableModuleLogic):
    """For scripts, too: nothing here needs the panel.

    logic = KidneyTumorCascadeLogic()
    parameters = logic.getParameters()
    parameters.ct = volume
    logic.segment(parameters)      # returns when the scene has boxes, segments and table; Qt's events are served meanwhile
    logic.stop()
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.workflow = Workflow(Engine())

    def getParameters(self) -> Parameters:
        """The parameter node of the scene, typed."""
        return Parameters(self.getParameterNode())  # type: ignore[call-arg]

    def segment(self, parameters: Parameters) -> Run:
        """Finds and segments the kidneys of `parameters.ct`, and waits for it. Raises CascadeError."""
        return self.workflow.wait(self.workflow.segment(parameters))

    def stop(self) -> None:
        """Ends the worker."""
        self.workflow.close()
        self.workflow.engine.stop()


class KidneyTumorCascadeTest(ScriptedLoadableModuleTest):
    """Runs in Slicer and in the project's tests alike; needs PyTorch, and about a minute without a graphics card."""

    def setUp(self) -> None:
        """An empty scene."""
        slicer.mrmlScene.Clear(0)

    def test_phantomIsSegmented(self) -> None:
        """The whole way, from the sample to the table."""
        logic = KidneyTumorCascadeLogic()
        parameters = logic.getParameters()
        parameters.ct = sample_data.addPhantom(spacing=(3.0, 3.0, 4.0))
        parameters.preset = "fast"
        self.delayDisplay(_("Segmenting a phantom"))
        try:
            logic.segment(parameters)
        finally:
            logic.stop()
        segmentation = parameters.segmentation.GetSegmentation()
        names = [segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())]
        assert names[:2] == [_("Right kidney"), _("Left kidney")]
        assert parameters.table.GetNumberOfRows() >= 2
        assert parameters.rightBox is not None
        assert parameters.leftBox is not None
        self.delayDisplay(_("The phantom is segmented"))
