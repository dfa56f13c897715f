"""Weights between two trainings, and a foreground that is called more readily."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from KidneyTumorCascadeLib.bundle import save_weights
from KidneyTumorCascadeLib.vnet import VNet
from Testing.tiny_bundle import SHAPE, make_tiny_bundle
from Training.blend import blended, called_from, main
from Training.fitting.losses import foreground


def network_of(seed: int, norm: str = "instance") -> VNet:
    torch.manual_seed(seed)
    network = VNet(replace(SHAPE, norm=norm)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings for the tiny bundle's networks."""
    smoke = Path(__file__).resolve().parents[2] / "Training" / "configs" / "smoke.json"
    path = tmp_path / "config.json"
    networks = {stage: {"network": SHAPE.to_dict(), "spacing_mm": 4.0 if stage == "roi" else 2.0} for stage in ("roi", "kidney", "tumor")}
    path.write_text(json.dumps({"extends": str(smoke), "normalization": {"kind": "fixed"}, "stages": networks}))
    return path


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_every_weight_lies_that_far_between(share: float, norm: str) -> None:
    first, second = network_of(1, norm), network_of(2, norm)
    expected = {name: (1 - share) * values + share * second.state_dict()[name] for name, values in first.state_dict().items()}
    for name, values in blended(first, second, share).state_dict().items():
        torch.testing.assert_close(values.double(), expected[name].double())


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.8])
def test_what_had_the_threshold_has_a_half(threshold: float) -> None:
    network, image = network_of(3), torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        before = foreground(network(image)).double()
        after = foreground(called_from(network, threshold)(image)).double()
    odds = before / (1 - before) * (1 - threshold) / threshold
    torch.testing.assert_close(after, odds / (1 + odds), atol=1e-4, rtol=1e-3)


def test_the_command_writes_weights_of_a_file_and_a_bundle(tmp_path: Path, config: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    save_weights(network_of(4, SHAPE.norm), tmp_path / "further.safetensors")
    words = [str(bundle), str(tmp_path / "further.safetensors"), str(tmp_path / "out" / "tumor"), "--config", str(config), "--stage", "tumor"]
    assert main([*words, "--share", "0.25", "--threshold", "0.3"]) == 0
    first, second, result = (
        load_file(path)
        for path in (bundle / "tumor.safetensors", tmp_path / "further.safetensors", tmp_path / "out" / "tumor" / "weights.safetensors")
    )
    expected = 0.75 * first["head.bias"] + 0.25 * second["head.bias"]
    expected[1] -= math.log(0.3 / 0.7)
    torch.testing.assert_close(result["head.bias"], expected)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--share", "1.5"], "The share 1.5 of the way is not from 0 to 1"),
        (["--threshold", "1"], "The threshold 1 is not between 0 and 1"),
    ],
)
def test_impossible_numbers_are_refused(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str) -> None:
    bundle = str(make_tiny_bundle(tmp_path / "bundle"))
    assert main([bundle, bundle, str(tmp_path / "out"), "--config", str(config), "--stage", "roi", *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
