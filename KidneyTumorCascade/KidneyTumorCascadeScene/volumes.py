"""Volumes of the scene as arrays and grids in LPS, and voxels on their way back.

Everything happens in a volume's own frame, as if it had no parent transform. What is made of it is put under the same transform, and so lies
where the volume is shown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Geometry, Size, as_matrix, as_vector

# Its own inverse.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def ijkToRas(volume: Any) -> Any:
    """The vtkMatrix4x4 of a volume, parent transforms left out."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def geometryOf(volume: Any) -> Geometry:
    """The volume's grid in LPS, in its own frame. Raises InputError for one without voxels or with axes that are not at right angles."""
    image = volume.GetImageData()
    if image is None or min(image.GetDimensions()) < 1:
        raise InputError(_("The volume {name} has no voxels; choose another one.").format(name=volume.GetName()))
    toLps = RAS_TO_LPS @ slicer.util.arrayFromVTKMatrix(ijkToRas(volume))
    spacing = np.linalg.norm(toLps[:3, :3], axis=0)
    x, y, z = image.GetDimensions()
    return Geometry((x, y, z), as_vector(spacing), as_vector(toLps[:3, 3]), as_matrix(toLps[:3, :3] / spacing))


def orientedImage(voxels: NDArray[np.uint8], start: Size, volume: Any) -> Any:
    """A vtkOrientedImageData of a part of the volume's grid. `voxels` are z, y, x; `start` is where they begin in it, also z, y, x."""
    image = slicer.vtkOrientedImageData()
    bounds = [(first, first + count - 1) for first, count in zip(start, voxels.shape, strict=True)]
    image.SetExtent(*bounds[2], *bounds[1], *bounds[0])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(voxels.shape)[:] = voxels
    image.SetImageToWorldMatrix(ijkToRas(volume))
    return image


def addVolume(voxels: NDArray[Any], geometry: Geometry, name: str) -> Any:
    """A new scalar volume of voxels z, y, x on a grid in LPS."""
    toLps = np.eye(4)
    toLps[:3, :3] = geometry.axes * np.array(geometry.spacing)
    toLps[:3, 3] = geometry.origin
    return slicer.util.addVolumeFromArray(voxels, RAS_TO_LPS @ toLps, name)


def placeBeside(node: Any, volume: Any) -> None:
    """Puts a node under the volume's transform, and beside it in the subject hierarchy: under the same patient and study."""
    if node.IsA("vtkMRMLTransformableNode"):
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item, beside = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(volume)
    if item and beside:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))


def toWorld(point: Any, volume: Any) -> NDArray[np.float64]:
    """Where a point (LPS, mm, the volume's own frame) lies in the scene: RAS, mm, after the volume's transforms."""
    ras = RAS_TO_LPS[:3, :3] @ np.asarray(point, dtype=float)
    transform = volume.GetParentTransformNode()
    if transform is None:
        return ras
    general = vtk.vtkGeneralTransform()
    transform.GetTransformToWorld(general)
    return np.array(general.TransformPoint(ras))
