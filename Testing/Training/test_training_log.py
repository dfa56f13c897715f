"""log.csv: written line by line, cut where training goes on from, older ones still read."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from KidneyTumorCascadeLib.errors import InputError, SetupError
from Training.fitting.training_log import COLUMNS, Interval, append_to_log, cut_log, read_log

OLDER = "step,loss,validation_dice,seconds_per_step\r\n250,1.29,0.1,1.2\r\n500,0.81,0.47,1.1\r\n"


def interval(step: int) -> Interval:
    return Interval(step, 0.5, 0.25, 0.75, 1.5, 0.0625, 0.0015)


def test_lines_are_added_under_one_header(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for step in (8, 16):
        append_to_log(path, interval(step))
    with path.open(newline="") as stream:
        header, *lines = list(csv.reader(stream))
    assert tuple(header) == COLUMNS
    assert lines[1] == ["16", "0.500000", "0.250000", "0.750000", "1.5000", "0.0625", "0.0015"]
    assert [row["step"] for row in read_log(path)] == ["8", "16"]


def test_what_lies_beyond_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for step in (8, 16, 24):
        append_to_log(path, interval(step))
    cut_log(path, 16)
    append_to_log(path, interval(24))
    assert [row["step"] for row in read_log(path)] == ["8", "16", "24"]
    cut_log(tmp_path / "none.csv", 3)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.csv"]


def test_an_older_log_gets_all_columns(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(OLDER)
    cut_log(path, 500)
    append_to_log(path, interval(750))
    rows = read_log(path)
    assert [row["validation_dice"] for row in rows] == ["0.1", "0.47", "0.750000"]
    assert [row["training_dice"] for row in rows] == ["", "", "0.250000"]
    assert [row["seconds_per_step"] for row in rows] == ["1.2", "1.1", "1.5000"]


@pytest.mark.parametrize(
    "text", ["loss\r\n1\r\n", "step,validation_dice\r\n1.5,0\r\n", "step,validation_dice\r\n1\r\n", "step,validation_dice\r\n1,x"]
)
def test_another_file_is_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(InputError, match=r"log.csv is not a log of Training/train.py"):
        read_log(tmp_path / "log.csv")


def test_files_that_cannot_be_used_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_log(tmp_path / "missing.csv")
    with pytest.raises(SetupError, match="cannot be written"):
        append_to_log(tmp_path / "missing" / "log.csv", interval(1))
