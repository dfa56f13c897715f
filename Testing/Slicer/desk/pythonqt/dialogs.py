"""Modal dialogs. Nobody sits at the desk, so that a dialog would wait for ever: a test says beforehand what the user answers."""

from __future__ import annotations

from collections import deque
from typing import Any

from Testing.Slicer.desk.pythonqt.binding import QtCore, QtWidgets

STATIC_DIALOGS = {
    "QFileDialog": ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"),
    "QMessageBox": ("question", "information", "warning", "critical"),
    "QInputDialog": ("getText", "getItem", "getInt", "getDouble"),
}

# What the user does with the next dialogs: a value to return, or a function that is given the dialog and returns one.
answers: deque[Any] = deque()
# The texts of the dialogs that were shown, oldest first.
shown: list[str] = []


class UnexpectedDialog(AssertionError):
    """A dialog appeared that the test has no answer for."""


def install() -> None:
    """Makes every modal dialog take its answer from `answers`; `exec_` stays PythonQt's only name for running one."""
    QtWidgets.QDialog.exec_ = lambda self: _answer(self, _text(self))
    for name, methods in STATIC_DIALOGS.items():
        for method in methods:
            setattr(getattr(QtWidgets, name), method, staticmethod(_static_dialog(name, method)))
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu):
        cls.exec = _no_exec
    QtCore.QEventLoop.exec_ = QtCore.QEventLoop.exec
    QtCore.QEventLoop.exec = _no_exec


def reset() -> None:
    """Forgets answers and texts of an earlier test."""
    answers.clear()
    shown.clear()


def _static_dialog(name: str, method: str) -> Any:
    def ask(*arguments: Any, **_: Any) -> Any:
        return _answer(None, f"{name}.{method}: {[argument for argument in arguments if isinstance(argument, str)]}")

    return ask


def _answer(dialog: Any, text: str) -> Any:
    shown.append(text)
    if not answers:
        raise UnexpectedDialog(f"a dialog appeared without an answer prepared for it: {text}")
    answer = answers.popleft()
    return answer(dialog) if callable(answer) else answer


def _text(dialog: Any) -> str:
    return str(dialog.text if isinstance(dialog, QtWidgets.QMessageBox) else dialog.windowTitle)


def _no_exec(self: Any) -> Any:
    raise AttributeError(f"PythonQt calls it {type(self).__name__}.exec_()")
