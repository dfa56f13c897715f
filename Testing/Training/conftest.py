"""A pool of two phantoms on coarse voxels, and what the tiny configuration learns from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom
from Training import train
from Training.cases import Case, cubic_case
from Training.fitting import validation
from Training.fitting.settings import StageSettings, read_settings

SMOKE = Path(train.__file__).parent / "configs" / "smoke.json"
SPACING_MM = 6.0


def phantom_as_case(name: str, seed: int, tumors: int) -> Case:
    """A phantom patient on voxels of 6 mm."""
    settings = PhantomSettings(seed=seed, tumors=tumors, cysts=0, spacing=(SPACING_MM,) * 3, size_mm=(300.0, 240.0, 216.0), noise_sd=8.0)
    phantom = make_phantom(settings)
    return cubic_case(name, phantom.volume, phantom.labels, SPACING_MM)


@pytest.fixture(scope="session")
def phantom_cases() -> tuple[Case, Case]:
    """One case to train on and one to validate with, both with kidneys and tumors."""
    return phantom_as_case("phantom_10000", 3, 2), phantom_as_case("phantom_20000", 5, 2)


@pytest.fixture(scope="session")
def pool(phantom_cases: tuple[Case, Case], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool as `Training/synthesis.py` lays it out."""
    folder = tmp_path_factory.mktemp("pool")
    for split, case in zip(("train", "validation"), phantom_cases, strict=True):
        for kind in ("fine", "coarse"):
            (folder / split / kind).mkdir(parents=True)
            case.save(folder / split / kind)
    return folder


@pytest.fixture(scope="session")
def runs(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three stages trained by the command, with the tiny configuration."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["--config", str(SMOKE), "--stage", "all", "--data", str(pool), "--out", str(folder), "--device", "cpu"]
    assert train.main([*words, "--no-tensorboard", "--threads", str(torch.get_num_threads())]) == 0
    return folder


@pytest.fixture
def body() -> Case:
    """A block of soft tissue with two ellipsoid kidneys, a column of bone and a tube of gas, on voxels of 2 mm."""
    size = 72
    z, y, x = np.mgrid[:size, :size, :size].astype(np.float32)
    labels = np.zeros((size,) * 3, dtype=np.uint8)
    for middle in (20.0, 52.0):
        labels[((z - 36) / 22) ** 2 + ((y - 36) / 13) ** 2 + ((x - middle) / 11) ** 2 < 1] = 1
    hu = np.random.default_rng(0).normal(40.0, 8.0, labels.shape) + 110.0 * (labels == 1)
    hu[:, 55:68, 30:42] = 700.0
    hu[:, 14:22, 30:42] = -900.0
    return Case("body", hu.round().astype(np.int16), labels, 2.0)


@pytest.fixture
def body_with_tumor(body: Case) -> Case:
    """The same with a cubic tumor in the kidney of small x."""
    labels = body.labels.copy()
    labels[30:42, 30:42, 14:26] = 2
    return replace(body, labels=labels)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> StageSettings:
    """Sixteen steps with a checkpoint at the eighth, and few patches to validate with."""
    monkeypatch.setattr(validation, "VALIDATION_PATCHES", 4)
    return replace(read_settings(SMOKE, "kidney"), steps=16)
