"""log.csv: what came of each interval between two validations."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.report import write_text_atomically

LOG_FILE = "log.csv"
COLUMNS = ("step", "loss", "training_dice", "validation_dice", "seconds_per_step", "data_share", "learning_rate")
DIGITS = {"loss": 6, "training_dice": 6, "validation_dice": 6, "seconds_per_step": 4, "data_share": 4}


@dataclass(frozen=True)
class Interval:
    """One line of the log.

    Attributes:
        step: steps done in all.
        loss: mean over the interval's steps.
        training_dice: of all voxels of the interval's training patches together.
        validation_dice: of all voxels of the validation patches together, by the moving average.
        seconds_per_step: mean since this process began, validations included.
        data_share: of the interval's steps, the share of their time in which they waited for patches.
        learning_rate: of the interval's last step.
    """

    step: int
    loss: float
    training_dice: float
    validation_dice: float
    seconds_per_step: float
    data_share: float
    learning_rate: float

    def cells(self) -> dict[str, str]:
        """What the file says of it."""
        cells = {name: f"{getattr(self, name):.{digits}f}" for name, digits in DIGITS.items()}
        return {"step": str(self.step), "learning_rate": f"{self.learning_rate:.4g}", **cells}


def read_log(path: Path) -> list[dict[str, str]]:
    """The lines of a log, an older one's too, which lacks columns. Raises InputError when the file is no log."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [dict(row) for row in csv.DictReader(stream)]
        for row in rows:
            int(row["step"]), float(row["validation_dice"])
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a folder in which a stage has been trained.") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path} is not a log of Training/train.py ({error}); remove it, or give another folder.") from error
    return rows


def append_to_log(path: Path, interval: Interval) -> None:
    """Add a line; the file is begun where there is none. Raises SetupError when that is not possible."""
    new = not path.exists()
    try:
        with path.open("a", newline="", encoding="utf-8") as stream:
            stream.write(as_csv([interval.cells()], header=new))
    except OSError as error:
        raise SetupError(f"{path} cannot be written ({error.strerror}); free some space or write to another disk.") from error


def cut_log(path: Path, step: int) -> None:
    """Forget what lies beyond a step, as training goes on from there, and give an older log all columns. No file is no error."""
    if path.exists():
        write_text_atomically(path, as_csv([row for row in read_log(path) if int(row["step"]) <= step], header=True))


def as_csv(rows: list[dict[str, str]] | list[Mapping[str, str]], header: bool) -> str:
    """The lines as text; a column that a line lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
