"""What users hand over beside a scan, and the headers of scans that are read here and not by ITK."""

from __future__ import annotations

import gzip
import json
import math
import struct
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import SimpleITK as sitk

from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.nifti_file import check_nifti
from KidneyTumorCascadeLib.report import is_manifest, require_manifest_place
from KidneyTumorCascadeLib.segment_file import read_boxes
from KidneyTumorCascadeLib.volume import read_scan
from Testing.Fuzz.judge import Target
from Testing.Fuzz.mutations import mutated_bytes, mutated_json

BOXES = {
    "schema": 1,
    "boxes": [
        {
            "side": "right",
            "source": "network",
            "center_lps_mm": [-60.5, 10.0, -700.0],
            "size_mm": [96, 90.5, 141],
            "direction_lps": [1, 0, 0, 0, 1, 0, 0, 0, 1],
        },
        {"side": "left", "center_lps_mm": [62, 8, -690], "size_mm": [100, 95, 140]},
    ],
    "warnings": ["The scan covers only 100 mm."],
}
MANIFEST = {"schema": 1, "product": {"name": "kidney-tumor-cascade", "version": "1.0"}, "input": {"name": "ct.nii.gz"}, "boxes": BOXES["boxes"]}
GRID = Geometry((400, 400, 300), (0.8, 0.8, 1.5), (-160.0, -160.0, -900.0))
# NIfTI-1's header: offsets in bytes and struct formats (nifti.nimh.nih.gov/nifti-1).
DIMENSIONS, TYPE, BITS_PER_VOXEL, SPACING, VOXEL_OFFSET = (40, "8h"), (70, "h"), (72, "h"), (76, "8f"), (108, "f")
AFFINE_CODES, QUATERNION, AFFINE, MAGIC = (252, "2h"), (256, "6f"), (280, "12f"), (344, "4s")
FIELDS = (DIMENSIONS, TYPE, BITS_PER_VOXEL, SPACING, VOXEL_OFFSET, AFFINE_CODES, QUATERNION, AFFINE, (0, "i"), MAGIC)
WHOLE = (0, 1, -1, 2, 3, 7, 8, 16, 64, 255, 32_767, -32_768)
FLOATS = (0.0, -0.0, 1.0, -1.0, 352.0, 1e-30, 1e30, -1e30, 3.4e38, math.nan, math.inf, -math.inf)
ENDINGS = ("ct.nii", "ct.nii.gz", "ct.hdr", "ct.img", "ct.hdr.gz")


def input_targets(folder: Path) -> list[Target]:
    """boxes.json, manifests, headers of scans, and small scans as a whole."""
    boxes, manifest, nifti = json.dumps(BOXES).encode(), json.dumps(MANIFEST).encode(), nifti_example()
    (folder / "nifti").mkdir()
    (folder / "scan").mkdir()
    scans = {name: scan_example(folder / name) for name in ("ct.nrrd", "ct.mha", "ct.nii")}
    return [
        Target("boxes.json", lambda random: mutated_json(random, boxes), partial(feed_boxes, folder / "boxes.json"), 24),
        Target("manifest", lambda random: mutated_json(random, manifest), partial(feed_manifest, folder / "manifest.json"), 12),
        Target("NIfTI header", lambda random: make_nifti(random, nifti), partial(feed_nifti, folder / "nifti"), 16),
        Target("NRRD, MetaImage, NIfTI", partial(make_scan, scans), partial(feed_scan, folder / "scan", list(scans)), 8),
    ]


def feed_boxes(path: Path, data: bytes) -> None:
    """Read boxes and place them in a scan."""
    path.write_bytes(data)
    for box in read_boxes(path):
        box.slices(GRID)
        json.dumps(box.to_dict(), allow_nan=False)


def feed_manifest(path: Path, data: bytes) -> None:
    """Ask whether this is a file that may be overwritten."""
    path.write_bytes(data)
    is_manifest(path)
    require_manifest_place(path)


def nifti_example() -> bytes:
    """A small scan's header and voxels."""
    header = bytearray(352)
    for (place, layout), values in {
        (0, "i"): (348,),
        DIMENSIONS: (3, 4, 4, 4, 1, 1, 1, 1),
        TYPE: (4,),
        BITS_PER_VOXEL: (16,),
        SPACING: (1.0, 0.8, 0.8, 1.5, 1.0, 1.0, 1.0, 1.0),
        VOXEL_OFFSET: (352.0,),
        AFFINE_CODES: (0, 1),
        AFFINE: (0.8, 0, 0, 0, 0, 0.8, 0, 0, 0, 0, 1.5, 0),
        MAGIC: (b"n+1\0",),
    }.items():
        struct.pack_into(f"<{layout}", header, place, *values)
    return bytes(header) + bytes(2 * 4**3)


def scan_example(path: Path) -> bytes:
    """A small scan, not compressed: what is changed in it is then a header's text or number, or a voxel."""
    image = sitk.GetImageFromArray(np.arange(64, dtype=np.int16).reshape(4, 4, 4))
    image.SetSpacing((0.8, 0.8, 1.5))
    sitk.WriteImage(image, str(path))
    data = path.read_bytes()
    path.unlink()
    return data


def make_scan(examples: Mapping[str, bytes], random: Random) -> bytes:
    """A scan with changed bytes, most of them in its header; the first byte says which of the examples it is."""
    kind = random.randrange(len(examples))
    example = list(examples.values())[kind]
    cut = min(len(example), random.choice((352, len(example) - 128, len(example))))
    return bytes([kind]) + mutated_bytes(random, example[:cut]) + example[cut:]


def feed_scan(folder: Path, names: Sequence[str], data: bytes) -> None:
    """Read the scan."""
    path = folder / names[data[0]]
    path.write_bytes(data[1:])
    read_scan(path)


def make_nifti(random: Random, example: bytes) -> bytes:
    """A changed scan, plain or compressed; the first byte says under which name it is to lie."""
    data = bytearray(example)
    for _ in range(random.randint(1, 3)):
        set_field(random, data)
    changed = mutated_bytes(random, bytes(data)) if random.random() < 0.3 else bytes(data)
    if random.random() < 0.5:
        changed = gzip.compress(changed, 1, mtime=0)
        changed = mutated_bytes(random, changed) if random.random() < 0.5 else changed
    return bytes([random.randrange(len(ENDINGS))]) + changed


def set_field(random: Random, data: bytearray) -> None:
    """One number of the header becomes another."""
    place, layout = random.choice(FIELDS)
    order = "<" if random.random() < 0.9 else ">"
    kind = layout[-1]
    at = place + struct.calcsize(kind) * random.randrange(int(layout[:-1] or 1)) if kind != "s" else place
    value = random.choice((b"ni1\0", b"n+2\0", b"\0\0\0\0")) if kind == "s" else random.choice(FLOATS) if kind == "f" else random.choice(WHOLE)
    struct.pack_into(f"{order}{layout if kind == 's' else kind}", data, at, value)


def feed_nifti(folder: Path, data: bytes) -> None:
    """Check the file as before it is read."""
    path = folder / ENDINGS[data[0]]
    for half in ("ct.hdr", "ct.img") if ".hdr" in path.name or ".img" in path.name else ():
        (folder / half).write_bytes(data[1:])
    path.write_bytes(data[1:])
    try:
        check_nifti(path)
    finally:
        for file in folder.iterdir():
            file.unlink()
