"""Whatever goes wrong on the command line ends with one sentence, the exit code of its kind, and no file left behind."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import re
import signal
import struct
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from KidneyTumorCascadeLib import bundle, cli, commands, scan_reading, segment_file
from KidneyTumorCascadeLib.errors import SetupError
from KidneyTumorCascadeLib.phantom import PhantomSettings
from Testing import bright_blocks
from Testing.bright_blocks import Desk, Outcome, make_scan, use_brightness, write_dicom

BOX = {"side": "left", "center_lps_mm": [70.0, -10.0, 120.0], "size_mm": [90.0, 90.0, 90.0]}


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def check_refusal(desk: Desk, outcome: Outcome, code: int, *words: str) -> None:
    """One sentence with these words, the exit code, and nothing written."""
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert outcome.err[:-1] == outcome.err.strip()
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err
    assert desk.written() == []


# --- scans that cannot be used ---------------------------------------------------------------------------------------------------------------


def write(image: sitk.Image, path: Path) -> Path:
    sitk.WriteImage(image, str(path))
    return path


def scan_of(voxels: np.ndarray, path: Path, spacing: float = 6.0) -> Path:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing([spacing] * image.GetDimension())
    return write(image, path)


def missing(folder: Path) -> Path:
    return folder / "scan.nii.gz"


def empty(folder: Path) -> Path:
    (folder / "scan.nii.gz").touch()
    return folder / "scan.nii.gz"


def text(folder: Path) -> Path:
    (folder / "scan.nii.gz").write_text("a scan, really", encoding="utf-8")
    return folder / "scan.nii.gz"


def truncated(folder: Path) -> Path:
    path = scan_of(make_scan().voxels, folder / "scan.nii.gz")
    path.write_bytes(path.read_bytes()[:-200])
    return path


def truncated_before_packing(folder: Path) -> Path:
    path = scan_of(make_scan().voxels, folder / "scan.nii.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-9000]))
    return path


def flat(folder: Path) -> Path:
    return scan_of(make_scan().voxels[0], folder / "scan.nii.gz")


def over_time(folder: Path) -> Path:
    return write(sitk.JoinSeries([sitk.GetImageFromArray(make_scan().voxels)] * 2), folder / "scan.nii.gz")


def colored(folder: Path) -> Path:
    return write(sitk.GetImageFromArray(np.zeros((9, 9, 9, 3), dtype=np.uint8), isVector=True), folder / "scan.nrrd")


def photograph(folder: Path) -> Path:
    return scan_of(np.arange(27000, dtype=np.uint8).reshape(30, 30, 30), folder / "scan.nrrd")


def normalized(folder: Path) -> Path:
    return scan_of((make_scan().voxels / 1000.0).astype(np.float32), folder / "scan.nrrd")


def with_nan(folder: Path) -> Path:
    voxels = make_scan().voxels.astype(np.float32)
    voxels[3, 4, 5] = np.nan
    return scan_of(voxels, folder / "scan.nrrd")


def without_spacing(folder: Path) -> Path:
    path = scan_of(make_scan().voxels, folder / "scan.nii")
    data = bytearray(path.read_bytes())
    data[80:84] = struct.pack("<f", 0.0)  # pixdim[1] of the NIfTI header
    path.write_bytes(data)
    return path


def tiny(folder: Path) -> Path:
    return scan_of(make_scan().voxels, folder / "scan.nrrd", spacing=0.5)


def few_slices(folder: Path) -> Path:
    return scan_of(make_scan().voxels[:5], folder / "scan.nrrd")


def empty_folder(folder: Path) -> Path:
    (folder / "scan").mkdir()
    return folder / "scan"


def gap_in_dicom(folder: Path) -> Path:
    series = write_dicom(make_scan(), folder / "scan")
    (series / "010.dcm").unlink()
    return series


SCANS = [
    (missing, "no file or folder"),
    (empty, "empty"),
    (text, "scan.nii.gz"),
    (truncated, "scan.nii.gz"),
    (truncated_before_packing, "scan.nii.gz"),
    (flat, "three-dimensional"),
    (over_time, "of 4 dimensions"),
    (colored, "3 numbers per voxel"),
    (photograph, "8-bit"),
    (normalized, "Hounsfield"),
    (with_nan, "NaN"),
    (without_spacing, "spacing"),
    (tiny, "scan.nrrd"),
    (few_slices, "scan.nrrd"),
    (empty_folder, "no DICOM slices"),
    (gap_in_dicom, "missing or unevenly spaced"),
]


@pytest.mark.parametrize(("make", "word"), SCANS, ids=[make.__name__ for make, _ in SCANS])
def test_an_unusable_scan_is_refused(desk: Desk, make: Callable[[Path], Path], word: str) -> None:
    source = make(desk.folder)
    check_refusal(desk, desk.segment("--preview", desk.out / "picture.png", source=source), 2, word, "scan")
    check_refusal(desk, desk.run("boxes", source, desk.out / "boxes.json", "--bundle", desk.bundle, "--device", "cpu"), 2, word)


# --- places that cannot be written to --------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything that takes time fails the test."""

    def begin(*_: Any) -> None:
        raise AssertionError("this should have been refused before anything is computed")

    for module in (commands, segment_file):
        monkeypatch.setattr(module, "open_cascade", begin)
    monkeypatch.setattr(commands, "make_phantom", begin)


