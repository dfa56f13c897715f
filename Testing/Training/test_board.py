"""What TensorBoard is told, where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from KidneyTumorCascadeLib.errors import SetupError
from Training.fitting import board
from Training.fitting.board import FOUND_COLOUR, LABEL_COLOUR, TINT, Board, make_board, picture, require_tensorboard
from Training.fitting.training_log import Interval
from Training.fitting.validation import Panel

INTERVAL = Interval(8, 0.5, 0.25, 0.75, 1.5, 0.0625, 0.0015)


@pytest.fixture
def panel() -> Panel:
    """A slice of 2 x 3 with one voxel marked and another one found."""
    image = torch.tensor([[-3.0, 0.0, 1.0], [3.0, 0.0, 0.0]])
    label, found = torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool)
    label[0, 1], found[1, 0] = True, True
    return Panel(image, label, found)


class Writer:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.kept[name] = value, step

    add_image = add_scalar

    def flush(self) -> None:
        self.kept["flushed"] = True


def test_the_picture_shows_ct_label_and_prediction_side_by_side(panel: Panel) -> None:
    shown = picture(panel)
    assert shown.shape == (3, 2, 9)
    expected = ((panel.image + 3.0) / 6.0).expand(3, -1, -1)
    torch.testing.assert_close(shown[:, :, :3], expected)
    for start, mask, colour in ((3, panel.label, LABEL_COLOUR), (6, panel.found, FOUND_COLOUR)):
        part = shown[:, :, start : start + 3]
        torch.testing.assert_close(part[:, ~mask], expected[:, ~mask])
        torch.testing.assert_close(part[:, mask][:, 0], expected[:, mask][:, 0] * (1 - TINT) + torch.tensor(colour) * TINT)


def test_a_slice_of_one_value_is_no_division_by_zero(panel: Panel) -> None:
    assert torch.isfinite(picture(Panel(torch.zeros(2, 3), panel.label, panel.found))).all()


def test_every_number_and_the_picture_are_told(panel: Panel) -> None:
    writer = Writer()
    Board(writer).add(INTERVAL, panel)
    assert {name: value for name, (value, step) in list(writer.kept.items())[:6] if step == 8} == {
        "loss/training": 0.5,
        "dice/training": 0.25,
        "dice/validation": 0.75,
        "speed/seconds per step": 1.5,
        "speed/share of waiting for data": 0.0625,
        "learning rate": 0.0015,
    }
    assert torch.equal(writer.kept["validation/CT, label, prediction"][0], picture(panel))
    assert writer.kept["flushed"]


def test_where_it_is_not_installed_only_who_asks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "can_write", lambda: False)
    require_tensorboard(None)
    require_tensorboard(False)
    assert make_board(tmp_path, 0, None) is None
    with pytest.raises(SetupError, match="TensorBoard is not installed here; pip install tensorboard"):
        require_tensorboard(True)


def test_event_files_are_written_where_it_is_installed(panel: Panel, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert make_board(tmp_path, 0, False) is None
    assert list(tmp_path.iterdir()) == []
    for start in (0, 0):
        written = make_board(tmp_path, start, None)
        assert written is not None
        written.add(INTERVAL, panel)
        written.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (dice,) = events.Scalars("dice/validation")
    assert (dice.step, dice.value) == (8, np.float32(0.75))
    assert [image.step for image in events.Images("validation/CT, label, prediction")] == [8]
