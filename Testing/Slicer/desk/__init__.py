"""A desk to test the Slicer module at, without the Slicer application.

Real: the MRML scene with its nodes, files and logics, the slice and 3D views with their mouse, slicer.util (package slicer-core), and Qt
(PySide6). Adapted: PythonQt's conventions, CTK's and qMRML's widgets, slicer.app, the base classes of scripted modules, parameter nodes.
Not covered: PythonQt itself, CTK's C++, the segment editor, command line modules, the extension manager.

    from Testing.Slicer.desk import missing, install, boot

    missing()   # why this machine cannot; empty when it can
    install()   # from here on: import slicer, qt, ctk, vtk, and Slicer's Python modules
    boot()      # slicer.app, slicer.mrmlScene, slicer.modules; returns a Desk

Tests get the desk from the fixture `desk` (Testing/Slicer/conftest.py), and need none of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from Testing.Slicer.desk.requirements import missing

if TYPE_CHECKING:
    from Testing.Slicer.desk.desk import Desk

__all__ = ["boot", "install", "missing"]


def install() -> None:
    """Makes Slicer's Python modules importable in this process, once. Must come before anything else imports PySide6."""
    from Testing.Slicer.desk import installing

    installing.install()


def boot() -> Desk:
    """Starts the application of this process, or returns the one that runs."""
    install()
    from Testing.Slicer.desk import desk

    return desk.running()
