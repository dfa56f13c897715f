"""The desk itself: it keeps PythonQt's conventions, invents nothing, and its scene, files, views and mouse are Slicer's."""

from __future__ import annotations

import qt
import slicer


def test_boots() -> None:
    assert slicer.app.applicationName == "Slicer"
    assert slicer.mrmlScene.GetNumberOfNodes() > 0
    assert qt.Qt.Checked == 2
