"""A network of twice the channels that says the same, and can learn more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.vnet import VNet, VNetShape
from Testing.tiny_bundle import SHAPE, make_tiny_bundle
from Training.fitting.losses import dice_loss
from Training.widen import main, widened

DEEP = VNetShape(base_channels=3, kernel=3, encoder_convolutions=(1, 2), bottom_convolutions=2, decoder_convolutions=(2, 1))


def network_of(shape: VNetShape) -> VNet:
    torch.manual_seed(5)
    network = VNet(shape)
    for name, parameter in network.named_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        if "norms" in name and name.endswith("weight"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return network


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_the_wide_network_says_the_same(norm: str) -> None:
    network = network_of(replace(DEEP, norm=norm)).double()
    image = torch.randn(2, 1, 16, 12, 8, dtype=torch.float64)
    # Batch norm has seen something by then, and its running statistics are not those of the beginning.
    network(image)
    wide = widened(network, 3)
    assert wide.shape == replace(network.shape, base_channels=6)
    with torch.no_grad():
        torch.testing.assert_close(wide.eval()(image), network.eval()(image), atol=1e-9, rtol=1e-9)


def test_the_two_of_a_pair_learn_different_things() -> None:
    wide = widened(network_of(replace(DEEP, norm="instance")), 3)
    dice_loss(wide(torch.randn(1, 1, 16, 16, 16)), torch.ones(1, 16, 16, 16)).backward()  # type: ignore[no-untyped-call]
    for name, parameter in wide.named_parameters():
        if name.endswith("convolution.weight") or (".convolutions." in name and name.endswith("weight")):
            gradient = parameter.grad
            assert gradient is not None
            outputs = 1 if ".ups." in f".{name}" else 0
            first, second = (gradient.index_select(outputs, torch.arange(start, gradient.shape[outputs], 2)) for start in (0, 1))
            assert not torch.allclose(first, second, rtol=1e-3), name


def test_other_seeds_share_out_otherwise() -> None:
    network = network_of(DEEP)
    one, same, other = (widened(network, seed).head.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def config_with(folder: Path, channels: int) -> Path:
    """Settings whose networks are the tiny bundle's with that many channels."""
    smoke = Path(__file__).resolve().parents[2] / "Training" / "configs" / "smoke.json"
    shape = replace(SHAPE, base_channels=channels).to_dict()
    networks = {stage: {"network": shape, "spacing_mm": 4.0 if stage == "roi" else 2.0} for stage in ("roi", "kidney", "tumor")}
    path = folder / f"{channels}.json"
    path.write_text(json.dumps({"extends": str(smoke), "normalization": {"kind": "fixed"}, "stages": networks}))
    return path


def test_the_command_widens_a_bundles_network(tmp_path: Path) -> None:
    bundle, channels = make_tiny_bundle(tmp_path / "bundle"), SHAPE.base_channels
    words = ["--config", str(config_with(tmp_path, 2 * channels)), "--stage", "kidney", "--seed", "4"]
    assert main([str(bundle), str(tmp_path / "out"), *words]) == 0
    narrow = VNet(SHAPE)
    narrow.load_state_dict(load_file(bundle / "kidney.safetensors"))
    for name, values in load_file(tmp_path / "out" / "weights.safetensors").items():
        assert torch.equal(values, widened(narrow, 4).state_dict()[name].to(values.dtype))


def test_an_odd_number_of_channels_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    assert main([str(bundle), str(tmp_path / "out"), "--config", str(config_with(tmp_path, 3)), "--stage", "roi"]) == 2
    assert "has 3 channels, which is not twice a number" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_several_input_channels_are_refused() -> None:
    with pytest.raises(InputError, match="one input channel"):
        widened(VNet(replace(DEEP, base_channels=4, in_channels=2)), 1)
