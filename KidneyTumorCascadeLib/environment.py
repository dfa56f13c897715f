"""What this computer has and what works on it, as text to copy into a report of a problem."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch

from KidneyTumorCascadeLib import __version__
from KidneyTumorCascadeLib.bundle import FoundBundle, list_bundles, store_folder, verify_hashes
from KidneyTumorCascadeLib.device import DEVICES, PRECISION_VARIABLE, choose_device
from KidneyTumorCascadeLib.errors import CascadeError

PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "safetensors", "pillow", "pydicom", "matplotlib", "monai", "dask")
VARIABLES = (PRECISION_VARIABLE, "KIDNEY_TUMOR_CASCADE_HOME", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")


def environment_report() -> str:
    """Versions, devices tried with their results, memory, disk, threads and bundles: one fact a line, the home folder written as ~."""
    rows = [
        ("kidney-tumor-cascade", __version__),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        ("system", platform.platform()),
        *((name, version_of(name)) for name in PACKAGES),
        *(("device " + name, device_result(name)) for name in DEVICES),
        ("threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors"),
        ("free memory", free_memory()),
        ("free disk, here", free_disk(Path.cwd())),
        ("free disk, bundles", free_disk(store_folder())),
        *((name, os.environ[name]) for name in VARIABLES if name in os.environ),
        *bundle_rows(),
    ]
    width = max(len(name) for name, _ in rows)
    return without_home("\n".join(f"{name:<{width}}  {value}" for name, value in rows))


def without_home(text: str) -> str:
    """The text with ~ for the home folder, whose path holds the user's name."""
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(Path(home).parts) > 1 else text


def version_of(package: str) -> str:
    """Installed version of a package, found without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def device_result(name: str) -> str:
    """What comes of choosing that device: its description, or the reason why it does not work."""
    try:
        engine = choose_device(name)
    except CascadeError as error:
        return f"no: {error}"
    return " ".join([f"{engine.device.type}: works, {engine.description}.", *engine.warnings])


def free_memory() -> str:
    """Memory that a new program can have, as far as the system says."""
    try:
        facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        free, total = (int(facts[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal"))
        return f"{free / 1e9:.1f} of {total / 1e9:.1f} GB"
    except (OSError, ValueError, KeyError):
        return "unknown"


def free_disk(folder: Path) -> str:
    """Free space on the disk of a folder, which need not exist yet."""
    existing = next((parent for parent in (folder, *folder.parents) if parent.is_dir()), None)
    if existing is None:
        return f"unknown ({folder})"
    return f"{shutil.disk_usage(existing).free / 1e9:.1f} GB ({folder})"


def bundle_rows() -> Iterator[tuple[str, str]]:
    """One row for each bundle."""
    for found in list_bundles():
        yield f"bundle {found.name}", bundle_result(found)


def bundle_result(found: FoundBundle) -> str:
    """Name, version and digest of a bundle whose weights are as they were made, or what is wrong with it."""
    if found.bundle is None:
        return f"no: {found.problem}"
    try:
        verify_hashes(found.bundle)
    except CascadeError as error:
        return f"no: {error}"
    return f"{found.bundle.name} {found.bundle.version}, {found.bundle.digest[:12]}"
