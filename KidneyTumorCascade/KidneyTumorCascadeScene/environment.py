"""PyTorch, which Slicer does not bring along: is it there, and shall it be installed?"""

from __future__ import annotations

import importlib
import importlib.util

import slicer
from slicer.i18n import tr as _

from KidneyTumorCascadeLib.errors import SetupError

TORCH = ">=2.2"
OTHERS = {"safetensors": "safetensors>=0.4"}


def missingPackages() -> list[str]:
    """What the worker needs and Slicer's Python does not have. Imports nothing."""
    importlib.invalidate_caches()
    return [name for name in ("torch", *OTHERS) if importlib.util.find_spec(name) is None]


def ensurePackages() -> None:
    """Installs what is missing, after asking once. Raises SetupError, which says what to do, when it stays missing."""
    missing = missingPackages()
    if not missing:
        return
    question = _("PyTorch is needed to segment. Download and install it now? It takes some minutes and about 1 to 5 GB of disk space.")
    if not slicer.util.confirmOkCancelDisplay(question, _("Kidney tumor cascade")):
        raise SetupError(whatToDo())
    if "torch" in missing:
        installTorch()
    others = [OTHERS[name] for name in missing if name in OTHERS]
    if others:
        installOthers(others)
    if missingPackages():
        raise SetupError(whatToDo())


def installTorch() -> None:
    """Through the PyTorch extension, which knows what fits this computer and shows its progress. Raises SetupError."""
    try:
        import PyTorchUtils
    except ImportError as error:
        raise SetupError(whatToDo()) from error
    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=TORCH)
    except Exception as error:
        raise SetupError(_("PyTorch could not be installed ({problem}). {advice}").format(problem=error, advice=whatToDo())) from error
    if torch is None:
        raise SetupError(whatToDo())


def installOthers(requirements: list[str]) -> None:
    """Small packages, with pip. Raises SetupError."""
    try:
        if importlib.util.find_spec("slicer.packaging") is not None:
            from slicer.packaging import pip_install

            pip_install(requirements)
        else:
            slicer.util.pip_install(requirements)
    except Exception as error:
        raise SetupError(_("{names} could not be installed: {problem}").format(names=", ".join(requirements), problem=error)) from error


def whatToDo() -> str:
    """For those who said no, or for whom it did not work."""
    return _(
        "PyTorch is not installed. Install the extension PyTorch in the Extensions Manager, restart Slicer, "
        "install PyTorch in the module PyTorch Utils, and come back."
    )
