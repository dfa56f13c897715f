"""Memory grows with the scan and with boxes, not with the scan's multiples."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from KidneyTumorCascadeLib.geometry import Box, Geometry
from KidneyTumorCascadeLib.report import write_json
from KidneyTumorCascadeLib.segment_file import boxes_to_json
from KidneyTumorCascadeLib.volume import Volume, write_volume
from Testing.Benchmarks import peak_memory
from Testing.Benchmarks.peak_memory import Peak, shortfalls
from Testing.tiny_bundle import make_tiny_bundle


def scan_and_peak_mb(folder: Path, slices: int, bundle: Path, boxes: Path) -> tuple[float, float]:
    """Size of the voxels of a long scan of that many slices, and peak memory of a process that segments it (1e6 bytes)."""
    voxels = np.full((slices, 400, 400), -1000, dtype=np.int16)
    voxels[:, 50:350, 30:370] = 40
    scan, output = folder / f"scan_{slices}.nii", folder / f"labels_{slices}.nii"
    write_volume(Volume(voxels, Geometry((400, 400, slices), (1.0, 1.0, 1.0))), scan)
    command = [sys.executable, "-m", "KidneyTumorCascadeLib", "segment", str(scan), str(output), "--device", "cpu", "--json"]
    done = subprocess.run([*command, "--bundle", str(bundle), "--boxes", str(boxes)], check=True, capture_output=True, text=True)
    return voxels.nbytes / 1e6, float(json.loads(done.stdout)["peak_memory_mb"])


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read the POSIX way")
def test_a_longer_scan_costs_itself_and_the_parts_it_is_read_in(tmp_path: Path) -> None:
    """A second copy of the scan, or floating point numbers of its size, would be over the limit."""
    boxes = tmp_path / "boxes.json"
    write_json(boxes, boxes_to_json([Box((120.0, 200.0, 60.0), (60.0, 60.0, 60.0), "right", "user")]))
    bundle = make_tiny_bundle(tmp_path / "bundle")
    (short_scan, short_peak), (long_scan, long_peak) = (scan_and_peak_mb(tmp_path, slices, bundle, boxes) for slices in (120, 600))
    assert long_peak - short_peak < 1.9 * (long_scan - short_scan)


@pytest.mark.parametrize(
    ("short", "long", "wrong"),
    [
        (Peak(300, 1157.0, 157.0), Peak(600, 1414.0, 314.0), ()),
        (Peak(300, 1157.0, 157.0), Peak(600, 1415.0, 314.0), ("1.10 times",)),
        (Peak(300, 3800.0, 157.0), Peak(600, 4000.0, 314.0), ("600 slices take 4000 MB",)),
        (Peak(300, 4100.0, 157.0), Peak(600, 9000.0, 314.0), ("300 slices", "600 slices", "1.10 times")),
    ],
)
def test_the_benchmark_fails_beyond_its_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: Peak, long: Peak, wrong: tuple[str, ...]
) -> None:
    found = shortfalls(short, long)
    assert len(found) == len(wrong)
    assert all(words in sentence for words, sentence in zip(wrong, found, strict=True))
    monkeypatch.setattr(peak_memory, "long_scan", lambda: None)
    monkeypatch.setattr(peak_memory, "measured", lambda _, length, folder: short if length == short.slices else long)
    assert peak_memory.main(tmp_path) == (1 if wrong else 0)
