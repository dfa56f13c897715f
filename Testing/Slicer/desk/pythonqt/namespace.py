"""The `qt` module of Slicer's Python."""

from __future__ import annotations

import sys
import types

from Testing.Slicer.desk.pythonqt import dialogs, properties, signals, slot_errors
from Testing.Slicer.desk.pythonqt.binding import QtCore, qt_names, shiboken6
from Testing.Slicer.desk.pythonqt.ui_loader import QUiLoader


def install() -> None:
    """Gives PySide6 PythonQt's conventions, for the whole process, and makes `import qt` work."""
    properties.install()
    signals.install()
    dialogs.install()
    slot_errors.watch_unhandled()
    QtCore.QObject.delete = lambda self: shiboken6.delete(self)
    sys.modules["qt"] = _namespace()


def _namespace() -> types.ModuleType:
    qt = types.ModuleType("qt", "Qt as PythonQt offers it.")
    for name, value in qt_names():
        if value is not None and not hasattr(qt, name):
            setattr(qt, name, value)
    vars(qt).update(QUiLoader=QUiLoader, Signal=QtCore.Signal, Slot=QtCore.Slot, Property=QtCore.Property)
    return qt
