"""The panel's part for the results: segments, table, copy, file, and a jump to a tumor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from KidneyTumorCascadeScene import results_table
from KidneyTumorCascadeScene.volumes import toWorld

SHOWN_COLUMNS = 7
WARNINGS = 6
# A sentence is wrapped in this width, in pixels.
WIDEST = 240


class ResultsPanel(VTKObservationMixin):
    """`ui`: the panel's widgets by name."""

    def __init__(self, ui: Any) -> None:
        VTKObservationMixin.__init__(self)
        self._ui = ui
        self._parameters: Any = None
        self._table: Any = None
        ui.resultsTable.verticalHeader().visible = False
        ui.resultsTable.connect("clicked(QModelIndex)", self._clicked)
        ui.copyButton.connect("clicked()", self._copy)
        ui.exportButton.connect("clicked()", self._export)

    def update(self, parameters: Any) -> None:
        """Shows the results of these parameters."""
        self._parameters = parameters
        segmentation = parameters.segmentation if parameters is not None else None
        self._ui.segmentsTable.setSegmentationNode(segmentation)
        self._ui.segmentsTable.visible = segmentation is not None
        self._ui.show3DButton.setSegmentationNode(segmentation)
        table = parameters.table if parameters is not None else None
        if table is not self._table:
            self._table = table
            self.removeObservers()
            self._ui.resultsTable.setMRMLTableNode(table)
            if table is not None:
                self.addObserver(table, vtk.vtkCommand.ModifiedEvent, self._tableChanged)
        self._tableChanged()
        warnings = parameters.warnings if parameters is not None else ""
        self._ui.warningsLabel.text = warnings
        self._ui.warningsLabel.visible = bool(warnings)

    def _tableChanged(self, caller: Any = None, event: Any = None) -> None:
        filled = self._table is not None and self._table.GetNumberOfRows() > 0
        self._ui.copyButton.enabled = self._ui.exportButton.enabled = self._ui.resultsTable.visible = filled
        if filled:
            self._fit(self._ui.resultsTable)

    def _fit(self, view: Any) -> None:
        """Makes the columns readable and the table as high as its rows. Warnings take room only where there are some."""
        rows = range(self._table.GetNumberOfRows())
        warned = any(self._table.GetCellText(row, WARNINGS) for row in rows)
        for column in range(self._table.GetNumberOfColumns()):
            view.setColumnHidden(column, column >= SHOWN_COLUMNS or (column == WARNINGS and not warned))
        view.resizeColumnsToContents()
        if warned:
            view.setColumnWidth(WARNINGS, min(WIDEST, view.columnWidth(WARNINGS)))
        view.resizeRowsToContents()
        # The header and a scroll bar are together no higher than one and a half rows.
        view.setFixedHeight(sum(view.rowHeight(row) for row in rows) + view.verticalHeader().defaultSectionSize * 3 // 2)

    def _clicked(self, index: Any) -> None:
        """Shows a tumor in all slice views."""
        position = results_table.positionOf(self._table, index.row())
        if position is not None and self._parameters.ct is not None:
            ras = toWorld(position, self._parameters.ct)
            slicer.modules.markups.logic().JumpSlicesToLocation(*ras, True)

    def _copy(self) -> None:
        qt.QApplication.clipboard().setText(results_table.textOf(self._table, "\t"))

    def _export(self) -> None:
        suggestion = f"{self._table.GetName()}.csv"
        path = qt.QFileDialog.getSaveFileName(self._ui.exportButton, _("Save the measurements"), suggestion, _("Tables (*.csv)"))
        if path:
            try:
                Path(path).write_text(results_table.textOf(self._table), encoding="utf-8")
            except OSError as error:
                slicer.util.errorDisplay(_("{path} cannot be written: {problem}").format(path=path, problem=error.strerror or error))
