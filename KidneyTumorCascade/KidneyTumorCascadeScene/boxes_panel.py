"""The panel's part for the boxes: a row for each side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.util import VTKObservationMixin

from KidneyTumorCascadeScene import roi_boxes
from KidneyTumorCascadeScene.scene_results import boxNodes


class BoxesPanel(VTKObservationMixin):
    """Shows, hides and resets boxes.

    Args:
        ui: the panel's widgets by name.
        onSegment: told the side that shall be segmented again.
    """

    def __init__(self, ui: Any, onSegment: Callable[[str], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._ui = ui
        self._nodes: dict[str, Any] = {}
        self._parameters: Any = None
        self._busy = False
        for side in roi_boxes.SIDES:
            self._button(side, "SegmentButton").connect("clicked()", self._caller(onSegment, side))
            self._button(side, "ResetButton").connect("clicked()", self._caller(self._reset, side))
            self._button(side, "BoxVisible").connect("toggled(bool)", self._shower(side))

    def update(self, parameters: Any, busy: bool) -> None:
        """Shows the boxes of these parameters."""
        self._parameters, self._busy = parameters, busy
        nodes = boxNodes(parameters) if parameters is not None else dict.fromkeys(roi_boxes.SIDES)
        if nodes != self._nodes:
            self._nodes = nodes
            self.removeObservers()
            for node in filter(None, nodes.values()):
                self.addObserver(node, node.DisplayModifiedEvent, self._nodeChanged)
        self._show()

    def _nodeChanged(self, caller: Any, event: Any) -> None:
        self._show()

    def _show(self) -> None:
        for side, node in self._nodes.items():
            ready = node is not None and self._parameters.ct is not None
            self._button(side, "SegmentButton").enabled = ready and not self._busy
            self._button(side, "ResetButton").enabled = ready and roi_boxes.foundBox(node) is not None
            visible = self._button(side, "BoxVisible")
            visible.enabled = node is not None
            blocked = visible.blockSignals(True)
            visible.checked = node is not None and bool(node.GetDisplayVisibility())
            visible.blockSignals(blocked)
        for name in ("BoxLabel", "BoxVisible", "SegmentButton", "ResetButton"):
            self._button("both", name).visible = self._nodes.get("both") is not None

    def _reset(self, side: str) -> None:
        roi_boxes.reset(self._nodes[side], self._parameters.ct)

    def _shower(self, side: str) -> Callable[[bool], None]:
        def show(visible: bool) -> None:
            if self._nodes.get(side) is not None:
                self._nodes[side].SetDisplayVisibility(visible)

        return show

    def _button(self, side: str, name: str) -> Any:
        return getattr(self._ui, f"{side}{name}")

    @staticmethod
    def _caller(function: Callable[[str], None], side: str) -> Callable[[], None]:
        return lambda: function(side)
