"""The user's mouse in a view: events to the interactor, which Slicer's interactor styles take from there."""

from __future__ import annotations

import vtk

from Testing.Slicer.desk.view import View

Pixel = tuple[int, int]
STEPS = 6


def move(view: View, pixel: Pixel) -> None:
    """Moves the mouse there; pixels count from the lower left."""
    _event(view, pixel, vtk.vtkCommand.MouseMoveEvent)


def click(view: View, pixel: Pixel) -> None:
    """Moves there and clicks with the left button."""
    move(view, pixel)
    _event(view, pixel, vtk.vtkCommand.LeftButtonPressEvent)
    _event(view, pixel, vtk.vtkCommand.LeftButtonReleaseEvent)


def drag(view: View, start: Pixel, end: Pixel) -> None:
    """Presses the left button at the start, moves in steps, and lets go at the end."""
    move(view, start)
    _event(view, start, vtk.vtkCommand.LeftButtonPressEvent)
    for step in range(1, STEPS + 1):
        move(view, (start[0] + (end[0] - start[0]) * step // STEPS, start[1] + (end[1] - start[1]) * step // STEPS))
    _event(view, end, vtk.vtkCommand.LeftButtonReleaseEvent)


def wheel(view: View, pixel: Pixel, forward: bool = True) -> None:
    """Turns the wheel by one notch."""
    move(view, pixel)
    _event(view, pixel, vtk.vtkCommand.MouseWheelForwardEvent if forward else vtk.vtkCommand.MouseWheelBackwardEvent)


def _event(view: View, pixel: Pixel, event: int) -> None:
    view.interactor.SetEventInformation(pixel[0], pixel[1], 0, 0)
    view.interactor.InvokeEvent(event)
