"""A small CT whose kidneys are bright blocks, and a bundle with networks that find them: for tests of everything around the networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import Tensor, nn

from KidneyTumorCascadeLib import cascade as cascade_module
from KidneyTumorCascadeLib import cli
from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.volume import Volume, write_volume
from Testing.tiny_bundle import make_tiny_bundle, read_description, write_description

# Above these (in network units) a voxel is found.
LEVELS = {"roi": 0.5, "kidney": 0.5, "tumor": 2.5}
KIDNEY_HU, TUMOR_HU = 200, 390
# Along a row to the patient's left, down a column to the feet, from slice to slice to the front: as no scanner stores it by default.
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, -1.0, 0.0)


class Brightness(nn.Module):
    """A network that calls bright voxels foreground."""

    def __init__(self, above: float) -> None:
        super().__init__()
        self.above = above

    def forward(self, patches: Tensor) -> Tensor:
        score = (patches - self.above) * 20.0
        return torch.cat((-score, score), dim=1)


def make_scan(spacing_mm: float = 6.0) -> Volume:
    """Air, soft tissue and two bright blocks, the patient's right and left, with a brighter core in the left one."""
    voxels = np.full((32, 36, 48), -1000, dtype=np.int16)
    voxels[:, 3:33, 3:45] = 0
    voxels[10:20, 12:22, 6:14] = KIDNEY_HU
    voxels[11:22, 12:22, 30:40] = KIDNEY_HU
    voxels[14:18, 15:19, 33:37] = TUMOR_HU
    return Volume(voxels, Geometry((48, 36, 32), (spacing_mm,) * 3, (-140.5, -110.25, 30.125)))


def make_coronal_scan() -> Volume:
    """The same patient, stored as coronal slices with the head first."""
    scan = make_scan()
    voxels = np.ascontiguousarray(scan.voxels.transpose(1, 0, 2)[::-1, ::-1])
    geometry = Geometry((48, 32, 36), scan.geometry.spacing, (-140.5, 99.75, 216.125), CORONAL)
    return Volume(voxels, geometry)


def true_labels(scan: Volume) -> Volume:
    """What there is to be found."""
    labels = np.zeros(scan.voxels.shape, dtype=np.uint8)
    labels[scan.voxels == KIDNEY_HU] = 1
    labels[scan.voxels == TUMOR_HU] = 2
    return Volume(labels, scan.geometry)


def write_dicom(scan: Volume, folder: Path) -> Path:
    """The scan (axial, in LPS order) as a folder of DICOM slices."""
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    x, y, z = scan.geometry.origin
    tags = {"0008|0060": "CT", "0020|000d": "1.2.3", "0020|000e": "1.2.3.4", "0008|103e": "Abdomen", "0020|0037": r"1\0\0\0\1\0"}
    for index, pixels in enumerate(scan.voxels):
        image = sitk.GetImageFromArray(pixels)
        image.SetSpacing(scan.geometry.spacing[:2])
        position = rf"{x}\{y}\{z + index * scan.geometry.spacing[2]}"
        for tag, value in {**tags, "0008|0018": f"1.2.3.4.{index + 1}", "0020|0032": position}.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{index:03d}.dcm"))
        writer.Execute(image)
    return folder


def make_bright_bundle(folder: Path, spacing_mm: float = 6.0) -> Path:
    """The tiny bundle, at the spacing of the scan so that its networks have little to do."""
    make_tiny_bundle(folder)
    content = read_description(folder)
    for network in content["networks"].values():
        network |= {"patch": [32, 32, 32], "spacing_mm": [spacing_mm] * 3}
    write_description(folder, content)
    return folder


def use_brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every bundle's networks find bright voxels, whatever its weights say."""
    monkeypatch.setattr(cascade_module, "load_network", lambda stage, device: Brightness(LEVELS[stage.name]))


@dataclass(frozen=True)
class Outcome:
    """What a command line ended with."""

    code: int
    out: str
    err: str


class Desk:
    """A folder with scans and a bundle, and a command line to use on them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.bundle = make_bright_bundle(folder / "bundle")
        self.out = folder / "out"
        self.out.mkdir()
        self.scan = make_scan()
        self.ct = folder / "ct.nii.gz"
        write_volume(self.scan, self.ct)
        self._capsys = capsys

    def run(self, *words: str | Path) -> Outcome:
        """Run a command line in this process."""
        self._capsys.readouterr()
        code = cli.main([str(word) for word in words])
        return Outcome(code, *self._capsys.readouterr())

    def segment(self, *words: str | Path, source: Path | None = None, output: str = "labels.nii.gz") -> Outcome:
        """`segment` with this desk's scan and bundle on the CPU."""
        return self.run("segment", source or self.ct, self.out / output, "--bundle", self.bundle, "--device", "cpu", *words)

    def written(self) -> list[str]:
        """Names of all files in the folder for outputs, hidden ones too."""
        return sorted(path.name for path in self.out.rglob("*"))
