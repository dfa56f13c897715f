"""The measurements as a table of the scene: a row for each kidney, and one for each of its tumors."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

SIDES = ("right", "left", "both")
MEASURED = "KidneyTumorCascade.measured."
# The last three say where a tumor lies (LPS, mm, the CT's own frame). They are for files and for jumping there; the panel hides them.
POSITION_COLUMNS = 3

Row = tuple[str, ...]


def header() -> Row:
    """The columns' names."""
    shown = (_("Side"), _("Kidney ml"), _("Tumor ml"), _("Tumors"), _("Max mm"), _("Mean HU"), _("Warnings"))
    return (*shown, "L mm", "P mm", "S mm")


def keep(node: Any, measurements: Mapping[str, Mapping[str, Any]], others: bool) -> None:
    """Takes in measurements by side, as the worker gives them, and shows them. `others`: keep those of other sides."""
    for side in SIDES:
        if side in measurements:
            node.SetAttribute(MEASURED + side, json.dumps(measurements[side]))
        elif not others:
            node.RemoveAttribute(MEASURED + side)
    fill(node)


def measured(node: Any) -> dict[str, dict[str, Any]]:
    """The measurements that the table shows, by side."""
    texts = {side: node.GetAttribute(MEASURED + side) for side in SIDES}
    return {side: json.loads(text) for side, text in texts.items() if text}


def fill(node: Any) -> None:
    """Writes the rows."""
    rows = list(rowsOf(measured(node)))
    modifying = node.StartModify()
    node.RemoveAllColumns()
    for index, name in enumerate(header()):
        column = vtk.vtkStringArray()
        column.SetName(name)
        for row in rows:
            column.InsertNextValue(row[index])
        node.AddColumn(column)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    node.EndModify(modifying)


def rowsOf(measurements: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    """The rows of all sides."""
    for side, values in measurements.items():
        yield sideRow(side, values)
        for number, tumor in enumerate(values["tumor_list"], start=1):
            yield tumorRow(side, number, tumor)


def sideRow(side: str, values: Mapping[str, Any]) -> Row:
    """A kidney's row."""
    names = {"right": _("Right kidney"), "left": _("Left kidney"), "both": _("Both kidneys")}
    numbers = (number(values["kidney_ml"], 1), number(values["tumor_ml"], 1), str(values["tumors"]))
    return (names[side], *numbers, number(values["longest_mm"], 1), number(values["mean_hu"], 0), " ".join(values["warnings"]), "", "", "")


def tumorRow(side: str, index: int, tumor: Mapping[str, Any]) -> Row:
    """A tumor's row."""
    names = {"right": _("Right tumor {n}"), "left": _("Left tumor {n}"), "both": _("Tumor {n}")}
    warning = _("Reaches the border of the scan or of its box.") if tumor["touches_border"] else ""
    sizes = ("", number(tumor["volume_ml"], 1), "", number(tumor["longest_diameter_mm"], 1), number(tumor["mean_hu"], 0), warning)
    return (names[side].format(n=index), *sizes, *(number(value, 1) for value in tumor["center_lps_mm"]))


def number(value: float | None, decimals: int) -> str:
    """A number for people; nothing for None."""
    return "" if value is None else f"{value:.{decimals}f}"


def positionOf(node: Any, row: int) -> tuple[float, ...] | None:
    """Where the tumor of a row lies: LPS, mm, in the CT's own frame. None for a kidney's row."""
    first = node.GetNumberOfColumns() - POSITION_COLUMNS
    texts = [node.GetCellText(row, first + axis) for axis in range(POSITION_COLUMNS)]
    return tuple(map(float, texts)) if all(texts) else None


def textOf(node: Any, delimiter: str = ",") -> str:
    """The table as text: with commas for a file, with tabs for a spreadsheet that it is pasted into."""
    columns = range(node.GetNumberOfColumns())
    lines: list[Sequence[str]] = [[node.GetColumnName(column) for column in columns]]
    lines += [[node.GetCellText(row, column) for column in columns] for row in range(node.GetNumberOfRows())]
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def makeTable(name: str) -> Any:
    """A new table node."""
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
