"""The comparison of fast paths with the plain one: a difference must show, and the plain path must be plain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.device import Engine
from KidneyTumorCascadeLib.packed_vnet import PackedVNet
from KidneyTumorCascadeLib.vnet import VNet
from Testing.Benchmarks import fast_paths


def test_dice_is_that_of_each_label() -> None:
    reference = np.zeros((4, 10, 10), dtype=np.uint8)
    reference[:2], reference[2] = 1, 2
    labels = reference.copy()
    labels[0, 0] = 0
    result = fast_paths.agreement(labels, reference)
    assert result.dice == {1: pytest.approx(2 * 190 / 390), 2: 1.0}
    assert result.differing == pytest.approx(10 / 300)
    assert not result.enough


def test_a_label_in_neither_map_is_no_disagreement() -> None:
    reference = np.ones((2, 2, 2), dtype=np.uint8)
    result = fast_paths.agreement(reference, reference)
    assert result.dice == {1: 1.0, 2: None}
    assert result.enough


def test_a_label_in_one_map_only_is_a_disagreement() -> None:
    reference = np.ones((2, 2, 2), dtype=np.uint8)
    labels = reference.copy()
    labels[0, 0, 0] = 2
    assert not fast_paths.agreement(labels, reference).enough


def test_the_plain_path_is_that_of_the_network_itself() -> None:
    engine, cpu = Engine(torch.device("cpu"), torch.float32, "float32"), torch.device("cpu")
    assert isinstance(fast_paths.PlainCascade(load_bundle(), engine)._network("roi", cpu), VNet)
    assert isinstance(Cascade(load_bundle(), engine)._network("roi", cpu), PackedVNet)
