"""Model bundles: bundle.json, the archives that they come in, and their weights."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import struct
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from KidneyTumorCascadeLib.bundle import load_network, store_folder
from KidneyTumorCascadeLib.bundle_format import BUNDLE_FILE, Stage, read_bundle
from KidneyTumorCascadeLib.bundle_store import install_bundle
from Testing.Fuzz.judge import Target
from Testing.Fuzz.mutations import mutated_bytes, mutated_json, plain_entry
from Testing.tiny_bundle import make_tiny_bundle

NAMES = (
    *(
        "bundle.json",
        "roi.safetensors",
        "LICENSE",
        "MODEL_CARD.md",
        "BUNDLE.JSON",
        ".DS_Store",
        "__MACOSX/x",
        "tiny/",
        "tiny/bundle.json",
        "other/LICENSE",
    ),
    *("../evil", "/evil", "tiny/../../evil", "C:/evil", "a\\evil", "evil\n", "\x1b[2J", "x" * 300, "évil", "-evil", "", ".", "LICENSE\0/../evil"),
)
KINDS = (0, 0o100644, 0o120777, 0o020666, 0o010666, 0o040755)


def bundle_targets(folder: Path) -> list[Target]:
    """bundle.json, archives, and weights."""
    bundle = make_tiny_bundle(folder / "bundle-example")
    description = (bundle / BUNDLE_FILE).read_bytes()
    entries = {file.name: file.read_bytes() for file in sorted(bundle.iterdir())}
    stage = replace(read_bundle(bundle).stages["roi"], weights=folder / "weights.safetensors")
    weights = entries["roi.safetensors"]
    (folder / "described").mkdir()
    return [
        Target("bundle.json", lambda random: mutated_json(random, description), partial(feed_description, folder / "described"), 24),
        Target("bundle archive", lambda random: make_archive(random, entries), partial(feed_archive, folder), 6),
        Target("weights", lambda random: make_weights(random, weights), partial(feed_weights, stage), 6),
    ]


def feed_description(folder: Path, data: bytes) -> None:
    """Read a bundle of this bundle.json, and what is asked of a bundle afterwards."""
    (folder / BUNDLE_FILE).write_bytes(data)
    bundle = read_bundle(folder)
    json.dumps(bundle.summary(), allow_nan=False)
    for preset in bundle.presets:
        bundle.spacing("kidney", bundle.preset(preset))


def make_archive(random: Random, entries: dict[str, bytes]) -> bytes:
    """A zip file with strange entries, headers or bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))) as archive:
        for name, data in entries.items():
            if random.random() < 0.95:
                archive.writestr(plain_entry(name, archive.compression), data)
        if random.random() < 0.7:
            archive.writestr(strange_entry(random), random.choice((b"", b"{}", b"/etc/passwd", bytes(100_000))))
    data = content.getvalue()
    if random.random() < 0.5:
        # The directory at the end decides how everything else is read.
        start = data.index(b"PK\x01\x02")
        data = data[:start] + mutated_bytes(random, data[start:])
    return mutated_bytes(random, data) if random.random() < 0.2 else data


def strange_entry(random: Random) -> zipfile.ZipInfo:
    """An entry with any name and kind."""
    name = random.choice(NAMES)
    entry = plain_entry(name or "x", zipfile.ZIP_DEFLATED)
    entry.filename = name
    entry.create_system, entry.external_attr = random.choice((0, 3)), random.choice(KINDS) << 16
    return entry


def feed_archive(folder: Path, data: bytes) -> None:
    """Install the archive; whatever it is, nothing may appear outside of the folder of bundles, and there only a whole bundle."""
    path = folder / "bundle.zip"
    path.write_bytes(data)
    before = {entry.name for entry in os.scandir(folder)} | {"home"}
    try:
        install_bundle(path)
    finally:
        store = store_folder()
        strange = {entry.name for entry in os.scandir(folder)} - before
        left = [entry.name for entry in os.scandir(store) if not (store / entry.name / BUNDLE_FILE).is_file()] if store.is_dir() else []
        shutil.rmtree(store, ignore_errors=True)
        if strange or left:
            raise AssertionError(f"left behind: {sorted(strange)} {left}")


def make_weights(random: Random, example: bytes) -> bytes:
    """A safetensors file with a strange header, length or content."""
    (length,) = struct.unpack("<Q", example[:8])
    header, content = example[8 : 8 + length], example[8 + length :]
    kind = random.randrange(5)
    if kind == 0:
        return mutated_bytes(random, example)
    if kind == 1:
        at = random.randrange(len(content))
        return example[: 8 + length] + content[:at] + random.randbytes(1) + content[at + 1 :]
    header = tensor_bomb(random, header) if kind == 2 else mutated_json(random, header)
    length = len(header) if random.random() < 0.8 else random.choice((0, 1, len(header) + 1, 10**8, 2**32, 2**63, 2**64 - 1))
    return struct.pack("<Q", length) + header + content


def tensor_bomb(random: Random, header: bytes) -> bytes:
    """A header of many tensors, or of a tensor that says it is giant."""
    content: dict[str, Any] = json.loads(header)
    if random.random() < 0.3:
        content |= {f"t{number}": {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]} for number in range(random.choice((10, 1_000, 20_000)))}
    else:
        shape = random.choice(([2**40], [2**31, 2**31], [2**63], [65_536] * 4, [0] * 1_000, [1] * 10_000))
        content["t"] = {"dtype": random.choice(("F16", "F64", "I8", "BOOL", "F8_E4M3", "X9")), "shape": shape, "data_offsets": [0, 0]}
    return json.dumps(content).encode()


def feed_weights(stage: Stage, data: bytes) -> None:
    """Load weights whose hash is the one that the bundle says, as in a bundle made by somebody who means harm."""
    stage.weights.write_bytes(data)
    load_network(replace(stage, sha256=hashlib.sha256(data).hexdigest()), "cpu")
