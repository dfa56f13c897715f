"""Training curves as a picture: Dice against iterations, for training and validation.

    python Training/curves.py RUN [RUN ...] --out curves.png
    python Training/curves.py RUN --out curves.png --level 0.965 "published, after 8,500 iterations"

RUN is the folder of one trained stage, or a folder with such folders in it (roi, kidney, tumor). Each stage gets a panel, named as its
folder; --level draws a line to compare with across each.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.bundle_format import STAGES
from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.json_fields import quote
from KidneyTumorCascadeLib.report import write_bytes_atomically
from Training.command_line import run_command
from Training.fitting.training_log import LOG_FILE, read_log

CURVES_FILE = "curves.png"
TRAINING_COLOUR, VALIDATION_COLOUR, TEXT_COLOUR, GRID_COLOUR = "#E08A3C", "#1F5A96", "#333333", "#E4E4E4"
LEVEL_COLOUR = "#5B8C5A"
# In letters; a longer name would reach into the legend, and stands on a line above it. Space above the panel is in points.
LONG_NAME, USUAL_PAD, LONG_NAME_PAD = 7, 6, 22
PANEL_INCHES, DOTS_PER_INCH, MOST_COLUMNS = (4.4, 3.4), 160, 3


@dataclass(frozen=True)
class Curve:
    """One stage's training.

    Attributes:
        name: for the panel.
        steps: of the validations.
        validation: Dice at each.
        training: Dice over the steps before each; None where an older log has none.
    """

    name: str
    steps: tuple[int, ...]
    validation: tuple[float, ...]
    training: tuple[float | None, ...]


@dataclass(frozen=True)
class Level:
    """A Dice to compare with, and what it is."""

    dice: float
    name: str


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def require_drawing(what: str) -> None:
    """Raises SetupError when matplotlib is not installed. `what` is drawn with it, in the plural."""
    if not can_draw():
        raise SetupError(f"{what} are drawn with matplotlib, which is not installed here; make setup-train, or pip install matplotlib.")


def runs_in(folder: Path) -> list[Path]:
    """The folder itself when a stage was trained in it, else the stages' folders in it. Raises InputError when there are none."""
    if (folder / LOG_FILE).is_file():
        return [folder]
    runs = [folder / stage for stage in STAGES if (folder / stage / LOG_FILE).is_file()]
    if not runs:
        raise InputError(f"There is no {LOG_FILE} in {folder}; give the folder of a trained stage, or the one with roi, kidney and tumor in it.")
    return runs


def read_curve(folder: Path) -> Curve:
    """The curve of a run. Raises InputError when its log cannot be read or has no line yet."""
    rows = read_log(folder / LOG_FILE)
    if not rows:
        raise InputError(f"{folder / LOG_FILE} has no line yet; wait for the first validation.")
    return Curve(
        name=folder.resolve().name,
        steps=tuple(int(row["step"]) for row in rows),
        validation=tuple(float(row["validation_dice"]) for row in rows),
        training=tuple(float(row["training_dice"]) if row.get("training_dice") else None for row in rows),
    )


def draw_curves(folders: Sequence[Path], path: Path, level: Level | None = None) -> None:
    """Write the picture, whole or not at all. Raises InputError or SetupError when it cannot be made."""
    curves = [read_curve(run) for folder in folders for run in runs_in(folder)]
    require_drawing("Curves")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(len(curves), MOST_COLUMNS)
    lines = -(-len(curves) // columns)
    size = PANEL_INCHES[0] * columns, PANEL_INCHES[1] * lines
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout=ConstrainedLayoutEngine(wspace=0.06, hspace=0.06))
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for panel, curve in zip(panels, curves, strict=False):
        draw_panel(panel, curve, level)
    for panel in panels[len(curves) :]:
        panel.set_axis_off()
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes_atomically(path, content.getvalue())


def draw_panel(panel: Any, curve: Curve, level: Level | None) -> None:
    """One stage: two lines and their last values, and a level to compare with."""
    from matplotlib.ticker import MaxNLocator

    trained = [(step, dice) for step, dice in zip(curve.steps, curve.training, strict=True) if dice is not None]
    if trained:
        panel.plot(*zip(*trained, strict=True), color=TRAINING_COLOUR, linewidth=1.4, label=f"training  {trained[-1][1]:.3f}")
    panel.plot(curve.steps, curve.validation, color=VALIDATION_COLOUR, linewidth=1.8, label=f"validation  {curve.validation[-1]:.3f}")
    panel.plot(curve.steps[-1], curve.validation[-1], "o", color=VALIDATION_COLOUR, markersize=4)
    if level:
        panel.axhline(level.dice, color=LEVEL_COLOUR, linewidth=1.2, linestyle=(0, (5, 3)))
        # Below the line, as the panel ends just above it.
        label = f"{level.name}  {level.dice:.3f}"
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "xytext": (0, -4), "textcoords": "offset points", "va": "top"}
        panel.annotate(label, (0.02, level.dice), color=LEVEL_COLOUR, fontsize=9, **place)
    pad = LONG_NAME_PAD if len(curve.name) > LONG_NAME else USUAL_PAD
    panel.set_title(curve.name, loc="left", color=TEXT_COLOUR, fontsize=11, fontweight="bold", pad=pad)
    panel.set_xlabel("iterations", color=TEXT_COLOUR)
    panel.set_ylabel("Dice", color=TEXT_COLOUR)
    panel.set_ylim(0.0, 1.0)
    panel.set_xlim(0, max(curve.steps) * 1.03)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.grid(axis="y", color=GRID_COLOUR, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(colors=TEXT_COLOUR, labelsize=9)
    # Above the panel, where no curve can be.
    panel.legend(loc="lower right", bbox_to_anchor=(1.0, 0.985), ncols=2, frameon=False, fontsize=9, labelcolor=TEXT_COLOUR, handlelength=1.2)


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, default=Path(CURVES_FILE), help="the picture (PNG)")
    parser.add_argument("--level", nargs=2, metavar=("DICE", "NAME"), help="a Dice from 0 to 1 to compare with, and what it is")
    arguments = parser.parse_args(words)
    return run_command(lambda: draw_curves(arguments.runs, arguments.out, level_of(arguments.level)))


def level_of(words: Sequence[str] | None) -> Level | None:
    """What `--level` asks for. Raises InputError when its first word is no Dice."""
    if words is None:
        return None
    try:
        dice = float(words[0])
    except ValueError:
        dice = float("nan")
    if not 0.0 <= dice <= 1.0:
        raise InputError(f"--level {quote(words[0])} is no Dice; give a number from 0 to 1 and what it is.")
    return Level(dice, words[1])


if __name__ == "__main__":
    sys.exit(main())