@pytest.mark.parametrize("output", ["labels", "labels.png", "labels.txt", "labels.nii.zip", "labels.mhd", "absent/labels.nii.gz", "."])
@pytest.mark.usefixtures("no_computing")
def test_an_output_that_cannot_be_written_is_refused_at_once(desk: Desk, output: str) -> None:
    check_refusal(desk, desk.segment(output=output), 2)
    check_refusal(desk, desk.run("phantom", desk.out / "ct.nii.gz", desk.out / output), 2)
    check_refusal(desk, desk.run("phantom", desk.out / output, desk.out / "truth.nii.gz"), 2)


@pytest.mark.parametrize("preview", ["picture.jpg", "picture", "absent/picture.png"])
@pytest.mark.usefixtures("no_computing")
def test_a_preview_that_cannot_be_written_is_refused_at_once(desk: Desk, preview: str) -> None:
    check_refusal(desk, desk.segment("--preview", desk.out / preview), 2, "picture")


@pytest.mark.usefixtures("no_computing")
def test_boxes_are_not_written_over_a_scan(desk: Desk) -> None:
    before = desk.ct.read_bytes()
    check_refusal(desk, desk.run("boxes", desk.ct, desk.ct), 2, "ends with .json")
    check_refusal(desk, desk.run("boxes", desk.ct, desk.out / "absent" / "boxes.json"), 2, "absent")
    assert desk.ct.read_bytes() == before


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="the superuser may write everywhere")
@pytest.mark.usefixtures("no_computing")
def test_a_folder_closed_to_writing_is_refused_at_once(desk: Desk) -> None:
    desk.out.chmod(0o500)
    check_refusal(desk, desk.segment(), 2, "cannot be written")


@pytest.mark.usefixtures("no_computing")
def test_the_scan_is_never_written_over(desk: Desk) -> None:
    before = desk.ct.read_bytes()
    (desk.folder / "link.nii.gz").symlink_to(desk.ct)
    for output in (desk.ct, desk.out / ".." / "ct.nii.gz", desk.folder / "link.nii.gz"):
        check_refusal(desk, desk.run("segment", desk.ct, output, "--bundle", desk.bundle), 2, "overwrite the scan")
    check_refusal(desk, desk.run("segment", desk.folder / "link.nii.gz", desk.ct, "--bundle", desk.bundle), 2, "overwrite the scan")
    assert desk.ct.read_bytes() == before


@pytest.mark.usefixtures("no_computing")
def test_a_manifest_is_not_written_over_what_is_read(desk: Desk) -> None:
    boxes = desk.out / "labels.json"
    boxes.write_text(json.dumps({"boxes": [BOX]}), encoding="utf-8")
    outcome = desk.segment("--boxes", boxes)
    assert outcome.code == 2
    assert "The manifest" in outcome.err
    assert "overwrite the list of boxes" in outcome.err
    assert json.loads(boxes.read_text(encoding="utf-8")) == {"boxes": [BOX]}


