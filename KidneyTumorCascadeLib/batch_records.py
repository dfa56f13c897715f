"""What the parts of a batch tell each other: which scans there are, what is asked for, and how each scan ended. Plain data, no PyTorch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib import __version__
from KidneyTumorCascadeLib.report import manifest_path

# A case is an image file (which may have its voxels in a second file) or a DICOM series.
IMAGE, DICOM = "image", "dicom"
DONE, SKIPPED, FAILED = "done", "skipped", "failed"
LABELS_ENDING, PREVIEW_ENDING = ".nii.gz", ".png"
CHUNK = 1024 * 1024
# Files called 1, 2, 3 say nothing of anybody, and such numbers also mean other things in a sentence.
SHORTEST_PRIVATE = 4


@dataclass(frozen=True)
class Case:
    """One scan of a batch.

    Attributes:
        name: where its results go below the output folder, without an ending; / between folders. Nothing of a patient's for DICOM, unless
            the names of folders were asked for.
        path: what is read: an image file, a folder with one DICOM series, or the first file of a series in a folder with several.
        kind: IMAGE or DICOM.
        files: all that it consists of, sorted.
        title: what the DICOM header calls the series.
        private: folder, files and title may be called as the patient is, and are kept out of all that is written down or shown.
    """

    name: str
    path: Path
    kind: str
    files: tuple[Path, ...]
    title: str = ""
    private: bool = False

    def labels(self, output: Path) -> Path:
        """The label map in the output folder."""
        return output / f"{self.name}{LABELS_ENDING}"

    def manifest(self, output: Path) -> Path:
        """The manifest, beside the label map."""
        return manifest_path(self.labels(output))

    def preview(self, output: Path) -> Path:
        """The picture, beside the label map; only there when it was asked for."""
        return output / f"{self.name}{PREVIEW_ENDING}"

    def sha256(self) -> str:
        """Of its files' names and content, read in pieces. Raises OSError."""
        total = hashlib.sha256()
        for path in self.files:
            total.update(f"{path.name}\0".encode("utf-8", "surrogateescape"))
            total.update(bytes.fromhex(sha256_of(path)))
        return total.hexdigest()

    def public(self, sentence: str) -> str:
        """A sentence about this case without what must stay private."""
        if not self.private:
            return sentence
        folder = self.path if self.path.is_dir() else self.path.parent
        sentence = sentence.replace(f' "{self.title}" in {folder}', "")
        for number, path in enumerate(self.files, start=1):
            sentence = sentence.replace(str(path), f"its file {number}")
            if len(path.name) >= SHORTEST_PRIVATE:
                sentence = re.sub(rf"(?<!\w){re.escape(path.name)}(?!\w)", f"file {number}", sentence)
        return sentence.replace(str(folder), "its folder").replace(f'"{self.title}"', "without its name")

    def to_dict(self) -> dict[str, Any]:
        """For a message to another process."""
        return {**asdict(self), "path": str(self.path), "files": [str(path) for path in self.files]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Case:
        """What `to_dict` gave."""
        return cls(**{**content, "path": Path(content["path"]), "files": tuple(map(Path, content["files"]))})


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces, in hexadecimal digits. Raises OSError."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


@dataclass(frozen=True)
class LeftOut:
    """What lies in the input folder and is no case: by the name of a case (nothing of a patient's for DICOM), and the reason as a sentence."""

    name: str
    reason: str


@dataclass(frozen=True)
class CaseOptions:
    """How every case of a batch is segmented, and what is written of it besides label map and manifest.

    Attributes:
        bundle: name or folder of a model bundle; the default one when None.
        preset, merge, device: as in `Cascade` and `choose_device`; merge None is the preset's.
        preview: draw a picture of each result.
        probabilities: write each box's probabilities.
    """

    bundle: str | None = None
    preset: str = "standard"
    merge: str | None = None
    device: str = "auto"
    preview: bool = False
    probabilities: bool = False

    def request(self, bundle_sha256: str, input_sha256: str) -> dict[str, Any]:
        """What a result was asked for with, for its manifest: all that changes it, but not the device that happened to make it."""
        return {
            "version": __version__,
            "bundle_sha256": bundle_sha256,
            "input_sha256": input_sha256,
            "preset": self.preset,
            "merge": self.merge,
            "preview": self.preview,
            "probabilities": self.probabilities,
        }


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is run.

    Attributes:
        case: how every case is segmented.
        workers: processes at once.
        retries: how often a case whose worker died is tried again.
        timeout: seconds that a case may take before its worker is killed and the case has failed; None for any time.
    """

    case: CaseOptions
    workers: int = 1
    retries: int = 2
    timeout: float | None = None


@dataclass(frozen=True)
class CaseOutcome:
    """How a case ended. Everything in it may be written down and handed on.

    Attributes:
        case: its name.
        status: DONE, SKIPPED (its result was there already) or FAILED.
        seconds: from its start to its end, with reading and writing; of an earlier run when it was skipped.
        attempts: how often it was begun in this run; more than once when its worker died.
        reason: one sentence when it failed.
        manifest, preview: files in the output folder, relative to it, with /; None when there is none.
        measurements: the manifest's row for each side (side, kidney_ml, tumor_ml, tumors, longest_mm, ...).
        warnings: the manifest's, one sentence each.
    """

    case: str
    status: str
    seconds: float = 0.0
    attempts: int = 1
    reason: str = ""
    manifest: str | None = None
    preview: str | None = None
    measurements: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()

    def after(self, attempts: int) -> CaseOutcome:
        """The same after that many attempts."""
        return replace(self, attempts=attempts)

    def to_dict(self) -> dict[str, Any]:
        """For a message to another process, or JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> CaseOutcome:
        """What `to_dict` gave."""
        return cls(**{**content, "measurements": tuple(content["measurements"]), "warnings": tuple(content["warnings"])})
