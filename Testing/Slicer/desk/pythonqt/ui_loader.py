"""QUiLoader for Slicer's .ui files: stand-ins for CTK's and qMRML's widgets, and no silent mistakes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from Testing.Slicer.desk.pythonqt import signals
from Testing.Slicer.desk.pythonqt.binding import QtCore, QtUiTools, QtWidgets
from Testing.Slicer.desk.pythonqt.properties import known_properties, loading

# Class name -> the stand-in that a .ui file gets for it.
stand_ins: dict[str, type] = {}


class UiError(RuntimeError):
    """A .ui file names something that Slicer does not have, or the desk does not know."""


class QUiLoader(QtUiTools.QUiLoader):  # type: ignore[misc]
    """Loads a .ui file as Slicer's does. Raises UiError for an unknown class or property, AttributeError for a wrong connection."""

    def load(self, device: Any, parent: Any = None) -> Any:
        """The widget that the file describes, with the connections that it asks for."""
        root = ElementTree.fromstring(bytes(device.readAll()))
        check(root)
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        settings = take_enum_properties(root)
        for cls in stand_ins.values():
            self.registerCustomWidget(cls)
        with loading():
            widget = super().load(_buffer(root), parent)
        by_name = {item.objectName: item for item in [widget, *widget.findChildren(QtCore.QObject)]}
        for name, key, value in settings:
            setattr(by_name[name], key, value)
        for connection in connections if connections is not None else ():
            _connect(connection, by_name)
        return widget


def check(root: ElementTree.Element) -> None:
    """Qt loads unknown classes as plain widgets and skips unknown properties; here both are errors."""
    for widget in root.iter("widget"):
        cls = widget.get("class", "")
        if cls not in stand_ins and not hasattr(QtWidgets, cls) and cls != "Line":
            raise UiError(f"the .ui file uses {cls}, which the desk does not have")
        for item in widget.findall("property"):
            if cls in known_properties and item.get("stdset") != "0" and item.get("name") not in known_properties[cls]:
                raise UiError(f"the .ui file sets {cls}.{item.get('name')}, which does not exist")


def take_enum_properties(root: ElementTree.Element) -> list[tuple[str, str, int]]:
    """Takes enum properties of stand-ins out, since Qt does not know their enums: widget's name, property, value."""
    found = []
    for widget in root.iter("widget"):
        if widget.get("class") not in stand_ins:
            continue
        for item in widget.findall("property"):
            text = item.findtext("set") or item.findtext("enum")
            owner = text.partition("::")[0] if text else ""
            if text and owner in stand_ins:
                widget.remove(item)
                found.append((widget.get("name", ""), item.get("name", ""), _enum_value(text)))
    return found


def _enum_value(text: str) -> int:
    value = 0
    for word in text.split("|"):
        owner, _, name = word.strip().rpartition("::")
        value |= int(getattr(stand_ins[owner.split("::")[0]], name))
    return value


def _buffer(root: ElementTree.Element) -> Any:
    buffer = QtCore.QBuffer()
    buffer.setData(QtCore.QByteArray(ElementTree.tostring(root)))
    buffer.open(QtCore.QIODevice.ReadOnly)
    return buffer


def _connect(connection: ElementTree.Element, by_name: dict[str, Any]) -> None:
    sender, receiver = (by_name[connection.findtext(key, "")] for key in ("sender", "receiver"))
    signals.connect(sender, connection.findtext("signal", ""), receiver, connection.findtext("slot", ""))
