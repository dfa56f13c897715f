"""A slice view: Slicer's slice logic, displayable managers and mouse interaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from Testing.Slicer.desk.view import SIZE, View

MANAGERS = (
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)


class SliceView(View):
    """One of the slice views. Positions are RAS, in mm; pixels count from the lower left."""

    def __init__(self, scene: Any, application: Any, name: str, orientation: str, color: Sequence[float]) -> None:
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory, MANAGERS, application)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self._addOverlay()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application)
        application.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(scene)
        self.node = self._makeNode(name, orientation, color)
        self.managers.SetMRMLDisplayableNode(self.node)
        self.logic.ResizeSliceNode(*SIZE)
        self.style = self._makeStyle()

    def addFirstProps(self) -> None:
        """The image: translucent segments blend only with what is drawn before them."""
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(self._mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        self._image.SetVisibility(False)
        self.renderer.AddViewProp(self._image)

    def _addOverlay(self) -> None:
        overlay = vtk.vtkRenderer()
        overlay.SetLayer(1)
        self.window.SetNumberOfLayers(2)
        self.window.AddRenderer(overlay)

    def _makeNode(self, name: str, orientation: str, color: Sequence[float]) -> Any:
        node = self.logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        node.SetLayoutColor(*color)
        node.SetMappedInLayout(1)
        return node

    def _makeStyle(self) -> Any:
        style = slicer.vtkMRMLSliceViewInteractorStyle()
        style.SetSliceLogic(self.logic)
        style.SetDisplayableManagers(self.managers)
        style.SetInteractor(self.interactor)
        return style

    def fit(self) -> None:
        """Shows the whole background volume, with the slice on a plane of voxels."""
        self.logic.FitSliceToBackground()
        self.logic.SnapSliceOffsetToIJK()

    def picture(self) -> NDArray[np.uint8]:
        """What the view shows: rows from the top, columns, RGB."""
        connection = self.logic.GetImageDataConnection()
        self._image.SetVisibility(connection is not None)
        if connection is not None:
            self._mapper.SetInputConnection(connection)
        return super().picture()

    def pixel(self, ras: Sequence[float]) -> tuple[int, int]:
        """Where a point of the scene (RAS, mm) is on the screen."""
        matrix = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), matrix)
        x, y = matrix.MultiplyPoint((*ras, 1.0))[:2]
        return round(x), round(y)
