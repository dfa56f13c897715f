"""What all tests share: the research data where it lies beside the repository, few threads, reproducible examples."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
settings.register_profile("local", deadline=None, max_examples=40)
settings.register_profile("ci", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of research data that is not part of the repository; tests that need it are skipped without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no research data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def own_bundle_store(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests never see, let alone change, the bundles that the user has installed."""
    monkeypatch.setenv("KIDNEY_TUMOR_CASCADE_HOME", str(tmp_path_factory.getbasetemp() / "user-bundles"))
