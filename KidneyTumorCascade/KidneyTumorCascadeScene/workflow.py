"""From a click to the scene: find kidneys, segment everything, segment one side again. Never blocks; one run at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from KidneyTumorCascadeLib.errors import Cancelled, CascadeError, InputError
from KidneyTumorCascadeLib.geometry import Box
from KidneyTumorCascadeLib.worker_messages import PREPARING, Found, Segmented, Step
from KidneyTumorCascadeLib.worker_protocol import FIND_KIDNEYS, SEGMENT, SEGMENT_BOXES
from KidneyTumorCascadeScene import scene_results
from KidneyTumorCascadeScene.engine import Engine, alarm
from KidneyTumorCascadeScene.environment import ensurePackages
from KidneyTumorCascadeScene.open_scans import OpenScans
from KidneyTumorCascadeScene.parameters import Parameters, optionsOf
from KidneyTumorCascadeScene.roi_boxes import belongsTo, boxOf

# Between two steps of showing a result. Without a pause the next step may come before what waits meanwhile: paint, mouse, other timers.
PAUSE_MS = 10


@dataclass
class Run:
    """What the user asked for last. `side` is that of a run of one side only; `error` is set when it ended without a result."""

    parameters: Parameters
    volume: Any
    method: str
    boxes: Sequence[Box] = ()
    side: str | None = None
    request: int | None = None
    result: Found | Segmented | None = None
    error: CascadeError | None = None
    over: bool = False
    startedAt: float = field(default_factory=time.monotonic)


class Workflow:
    """Runs, one after the other. `onStarted`, `onStep` and `onEnded` tell of each; they may be replaced.

    Args:
        engine: the worker to ask.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.onStarted: Callable[[Run], None] = lambda run: None
        self.onStep: Callable[[Run, Step], None] = lambda run, step: None
        self.onEnded: Callable[[Run], None] = lambda run: None
        self.run: Run | None = None
        self._scans = OpenScans(engine)
        self._waitingSides: list[tuple[Parameters, str]] = []
        self._pause = alarm(PAUSE_MS, self._show)
        self._stepsToShow: Iterator[None] = iter(())

    @property
    def busy(self) -> bool:
        """Whether a run is going on."""
        return self.run is not None

    # --- what can be asked for; a CascadeError says why it cannot begin ---

    def findKidneys(self, parameters: Parameters) -> Run:
        """Only finds the boxes."""
        return self._start(Run(parameters, chosenVolume(parameters), FIND_KIDNEYS))

    def segment(self, parameters: Parameters) -> Run:
        """Finds the kidneys and segments them. Where the user has moved a box and wants to keep it, the boxes are taken as they are."""
        volume = chosenVolume(parameters)
        boxes = currentBoxes(parameters, volume) if parameters.keepBoxes else []
        if any(box.source == "user" for box in boxes):
            return self._start(Run(parameters, volume, SEGMENT_BOXES, boxes))
        return self._start(Run(parameters, volume, SEGMENT))

    def segmentSide(self, parameters: Parameters, side: str) -> Run:
        """Segments one side again, in its box as it is. The other side stays as it is."""
        volume = chosenVolume(parameters)
        node = scene_results.boxNodes(parameters)[side]
        if node is None:
            raise InputError(_("There is no box on this side yet; find the kidneys first."))
        return self._start(Run(parameters, volume, SEGMENT_BOXES, [boxOf(node, side, volume)], side))

    def boxReleased(self, parameters: Parameters, side: str) -> None:
        """Segments that side as soon as may be: after the run that is going on, or instead of it when that is of the same side."""
        if self.run is None:
            self.segmentSide(parameters, side)
            return
        if (parameters, side) not in self._waitingSides:
            self._waitingSides.append((parameters, side))
        if self.run.side == side:
            self._stop(self.run)

    def cancel(self) -> None:
        """Ends the run, and what waits for its end; the scene stays as it was."""
        self._waitingSides.clear()
        if self.run is not None:
            self._stop(self.run)

    def close(self) -> None:
        """For the end of the panel or script: nothing goes on, and the worker holds no scan any more."""
        self.cancel()
        self._scans.close()

    def wait(self, run: Run) -> Run:
        """For scripts: returns when the run is over, and serves Qt's events meanwhile. Raises its error."""
        loop = qt.QEventLoop()
        timer = qt.QTimer()
        timer.connect("timeout()", lambda: loop.quit() if run.over else None)
        timer.start(20)
        if not run.over:
            loop.exec_()
        if run.error is not None:
            raise run.error
        return run

    # --- how it goes on ---

    def _start(self, run: Run) -> Run:
        if self.run is not None:
            raise InputError(_("Something is being segmented already; wait for it or cancel it."))
        ensurePackages()
        self.run = run
        self.onStarted(run)
        self.onStep(run, Step(0, PREPARING, 0.0))
        try:
            self._scans.open(run.volume, lambda scanId: self._ask(run, scanId), lambda error: self._end(run, error))
        except CascadeError as error:
            self._end(run, error)
        return run

    def _ask(self, run: Run, scanId: str) -> None:
        params: dict[str, Any] = {"scan_id": scanId, "options": optionsOf(run.parameters).to_dict()}
        if run.method == SEGMENT_BOXES:
            params["boxes"] = [box.to_dict() for box in run.boxes]
        run.request = self.engine.call(
            run.method,
            params,
            lambda result: self._take(run, result),
            lambda error: self._end(run, error),
            lambda step: self.onStep(run, step),
        )

    def _stop(self, run: Run) -> None:
        if run.request is None:
            self._scans.cancel()
        else:
            self.engine.cancel(run.request)

    def _take(self, run: Run, result: Mapping[str, Any]) -> None:
        self._stepsToShow = self._steps(run, result)
        self._show()

    def _steps(self, run: Run, result: Mapping[str, Any]) -> Iterator[None]:
        if run.method == FIND_KIDNEYS:
            run.result = Found.from_dict(result)
            scene_results.showFound(run.parameters, run.volume, run.result)
        else:
            run.result = Segmented.from_dict(result)
            yield from scene_results.segmentedSteps(run.parameters, run.volume, run.result, run.side)

    def _show(self) -> None:
        """Takes one step, and the next one when Qt's events have had their turn. What is being shown is shown to its end, cancelled or not."""
        run = self.run
        if run is None:
            return
        try:
            if not slicer.mrmlScene.IsNodePresent(run.volume):
                raise InputError(_("The CT was removed while it was segmented."))
            next(self._stepsToShow)
        except StopIteration:
            self._end(run, None)
        except CascadeError as problem:
            self._end(run, problem)
        except Exception as problem:
            logging.exception("The result cannot be shown.")
            self._end(run, CascadeError(_("The result cannot be shown: {problem}").format(problem=problem)))
        else:
            self._pause.start()

    def _end(self, run: Run, error: CascadeError | None) -> None:
        run.error, run.over = error, True
        self.run = None
        self.onEnded(run)
        if self._waitingSides and (error is None or isinstance(error, Cancelled)):
            qt.QTimer.singleShot(0, self._startWaiting)
        else:
            self._waitingSides.clear()

    def _startWaiting(self) -> None:
        if self._waitingSides and self.run is None:
            parameters, side = self._waitingSides.pop(0)
            self.segmentSide(parameters, side)


def chosenVolume(parameters: Parameters) -> Any:
    """The CT. Raises InputError when none is chosen."""
    if parameters.ct is None:
        raise InputError(_("Choose a CT first."))
    return parameters.ct


def currentBoxes(parameters: Parameters, volume: Any) -> list[Box]:
    """This volume's boxes as they are now, the right one first."""
    nodes = scene_results.boxNodes(parameters)
    return [boxOf(node, side, volume) for side, node in nodes.items() if node is not None and belongsTo(node, volume)]
