"""What a case leaves on the disk: segmentation, scene, manifest. Each file appears whole; the manifest comes last and says that all is there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from KidneyTumorCascadeBatch.cases import Case
from KidneyTumorCascadeBatch.nodes import addCase
from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.report import is_manifest, manifest_path, require_manifest_place, write_json
from KidneyTumorCascadeLib.volume import Volume, write_volume
from KidneyTumorCascadeLib.worker_messages import Options, Segmented

SEGMENTATION, LABEL_MAP = "seg.nrrd", "nii.gz"
FORMATS = (SEGMENTATION, LABEL_MAP)

# What a result was asked for with: the scan's and the bundle's hash and all options that change it.
Request = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a case's files go.

    Attributes:
        result: the segmentation.
        scene: the scene, if one is wanted.
    """

    result: Path
    scene: Path | None

    @classmethod
    def of(cls, case: Case, folder: Path, form: str, scene: bool) -> Place:
        """The place in the folder for outputs."""
        return cls(folder / f"{case.name}.{form}", folder / f"{case.name}.mrb" if scene else None)

    @property
    def manifest(self) -> Path:
        """The manifest, beside the segmentation."""
        return manifest_path(self.result)

    def manifestOf(self, request: Request) -> dict[str, Any] | None:
        """The manifest when the result is there already and was made for the same request; else None."""
        files = [self.result, self.manifest, *([self.scene] if self.scene else [])]
        if not all(file.is_file() for file in files) or not is_manifest(self.manifest):
            return None
        manifest: dict[str, Any] = json.loads(self.manifest.read_bytes())
        return manifest if manifest.get("request") == request else None

    def prepare(self) -> None:
        """Make the folder. Raises InputError when it cannot be made, or a file there is not this program's to overwrite."""
        try:
            self.result.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder {self.result.parent} cannot be made ({error.strerror or error}); choose another one.") from error
        require_manifest_place(self.manifest)
        self.manifest.unlink(missing_ok=True)  # From here on the files beside it may be those of two runs.


@dataclass(frozen=True)
class Segmentation:
    """What is to be written of a case.

    Attributes:
        name: what nodes call the scan.
        scan: the CT.
        result: what the worker found.
        options: how.
        manifest: what is written down of it.
    """

    name: str
    scan: Volume
    result: Segmented
    options: Options
    manifest: Mapping[str, Any]


def writeResult(place: Place, case: Segmentation) -> None:
    """Write all files of a case; the scene is left empty. Raises InputError or SetupError when they cannot be written."""
    place.prepare()
    if place.result.name.endswith(LABEL_MAP):
        geometry = case.scan.geometry
        write_volume(Volume(case.result.label_map(geometry.shape_zyx), geometry), place.result)
    if place.scene or place.result.name.endswith(SEGMENTATION):
        writeThroughScene(place, case)
    write_json(place.manifest, case.manifest)


def writeThroughScene(place: Place, case: Segmentation) -> None:
    """Write what Slicer itself writes."""
    try:
        segmentation = addCase(case.scan, case.name, case.result, case.options)
        if place.result.name.endswith(SEGMENTATION):
            writeWhole(place.result, lambda path: slicer.util.saveNode(segmentation, path))
        if place.scene:
            writeWhole(place.scene, slicer.util.saveScene)
    finally:
        slicer.mrmlScene.Clear(0)


def writeWhole(path: Path, write: Callable[[str], bool]) -> None:
    """Let Slicer write a file of that name in a hidden folder beside its place, and move it there. Raises SetupError when that fails."""
    try:
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as folder:
            waiting = Path(folder) / path.name
            if not write(str(waiting)) or not waiting.is_file():
                raise SetupError(f"Slicer could not write {path}; the disk may be full, so free some space.")
            os.replace(waiting, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another folder.") from error
