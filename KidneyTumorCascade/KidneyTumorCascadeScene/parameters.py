"""What the module's parameter node keeps: everything that the panel shows, so that a saved scene brings it back."""

import slicer
from slicer.parameterNodeWrapper import parameterNodeWrapper

from KidneyTumorCascadeLib.worker_messages import Options

BY_SIDE, BY_KIND = "by side", "by kind"


@parameterNodeWrapper
class Parameters:
    """The panel's choices, and the nodes that belong to them."""

    ct: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    table: slicer.vtkMRMLTableNode
    rightBox: slicer.vtkMRMLMarkupsROINode
    leftBox: slicer.vtkMRMLMarkupsROINode
    # One box around a kidney mass that crosses the midline.
    bothBox: slicer.vtkMRMLMarkupsROINode

    live: bool = True
    keepBoxes: bool = True
    probabilities: bool = False
    bundle: str = ""
    preset: str = "standard"
    device: str = "auto"
    merge: str = ""
    segments: str = BY_SIDE

    boxesCollapsed: bool = False
    resultsCollapsed: bool = False
    advancedCollapsed: bool = True

    status: str = ""
    warnings: str = ""


def optionsOf(parameters: Parameters) -> Options:
    """What the worker is asked for."""
    return Options(
        bundle=parameters.bundle or None,
        preset=parameters.preset,
        device=parameters.device,
        merge=parameters.merge or None,
        probabilities=parameters.probabilities,
    )
