"""Base classes made from Slicer's own lists of names: a stand-in's properties and signals."""

from __future__ import annotations

from typing import Any

from Testing.Slicer.desk.api_names import all_classes, split
from Testing.Slicer.desk.pythonqt import ui_loader
from Testing.Slicer.desk.pythonqt.binding import QtCore, QtGui, QtWidgets
from Testing.Slicer.desk.pythonqt.properties import remember_properties

PYTHON_TYPES: dict[str, Any] = {"bool": bool, "int": int, "double": float, "QString": str, "QStringList": list, "QColor": QtGui.QColor}
INITIAL = {bool: False, int: 0, float: 0.0, str: "", list: []}

# Every stand-in by the name of the class that it stands for.
registry: dict[str, type] = {}


class InventedName(AssertionError):
    """A stand-in offers something that Slicer does not have."""


def skeleton(name: str, base: type) -> Any:
    """A class with the properties and signals that the list has for `name`; `base` is what it derives from here."""
    names = all_classes()[name]
    attributes: dict[str, Any] = {"__module__": __name__, "_isStandIn": True, "_signalAttributes": {}, "_readOnly": set()}
    inherited = inherited_properties(base)
    for key, (kind, writable) in names.properties.items():
        if key not in inherited or (writable and not inherited[key]):
            attributes[key] = stored_property(key, PYTHON_TYPES.get(kind, object), writable)
            if not writable:
                attributes["_readOnly"].add(key)
    for signature in names.signals:
        _add_signal(attributes, signature)
    return type(f"_{name}", (base, StandIn), attributes)


def inherited_properties(base: Any) -> dict[str, bool]:
    """The properties that a class has already, and whether each is writable."""
    meta = base.staticMetaObject
    read_only = {name for cls in base.__mro__ for name in vars(cls).get("_readOnly", ())}
    properties = [meta.property(index) for index in range(meta.propertyCount())]
    return {item.name(): item.isWritable() and item.name() not in read_only for item in properties}


def _add_signal(attributes: dict[str, Any], signature: str) -> None:
    """Overloads become signals of their own, since PySide6 cannot tell apart types that it does not know."""
    name, arguments = split(signature)
    attribute = name if name not in attributes else "_".join([f"_{name}", *arguments]).replace("*", "").replace(":", "")
    attributes[attribute] = QtCore.Signal(*[PYTHON_TYPES.get(argument, object) for argument in arguments])
    attributes["_signalAttributes"][f"{name}({','.join(arguments)})"] = attribute


class StandIn:
    """What stand-ins have in common: the values of their properties, and a hook for changes of them."""

    _isStandIn = True
    # Values that differ from those of a fresh Python object of the type.
    _initial: dict[str, Any] = {}  # noqa: RUF012 -- overridden, never changed

    def _value(self, name: str, kind: Any) -> Any:
        return vars(self).setdefault("_values", dict(self._initial)).get(name, INITIAL.get(kind))

    def _store(self, name: str, value: object) -> None:
        vars(self).setdefault("_values", dict(self._initial))[name] = value

    def _propertyChanged(self, name: str) -> None:
        """Called after a property was assigned."""


def stored_property(name: str, kind: Any, writable: bool) -> Any:
    """A Qt property that keeps its value in the stand-in. Read-only ones are set by the stand-in itself, through `_store`."""

    def read(self: Any) -> Any:
        value = self._value(name, kind)
        return tuple(value) if kind is list else value

    def write(self: Any, value: Any) -> None:
        if not writable:
            raise AttributeError(f"property '{name}' of {type(self).__name__} is read-only")
        self._store(name, converted(name, kind, value))
        self._propertyChanged(name)

    return QtCore.Property({list: "QStringList", object: "QVariant"}.get(kind, kind), read, write)


def converted(name: str, kind: Any, value: Any) -> Any:
    """The value as that property keeps it. Raises AttributeError where PythonQt would not convert it."""
    fits: Any = {bool: (bool, int), int: (int, float), float: (int, float), str: str, list: (list, tuple)}.get(kind, object)
    if not isinstance(value, fits):
        raise AttributeError(f"property '{name}' does not accept {value!r}")
    return value if kind is object else kind(value)


def register(cls: Any) -> Any:
    """Class decorator: takes the stand-in up, under the name of the class that it stands for. Raises InventedName."""
    from Testing.Slicer.desk.standins.checking import invented_names

    invented = invented_names(cls)
    if invented:
        raise InventedName(f"{cls.__name__}: Slicer has no {', '.join(sorted(invented))}")
    cls._isStandIn = True
    registry[cls.__name__] = cls
    if issubclass(cls, QtWidgets.QWidget):
        ui_loader.stand_ins[cls.__name__] = cls
    remember_properties(cls)
    return cls
