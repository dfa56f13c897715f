"""slicer.app.layoutManager(): three slice views and a 3D view, with the widgets that hold them in Slicer."""

from __future__ import annotations

from typing import Any

from Testing.Slicer.desk.pythonqt.binding import QtCore, QtWidgets
from Testing.Slicer.desk.slice_view import SliceView
from Testing.Slicer.desk.standins.scene_widgets import qMRMLWidget
from Testing.Slicer.desk.standins.skeleton import register, skeleton
from Testing.Slicer.desk.three_d_view import ThreeDView

# Slicer's own colors.
SLICES = {"Red": ("Axial", (0.95, 0.29, 0.21)), "Green": ("Coronal", (0.43, 0.69, 0.29)), "Yellow": ("Sagittal", (0.93, 0.84, 0.30))}
FOUR_UP = 3


class _VtkWidget:
    """The part of a view's widget that VTK draws on."""

    _view: Any = None

    def renderWindow(self) -> Any:
        return self._view.window

    def interactor(self) -> Any:
        return self._view.interactor

    def interactorStyle(self) -> Any:
        return self._view.style

    def forceRender(self) -> None:
        self._view.picture()

    def scheduleRender(self) -> None:
        """Nothing waits to be drawn here: pictures are taken when a test asks."""


@register
class qMRMLSliceView(_VtkWidget, skeleton("qMRMLSliceView", QtWidgets.QWidget)):  # type: ignore[misc]
    """The canvas of a slice view."""

    def mrmlSliceNode(self) -> Any:
        return self._view.node


@register
class qMRMLThreeDView(_VtkWidget, skeleton("qMRMLThreeDView", QtWidgets.QWidget)):  # type: ignore[misc]
    """The canvas of the 3D view."""

    def mrmlViewNode(self) -> Any:
        return self._view.node

    def resetFocalPoint(self) -> None:
        self._view.fit()

    def resetCamera(self) -> None:
        self._view.fit()


@register
class qMRMLAbstractViewWidget(skeleton("qMRMLAbstractViewWidget", qMRMLWidget)):  # type: ignore[misc]
    """A view with its controls, of which there are none here."""


@register
class qMRMLSliceWidget(skeleton("qMRMLSliceWidget", qMRMLAbstractViewWidget)):  # type: ignore[misc]
    """A slice view."""

    def __init__(self, view: SliceView) -> None:
        super().__init__()
        self._canvas = qMRMLSliceView(self)
        self._canvas._view = view

    def sliceView(self) -> Any:
        return self._canvas

    def sliceLogic(self) -> Any:
        return self._canvas._view.logic

    def mrmlSliceNode(self) -> Any:
        return self._canvas._view.node

    def mrmlSliceCompositeNode(self) -> Any:
        return self.sliceLogic().GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._canvas._view.fit()


@register
class qMRMLThreeDWidget(skeleton("qMRMLThreeDWidget", qMRMLAbstractViewWidget)):  # type: ignore[misc]
    """A 3D view."""

    def __init__(self, view: ThreeDView) -> None:
        super().__init__()
        self._canvas = qMRMLThreeDView(self)
        self._canvas._view = view

    def threeDView(self) -> Any:
        return self._canvas

    def viewLogic(self) -> Any:
        return self._canvas._view.logic

    def mrmlViewNode(self) -> Any:
        return self._canvas._view.node


@register
class qMRMLLayoutManager(skeleton("qMRMLLayoutManager", QtCore.QObject)):  # type: ignore[misc]
    """Slicer's four views, whatever layout is set."""

    _initial = {"layout": FOUR_UP, "threeDViewCount": 1}  # noqa: RUF012

    def __init__(self, scene: Any, application: Any, parent: Any) -> None:
        super().__init__(parent)
        self._application = application
        self._slices = {
            name: qMRMLSliceWidget(SliceView(scene, application, name, orientation, color)) for name, (orientation, color) in SLICES.items()
        }
        self._threeD = qMRMLThreeDWidget(ThreeDView(scene, application))

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._slices)

    def sliceWidget(self, name: str) -> Any:
        return self._slices.get(name)

    def threeDWidget(self, index: int) -> Any:
        return self._threeD if index == 0 else None

    def mrmlSliceLogics(self) -> Any:
        return self._application.GetSliceLogics()

    def mrmlViewLogics(self) -> Any:
        return self._application.GetViewLogics()

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        self._threeD.threeDView().resetFocalPoint()

    def setLayout(self, layout: int) -> None:
        self.layout = layout

    def _propertyChanged(self, name: str) -> None:
        if name == "layout":
            self.layoutChanged.emit(self.layout)


@register
class qSlicerLayoutManager(skeleton("qSlicerLayoutManager", qMRMLLayoutManager)):  # type: ignore[misc]
    """The one of the application."""
