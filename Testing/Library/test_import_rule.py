"""The import rule holds for every file, and is able to notice when it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from Testing.import_rule import (
    LAYERS,
    LIBRARY,
    SLICER_PACKAGES,
    TORCH_FREE,
    TRAINING_PACKAGES,
    library_violations,
    needed_packages,
    python_files,
    wing_violations,
)

ROOT = Path(__file__).resolve().parents[2]
MODULES = [path for path in python_files(ROOT / LIBRARY) if path.name != "__init__.py"]


def own_packages(folder: str) -> set[str]:
    """A wing may import itself, by its own name or that of a module or package in it."""
    return {folder, *(path.stem if path.suffix else path.name for path in (ROOT / folder).glob("*") if path.is_dir() or path.suffix == ".py")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_library_module_imports_only_what_comes_before_it(path: Path) -> None:
    assert library_violations(path.stem, path.read_text(encoding="utf-8")) == []


def test_package_itself_imports_nothing() -> None:
    assert "import" not in (ROOT / LIBRARY / "__init__.py").read_text(encoding="utf-8").replace("from __future__ import annotations", "")


@pytest.mark.parametrize("module", TORCH_FREE)
def test_slicers_part_of_the_library_needs_no_torch(module: str) -> None:
    packages = needed_packages(module, lambda name: (ROOT / LIBRARY / f"{name}.py").read_text(encoding="utf-8"))
    assert "torch" not in packages
    assert "safetensors" not in packages


def test_torch_is_not_loaded_when_slicer_imports_its_part() -> None:
    code = f"import sys, {', '.join(f'{LIBRARY}.{module}' for module in TORCH_FREE)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("path", python_files(ROOT / "KidneyTumorCascade"), ids=lambda path: path.stem)
def test_slicer_module_imports_only_slicer_and_the_torch_free_part(path: Path) -> None:
    allowed = SLICER_PACKAGES | own_packages("KidneyTumorCascade")
    assert wing_violations(path.read_text(encoding="utf-8"), allowed, TORCH_FREE) == []


@pytest.mark.parametrize("path", python_files(ROOT / "Training"), ids=lambda path: path.stem)
def test_training_imports_only_the_library_and_its_extras(path: Path) -> None:
    assert wing_violations(path.read_text(encoding="utf-8"), TRAINING_PACKAGES | {"Training"}, None) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import slicer",
        "import qt",
        "import vtk.util",
        "from ctk import ctkButton",
        "import Training.train",
        "from Testing.import_rule import LAYERS",
        "import monai",
        "def later():\n    import pydicom",
        "try:\n    import nnunetv2\nexcept ImportError:\n    pass",
        "from . import geometry",
        "from .geometry import Box",
        "import PIL",
        "def later():\n    from PIL import Image",
        "from KidneyTumorCascadeLib import cascade",
        "from KidneyTumorCascadeLib.cascade import Cascade",
        "import KidneyTumorCascadeLib.cli as cli",
        "if TYPE_CHECKING:\n    from KidneyTumorCascadeLib.cascade import Cascade",
        "from KidneyTumorCascadeLib.vnet import VNet",
        "from KidneyTumorCascadeLib.no_such_module import anything",
    ],
)
def test_a_planted_violation_is_noticed(planted: str) -> None:
    assert library_violations("vnet", planted)


@pytest.mark.parametrize(
    "harmless",
    [
        "import json, os.path\nimport torch\nfrom torch.nn import functional",
        "import numpy as np\nfrom scipy import ndimage\nimport SimpleITK as sitk",
        "from KidneyTumorCascadeLib import __version__",
        "from KidneyTumorCascadeLib.geometry import Box",
        "from KidneyTumorCascadeLib import geometry",
    ],
)
def test_what_the_rule_allows_passes(harmless: str) -> None:
    assert library_violations("vnet", harmless) == []


def test_pillow_is_allowed_inside_the_functions_of_preview() -> None:
    assert library_violations("preview", "def draw():\n    from PIL import Image") == []
    assert library_violations("preview", "from PIL import Image")


def test_slicer_wing_may_not_reach_torch_through_the_library() -> None:
    assert wing_violations("from KidneyTumorCascadeLib.geometry import Box", SLICER_PACKAGES, TORCH_FREE) == []
    assert wing_violations("from KidneyTumorCascadeLib.cascade import Cascade", SLICER_PACKAGES, TORCH_FREE)
    assert wing_violations("import torch", SLICER_PACKAGES, TORCH_FREE)


def test_torch_is_found_through_other_modules_but_not_in_functions() -> None:
    sources = {
        "volume": "from KidneyTumorCascadeLib.geometry import Box",
        "geometry": "from KidneyTumorCascadeLib import errors",
        "errors": "import torch",
    }
    assert "torch" in needed_packages("volume", sources.__getitem__)
    sources["errors"] = "def later():\n    import torch\nif TYPE_CHECKING:\n    import torch"
    assert "torch" not in needed_packages("volume", sources.__getitem__)


def test_every_layer_is_named_once() -> None:
    assert len(set(LAYERS)) == len(LAYERS)
