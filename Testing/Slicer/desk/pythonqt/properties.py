"""Qt's properties as attributes, and no attributes besides."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from Testing.Slicer.desk.pythonqt.binding import QtCore, qt_object_classes, rawProperty, rawSetProperty

# Qt itself calls these getters of a Python subclass; a property in their place would recurse.
VIRTUAL_GETTERS = {"sizeHint", "minimumSizeHint"}
# A static method that PythonQt offers too.
STATIC_METHODS = {"singleShot"}

# Class name -> names of its properties. Taken early: PySide6 may free the staticMetaObject of a Python class.
known_properties: dict[str, set[str]] = {}
# Not empty while a .ui file is loaded.
_loading: list[bool] = []


def install() -> None:
    """Patches every class of Qt."""
    for cls in qt_object_classes():
        _patch(cls)
    QtCore.QObject.name = property(lambda self: rawProperty(self, "objectName"), lambda self, value: rawSetProperty(self, "objectName", value))
    QtCore.QObject.className = lambda self: self.metaObject().className()


def _patch(cls: Any) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        if name not in VIRTUAL_GETTERS | STATIC_METHODS:
            setattr(cls, name, _attribute(name, meta.property(index).isWritable()))
    remember_properties(cls)
    cls.__setattr__ = set_attribute


def remember_properties(cls: Any) -> None:
    """Notes which properties a class has, for .ui files to be checked against."""
    meta = cls.staticMetaObject
    known_properties[cls.__name__] = {meta.property(index).name() for index in range(meta.propertyCount())}


def _attribute(name: str, writable: bool) -> property:
    def read(self: Any) -> Any:
        return as_tuple(rawProperty(self, name))

    def write(self: Any, value: object) -> None:
        if not writable:
            raise AttributeError(f"property '{name}' of {type(self).__name__} is read-only")
        set_property(self, name, value)

    return property(read, write)


def as_tuple(value: Any) -> Any:
    """PythonQt hands lists out as tuples."""
    return tuple(value) if isinstance(value, list) else value


def set_property(item: Any, name: str, value: object) -> None:
    """Raises AttributeError when the property does not take that value."""
    if not rawSetProperty(item, name, list(value) if isinstance(value, tuple) else value):
        raise AttributeError(f"property '{name}' of {type(item).__name__} does not accept {value!r}")


def set_attribute(self: Any, name: str, value: object) -> None:
    """Assignment by PythonQt's rules: to properties always, to anything else only on objects of Python classes."""
    attribute = inspect.getattr_static(type(self), name, None)
    if isinstance(value, QtCore.SignalInstance):
        vars(self)[name] = value  # PySide6's own, when a signal of an object made in C++ is read first
    elif isinstance(attribute, QtCore.Property):
        attribute.fset(self, value)
    elif hasattr(type(attribute), "__set__"):
        attribute.__set__(self, value)
    elif self.metaObject().indexOfProperty(name) >= 0 or QtCore.QByteArray(name.encode()) in self.dynamicPropertyNames():
        set_property(self, name, value)
    elif is_cpp_class(type(self)) and not name.startswith("_"):
        if not _loading:
            raise AttributeError(f"{type(self).__name__} has no property '{name}', and PythonQt sets nothing else on C++ objects")
    else:
        vars(self)[name] = value


@contextmanager
def loading() -> Iterator[None]:
    """While PySide6 loads a .ui file, it wants to make each widget an attribute of the root. Slicer does not; neither happens here."""
    _loading.append(True)
    try:
        yield
    finally:
        _loading.pop()


def is_cpp_class(cls: type) -> bool:
    """True for Qt's classes and for the stand-ins of Slicer's and CTK's; false for Python classes that derive from them."""
    return cls.__module__.startswith("PySide6.") or "_isStandIn" in vars(cls)
