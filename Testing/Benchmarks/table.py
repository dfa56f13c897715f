"""What a benchmark found, as a table in Markdown, and as JSON for the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.report import write_json


@dataclass(frozen=True)
class Section:
    """One benchmark's result.

    Attributes:
        name: short, for files.
        title: for people.
        header, rows: the table; all rows as long as the header.
        notes: one sentence or more each, shown below the table.
        figures: numbers for the plot and for the aims, by name.
        series: points (x, y) for the plot, by name.
    """

    name: str
    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    series: dict[str, list[list[float]]] = field(default_factory=dict)

    def text(self) -> str:
        """As Markdown."""
        parts = [f"## {self.title}", markdown_table(self.header, self.rows), *self.notes]
        return "\n\n".join(parts) + "\n"

    def save(self, folder: Path) -> Path:
        """Write it into the folder, as JSON."""
        path = folder / f"{self.name}.json"
        write_json(path, asdict(self))
        return path


def load_section(path: Path) -> Section:
    """The reverse of `Section.save`."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Section(**content)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with columns of even width. Raises ValueError when a row is longer or shorter than the header."""
    cells = [[escaped(cell) for cell in row] for row in (header, *rows)]
    if any(len(row) != len(header) for row in cells):
        raise ValueError("every row of a table needs as many cells as its header")
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def escaped(cell: str) -> str:
    """On one line, with no mark that would begin another cell."""
    return " ".join(cell.split()).replace("|", "\\|")
