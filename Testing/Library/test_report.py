"""Files appear whole or not at all; a manifest is valid JSON that says what happened; tables line up."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from KidneyTumorCascadeLib import report
from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.geometry import Box, Geometry
from KidneyTumorCascadeLib.report import (
    RunRecord,
    build_manifest,
    manifest_path,
    peak_memory_mb,
    require_manifest_place,
    require_place_for,
    summary_text,
    write_bytes_atomically,
    write_json,
    write_text_atomically,
)

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Dropped:
    rule: str
    count: int


def make_record(**changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "input": Path("/home/someone/Doe^Jane/ct.nii.gz"),
        "geometry": Geometry((512, 500, 90), (0.75, 0.75, 3.0), (-190.0, -200.0, 12.5)),
        "output": Path("/results/seg.nii.gz"),
        "bundle": {"name": "default", "version": "1.2", "sha256": "ab" * 32, "licence": "CC-BY-4.0"},
        "preset": "standard",
        "merge": "overlay",
        "device": "cpu",
        "precision": "float32",
        "device_description": "CPU, 2 threads",
        "boxes": [Box((-60.0, 20.0, 100.0), (110.0, 100.5, 160.0), "right"), Box((60.0, 20.0, 100.0), (90.0, 90.0, 90.0), "left", "whole half")],
        "measurements": [
            {"side": "right", "kidney_ml": 171.26, "tumor_ml": 12.3, "tumors": 1, "longest_mm": 31.0, "longest_axial_mm": 28.0, "mean_hu": 90.4},
            {"side": "left", "kidney_ml": 8.0, "tumor_ml": 0.0, "tumors": 0, "longest_mm": None, "longest_axial_mm": None, "mean_hu": None},
        ],
        "removals": [Dropped("tumor_min_ml", 2)],
        "seconds": {"reading": 1.23456, "segmenting right": 20.0},
        "warnings": ["Slices are 5 mm thick."],
    }
    return RunRecord(**{**values, **changes})


# --- writing ---------------------------------------------------------------------------------------------------------------------------------


def test_new_and_replaced_files_hold_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for data in (b"first, and longer", b"second"):
        write_bytes_atomically(path, data)
        assert path.read_bytes() == data
    write_text_atomically(path, "µ\nx")
    assert path.read_bytes() == b"\xc2\xb5\nx"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), SetupError),
        (OSError(errno.EIO, "Input/output error"), InputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
    ],
)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, failure: BaseException, seen: type[BaseException]
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        assert path.read_bytes() == b"old", "the old file is untouched while the new one is written"
        raise failure

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(seen) as caught:
        write_bytes_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(failure, OSError):
        assert str(path) in str(caught.value)


def test_data_reaches_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noted(name: str) -> None:
        original = getattr(os, name)

        def call(*arguments: Any) -> None:
            calls.append(name)
            original(*arguments)

        monkeypatch.setattr(os, name, call)

    noted("fsync")
    noted("replace")
    write_bytes_atomically(tmp_path / "a", b"x")
    assert calls == ["fsync", "replace"]


def test_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SetupError, match="The disk has no room for"):
        write_bytes_atomically(tmp_path / "a.csv", b"x")


def test_missing_folder_and_folder_as_file(tmp_path: Path) -> None:
    for attempt in (lambda path: write_bytes_atomically(path, b"x"), require_place_for):
        with pytest.raises(InputError, match="does not exist; create it first"):
            attempt(tmp_path / "nowhere" / "a.csv")
        with pytest.raises(InputError, match="is a folder; give the name of a file"):
            attempt(tmp_path)
    require_place_for(tmp_path / "new.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.raises(InputError, match="choose another folder or change its permissions"):
        write_bytes_atomically(folder / "a.csv", b"x")
    folder.chmod(0o700)


def test_no_permission_is_the_users_to_solve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(report, "_write_and_flush", refuse)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\)"):
        write_bytes_atomically(tmp_path / "a.csv", b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions, links and devices")
def test_posix_manners(tmp_path: Path) -> None:
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    target.write_bytes(b"old")
    link.symlink_to(target)
    mask = os.umask(0o022)
    try:
        write_bytes_atomically(link, b"new")
    finally:
        os.umask(mask)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644, "not the private mode of temporary files"
    with pytest.raises(InputError, match="is a device"):
        write_bytes_atomically("/dev/null", b"x")


def test_json_has_no_nan_and_keeps_its_order(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = {"z": np.float32(0.5), "a": [float("nan"), np.inf, np.int16(3), np.bool_(True)], "p": Path("x"), "s": "Größe", "t": np.arange(3)}
    write_json(path, content)
    text = path.read_text("utf-8")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(text, parse_constant=refuse) == {"z": 0.5, "a": [None, None, 3, True], "p": "x", "s": "Größe", "t": [0, 1, 2]}
    assert text.index('"z"') < text.index('"a"')
    assert "Größe" in text


def test_json_of_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": Path(os.fsdecode(b"ct-\xff.nii"))})
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["name"].startswith("ct-")


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no place in a manifest"):
        write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


# --- the manifest ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "manifest"),
    [
        ("seg.nii.gz", "seg.json"),
        ("seg.NII.GZ", "seg.json"),
        ("seg.nii", "seg.json"),
        ("seg.seg.nrrd", "seg.json"),
        ("seg.nrrd", "seg.json"),
        ("seg.mha", "seg.json"),
        ("case.1.nii.gz", "case.1.json"),
        ("case_00000.mhd", "case_00000.json"),
        ("seg", "seg.json"),
        (".nii.gz", ".nii.gz.json"),
    ],
)
def test_manifest_lies_beside_the_output(output: str, manifest: str) -> None:
    assert manifest_path(Path("some") / "where.x" / output) == Path("some") / "where.x" / manifest


def test_manifest_says_what_happened() -> None:
    moment = datetime(2024, 5, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    manifest = build_manifest(make_record(), moment)
    assert manifest == json.loads(json.dumps(manifest, allow_nan=False)), "plain JSON types only"
    assert manifest["schema"] == 1
    assert manifest["created"] == "2024-04-30T23:30:00+00:00"
    assert "Not for clinical use" in manifest["notice"]
    assert manifest["product"]["name"] == "kidney-tumor-cascade"
    assert manifest["versions"]["numpy"] == np.__version__
    assert {"python", "torch", "SimpleITK"} <= manifest["versions"].keys()
    assert manifest["bundle"]["sha256"] == "ab" * 32
    assert manifest["device"] == {"name": "cpu", "precision": "float32", "description": "CPU, 2 threads"}
    assert [Box.from_dict(box) for box in manifest["boxes"]] == list(make_record().boxes)
    assert manifest["input"]["geometry"] == make_record().geometry.to_dict()
    assert manifest["removals"] == [{"rule": "tumor_min_ml", "count": 2}]
    assert manifest["seconds"] == {"reading": 1.235, "segmenting right": 20.0}
    assert manifest["warnings"] == ["Slices are 5 mm thick."]


def test_manifest_names_no_folder_and_so_no_patient() -> None:
    text = json.dumps(build_manifest(make_record()))
    assert "ct.nii.gz" in text
    assert "Doe" not in text
    assert "someone" not in text


def peaks_of_a_child(growth: int) -> tuple[float, float]:
    """Peak memory that a new process gives for itself, before and after it took that many bytes."""
    code = f"from KidneyTumorCascadeLib.report import peak_memory_mb as p; a = p(); b = b'x' * {growth}; print(a, p())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    before, after = map(float, done.stdout.split())
    return before, after


def test_peak_memory_is_this_process_own_in_megabytes() -> None:
    """As much as was taken, and nothing of the large process that started it."""
    block = b"x" * 400_000_000
    before, after = peaks_of_a_child(200_000_000)
    assert len(block) == 400_000_000
    assert 5 < before < 300
    assert after - before == pytest.approx(200, abs=20)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has its own account")
@pytest.mark.parametrize("status", [None, "Name:\tpython\n", "VmHWM:\n", "VmHWM:\tmuch kB\n"])
def test_peak_memory_where_the_system_hides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str | None) -> None:
    if status is not None:
        (tmp_path / "status").write_text(status, encoding="ascii")
    monkeypatch.setattr(report, "PROCESS_STATUS", tmp_path / "status")
    assert 5 < peak_memory_mb() < 1e6


def test_only_manifests_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "ct.json"
    require_manifest_place(path)
    write_json(path, build_manifest(make_record()))
    require_manifest_place(path)
    write_json(path, {"schema": 99, "product": {"name": "kidney-tumor-cascade", "version": "9.9"}})
    require_manifest_place(path)


@pytest.mark.parametrize(
    "content",
    [
        '{"Modality": "CT", "Manufacturer": "ACME"}',
        '{"product": "kidney-tumor-cascade"}',
        '{"product": {"name": "other"}}',
        "[]",
        "",
        "{",
        "[" * 99_999,
    ],
)
def test_other_files_are_not_written_over_by_a_manifest(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ct.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"ct\.json would overwrite a file that this program did not write"):
        require_manifest_place(path)


# --- tables ----------------------------------------------------------------------------------------------------------------------------------


def test_summary_lines_up_and_leaves_nothing_out() -> None:
    text = summary_text(build_manifest(make_record()))
    table = text.split("\n\n")[0].splitlines()
    assert len({len(line) for line in table}) == 1, "all rows are equally long"
    assert table[1].split() == ["right", "171.3", "12.3", "1", "31.0", "28.0", "90"]
    assert table[2].split() == ["left", "8.0", "0.0", "0", "-", "-", "-"]
    for part in ("whole half", "110 x 100.5 x 160 mm", "segmenting right", "21.2", "Warning: Slices are 5 mm thick.", "default 1.2", "clinical"):
        assert part in text


def test_summary_of_an_empty_result() -> None:
    text = summary_text(build_manifest(make_record(boxes=[], measurements=[], seconds={}, warnings=["No kidney was found."])))
    assert text.startswith("Warning: No kidney was found.")
