"""Peak memory of `segment` on the CPU for scans of two lengths.

    python -m Testing.Benchmarks.peak_memory [FOLDER]

Makes two scans of one phantom patient, 512 x 512 x 300 and 512 x 512 x 600 voxels of 0.78 x 0.78 x 0.75 mm, segments each with the default
bundle in a process of its own, and prints the peaks that the manifests give, with the scan's own voxels taken off.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom
from KidneyTumorCascadeLib.volume import Volume, write_volume

SPACING = (0.78125, 0.78125, 0.75)
LENGTHS = (300, 600)


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


def main(folder: Path) -> None:
    """Print one line a length, and how the rest beyond the scan compares."""
    whole, beyond = long_scan(), []
    for length in LENGTHS:
        scan, path = middle(whole, length), folder / f"scan_{length}.nii.gz"
        write_volume(scan, path)
        peak, own = peak_mb(path), scan.voxels.nbytes / 1e6
        beyond.append(peak - own)
        print(f"512 x 512 x {length}: peak {peak:.0f} MB, the scan's voxels {own:.0f} MB, beyond them {peak - own:.0f} MB")
    print(f"beyond the scan, the long one takes {beyond[1] / beyond[0]:.2f} times what the short one takes")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as name:
            main(Path(name))
