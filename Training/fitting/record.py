"""What a training says and writes beside its weights: progress, warnings, log.csv, curves.png, TensorBoard. One process of all does."""

from __future__ import annotations

import sys
from pathlib import Path

from KidneyTumorCascadeLib.progress import describe_duration, make_reporter
from Training.curves import CURVES_FILE, can_draw, draw_curves
from Training.fitting.board import make_board
from Training.fitting.settings import StageSettings
from Training.fitting.training_log import LOG_FILE, Interval, append_to_log, cut_log
from Training.fitting.validation import Panel
from Training.fitting.watch import Watch


class Record:
    """The record of one stage's training from a step on; what was recorded beyond it by a process that was killed is forgotten.

    Args:
        settings: of the stage.
        out: an existing folder.
        step: done so far.
        tensorboard: True, False, or None for "if it is installed".
    """

    def __init__(self, settings: StageSettings, out: Path, step: int, tensorboard: bool | None) -> None:
        self.settings, self.out, self.first = settings, out, step
        cut_log(out / LOG_FILE, step)
        self.board = make_board(out, step, tensorboard)
        self.watch = Watch()
        self.bar = make_reporter(sys.stderr, weights={settings.stage: 1.0})

    def stepped(self, step: int, loss: float) -> None:
        """A step is done."""
        self.warn(self.watch.loss(step, loss))
        self.bar(self.settings.stage, step - self.first, self.settings.steps - self.first)

    def validated(self, interval: Interval, panel: Panel) -> None:
        """A validation is done."""
        self.say(self.line(interval))
        self.warn(self.watch.dice(interval.step, interval.validation_dice))
        append_to_log(self.out / LOG_FILE, interval)
        if self.board is not None:
            self.board.add(interval, panel)
        if can_draw():
            draw_curves([self.out], self.out / CURVES_FILE)

    def line(self, interval: Interval) -> str:
        """The interval for the terminal."""
        left = interval.seconds_per_step * (self.settings.steps - interval.step)
        return (
            f"{self.settings.stage} {interval.step:6d}  loss {interval.loss:.4f}  training Dice {interval.training_dice:.4f}  "
            f"validation Dice {interval.validation_dice:.4f}  {interval.seconds_per_step:.2f} s/step  {describe_duration(left)} left"
        )

    def say(self, sentence: str) -> None:
        """A line on standard output."""
        self.bar.clear()
        print(sentence, flush=True)

    def warn(self, sentence: str) -> None:
        """A line on standard error; nothing for an empty sentence."""
        if sentence:
            self.bar.clear()
            print(f"warning: {sentence}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Tidy up."""
        self.bar.clear()
        if self.board is not None:
            self.board.close()
