"""From a case to its voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from KidneyTumorCascadeBatch.cases import Case
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Geometry, as_matrix, as_vector
from KidneyTumorCascadeLib.volume import Volume, read_scan

# Formats that the library reads itself: it notices damaged files, missing slices and headers that leave open how the patient lies.
CHECKED = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
LPS_RAS = np.diag([-1.0, -1.0, 1.0])


def readCase(case: Case) -> tuple[Volume, list[str]]:
    """The scan and what is odd about it. Raises InputError when it cannot be used."""
    if case.isDicom or case.path.name.lower().endswith(CHECKED):
        return read_scan(case.path)
    return readWithSlicer(case), []


def readWithSlicer(case: Case) -> Volume:
    """The scan through one of Slicer's other readers; the scene is left empty."""
    try:
        node = slicer.util.loadVolume(str(case.path), {"singleFile": True, "show": False})
        voxels = slicer.util.arrayFromVolume(node)
        if voxels.ndim != 3:
            raise InputError(f"{case.path} is no scan with one number per voxel.")
        return Volume(voxels.copy(), geometryOf(node))
    except RuntimeError as error:
        raise InputError(f"{case.path} cannot be read; check the file, or export it again as .nii.gz.") from error
    finally:
        slicer.mrmlScene.Clear(0)


def geometryOf(node: Any) -> Geometry:
    """A volume node's grid in LPS."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASDirectionMatrix(matrix)
    directions = slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]
    x, y, z = node.GetImageData().GetDimensions()
    return Geometry((x, y, z), as_vector(node.GetSpacing()), as_vector(LPS_RAS @ node.GetOrigin()), as_matrix(LPS_RAS @ directions))


def ijkToRas(geometry: Geometry) -> NDArray[np.float64]:
    """4 x 4: from voxel indices i, j, k to RAS in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = LPS_RAS @ geometry.axes * geometry.spacing
    matrix[:3, 3] = LPS_RAS @ geometry.origin
    return matrix
