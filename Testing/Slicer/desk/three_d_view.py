"""A 3D view: Slicer's view logic, displayable managers and mouse interaction."""

from __future__ import annotations

from typing import Any

import slicer

from Testing.Slicer.desk.view import View

MANAGERS = (
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLColorLegendDisplayableManager",
)


class ThreeDView(View):
    """The 3D view."""

    def __init__(self, scene: Any, application: Any) -> None:
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, MANAGERS, application)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(application)
        application.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(scene)
        self.node = self.logic.AddViewNode("1")
        self.node.SetMappedInLayout(1)
        self.managers.SetMRMLDisplayableNode(self.node)
        self.style = self._makeStyle()

    def _makeStyle(self) -> Any:
        style = slicer.vtkMRMLThreeDViewInteractorStyle()
        style.SetDisplayableManagers(self.managers)
        style.SetInteractor(self.interactor)
        return style

    def fit(self) -> None:
        """Centers the view on what it shows; the box and the axis labels, which are large, do not count."""
        self.window.Render()
        decoration = self.node.GetBoxVisible(), self.node.GetAxisLabelsVisible()
        self.node.SetBoxVisible(0)
        self.node.SetAxisLabelsVisible(0)
        self.node.InvokeEvent(slicer.vtkMRMLViewNode.ResetFocalPointRequestedEvent)
        self.renderer.ResetCamera()
        self.node.SetBoxVisible(decoration[0])
        self.node.SetAxisLabelsVisible(decoration[1])
        self.renderer.ResetCameraClippingRange()
