"""Drop-down lists whose entries are shown translated and kept as plain words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slicer.i18n import tr as _

from KidneyTumorCascadeScene.parameters import BY_KIND, BY_SIDE

Entries = Iterable[tuple[str, str]]


class Choice:
    """One list, which shows one parameter.

    Args:
        comboBox: the list.
        parameter: the parameter's name.
    """

    def __init__(self, comboBox: Any, parameter: str) -> None:
        self._comboBox = comboBox
        self._name = parameter
        self._parameters: Any = None
        comboBox.connect("activated(int)", self._chosen)

    def connect(self, parameters: Any) -> None:
        """Shows the parameter of this node; of none when it is None."""
        self._parameters = parameters
        self.show()

    def fill(self, entries: Entries) -> None:
        """Offers these: (kept, shown)."""
        self._comboBox.clear()
        for kept, shown in entries:
            self._comboBox.addItem(shown, kept)
        self.show()

    def show(self) -> None:
        """Shows the parameter's value, also one that is not offered, such as that of another computer."""
        if self._parameters is None:
            return
        kept = getattr(self._parameters, self._name)
        if self._comboBox.findData(kept) < 0:
            self._comboBox.addItem(kept, kept)
        self._comboBox.setCurrentIndex(self._comboBox.findData(kept))

    def _chosen(self, index: int) -> None:
        if self._parameters is not None:
            setattr(self._parameters, self._name, self._comboBox.itemData(index))


def presets(names: Iterable[str] = ("standard", "fast", "paper")) -> list[tuple[str, str]]:
    """A bundle's presets."""
    shown = {"standard": _("Standard"), "fast": _("Fast"), "paper": _("As published")}
    return [(name, shown.get(name, name)) for name in names]


def devices() -> list[tuple[str, str]]:
    """What may compute."""
    return [("auto", _("Automatic")), ("cuda", _("Graphics card (NVIDIA)")), ("mps", _("Graphics card (Apple)")), ("cpu", _("Processor"))]


def merges() -> list[tuple[str, str]]:
    """How kidney and tumor are put together."""
    return [("", _("As the preset says")), ("overlay", _("Tumor over kidney")), ("compare", _("The more probable one"))]


def schemes() -> list[tuple[str, str]]:
    """What becomes a segment."""
    return [(BY_SIDE, _("Right and left apart")), (BY_KIND, _("Kidney and Tumor"))]
