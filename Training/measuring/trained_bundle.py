"""Three trained stages as a model bundle: their weights, and what `bundle.json` says of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.bundle import save_weights
from KidneyTumorCascadeLib.bundle_format import BUNDLE_FILE, SCHEMA, STAGES
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.report import write_json
from KidneyTumorCascadeLib.vnet import VNet
from Training.fitting.checkpoint import load_weights
from Training.fitting.settings import StageSettings, read_config, read_settings
from Training.fitting.trainer import WEIGHTS_FILE

ABOUT_FIELDS = ("name", "licence", "description", "training_data", "presets")
UNRELEASED = "unreleased"


def read_about(config: Path) -> dict[str, Any]:
    """What a configuration says of the bundle. Raises InputError when it does not."""
    about = read_config(config).get("bundle")
    missing = [name for name in ABOUT_FIELDS if not isinstance(about, dict) or name not in about]
    if missing:
        raise InputError(f"The training configuration {config} has no bundle.{missing[0]}, without which no bundle can be made; add it.")
    return dict(about or {})


def trained_networks(config: Path, runs: Path) -> dict[str, tuple[StageSettings, VNet]]:
    """The networks that the three trainings have come to. Raises InputError when one has not been trained as configured."""
    settings = {stage: read_settings(config, stage) for stage in STAGES}
    return {stage: (settings[stage], trained_network(settings[stage], runs)) for stage in STAGES}


def trained_network(settings: StageSettings, runs: Path) -> VNet:
    """The network that a stage's training has come to. Raises InputError when it has not been trained as configured."""
    network = VNet(settings.shape)
    load_weights(network, runs / settings.stage / WEIGHTS_FILE)
    return network


def write_networks(networks: Mapping[str, tuple[StageSettings, VNet]], folder: Path) -> dict[str, Any]:
    """Write the weights; returns what bundle.json says of each network."""
    return {stage: network_entry(settings, network, folder) for stage, (settings, network) in networks.items()}


def network_entry(settings: StageSettings, network: VNet, folder: Path) -> dict[str, Any]:
    """Write one stage's weights; returns what bundle.json says of them."""
    name = f"{settings.stage}.safetensors"
    digest = save_weights(network, folder / name)
    return {
        "network": settings.shape.to_dict(),
        "foreground": list(settings.sampling.foreground),
        "spacing_mm": [settings.sampling.spacing_mm] * 3,
        "patch": list(settings.used_patch),
        "normalization": settings.normalization.to_dict(),
        "weights": name,
        "sha256": digest,
    }


def description_of(about: Mapping[str, Any], version: str, entries: Mapping[str, Any], accuracy: Mapping[str, float]) -> dict[str, Any]:
    """What bundle.json says."""
    return {
        "schema": SCHEMA,
        "name": about["name"],
        "version": version,
        "licence": about["licence"],
        "description": about["description"],
        "training_data": about["training_data"],
        "accuracy": dict(accuracy),
        "networks": dict(entries),
        "presets": about["presets"],
    }


@contextmanager
def temporary_bundle(config: Path, runs: Path) -> Iterator[Path]:
    """The folder of a bundle of these trainings, without any accuracy, that goes when it is no longer needed.

    Its weights have the very bytes of those that are exported later. Raises InputError when a stage has not been trained as configured.
    """
    about, networks = read_about(config), trained_networks(config, runs)
    with tempfile.TemporaryDirectory(prefix="kidney-tumor-cascade-") as name:
        entries = write_networks(networks, Path(name))
        write_json(Path(name) / BUNDLE_FILE, description_of(about, UNRELEASED, entries, {}))
        yield Path(name)
