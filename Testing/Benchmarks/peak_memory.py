"""Peak memory of `segment` on the CPU for scans of two lengths.

    python -m Testing.Benchmarks.peak_memory [FOLDER]

Makes two scans of one phantom patient, 512 x 512 x 300 and 512 x 512 x 600 voxels of 0.78 x 0.78 x 0.75 mm, segments each with the default
bundle in a process of its own, and prints the peaks that the manifests give, with the scan's own voxels taken off. The exit code is 1
when a peak reaches 4000 MB, or when the long scan takes more than 1.10 times what the short one takes beyond its voxels.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom
from KidneyTumorCascadeLib.volume import Volume, write_volume

SPACING = (0.78125, 0.78125, 0.75)
LENGTHS = (300, 600)
PEAK_LIMIT_MB = 4000.0
GROWTH_LIMIT = 1.10


@dataclass(frozen=True)
class Peak:
    """Memory of one run in MB (1e6 bytes): at its peak, and of the scan's own voxels."""

    slices: int
    peak_mb: float
    scan_mb: float

    @property
    def beyond_mb(self) -> float:
        """What it took besides the scan."""
        return self.peak_mb - self.scan_mb


def long_scan() -> Volume:
    """400 x 400 x 450 mm: a phantom on voxels twice as large, each of them repeated, which is quick and changes nothing for memory."""
    coarse = make_phantom(PhantomSettings(seed=5, spacing=(1.5625, 1.5625, 1.5), size_mm=(400, 400, 450))).volume.voxels
    fine = coarse.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    z, y, x = fine.shape
    return Volume(fine, Geometry((x, y, z), SPACING))


def middle(scan: Volume, length: int) -> Volume:
    """That many slices from the middle of the scan."""
    start = (scan.voxels.shape[0] - length) // 2
    z, y, x = slice(start, start + length), slice(0, scan.voxels.shape[1]), slice(0, scan.voxels.shape[2])
    return Volume(np.ascontiguousarray(scan.voxels[z]), scan.geometry.cropped((z, y, x)))


def peak_mb(scan: Path) -> float:
    """Peak memory (1e6 bytes) of a process that segments this scan."""
    output = scan.with_name("labels_" + scan.name)
    command = [sys.executable, "-m", "KidneyTumorCascadeLib", "segment", str(scan), str(output), "--device", "cpu", "--json"]
    manifest = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return float(manifest["peak_memory_mb"])


def measured(whole: Volume, length: int, folder: Path) -> Peak:
    """The peak for that many slices of the scan."""
    scan, path = middle(whole, length), folder / f"scan_{length}.nii.gz"
    write_volume(scan, path)
    return Peak(length, peak_mb(path), scan.voxels.nbytes / 1e6)


def shortfalls(short: Peak, long: Peak) -> list[str]:
    """What is not as it must be, one sentence each."""
    found = [
        f"{peak.slices} slices take {peak.peak_mb:.0f} MB, not under {PEAK_LIMIT_MB:.0f} MB."
        for peak in (short, long)
        if peak.peak_mb >= PEAK_LIMIT_MB
    ]
    if long.beyond_mb > GROWTH_LIMIT * short.beyond_mb:
        found.append(f"Beyond the scan, the long one takes more than {GROWTH_LIMIT:.2f} times what the short one takes.")
    return found


def main(folder: Path) -> int:
    """Print one line a length, how the rest beyond the scan compares, and what is not as it must be; returns the exit code."""
    whole = long_scan()
    short, long = (measured(whole, length, folder) for length in LENGTHS)
    for run in (short, long):
        print(f"512 x 512 x {run.slices}: peak {run.peak_mb:.0f} MB, the scan's voxels {run.scan_mb:.0f} MB, beyond them {run.beyond_mb:.0f} MB")
    print(f"beyond the scan, the long one takes {long.beyond_mb / short.beyond_mb:.2f} times what the short one takes")
    problems = shortfalls(short, long)
    print("\n".join(f"Too much: {problem}" for problem in problems) or "within the limits")
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as name:
        sys.exit(main(Path(name)))