@pytest.mark.usefixtures("no_computing")
def test_a_manifest_is_not_written_over_a_sidecar(desk: Desk) -> None:
    sidecar = desk.out / "labels.json"
    sidecar.write_text('{"Modality": "CT"}', encoding="utf-8")
    outcome = desk.segment()
    assert (outcome.code, outcome.out, len(outcome.err.splitlines())) == (2, "", 1)
    assert "labels.json would overwrite a file that this program did not write" in outcome.err
    assert sidecar.read_text(encoding="utf-8") == '{"Modality": "CT"}'
    assert desk.written() == ["labels.json"]


@pytest.mark.usefixtures("no_computing")
def test_a_preview_is_not_written_over_what_is_read_or_written(desk: Desk) -> None:
    picture_of_a_scan = desk.folder / "ct.png"
    desk.ct.rename(picture_of_a_scan)
    check_refusal(desk, desk.segment("--preview", picture_of_a_scan, source=picture_of_a_scan), 2, "overwrite the scan")
    (desk.out / "picture.png").symlink_to("labels.nii.gz")
    outcome = desk.segment("--preview", desk.out / "picture.png")
    assert outcome.code == 2
    assert "overwrite the label map" in outcome.err


@pytest.mark.usefixtures("no_computing")
def test_probability_maps_are_not_written_over_the_scan(desk: Desk) -> None:
    source = desk.out / "labels_left_tumor_probability.nii.gz"
    desk.ct.rename(source)
    outcome = desk.segment("--probabilities", source=source)
    assert outcome.code == 2
    assert "overwrite the scan" in outcome.err


# --- boxes, presets, bundles, devices --------------------------------------------------------------------------------------------------------

