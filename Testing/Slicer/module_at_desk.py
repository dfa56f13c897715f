"""The module at the desk: its panel with a warm worker, a patient to segment, and what a user looks at."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
from numpy.typing import NDArray

from KidneyTumorCascadeLib.volume import Volume

if TYPE_CHECKING:
    from Testing.Slicer.desk.desk import Desk

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "KidneyTumorCascade" / "KidneyTumorCascade.py"
BRIGHT_WORKER = (sys.executable, "-m", "Testing.bright_worker")


@cache
def warm_engine(command: tuple[str, ...] | None = None) -> Any:
    """An engine that all tests share: to start PyTorch takes seconds. It ends with the tests' process, as with Slicer."""
    from KidneyTumorCascadeScene.engine import Engine

    engine = Engine(command)
    atexit.register(engine.stop)
    return engine


class OpenPanel:
    """The open panel."""

    def __init__(self, desk: Desk, widget: Any) -> None:
        self.desk, self.ui, self.panel, self.logic = desk, widget.ui, widget.panel, widget.logic

    @property
    def parameters(self) -> Any:
        """Of the scene as it is now."""
        return self.logic.getParameters()

    @property
    def workflow(self) -> Any:
        return self.logic.workflow

    @property
    def status(self) -> str:
        """The status line."""
        return str(self.ui.statusLabel.text)

    def wait(self, seconds: float = 60.0) -> None:
        """Until nothing is being segmented."""
        self.desk.wait_until(lambda: not self.workflow.busy, seconds)

    def segment(self, seconds: float = 60.0) -> None:
        """Clicks Segment, and waits."""
        self.ui.segmentButton.click()
        self.wait(seconds)

    def wait_for_progress(self, fraction: float, seconds: float = 60.0) -> None:
        """Until the bar is that far."""
        self.desk.wait_until(lambda: self.ui.progressBar.value >= 100 * fraction, seconds)


@contextmanager
def open_panel(desk: Desk, engine: Any, bundle: Path | None = None) -> Iterator[OpenPanel]:
    """The module's panel over the scene as it is. The engine is not stopped when the panel ends, so that others find it warm."""
    module = desk.load(MODULE)
    code: Any = module.code
    original, code.Engine = code.Engine, lambda: engine
    stop, engine.stop = engine.stop, lambda: None
    try:
        with module.panel() as widget:
            panel = OpenPanel(desk, widget)
            panel.parameters.device = "cpu"
            panel.parameters.bundle = str(bundle) if bundle is not None else ""
            yield panel
            panel.workflow.cancel()
            panel.wait()
    finally:
        code.Engine, engine.stop = original, stop


def add_scan(scan: Volume, name: str = "CT") -> Any:
    """A volume node with the voxels of the library's scan."""
    from KidneyTumorCascadeScene.volumes import addVolume

    return addVolume(scan.voxels, scan.geometry, name)


def segment_names(segmentation: Any) -> list[str]:
    segments = segmentation.GetSegmentation()
    return [segments.GetNthSegment(index).GetName() for index in range(segments.GetNumberOfSegments())]


def mask_of(segmentation: Any, identifier: str, volume: Any) -> NDArray[np.bool_]:
    """The voxels of the volume that a segment covers."""
    return np.asarray(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, volume)) > 0


def labels_of(segmentation: Any, volume: Any) -> NDArray[np.uint8]:
    """All of the module's segments as one label map: 1 kidney, 2 tumor."""
    segments = segmentation.GetSegmentation()
    labels = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    for index in range(segments.GetNumberOfSegments()):
        identifier = segments.GetNthSegmentID(index)
        labels[mask_of(segmentation, identifier, volume)] = 2 if identifier.endswith("tumor") else 1
    return labels


def node_ids() -> list[str]:
    """All nodes of the scene."""
    scene = slicer.mrmlScene
    return sorted(scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes()))
