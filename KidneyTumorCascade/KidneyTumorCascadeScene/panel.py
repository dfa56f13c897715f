"""The panel: shows the parameter node and the run that is going on, and starts and cancels runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from KidneyTumorCascadeLib.errors import Cancelled, CascadeError
from KidneyTumorCascadeLib.worker_messages import Step
from KidneyTumorCascadeScene import bindings, choices, sentences
from KidneyTumorCascadeScene.boxes_panel import BoxesPanel
from KidneyTumorCascadeScene.bundles_panel import BundlesPanel
from KidneyTumorCascadeScene.results_panel import ResultsPanel
from KidneyTumorCascadeScene.roi_boxes import BoxWatcher
from KidneyTumorCascadeScene.scene_results import boxNodes
from KidneyTumorCascadeScene.workflow import Run, Workflow

PROBLEM_STYLE = "color: #c0392b;"


class Panel(VTKObservationMixin):
    """Args:
    ui: the panel's widgets by name.
    workflow: what the buttons start.
    """

    def __init__(self, ui: Any, workflow: Workflow) -> None:
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self.workflow = workflow
        self._parameters: Any = None
        self._ct: Any = None
        self._boxes = BoxesPanel(ui, self._segmentSide)
        self._results = ResultsPanel(ui)
        self._bundles = BundlesPanel(ui, workflow.engine, self.tell)
        self._watcher = BoxWatcher(self._boxReleased)
        self._shown: list[Any] = [*bindings.bindPanel(ui), *self._makeChoices(), self._bundles.bundle, self._bundles.preset]
        workflow.onStarted, workflow.onStep, workflow.onEnded = self._started, self._stepped, self._ended
        workflow.engine.onSilence = lambda: self.tell(_("The segmentation process has said nothing for two minutes. Wait, or cancel."), True)
        ui.segmentButton.connect("clicked()", self._segmentOrCancel)
        ui.findButton.connect("clicked()", lambda: self._begin(workflow.findKidneys, self._parameters))

    def _makeChoices(self) -> list[choices.Choice]:
        device = choices.Choice(self.ui.deviceComboBox, "device")
        device.fill(choices.devices())
        merge = choices.Choice(self.ui.mergeComboBox, "merge")
        merge.fill(choices.merges())
        segments = choices.Choice(self.ui.segmentsComboBox, "segments")
        segments.fill(choices.schemes())
        return [device, merge, segments]

    # --- the parameter node ---

    def connect(self, parameters: Any) -> None:
        """Shows these parameters from now on; none when the scene is closed."""
        if self._parameters is not None:
            self.removeObservers()
        self._parameters = parameters
        if parameters is not None:
            self._chooseFirstCt()
            self._ct = parameters.ct
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._changed)
        for shown in self._shown:
            shown.connect(parameters)
        self._bundles.connect(parameters)
        self.update()

    def disconnect(self) -> None:
        """Lets go of everything in the scene."""
        self.connect(None)
        self._watcher.watch({})
        self._bundles.close()
        self.workflow.engine.onSilence = lambda: None
        self.workflow.onStarted = self.workflow.onEnded = lambda run: None
        self.workflow.onStep = lambda run, step: None

    def _chooseFirstCt(self) -> None:
        if self._parameters.ct is None:
            self._parameters.ct = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")

    def _changed(self, caller: Any, event: Any) -> None:
        """Another CT gets segments and a table of its own."""
        if self._parameters.ct is not self._ct:
            previous, self._ct = self._ct, self._parameters.ct
            if previous is not None and self._ct is not None and not self.workflow.busy:
                self._parameters.segmentation = self._parameters.table = None
                self._parameters.status = self._parameters.warnings = ""
        self.update()

    def update(self) -> None:
        """Shows everything as it is."""
        parameters, busy = self._parameters, self.workflow.busy
        for shown in self._shown:
            shown.show()
        self._boxes.update(parameters, busy)
        self._results.update(parameters)
        self._watcher.watch(boxNodes(parameters) if parameters is not None else {})
        ready = parameters is not None and parameters.ct is not None
        self.ui.segmentButton.enabled = ready or busy
        self.ui.segmentButton.text = _("Cancel") if busy else _("Segment")
        self.ui.findButton.enabled = ready and not busy
        self.ui.ctSelector.enabled = self.ui.segmentationSelector.enabled = parameters is not None and not busy
        if not busy and parameters is not None:
            self._say(parameters.status or (_("Ready.") if ready else _("Load a CT and choose it above.")), False)

    # --- what the user does ---

    def _segmentOrCancel(self) -> None:
        if self.workflow.busy:
            self.ui.statusLabel.text = _("Cancelling...")
            self.workflow.cancel()
        else:
            self._begin(self.workflow.segment, self._parameters)

    def _segmentSide(self, side: str) -> None:
        self._begin(self.workflow.segmentSide, self._parameters, side)

    def _boxReleased(self, side: str) -> None:
        if self._parameters is not None and self._parameters.live:
            self._begin(self.workflow.boxReleased, self._parameters, side)

    def _begin(self, start: Callable[..., Any], *arguments: Any) -> None:
        try:
            start(*arguments)
        except CascadeError as error:
            self.tell(str(error), True)

    # --- what happens then ---

    def _started(self, run: Run) -> None:
        self.ui.progressBar.value = 0
        self.update()
        self._say(_("You can go on working; click Cancel to stop."), False)

    def _stepped(self, run: Run, step: Step) -> None:
        self.ui.progressBar.value = sentences.percent(step)
        self.ui.progressBar.format = sentences.progressText(step)

    def _ended(self, run: Run) -> None:
        self.ui.progressBar.value = 100 if run.error is None else 0
        self.ui.progressBar.format = _("Done – 100 %") if run.error is None else ""
        if self._parameters is not None:
            self.update()
            self.tell(sentences.outcome(run), run.error is not None and not isinstance(run.error, Cancelled))

    def tell(self, text: str, problem: bool) -> None:
        """Shows a sentence; how a run ended well is kept with the scene."""
        if self._parameters is not None and not problem:
            self._parameters.status = text
        self._say(text, problem)

    def _say(self, text: str, problem: bool) -> None:
        self.ui.statusLabel.text = text
        self.ui.statusLabel.styleSheet = PROBLEM_STYLE if problem else ""