LISTS = {
    "not JSON": ("boxes: left", "not a JSON file"),
    "not UTF-8": (b'{"boxes": "\xff"}', "not a JSON file"),
    "nested too deep": ("[" * 100_000, "not a JSON file"),
    "too large": (" " * 2_000_000, "too large"),
    "a list": ([BOX], "list named boxes"),
    "no boxes": ({"schema": 1}, "list named boxes"),
    "not a list": ({"boxes": BOX}, "list named boxes"),
    "a number for a box": ({"boxes": [BOX, 7]}, "box 2"),
    "no side": ({"boxes": [{**BOX, "side": None}]}, "side"),
    "unknown side": ({"boxes": [BOX, {**BOX, "side": "port"}]}, "box 2"),
    "no centre": ({"boxes": [{"side": "left", "size_mm": [9, 9, 9]}]}, "center_lps_mm"),
    "two numbers": ({"boxes": [{**BOX, "size_mm": [90, 90]}]}, "size_mm"),
    "text for a number": ({"boxes": [{**BOX, "size_mm": [90, 90, "90"]}]}, "size_mm"),
    "no extent": ({"boxes": [{**BOX, "size_mm": [90, 0, 90]}]}, "impossible"),
    "NaN": ({"boxes": [{**BOX, "center_lps_mm": [0, float("nan"), 0]}]}, "NaN is no number"),
    "infinity": ({"boxes": [{**BOX, "size_mm": [90, 90, float("inf")]}]}, "Infinity is no number"),
    "far away": ({"boxes": [{**BOX, "center_lps_mm": [1e300, 0, 0]}]}, "too far away"),
    "beyond floats": ({"boxes": [{**BOX, "center_lps_mm": [10**400, 0, 0]}]}, "too large"),
    "skew axes": ({"boxes": [{**BOX, "direction_lps": [1, 1, 0, 0, 1, 0, 0, 0, 1]}]}, "right angles"),
    "beside the scan": ({"boxes": [BOX, {**BOX, "center_lps_mm": [900, 0, 0]}]}, "outside the scan"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_boxes_that_cannot_be_used_is_refused(desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content, word = LISTS[name]
    path = desk.folder / "boxes.json"
    path.write_bytes(content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode())
    monkeypatch.setattr("KidneyTumorCascadeLib.cascade.Cascade.segment", None)
    check_refusal(desk, desk.segment("--boxes", path), 2, word)


def test_a_list_of_boxes_that_cannot_be_read_is_refused(desk: Desk) -> None:
    check_refusal(desk, desk.segment("--boxes", desk.folder / "absent.json"), 2, "absent.json")
    check_refusal(desk, desk.segment("--boxes", desk.folder), 2, "cannot be read")


def test_an_unknown_preset_is_refused_with_the_known_ones(desk: Desk) -> None:
    check_refusal(desk, desk.segment("--preset", "best"), 2, "'best'", "standard", "paper")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_does_not_work_is_said(desk: Desk, name: str) -> None:
    if torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available():
        pytest.skip(f"{name} works here")
    outcome = desk.run("segment", desk.ct, desk.out / "labels.nii.gz", "--bundle", desk.bundle, "--device", name)
    check_refusal(desk, outcome, 3, name, "--device cpu")


def damage_weights(folder: Path) -> None:
    path = folder / "kidney.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def damage_description(folder: Path) -> None:
    (folder / "bundle.json").write_text("{", encoding="utf-8")


def lose_weights(folder: Path) -> None:
    (folder / "kidney.safetensors").unlink()


def come_from_the_future(folder: Path) -> None:
    path = folder / "bundle.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"schema": 1', '"schema": 99'), encoding="utf-8")


@pytest.mark.parametrize("damage", [damage_weights, damage_description, lose_weights, come_from_the_future])
def test_a_damaged_bundle_is_refused(desk: Desk, damage: Callable[[Path], None]) -> None:
    damage(desk.bundle)
    (desk.folder / "boxes.json").write_text(json.dumps({"boxes": [BOX]}), encoding="utf-8")
    check_refusal(desk, desk.segment("--boxes", desk.folder / "boxes.json"), 3, str(desk.bundle))
    check_refusal(desk, desk.run("bundle", "verify", desk.bundle), 3, str(desk.bundle))
    check_refusal(desk, desk.run("demo", desk.out, "--bundle", desk.bundle), 3)


@pytest.mark.parametrize("damage", [damage_weights, lose_weights])
def test_damaged_weights_are_said_before_a_damaged_scan(desk: Desk, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    damage(desk.bundle)
    monkeypatch.setattr(scan_reading, "read_scan", raising(AssertionError("the scan was read")))
    check_refusal(desk, desk.segment(), 3, "kidney.safetensors")
    check_refusal(desk, desk.run("boxes", desk.ct, desk.out / "boxes.json", "--bundle", desk.bundle), 3, "kidney.safetensors")


@pytest.mark.parametrize("damage", [damage_weights, damage_description, lose_weights])
def test_check_notices_a_damaged_default_bundle(desk: Desk, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "DEFAULT_FOLDER", desk.bundle)
    damage(desk.bundle)
    outcome = desk.run("check")
    assert (outcome.code, len(outcome.err.splitlines())) == (3, 1)
    assert str(desk.bundle) in outcome.err
    assert re.search(r"^bundle default +no: ", outcome.out, re.MULTILINE)


@pytest.mark.parametrize("name", ["absent", "./absent", "no such name"])
def test_a_missing_bundle_is_refused(desk: Desk, name: str) -> None:
    outcome = desk.run("segment", desk.ct, desk.out / "labels.nii.gz", "--bundle", name)
    check_refusal(desk, outcome, 3, "absent" if "absent" in name else name, "default")


@pytest.mark.parametrize("content", [None, b"no zip"])
def test_a_zip_that_is_none_is_refused(desk: Desk, content: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIDNEY_TUMOR_CASCADE_HOME", str(desk.folder / "home"))
    path = desk.folder / "bundle.zip"
    if content is not None:
        path.write_bytes(content)
    check_refusal(desk, desk.run("bundle", "install", path), 2 if content is None else 3, "bundle.zip")


@pytest.mark.parametrize("words", [("absent", "out"), ("ct.nii.gz", "out"), ("out", "out"), ("ct.nii.gz", "ct.nii.gz")])
def test_what_cannot_be_evaluated_is_refused(desk: Desk, words: tuple[str, str]) -> None:
    check_refusal(desk, desk.run("evaluate", desk.folder / words[0], desk.folder / words[1], "--csv", desk.out / "scores.csv"), 2)
    assert desk.run("evaluate", desk.ct, desk.ct, "--csv", desk.folder / "absent" / "scores.csv").code == 2


# --- runs that are stopped or break ----------------------------------------------------------------------------------------------------------


def at_patch(number: int, happening: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something happen when a network sees its n-th patch."""
    use_brightness(monkeypatch)
    real, seen = bright_blocks.Brightness.forward, []

    def forward(network: bright_blocks.Brightness, patches: Any) -> Any:
        seen.append(patches)
        if len(seen) == number:
            happening()
        return real(network, patches)

    monkeypatch.setattr(bright_blocks.Brightness, "forward", forward)


def raising(error: BaseException) -> Callable[..., None]:
    def happen(*_: Any) -> None:
        raise error

    return happen


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("stop", [raising(KeyboardInterrupt()), lambda: signal.raise_signal(signal.SIGTERM)], ids=["Ctrl-C", "SIGTERM"])
def test_a_run_that_is_stopped_leaves_nothing(desk: Desk, stop: Callable[[], None], number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    at_patch(number, stop, monkeypatch)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        check_refusal(desk, desk.segment("--probabilities", "--preview", desk.out / "picture.png"), 130, "Cancelled.")
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


BROKEN: list[tuple[str, BaseException]] = [(step, KeyboardInterrupt()) for step in ("measure", "write_preview", "write_volume", "write_json")]
BROKEN += [("write_json", error) for error in (SetupError("The disk is full."), OSError(errno.EIO, "a bad disk"), ZeroDivisionError())]


@pytest.mark.parametrize(("step", "error"), BROKEN)
def test_a_run_that_breaks_leaves_earlier_results_alone(desk: Desk, step: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    use_brightness(monkeypatch)
    monkeypatch.setattr(segment_file, step, raising(error))
    names = ["labels.json", "labels.nii.gz", *(["picture.png"] if step == "write_preview" else [])]
    earlier = json.dumps({"product": {"name": "kidney-tumor-cascade"}, "run": "an earlier one"})
    for name in names:
        (desk.out / name).write_text(earlier, encoding="utf-8")
    preview: list[str | Path] = ["--preview", desk.out / "picture.png"] if "picture.png" in names else []
    outcome = desk.segment("--probabilities", *preview)
    assert outcome.code == (130 if isinstance(error, KeyboardInterrupt) else 3)
    assert len(outcome.err.splitlines()) == 1
    assert desk.written() == names
    assert {(desk.out / name).read_text(encoding="utf-8") for name in names} == {earlier}


def test_the_unexpected_is_one_sentence_unless_more_is_asked_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    at_patch(2, raising(RuntimeError("planted\nin two lines")), monkeypatch)
    check_refusal(desk, desk.segment(), 3, "RuntimeError: planted in two lines", cli.DEBUG_VARIABLE)
    monkeypatch.setenv(cli.DEBUG_VARIABLE, "1")
    at_patch(2, raising(RuntimeError("planted")), monkeypatch)
    assert "Traceback" in desk.segment().err


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), "not enough memory"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "not enough memory"),
        (ImportError("No module named 'scipy'"), "scipy"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
    ],
)
def test_what_the_machine_lacks_is_said(desk: Desk, error: Exception, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_reading, "read_scan", raising(error))
    check_refusal(desk, desk.segment(), 3, word)


def test_a_missing_package_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "KidneyTumorCascadeLib.commands", None)
    check_refusal(desk, desk.segment(), 3, "A part of the program is missing")


@pytest.mark.filterwarnings("error")
def test_warnings_for_programmers_are_not_for_users(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any) -> None:
        warnings.warn("this will change in a later version", DeprecationWarning, stacklevel=1)
        raise SetupError("reached")

    monkeypatch.setattr(scan_reading, "read_scan", read)
    check_refusal(desk, desk.segment(), 3, "reached")


class ClosedPipe(io.TextIOBase):
    """Standard output of which nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_reader_who_leaves_is_no_error(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    use_brightness(monkeypatch)
    monkeypatch.setattr(sys, "stdout", ClosedPipe())
    outcome = desk.segment("--json")
    assert outcome.code == 0
    assert "rror" not in outcome.err
    assert desk.written() == ["labels.json", "labels.nii.gz"]


def test_names_that_cannot_be_encoded_cost_no_result(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(commands, "DEMO", PhantomSettings(seed=7, spacing=(12.0, 12.0, 12.0)))
    use_brightness(monkeypatch)
    assert desk.run("demo", desk.out / "h\u00f6he", "--bundle", desk.bundle, "--device", "cpu").code == 0
    assert rb"h\xf6he" in raw.getvalue()
