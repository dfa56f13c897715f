"""A case as nodes of the scene: as the panel leaves them, so that a batch's scene can be opened there and worked on."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from KidneyTumorCascadeLib.volume import Volume
from KidneyTumorCascadeLib.worker_messages import Options, Segmented
from KidneyTumorCascadeScene.parameters import Parameters
from KidneyTumorCascadeScene.scene_results import showSegmented
from KidneyTumorCascadeScene.volumes import addVolume

MODULE = "KidneyTumorCascade"


def addCase(scan: Volume, name: str, result: Segmented, options: Options) -> Any:
    """Adds the scan and what was found in it; returns the segmentation's node. Removes the result's files."""
    volume = addVolume(scan.voxels, scan.geometry, name)
    volume.CreateDefaultDisplayNodes()
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    parameters = newParameters(options)
    parameters.ct = volume
    showSegmented(parameters, volume, result, None)
    return parameters.segmentation


def newParameters(options: Options) -> Parameters:
    """The module's parameter node with these options."""
    logic = ScriptedLoadableModuleLogic()
    logic.moduleName = MODULE
    parameters = Parameters(logic.getParameterNode())  # type: ignore[call-arg]  # the decorator gives it its constructor
    parameters.bundle, parameters.preset = options.bundle or "", options.preset
    parameters.device, parameters.merge = options.device, options.merge or ""
    return parameters
