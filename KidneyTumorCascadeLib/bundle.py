"""A model bundle in use: where bundles lie, and their weights, verified before a byte of them is believed.

Weights are safetensors: numbers and nothing else. A pickle can run code when it is opened, so there is no way to load one.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from KidneyTumorCascadeLib.bundle_format import BUNDLE_FILE, NAME_PATTERN, Bundle, Preset, Stage, read_bundle, read_limited
from KidneyTumorCascadeLib.errors import BundleError
from KidneyTumorCascadeLib.json_fields import MAX_BYTES, quote, reason
from KidneyTumorCascadeLib.report import write_bytes_atomically
from KidneyTumorCascadeLib.vnet import VNet, count_parameters

__all__ = [
    "Bundle",
    "FoundBundle",
    "Preset",
    "Stage",
    "list_bundles",
    "load_bundle",
    "load_network",
    "save_weights",
    "store_folder",
    "verify_bundle",
    "verify_hashes",
]

DEFAULT_NAME = "default"
DEFAULT_FOLDER = Path(__file__).parent / "Models" / DEFAULT_NAME
HOME_VARIABLE = "KIDNEY_TUMOR_CASCADE_HOME"
MAX_WEIGHT_BYTES = 1024**3
# Of a shape in a message; a file may give any number of them.
MOST_LENGTHS = 8


@dataclass(frozen=True)
class FoundBundle:
    """An entry of the list of bundles; a damaged one has no bundle but a problem."""

    name: str
    folder: Path
    bundle: Bundle | None
    problem: str = ""


def store_folder() -> Path:
    """Where installed bundles lie: KIDNEY_TUMOR_CASCADE_HOME/bundles, else the place that the system has for a user's data."""
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(home).expanduser().absolute() / "bundles"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Application Support")
    else:
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "kidney-tumor-cascade" / "bundles"


def load_bundle(name_or_folder: str | Path | None = None) -> Bundle:
    """The bundle of that name (the default one without), or in that folder. Raises BundleError when there is none or it is damaged.

    A name is looked for among the installed bundles first; what holds a path separator is always a folder.
    """
    if name_or_folder is None or name_or_folder == DEFAULT_NAME:
        return read_bundle(DEFAULT_FOLDER)
    if isinstance(name_or_folder, str) and re.fullmatch(NAME_PATTERN, name_or_folder):
        installed = store_folder() / name_or_folder
        if installed.is_dir():
            return read_bundle(installed)
    # Functions of os.path: those of Path fail for unknown users and for names that are too long.
    folder = os.path.expanduser(name_or_folder)
    if os.path.isdir(folder):
        return read_bundle(Path(folder))
    names = ", ".join(found.name for found in list_bundles())
    raise BundleError(f"There is no model bundle {quote(str(name_or_folder))}; give the folder of one or one of these names: {names}.")


def list_bundles() -> list[FoundBundle]:
    """The default bundle and the installed ones, by name; damaged ones, too, with what is wrong with them."""
    folders = [(DEFAULT_NAME, DEFAULT_FOLDER)]
    store = store_folder()
    if store.is_dir():
        folders += sorted((folder.name, folder) for folder in store.iterdir() if re.fullmatch(NAME_PATTERN, folder.name) and folder.is_dir())
    return [found_bundle(name, folder) for name, folder in folders]


def found_bundle(name: str, folder: Path) -> FoundBundle:
    try:
        return FoundBundle(name, folder, read_bundle(folder))
    except BundleError as error:
        return FoundBundle(name, folder, None, str(error))


def verify_bundle(folder: Path) -> list[str]:
    """Reads everything in a bundle, weights included, and says what is there. Raises BundleError at the first thing that is wrong."""
    bundle = read_bundle(folder)
    findings = [f"{BUNDLE_FILE}: {bundle.name} {bundle.version}, licence {bundle.licence}, presets {', '.join(bundle.presets)}"]
    for stage in bundle.stages.values():
        parameters = count_parameters(load_network(stage, "cpu"))
        size = stage.weights.stat().st_size / 1024**2
        findings.append(f"{stage.weights.name}: {stage.name}, {parameters / 1e6:.2f} M parameters, {size:.1f} MiB, SHA-256 as {BUNDLE_FILE} says")
    return findings


