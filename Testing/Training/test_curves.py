"""Training curves: what is in them, of new logs and old ones."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from KidneyTumorCascadeLib.errors import InputError
from Training import curves
from Training.curves import Curve, draw_curves, read_curve, runs_in
from Training.fitting.training_log import Interval, append_to_log, cut_log

pytest.importorskip("matplotlib")
OLDER = "step,loss,validation_dice,seconds_per_step\r\n250,1.29,0.1,1.2\r\n500,0.81,0.47,1.1\r\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a stage that was begun with an older program and went on with this one."""
    folder = tmp_path / "runs" / "kidney"
    folder.mkdir(parents=True)
    (folder / "log.csv").write_text(OLDER)
    return folder


def colours(path: Path) -> set[str]:
    with Image.open(path) as image:
        pixels = np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)
    return {"#{:02X}{:02X}{:02X}".format(*pixel) for pixel in pixels.tolist()}


def test_a_resumed_older_log_has_a_training_curve_from_there_on(run: Path) -> None:
    cut_log(run / "log.csv", 500)
    append_to_log(run / "log.csv", Interval(750, 0.5, 0.25, 0.75, 1.5, 0.0625, 0.0015))
    assert read_curve(run) == Curve("kidney", (250, 500, 750), (0.1, 0.47, 0.75), (None, None, 0.25))


def test_old_logs_have_no_training_curve(run: Path, tmp_path: Path) -> None:
    assert read_curve(run) == Curve("kidney", (250, 500), (0.1, 0.47), (None, None))
    draw_curves([run], tmp_path / "curves.png")
    found = colours(tmp_path / "curves.png")
    assert curves.VALIDATION_COLOUR in found
    assert curves.TRAINING_COLOUR not in found


def test_the_command_draws_each_stage(runs: Path, run: Path, tmp_path: Path) -> None:
    assert [folder.name for folder in runs_in(runs)] == ["roi", "kidney", "tumor"]
    assert runs_in(run) == [run]
    assert curves.main([str(runs), str(run), "--out", str(tmp_path / "many.png")]) == 0
    assert {curves.VALIDATION_COLOUR, curves.TRAINING_COLOUR} <= colours(tmp_path / "many.png")
    with Image.open(tmp_path / "many.png") as many, Image.open(runs / "kidney" / "curves.png") as one:
        assert many.width == 3 * one.width
        assert many.height == 2 * one.height


def test_a_level_to_compare_with_is_drawn_where_it_belongs(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {}
    for dice in (0.25, 0.75):
        out = tmp_path / f"{dice}.png"
        assert curves.main([str(run), "--out", str(out), "--level", str(dice), "published"]) == 0
        pixels = np.asarray(Image.open(out).convert("RGB"))
        found = (pixels == [int(curves.LEVEL_COLOUR[at : at + 2], 16) for at in (1, 3, 5)]).all(axis=-1)
        # The line is dashed, and longer than any stroke of a letter.
        rows[dice] = int(found.sum(axis=1).argmax())
        assert found.sum(axis=1).max() > pixels.shape[1] / 3
    assert (rows[0.25] - rows[0.75]) == pytest.approx(pixels.shape[0] / 2, rel=0.25)
    for wrong in ("high", "1.5", "nan"):
        assert curves.main([str(run), "--out", str(tmp_path / "no.png"), "--level", wrong, "published"]) == 2
        assert "is no Dice" in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()


@pytest.mark.parametrize("name", ["roi", "kidney", "n" * curves.LONG_NAME, "n" * (curves.LONG_NAME + 1), "kidney_with_patches_of_96"])
def test_a_name_does_not_reach_into_the_legend(name: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=curves.PANEL_INCHES, dpi=curves.DOTS_PER_INCH, layout="constrained")
    panel = figure.subplots()
    curves.draw_panel(panel, Curve(name, (250, 500), (0.1, 0.47), (0.2, 0.5)), None)
    figure.savefig(io.BytesIO(), format="png")
    legend = panel.get_legend()
    assert legend is not None
    title = next(text for text in panel.get_children() if getattr(text, "get_text", str)() == name)
    assert not title.get_window_extent().overlaps(legend.get_window_extent())
    assert title.get_window_extent().y1 <= figure.bbox.y1


def test_folders_without_a_training_are_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert curves.main([str(tmp_path), "--out", str(tmp_path / "curves.png")]) == 2
    assert "There is no log.csv in" in capsys.readouterr().err
    (tmp_path / "log.csv").write_text("step,loss,validation_dice,seconds_per_step\r\n")
    with pytest.raises(InputError, match="has no line yet"):
        draw_curves([tmp_path], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_without_matplotlib_the_command_says_so(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(curves, "can_draw", lambda: False)
    assert curves.main([str(run), "--out", str(tmp_path / "curves.png")]) == 3
    assert "pip install matplotlib" in capsys.readouterr().err
