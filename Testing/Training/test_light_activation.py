"""The light PReLU against PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from KidneyTumorCascadeLib.vnet import VNet, VNetShape
from Training.fitting.light_activation import LightPReLU, lighten


def features(dtype: torch.dtype) -> Tensor:
    return torch.randn((2, 3, 4, 5, 6), generator=torch.Generator().manual_seed(1)).to(dtype)


def test_its_gradients_are_the_right_ones() -> None:
    layer = LightPReLU(3).double()
    assert torch.autograd.gradcheck(layer, features(torch.float64).requires_grad_())
    image = features(torch.float64)

    def of_weight(weight: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(layer, {"weight": weight}, (image,))
        return result

    assert torch.autograd.gradcheck(of_weight, torch.tensor([0.25, -0.5, 1.5], dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_pytorchs(dtype: torch.dtype) -> None:
    plain, light = nn.PReLU(3), LightPReLU(3)
    weights = torch.tensor([0.25, 0.0, -0.7])
    results = []
    for layer in (plain, light):
        layer.weight.data.copy_(weights)
        image = features(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = layer(image)
        (output.float() * torch.linspace(-1, 1, output.numel()).reshape(output.shape)).sum().backward()
        results.append((output.float(), image.grad, layer.weight.grad))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2 if dtype == torch.bfloat16 else 1e-5, atol=5e-2 if dtype == torch.bfloat16 else 1e-5)


def test_a_lightened_network_keeps_its_state_and_its_answers() -> None:
    torch.manual_seed(2)
    network = VNet(VNetShape(base_channels=2, kernel=3, norm="instance")).eval()
    before = copy.deepcopy(network)
    lighten(network)
    assert not [layer for layer in network.modules() if type(layer) is nn.PReLU]
    assert list(network.state_dict()) == list(before.state_dict())
    image = torch.randn((1, 1, 32, 32, 32))
    assert torch.equal(network(image), before(image))
    assert {id(p) for p in network.parameters()} >= {id(layer.weight) for layer in network.modules() if isinstance(layer, LightPReLU)}
