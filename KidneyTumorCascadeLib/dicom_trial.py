"""Decoding compressed slices in a process of its own before this one does: a damaged JPEG slice may end the process that decodes it.

    python -m KidneyTumorCascadeLib.dicom_trial < PATHS.json

decodes the files of a JSON list one after the other, and prints the index of each before it begins.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk

from KidneyTumorCascadeLib.dicom_lengths import transfer_syntax
from KidneyTumorCascadeLib.processes import environment_with_library

COMMAND = (sys.executable, "-m", "KidneyTumorCascadeLib.dicom_trial")
# Transfer syntaxes whose pixels are compressed (PS3.5 annex A.4): the JPEG family and MPEG; run lengths.
COMPRESSED = (b"1.2.840.10008.1.2.4.", b"1.2.840.10008.1.2.5")


def fatal_slice(paths: Sequence[Path]) -> Path | None:
    """The slice that ends the process that decodes it; None where there is none, when none is compressed, and when it cannot be tried."""
    try:
        compressed = [path for path in paths if transfer_syntax(path).startswith(COMPRESSED)]
        if not compressed:
            return None
        names = json.dumps([str(path.absolute()) for path in compressed])
        done = subprocess.run(COMMAND, input=names, capture_output=True, text=True, check=False, env=environment_with_library())
    except OSError:
        return None  # Whoever reads the slices next says what is wrong with them.
    if done.returncode == 0:
        return None
    begun = [int(line) for line in done.stdout.split() if line.isdigit()]
    return compressed[begun[-1]] if begun else compressed[0]


def decode_all(paths: Sequence[str]) -> None:
    """Decode every file. What cannot be decoded is passed over: whoever reads it next will say so."""
    for index, path in enumerate(paths):
        print(index, flush=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(path)
        try:
            reader.Execute()
        except RuntimeError:
            continue


if __name__ == "__main__":
    decode_all(json.load(sys.stdin))
