"""Early warnings come when something is wrong, and only then."""

from __future__ import annotations

import random

from Training.fitting.watch import BLOCK_STEPS, BLOCKS_NEEDED, Watch


def warnings(losses: list[float]) -> list[str]:
    watch = Watch()
    return [said for step, loss in enumerate(losses, 1) if (said := watch.loss(step, loss))]


def test_a_loss_that_rises_far_is_warned_of_as_long_as_it_stays() -> None:
    usual, risen = [0.2] * BLOCK_STEPS * BLOCKS_NEEDED, [1.0] * BLOCK_STEPS
    (said,) = warnings(usual + risen)
    assert said.startswith(f"The loss rose to 1.000 at step {len(usual) + BLOCK_STEPS}, where about 0.200 was usual; if it stays")
    assert len(warnings(usual + risen * 30)) == 30
    assert warnings(usual + risen + usual) == [said]


def test_no_warning_before_what_is_usual_is_known() -> None:
    assert warnings([0.01] * BLOCK_STEPS * (BLOCKS_NEEDED - 1) + [5.0] * BLOCK_STEPS) == []


def test_scattering_and_falling_losses_are_no_reason() -> None:
    """Where most patches are empty, Dice losses are near 0 or near 1."""
    draw = random.Random(0)
    assert warnings([float(draw.random() < 0.3) for _ in range(5000)]) == []
    assert warnings([2.0 * 0.999**step for step in range(5000)]) == []
    assert warnings([0.1] * 500 + [50.0] + [0.1] * 49 + [0.25] * 100)[1:] == []


def test_a_dice_that_stays_zero_is_warned_of_once() -> None:
    watch = Watch()
    said = [watch.dice(step, value) for step, value in enumerate([0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0], 1)]
    assert [bool(sentence) for sentence in said] == [False] * 5 + [True, False]
    assert "0 for 3 validations up to step 6" in said[5]
