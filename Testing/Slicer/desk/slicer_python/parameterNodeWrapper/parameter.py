"""One parameter: its type, its default, its conditions, and how the parameter node keeps it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import slicer
from slicer.parameterNodeWrapper.validators import Choice, Default, IsInstance, NotNone, Validator, WithinRange

_MISSING = object()
# Type -> what reads it from a string.
READERS: dict[type, Callable[[str], Any]] = {
    bool: lambda text: text == "true",
    int: int,
    float: float,
    str: str,
    pathlib.Path: pathlib.Path,
}
EMPTY: dict[type, Any] = {bool: False, int: 0, float: 0.0, str: "", pathlib.Path: pathlib.Path()}


class Parameter:
    """Raises TypeError for a type that the desk does not keep."""

    def __init__(self, name: str, hint: Any, default: Any = _MISSING) -> None:
        self.name = name
        self.kind, annotations = (get_args(hint)[0], get_args(hint)[1:]) if get_origin(hint) is Annotated else (hint, ())
        self.isNode = isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)
        if not self.isNode and self.kind not in READERS:
            raise TypeError(f"parameter '{name}': the desk's parameter nodes keep no {self.kind}")
        given = [annotation.value for annotation in annotations if isinstance(annotation, Default)]
        own = [annotation for annotation in annotations if isinstance(annotation, Validator)]
        self.validators: list[Validator] = [*self._basicValidators(), *own]
        self.default = default if default is not _MISSING else given[0] if given else self._emptyValue(own)

    def _basicValidators(self) -> list[Validator]:
        if self.isNode:
            return [IsInstance(self.kind)]
        return [NotNone(), IsInstance((float, int) if self.kind is float else self.kind)]

    def _emptyValue(self, own: list[Validator]) -> Any:
        """Slicer's choice without a default: the first of some values, the lowest of a range, else an empty value."""
        for validator in own:
            if isinstance(validator, Choice):
                return validator.choices[0]
            if isinstance(validator, WithinRange):
                return validator.minimum
        return EMPTY.get(self.kind)

    def isIn(self, node: Any, key: str) -> bool:
        """True when the node has a value under that key. No reference is a value too: None."""
        return self.isNode or bool(node.HasParameter(key))

    def read(self, node: Any, key: str) -> Any:
        """The value under that key."""
        return node.GetNodeReference(key) if self.isNode else READERS[self.kind](node.GetParameter(key))

    def write(self, node: Any, key: str, value: Any) -> None:
        """Puts the value under that key. Raises ValueError or TypeError for a value that may not be."""
        for validator in self.validators:
            validator.validate(value)
        if self.isNode:
            node.SetNodeReferenceID(key, value.GetID() if value is not None else None)
        else:
            node.SetParameter(key, str(value).lower() if self.kind is bool else str(value))
