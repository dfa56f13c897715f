"""The decorator that makes a class of type hints into typed access to a parameter node."""

from __future__ import annotations

from typing import Any, get_type_hints

import qt
import vtk
from slicer.parameterNodeWrapper.connectors import Connector
from slicer.parameterNodeWrapper.parameter import Parameter

SlicerParameterNamePropertyName = "SlicerParameterName"


class Wrapper:
    """What every decorated class can do."""

    allParameters: dict[str, Parameter]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode = parameterNode
        self._prefix = prefix or ""
        self._guis: dict[int, tuple[dict[str, Connector], int]] = {}
        self._nextTag = 0
        self._updating = False
        for name, parameter in self.allParameters.items():
            if not parameter.isIn(parameterNode, self._prefix + name):
                self.setValue(name, parameter.default)

    def _parameter(self, name: str) -> Parameter:
        if name not in self.allParameters:
            raise ValueError(f"no parameter '{name}', only {', '.join(self.allParameters)}")
        return self.allParameters[name]

    def getValue(self, name: str) -> Any:
        """The value of the parameter of that name. Raises ValueError for an unknown one."""
        return self._parameter(name).read(self.parameterNode, self._prefix + name)

    def setValue(self, name: str, value: Any) -> None:
        """Sets the parameter of that name."""
        self._parameter(name).write(self.parameterNode, self._prefix + name, value)

    def connectGui(self, gui: Any) -> int:
        """Connects every widget in `gui` whose dynamic property SlicerParameterName names a parameter. Returns a tag for disconnectGui."""
        widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else list(vars(gui).values())
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Connects widgets by the names of their parameters."""
        connectors = {name: Connector(widget, self._parameter(name).kind) for name, widget in mapping.items()}
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._taker(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._showAll())
        self._guis[self._nextTag] = (connectors, observer)
        self._nextTag += 1
        return self._nextTag - 1

    def disconnectGui(self, tag: int) -> None:
        """Ends what connectGui began; nothing for an unknown tag."""
        connectors, observer = self._guis.pop(tag, ({}, None))
        for connector in connectors.values():
            connector.onChanged(None)
        if observer is not None:
            self.RemoveObserver(observer)

    def _taker(self, name: str, connector: Connector) -> Any:
        def take() -> None:
            if not self._updating:
                self.setValue(name, connector.read())

        return take

    def _showAll(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors, _ in self._guis.values():
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self) -> int:
        return int(self.parameterNode.StartModify())

    def EndModify(self, wasModified: int) -> None:
        self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return int(self.parameterNode.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(classtype: Any = None) -> Any:
    """Class decorator, with or without parentheses. Raises TypeError for types that the desk's parameter nodes do not keep."""
    if classtype is None:
        return parameterNodeWrapper
    parameters = {}
    for name, hint in get_type_hints(classtype, include_extras=True).items():
        given = (getattr(classtype, name),) if hasattr(classtype, name) else ()
        parameters[name] = Parameter(name, hint, *given)
    taken = [name for name in parameters if hasattr(Wrapper, name)]
    if taken:
        raise ValueError(f"cannot use reserved name '{taken[0]}' in a parameterNodeWrapper")
    members = {key: value for key, value in vars(classtype).items() if key not in ("__dict__", "__weakref__")}
    members.update({name: _attribute(name) for name in parameters}, allParameters=parameters)
    return type(classtype.__name__, (*[base for base in classtype.__bases__ if base is not object], Wrapper), members)


def _attribute(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def isParameterNodeWrapper(classOrObject: Any) -> bool:
    """True for decorated classes and objects of them."""
    return isinstance(classOrObject, Wrapper) or (isinstance(classOrObject, type) and issubclass(classOrObject, Wrapper))
