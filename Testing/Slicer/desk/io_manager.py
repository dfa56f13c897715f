"""slicer.app.coreIOManager(): files are read and written by Slicer's own logics and storage nodes."""

from __future__ import annotations

import os
from typing import Any

import slicer

from Testing.Slicer.desk.pythonqt.binding import QtCore
from Testing.Slicer.desk.standins.skeleton import register, skeleton

# Longest endings first: ".seg.nrrd" is no volume.
FILE_TYPES = (
    ("SceneFile", (".mrml", ".mrb")),
    ("SegmentationFile", (".seg.nrrd", ".seg.nhdr", ".seg.vtm")),
    ("MarkupsFile", (".mrk.json", ".fcsv")),
    ("VolumeFile", (".nii.gz", ".nrrd", ".nhdr", ".nii", ".mha", ".mhd")),
    ("TableFile", (".csv", ".tsv")),
    ("TransformFile", (".h5", ".tfm")),
    ("ModelFile", (".vtk", ".vtp", ".stl", ".ply", ".obj")),
    ("TextFile", (".txt", ".json")),
)
WRITERS = {
    "vtkMRMLSegmentationNode": "SegmentationFile",
    "vtkMRMLMarkupsNode": "MarkupsFile",
    "vtkMRMLVolumeNode": "VolumeFile",
    "vtkMRMLTableNode": "TableFile",
    "vtkMRMLTransformNode": "TransformFile",
    "vtkMRMLModelNode": "ModelFile",
    "vtkMRMLTextNode": "TextFile",
}
# vtkSlicerVolumesLogic's options for AddArchetypeVolume.
LABEL_MAP, CENTERED, SINGLE_FILE = 1, 2, 16


@register
class qSlicerCoreIOManager(skeleton("qSlicerCoreIOManager", QtCore.QObject)):  # type: ignore[misc]
    """Reads and writes nodes."""

    def fileType(self, fileName: str) -> str:
        """By the file's name alone."""
        return next((kind for kind, endings in FILE_TYPES if str(fileName).lower().endswith(endings)), "NoFile")

    def loadNodes(self, fileType: str, parameters: Any, loadedNodes: Any = None, userMessages: Any = None) -> bool:
        """False when there is no such file or nothing could be read."""
        name = str(parameters["fileName"])
        if not os.path.isfile(name):
            return False
        if fileType == "SceneFile":
            return load_scene(name, bool(parameters.get("clear")))
        node = load_node(fileType, name, parameters)
        if node is not None and loadedNodes is not None:
            loadedNodes.AddItem(node)
        return node is not None

    def fileWriterFileType(self, node: Any) -> str:
        return next((kind for cls, kind in WRITERS.items() if node.IsA(cls)), "NoFile")

    def saveNodes(self, fileType: str, parameters: Any, userMessages: Any = None) -> bool:
        """Writes the scene, or the node with the ID that `parameters` give."""
        name = str(parameters["fileName"])
        if fileType == "SceneFile":
            return save_scene(name)
        node = slicer.mrmlScene.GetNodeByID(parameters["nodeID"])
        self.createAndAddDefaultStorageNode(node)
        storage = node.GetStorageNode()
        storage.SetFileName(name)
        storage.SetUseCompression(int(parameters.get("useCompression", True)))
        return bool(storage.WriteData(node))

    def addDefaultStorageNodes(self) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
            self.createAndAddDefaultStorageNode(node)

    def createAndAddDefaultStorageNode(self, node: Any) -> None:
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()


@register
class qSlicerIOManager(skeleton("qSlicerIOManager", qSlicerCoreIOManager)):  # type: ignore[misc]
    """Slicer's has dialogs besides."""


def load_scene(name: str, clear: bool) -> bool:
    """Reads a .mrb or .mrml file into the scene, or instead of it."""
    scene = slicer.mrmlScene
    if name.endswith(".mrb"):
        return bool(scene.ReadFromMRB(name, clear))
    scene.SetURL(name)
    return bool(scene.Connect() if clear else scene.Import())


def save_scene(name: str) -> bool:
    """Writes the whole scene as a .mrb or .mrml file."""
    scene = slicer.mrmlScene
    scene.SetRootDirectory(os.path.dirname(os.path.abspath(name)))
    if name.endswith(".mrb"):
        return bool(scene.WriteToMRB(name))
    scene.SetURL(name)
    return bool(scene.Commit(name))


def load_node(fileType: str, fileName: str, parameters: Any) -> Any:
    """The node that the file holds; None when it could not be read or the desk does not read this kind."""
    name = parameters.get("name") or node_name(fileName)
    modules = slicer.modules
    if fileType == "VolumeFile":
        return modules.volumes.logic().AddArchetypeVolume(fileName, name, volume_options(parameters))
    if fileType == "SegmentationFile":
        return modules.segmentations.logic().LoadSegmentationFromFile(fileName, True, parameters.get("name") or "")
    if fileType == "MarkupsFile":
        return slicer.mrmlScene.GetNodeByID(modules.markups.logic().LoadMarkups(fileName, name) or "")
    if fileType == "TableFile":
        return modules.tables.logic().AddTable(fileName, name)
    if fileType == "ModelFile":
        return modules.models.logic().AddModel(fileName)
    if fileType == "TransformFile":
        return modules.transforms.logic().AddTransform(fileName, slicer.mrmlScene)
    return None


def volume_options(parameters: Any) -> int:
    """slicer.util.loadVolume's properties as one number."""
    flags = {"labelmap": LABEL_MAP, "center": CENTERED, "singleFile": SINGLE_FILE}
    return sum(flag for key, flag in flags.items() if parameters.get(key))


def node_name(fileName: str) -> str:
    """A file's name without its folder and ending."""
    base = os.path.basename(fileName)
    ending = next((ending for _, endings in FILE_TYPES for ending in endings if base.lower().endswith(ending)), "")
    return base[: len(base) - len(ending)]
