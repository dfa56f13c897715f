"""Makes `slicer`, `qt`, `ctk` and the Python modules of Slicer importable."""

from __future__ import annotations

import importlib
import sys
import types
from functools import cache
from pathlib import Path

# Stand-ins for what lies in Slicer's package `slicer` but not in slicer-core's, and for Slicer's modules, which are imported by their names.
SLICER_PYTHON = Path(__file__).with_name("slicer_python")
SLICER_MODULES = Path(__file__).with_name("slicer_modules")


@cache
def install() -> None:
    """Does it once in a process."""
    from Testing.Slicer.desk.pythonqt import namespace as pythonqt

    pythonqt.install()
    import slicer

    slicer.__path__.append(str(SLICER_PYTHON))
    sys.path.append(str(SLICER_MODULES))
    for name in ("modules", "moduleNames"):
        module = sys.modules[f"slicer.{name}"] = types.ModuleType(f"slicer.{name}")
        setattr(slicer, name, module)
    slicer.selfTests = {}
    importlib.import_module("slicer.util")
    from Testing.Slicer.desk.standins import namespace as standins

    standins.install()
