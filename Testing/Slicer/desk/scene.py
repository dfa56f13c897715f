"""The MRML scene as Slicer sets it up at its start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk

# Modules of Slicer that a segmentation module may use, and the class of each one's logic.
LOGICS = {
    "Annotations": "vtkSlicerAnnotationModuleLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Colors": "vtkMRMLColorLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "SceneViews": "vtkSlicerSceneViewsModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}


def make_scene(cache: Path) -> Any:
    """An empty scene that can read files of every kind, .mrb included. `cache`: a folder for downloads, which the desk never makes."""
    scene = slicer.vtkMRMLScene()
    manager = slicer.vtkCacheManager()
    manager.SetRemoteCacheDirectory(str(cache))
    manager.SetMRMLScene(scene)
    scene.SetCacheManager(manager)
    data = slicer.vtkDataIOManager()
    data.SetCacheManager(manager)
    scene.SetDataIOManager(data)
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    return scene


def make_application_logic(scene: Any) -> Any:
    """The logic of the application, with Slicer's color tables in the scene."""
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    return logic


def make_module_logic(name: str, scene: Any, application: Any) -> Any:
    """The logic of one of Slicer's modules, at work on the scene."""
    logic = getattr(slicer, LOGICS[name])()
    logic.SetMRMLScene(scene)
    logic.SetMRMLApplicationLogic(application)
    application.SetModuleLogic(name, logic)
    return logic
