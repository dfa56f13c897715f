"""How much of a step is waiting."""

from __future__ import annotations

from Training.fitting.step_clock import StepClock, share


def test_waiting_is_counted_within_steps() -> None:
    times = iter([0.0, 1.0, 3.0, 10.0, 20.0, 20.0, 21.0, 30.0])
    clock = StepClock(lambda: next(times))
    for _ in range(2):
        with clock.step(), clock.wait():
            pass
    assert clock.seconds() == [3.0, 20.0]
    assert share(clock.seconds()) == 0.15


def test_no_steps_have_no_share() -> None:
    assert share(StepClock().seconds()) == 0.0
