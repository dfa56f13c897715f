"""A complete model bundle of a few kilobytes with untrained networks, for tests of everything around the networks."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from KidneyTumorCascadeLib.bundle import save_weights
from KidneyTumorCascadeLib.bundle_format import BUNDLE_FILE, FOREGROUNDS, STAGES
from KidneyTumorCascadeLib.vnet import VNet, VNetShape

SHAPE = VNetShape(base_channels=2, kernel=3, encoder_convolutions=(1,), bottom_convolutions=1, decoder_convolutions=(1,), norm="batch")
NORMALIZATION = {"kind": "fixed", "clip_hu": [-200, 400], "mean_hu": 80, "sd_hu": 90}


def tiny_preset() -> dict[str, Any]:
    """A preset's entry."""
    return {
        "description": "for tests",
        "boxes": {"kind": "adaptive", "margin_mm": [10, 10, 10]},
        "overlap": {"roi": 0.25, "kidney": 0.5},
        "merge": "overlay",
        "rules": {"min_tumor_ml": 0.1},
    }


def tiny_description(hashes: dict[str, str]) -> dict[str, Any]:
    """The content of a bundle.json for weights of these SHA-256."""
    networks = {
        stage: {
            "network": SHAPE.to_dict(),
            "foreground": list(FOREGROUNDS[stage][-1]),
            "spacing_mm": [4, 4, 4] if stage == "roi" else [2, 2, 2],
            "patch": [16, 16, 16],
            "normalization": NORMALIZATION,
            "weights": f"{stage}.safetensors",
            "sha256": hashes[stage],
        }
        for stage in STAGES
    }
    presets = {"standard": tiny_preset(), "fast": {**tiny_preset(), "spacing_mm": {"kidney": [3, 3, 3]}}, "paper": tiny_preset()}
    presets["paper"]["boxes"] = {"kind": "fixed"}
    return {
        "schema": 1,
        "name": "tiny",
        "version": "1.0.0",
        "licence": "CC0-1.0",
        "description": "untrained networks",
        "training_data": ["none"],
        "accuracy": {},
        "networks": networks,
        "presets": presets,
    }


@cache
def tiny_files(seed: int) -> dict[str, bytes]:
    """The files of a tiny bundle; made once, as tests want many copies."""
    with tempfile.TemporaryDirectory() as name, torch.random.fork_rng(devices=[]):
        folder, hashes = Path(name), {}
        torch.manual_seed(seed)
        for stage in STAGES:
            hashes[stage] = save_weights(VNet(SHAPE), folder / f"{stage}.safetensors")
        write_description(folder, tiny_description(hashes))
        return {file.name: file.read_bytes() for file in folder.iterdir()}


def make_tiny_bundle(folder: Path, seed: int = 0) -> Path:
    """Writes a bundle into a folder, which is made, and returns it."""
    folder.mkdir(parents=True)
    for name, data in tiny_files(seed).items():
        (folder / name).write_bytes(data)
    return folder


def read_description(folder: Path) -> dict[str, Any]:
    """A bundle.json, to be changed."""
    content: dict[str, Any] = json.loads((folder / BUNDLE_FILE).read_text(encoding="utf-8"))
    return content


def write_description(folder: Path, content: dict[str, Any]) -> None:
    """Writes it back."""
    (folder / BUNDLE_FILE).write_text(json.dumps(content), encoding="utf-8")
