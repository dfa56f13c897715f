"""qMRMLSegmentationShow3DButton: makes and shows the surfaces of a segmentation."""

from __future__ import annotations

from typing import Any

from Testing.Slicer.desk.standins.ctk_buttons import ctkMenuButton
from Testing.Slicer.desk.standins.scene_widgets import Observation
from Testing.Slicer.desk.standins.skeleton import register, skeleton


@register
class qMRMLSegmentationShow3DButton(skeleton("qMRMLSegmentationShow3DButton", ctkMenuButton)):  # type: ignore[misc]
    """Checked while the segmentation has a closed surface, which clicking it makes or removes. Its menu is not adapted."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._observation = Observation(self, self._update)
        self.setText("Show 3D")
        self.setCheckable(True)
        self.setEnabled(False)
        self.clicked.connect(self._clicked)

    def setSegmentationNode(self, node: Any) -> None:
        self._observation.end()
        self._node = node
        if node is not None:
            segmentation = node.GetSegmentation()
            self._observation.watch(segmentation, segmentation.ContainedRepresentationNamesModified, segmentation.SegmentAdded)
        self._update()

    def segmentationNode(self) -> Any:
        return self._node

    def setLocked(self, locked: bool) -> None:
        self.locked = locked

    def _update(self) -> None:
        self.setEnabled(self._node is not None and not self.locked)
        self.setChecked(self._node is not None and self._hasSurface())

    def _hasSurface(self) -> bool:
        return bool(self._node.GetSegmentation().ContainsRepresentation("Closed surface"))

    def _clicked(self, shown: bool) -> None:
        if shown:
            self._node.CreateClosedSurfaceRepresentation()
        else:
            self._node.RemoveClosedSurfaceRepresentation()
