"""Which public names of a stand-in Slicer does not have."""

from __future__ import annotations

from Testing.Slicer.desk.api_names import public_names

# Slicer has these, but outside of what the lists were read from: slicer.util itself calls or reads them.
NOT_IN_LISTS = {
    "qSlicerAbstractCoreModule": {"widgetRepresentation"},
    "qSlicerCoreApplication": {"testingEnabled"},
    "ctkPathLineEdit": {"Dirs", "Drives", "Files", "Readable", "Writable", "Executable"},
    "ctkComboBox": {"AlwaysScroll", "NeverScroll", "ScrollWithFocus", "ScrollWithNoFocus"},
}


def own_names(cls: type) -> set[str]:
    """Public names that the desk's classes define in that class and its bases; Qt's own classes are left out."""
    desk = [base for base in cls.__mro__ if base.__module__.startswith("Testing.")]
    names = {name for base in desk for name in vars(base) if not name.startswith("_")}
    return names - {"staticMetaObject"}


def qt_names(cls: type) -> set[str]:
    """What the class has from Qt."""
    return {name for base in cls.__mro__ if base.__module__.startswith("PySide6.") for name in dir(base)}


def invented_names(cls: type) -> set[str]:
    """Public names without a counterpart in every supported Slicer."""
    exceptions = {name for base in cls.__mro__ for name in NOT_IN_LISTS.get(base.__name__, ())}
    return own_names(cls) - qt_names(cls) - public_names(cls.__name__) - exceptions
