"""PySide6, set up before its first import, and the methods of QObject that are replaced later."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

# All of these are read while the packages are imported.
os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "0x02")  # enums are ints
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if sys.platform.startswith("linux"):
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")  # needs no display

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtSvg, QtUiTools, QtWidgets

__all__ = ["QtCore", "QtGui", "QtUiTools", "QtWidgets", "address", "qt_names", "qt_object_classes", "rawConnect", "rawDisconnect"]
__all__ += ["rawProperty", "rawSetProperty", "shiboken6"]

MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtSvg, QtUiTools)

rawProperty = QtCore.QObject.property
rawSetProperty = QtCore.QObject.setProperty
rawConnect = QtCore.QObject.connect
rawDisconnect = QtCore.QObject.disconnect


def qt_names() -> Iterator[tuple[str, object]]:
    """Everything public in PySide6's modules. PySide6 makes its types when asked, so that dir() knows more than vars()."""
    for module in MODULES:
        for name in dir(module):
            if not name.startswith("_"):
                yield name, getattr(module, name, None)


def qt_object_classes() -> list[type]:
    """Every class of Qt that derives from QObject, once."""
    found = (value for _, value in qt_names() if isinstance(value, type) and issubclass(value, QtCore.QObject))
    return list(dict.fromkeys(found))


def address(item: QtCore.QObject) -> int:
    """Where the C++ object lies; the same for every Python wrapper of it."""
    return int(shiboken6.getCppPointer(item)[0])
