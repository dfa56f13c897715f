"""slicer.parameterNodeWrapper, as Slicer's documentation describes it: typed attributes that live in a parameter node.

Adapted: int, float, str, bool, pathlib.Path and MRML nodes; Default; the validators; connectGui for the widgets that the desk has.
Not adapted: lists, tuples, dictionaries, parameter packs, serializers of one's own. A class that uses these is refused when it is made.
"""

from __future__ import annotations

from slicer.parameterNodeWrapper.validators import (
    Choice,
    Default,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    Validator,
    WithinRange,
)
from slicer.parameterNodeWrapper.wrapper import SlicerParameterNamePropertyName, isParameterNodeWrapper, parameterNodeWrapper

__all__ = [
    "Choice",
    "Default",
    "Exclude",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]
