"""The phantom as sample data, made on this computer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from KidneyTumorCascadeScene.volumes import addVolume

NAME = "KidneyPhantom"
# The patient of the command line's demonstration.
PATIENT = {"seed": 6, "tumors": 2}


def register(thumbnail: Path) -> None:
    """Enters the phantom into Slicer's list of sample data."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=_("Kidney tumor cascade"),
        sampleName=NAME,
        thumbnailFileName=str(thumbnail),
        uris=["made-on-this-computer"],
        fileNames=[f"{NAME}.nrrd"],
        nodeNames=[NAME],
        customDownloader=lambda source: [addPhantom()],
    )


def addPhantom(**settings: Any) -> Any:
    """Adds an analytic CT with two kidneys and a tumor to the scene and shows it. `settings`: those of the library's phantom."""
    from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom

    scan = make_phantom(PhantomSettings(**{**PATIENT, **settings})).volume
    volume = addVolume(scan.voxels, scan.geometry, NAME)
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(400, 40)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return volume
