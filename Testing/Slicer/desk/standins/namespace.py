"""The `ctk` module, and the widgets that lie in `slicer`."""

from __future__ import annotations

import importlib
import sys
import types

from Testing.Slicer.desk.standins.skeleton import registry

MODULES = (
    "ctk_buttons",
    "ctk_numbers",
    "ctk_paths",
    "scene_widgets",
    "node_combo_box",
    "table_view",
    "segments_table",
    "segment_selector",
    "show_3d_button",
    "modules",
)


def install() -> None:
    """Makes `import ctk` work and puts the other stand-ins into `slicer`."""
    import slicer

    for name in MODULES:
        importlib.import_module(f"Testing.Slicer.desk.standins.{name}")
    ctk = types.ModuleType("ctk", "CTK's widgets, as far as the desk has them.")
    for name, cls in registry.items():
        setattr(ctk if name.startswith("ctk") else slicer, name, cls)
    sys.modules["ctk"] = ctk
