"""From a case to its voxels."""

from __future__ import annotations

import slicer

from KidneyTumorCascadeBatch.cases import Case
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.volume import Volume, read_scan
from KidneyTumorCascadeScene.volumes import geometryOf

# Formats that the library reads itself: it notices damaged files, missing slices and headers that leave open how the patient lies.
CHECKED = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


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
