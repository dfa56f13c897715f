"""On what was measured: processor, threads, GPU, versions, and what else the machine was doing."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from KidneyTumorCascadeLib import __version__
from KidneyTumorCascadeLib.device import cpu_lines, describe
from Testing.Benchmarks.settings import Settings, usable_cores

PACKAGES = ("torch", "nnunetv2", "monai", "numpy", "SimpleITK")


def processor() -> str:
    """The CPU's name."""
    models = [line.partition(":")[2].strip() for line in cpu_lines() if line.startswith("model name")]
    return models[0] if models else platform.machine()


def version_of(package: str) -> str:
    """The installed version, or that there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def load() -> float:
    """Processes that wanted a core in the last minute, on average; a quiet machine shows the benchmark's own threads."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def description(settings: Settings) -> list[str]:
    """One line a subject, in Markdown."""
    lines = [f"{processor()}, {usable_cores()} cores, {settings.threads} threads for every contender, {platform.system()} {platform.release()}"]
    if settings.device == "cuda":
        lines.append(describe("cuda"))
    versions = ", ".join(f"{package} {version_of(package)}" for package in PACKAGES)
    lines.append(f"kidney-tumor-cascade {__version__}, Python {platform.python_version()}, {versions}")
    lines.append(f"load average when the report was written: {load():.2f}")
    return [f"- {line}" for line in lines]
