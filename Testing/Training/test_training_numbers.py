"""A loss, a gradient or a weight that is no number: training ends before it does harm, and says so."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from KidneyTumorCascadeLib.device import Engine
from KidneyTumorCascadeLib.errors import CascadeError
from Training.fitting import optimization, trainer
from Training.fitting.losses import LOSSES
from Training.fitting.settings import StageSettings
from Training.fitting.trainer import MOST_OVERFLOWS, Trainer

CPU = Engine(torch.device("cpu"), torch.float32, "CPU, float32")


def test_a_loss_that_is_no_number_is_refused_before_it_does_harm(short: StageSettings, pool: Path, tmp_path: Path) -> None:
    poisoned = Trainer(short, pool, tmp_path, CPU, seed=1)
    with torch.no_grad():
        poisoned.network.head.weight.fill_(float("nan"))
    with pytest.raises(CascadeError, match=r"loss became nan at step 1; lower the learning rate"):
        poisoned.run()
    assert all(torch.isfinite(value).all() for value in poisoned.average.state.values())
    assert list(tmp_path.iterdir()) == []


def test_a_gradient_that_is_no_number_is_refused_too(short: StageSettings, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The square root has no finite slope at zero.
    monkeypatch.setitem(LOSSES, "dice_ce", lambda logits, target: (logits * 0.0).sum().sqrt() + logits.mean())
    steep = Trainer(short, pool, tmp_path, CPU, seed=1)
    before = {name: value.clone() for name, value in steep.network.state_dict().items()}
    with pytest.raises(CascadeError, match=r"gradient became nan at step 1"):
        steep.train_step()
    assert all(torch.equal(before[name], value) for name, value in steep.network.state_dict().items())


def test_gradients_that_overflow_again_and_again_end_training(
    short: StageSettings, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float16 the scaler leaves steps out until it has found its scale; it must not leave out all of them."""
    trained = Trainer(replace(short, steps=60, validate_every=60), pool, tmp_path, CPU, seed=1)
    passed = SimpleNamespace(
        scale=lambda loss: loss, unscale_=lambda optimizer: None, is_enabled=lambda: True, step=lambda optimizer: None, update=lambda: None
    )
    trained.scaler = passed
    norms = iter([math.inf] * MOST_OVERFLOWS + [1.0] + [math.inf] * 60)
    monkeypatch.setattr(trainer, "gradient_norm", lambda network, most: next(norms))
    with pytest.raises(CascadeError, match=rf"gradient became inf at step {2 * MOST_OVERFLOWS + 2};"):
        trained.run()


def test_weights_that_no_file_can_hold_are_a_sentence(short: StageSettings, pool: Path, tmp_path: Path) -> None:
    huge = Trainer(short, pool, tmp_path, CPU, seed=1)
    huge.average.state["head.weight"].fill_(1e6)
    with pytest.raises(CascadeError, match=r"At step 0 the weights head.weight are not finite or too large for float16; lower"):
        huge.save()
    assert list(tmp_path.iterdir()) == []


def test_float16_scales_gradients_and_other_precisions_do_not() -> None:
    assert not optimization.make_scaler(CPU).is_enabled()
    assert optimization.make_scaler(replace(CPU, precision=torch.float16)).is_enabled()
