"""What slice and 3D views have in common: a real render window off screen, with Slicer's displayable managers in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

SIZE = (400, 400)


class View:
    """An off-screen view of the scene. `logic` and `node` are set by the two kinds of views."""

    logic: Any
    node: Any

    def __init__(self, factory: Any, managers: Sequence[str], application: Any) -> None:
        self.renderer = vtk.vtkRenderer()
        self.addFirstProps()
        self.window = self._makeWindow()
        self.interactor = self._makeInteractor()
        self.managers = self._makeManagers(factory.GetInstance(), managers, application)

    def addFirstProps(self) -> None:
        """For what must be drawn before anything that displayable managers add."""

    def _makeWindow(self) -> Any:
        window = vtk.vtkRenderWindow()
        window.SetOffScreenRendering(1)
        window.SetMultiSamples(0)
        window.AddRenderer(self.renderer)
        window.SetSize(*SIZE)
        return window

    def _makeInteractor(self) -> Any:
        """The generic one needs no display."""
        interactor = vtk.vtkGenericRenderWindowInteractor()
        interactor.SetRenderWindow(self.window)
        interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        interactor.Initialize()
        interactor.UpdateSize(*SIZE)
        return interactor

    def _makeManagers(self, factory: Any, names: Sequence[str], application: Any) -> Any:
        factory.SetMRMLApplicationLogic(application)
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.SetRenderer(self.renderer)
        group.Initialize(factory, self.renderer)
        return group

    def picture(self) -> NDArray[np.uint8]:
        """What the view shows: rows from the top, columns, RGB."""
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
        return np.ascontiguousarray(pixels[::-1, :, :3])