def verify_hashes(bundle: Bundle) -> None:
    """Reads each file of weights once, one at a time. Raises BundleError when one is missing or not the one that the bundle was made with."""
    for stage in bundle.stages.values():
        hashed_bytes(stage)


def load_network(stage: Stage, device: torch.device | str) -> VNet:
    """The stage's network with its weights in float32 on the device, ready to predict.

    Raises BundleError when the weights are missing, are not those that the bundle was made with, or do not fit the network.
    """
    weights = read_weights(stage)
    # Nothing is allocated on "meta": a bundle that describes a giant network is refused before it takes memory.
    with torch.device("meta"):
        network = VNet(stage.shape)
    check_fit(stage, network, weights)
    network.load_state_dict(weights, strict=True, assign=True)
    return network.requires_grad_(False).eval().to(device)


def read_weights(stage: Stage) -> dict[str, Tensor]:
    """The tensors of the stage's file, numbers as float32. The bytes that are hashed are the bytes that are parsed."""
    if stage.weights.suffix != ".safetensors":
        raise BundleError(f"{stage.weights} is no safetensors file; other formats can run code when opened and are refused.")
    data = hashed_bytes(stage)
    try:
        require_short_header(data)
        tensors = safetensors.torch.load(data)
    # A data type that this torch does not know is a KeyError, or none of the above in some versions.
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise BundleError(f"{stage.weights} is not a valid safetensors file ({reason(error)}); get a new copy of the bundle.") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def require_short_header(data: bytes) -> None:
    """Raises ValueError when the header, which begins with its length, is larger than any network's: it would be parsed into a multiple of it."""
    length = int.from_bytes(data[:8], "little")
    if length > MAX_BYTES:
        raise ValueError(f"its header has {length} bytes")


def hashed_bytes(stage: Stage) -> bytes:
    """The content of the stage's file. Raises BundleError when its SHA-256 is not the one that the bundle says."""
    data = read_limited(stage.weights, MAX_WEIGHT_BYTES)
    found = hashlib.sha256(data).hexdigest()
    if found != stage.sha256:
        raise BundleError(
            f"{stage.weights} is damaged or was exchanged: its SHA-256 is {found[:12]}..., the bundle says {stage.sha256[:12]}...; "
            "get a new copy of the bundle."
        )
    return data


def check_fit(stage: Stage, network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Raises BundleError when a tensor is missing, is too many, has another shape, or holds what is no number."""
    expected = network.state_dict()
    different = sorted(expected.keys() ^ weights.keys())
    if different:
        what = "has no" if different[0] in expected else "has an unknown"
        raise BundleError(
            f"{stage.weights} {what} tensor {quote(different[0])} ({len(different)} such in all): it was made for another network than "
            f"networks.{stage.name}.network describes; get a new copy of the bundle."
        )
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise BundleError(
                f"{stage.weights}: the tensor {quote(name)} is {describe_tensor(tensor)}, networks.{stage.name}.network needs "
                f"{describe_tensor(expected[name])}; get a new copy of the bundle."
            )
        if not torch.isfinite(tensor).all():
            raise BundleError(f"{stage.weights}: the tensor {quote(name)} holds values that are no finite numbers; get a new copy of the bundle.")


def describe_tensor(tensor: Tensor) -> str:
    """8 x 1 x 3 x 3 x 3 float32"""
    lengths = [str(length) for length in tensor.shape]
    size = " x ".join(lengths if len(lengths) <= MOST_LENGTHS else [*lengths[:MOST_LENGTHS], "..."]) or "a single"
    return f"{size} {str(tensor.dtype).removeprefix('torch.')}"


def save_weights(network: nn.Module, path: Path) -> str:
    """Writes a network's weights as a safetensors file and returns its SHA-256, for `bundle.json`. The same weights give the same bytes.

    Kernels are stored as float16. Biases and the numbers of normalization layers stay float32: they are few, and running variances can
    leave float16's range. Raises ValueError for weights that are not finite as float16.
    """
    tensors = {name: stored(name, tensor.detach().cpu()) for name, tensor in network.state_dict().items()}
    data = safetensors.torch.save(tensors)
    write_bytes_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def stored(name: str, tensor: Tensor) -> Tensor:
    result = tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
    if not torch.isfinite(result).all():
        raise ValueError(f"the weights {name} are not finite or too large for float16")
    return result.contiguous()
