"""What the program made of an input, held against what it had to make of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from Testing.Corpus.patients import TUMOR, Patient, points_of
from Testing.Corpus.registry import Kind

# A voxel at the surface may go either way where the scan's voxels are not the networks'.
LEAST_DICE = 0.93
END_OF_SENTENCE = re.compile(r"[.!?](?:\s|$)")


@dataclass(frozen=True)
class Ended:
    """How the program ended: exit code, what it said, and the folder it wrote into."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def written(self) -> list[str]:
        """Names of all files in the folder, hidden ones too."""
        return sorted(path.name for path in self.folder.rglob("*"))


def check_refusal(kind: Kind, ended: Ended) -> None:
    """Exit code 2, one sentence with the expected words, and no file."""
    assert ended.code == 2, ended.err
    assert ended.out == ""
    assert len(END_OF_SENTENCE.findall(ended.err)) == 1, ended.err
    assert ended.err.endswith(".\n")
    assert ended.err.count("\n") == 1, ended.err
    assert not re.search(r"Traceback|Error|ERROR|itk|ITK", ended.err), ended.err
    assert kind.says[0] in ended.err
    assert ended.written == []


def check_result(kind: Kind, ended: Ended) -> None:
    """Exit code 0, the expected warnings and no others, and the right labels in the right places."""
    assert kind.patient is not None
    assert ended.code == 0, ended.err
    assert ended.written == ["labels.json", "labels.nii.gz"]
    manifest = json.loads((ended.folder / "labels.json").read_text(encoding="utf-8"))
    assert len(manifest["warnings"]) == len(kind.says), manifest["warnings"]
    for words in kind.says:
        assert any(words in warning for warning in manifest["warnings"]), (words, manifest["warnings"])
    assert ended.err.splitlines() == [f"Warning: {warning}" for warning in manifest["warnings"]]
    assert [box["side"] for box in manifest["boxes"]] == list(kind.patient.sides)
    check_labels(ended.folder / "labels.nii.gz", kind.patient)


def check_labels(path: Path, patient: Patient) -> None:
    """The label map has the patient's kidneys and tumors where they lie in the patient, by its own header."""
    image = sitk.ReadImage(str(path))
    found = sitk.GetArrayFromImage(image)
    truth = patient.labels_at(points_of(image.GetSize(), affine_of(image)))
    assert dice(found > 0, truth > 0) >= LEAST_DICE
    assert dice(found == TUMOR, truth == TUMOR) >= LEAST_DICE


def affine_of(image: Any) -> NDArray[np.float64]:
    """4 x 4, from (i, j, k, 1) to LPS mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Overlap; 1 where there is nothing to be found and nothing was."""
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0
