"""The light layers against PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from KidneyTumorCascadeLib.vnet import VNet, VNetShape
from Training.fitting.light_layers import LightInstanceNorm, LightPReLU, lighten, repeated_image


def features(dtype: torch.dtype) -> Tensor:
    return torch.randn((2, 3, 4, 5, 6), generator=torch.Generator().manual_seed(1)).to(dtype)


def gradients_are_right(layer: nn.Module) -> None:
    """Finite differences agree with the gradients of a layer's input and of its parameters."""
    image = features(torch.float64)
    assert torch.autograd.gradcheck(layer, image.clone().requires_grad_())
    names = [name for name, _ in layer.named_parameters()]

    def of_parameters(*values: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (image,))
        return result

    assert torch.autograd.gradcheck(of_parameters, tuple(value.detach().clone().requires_grad_() for value in layer.parameters()))


def with_parameters(layer: nn.Module) -> nn.Module:
    for index, value in enumerate(layer.parameters()):
        value.data.copy_(torch.tensor([0.25, -0.5, 1.5]) + index)
    return layer


@pytest.mark.parametrize("layer", [LightPReLU(3), LightInstanceNorm(3, affine=True)])
def test_the_gradients_are_the_right_ones(layer: nn.Module) -> None:
    gradients_are_right(with_parameters(layer).double())


@pytest.mark.parametrize("innermost", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("plain", "light"), [(nn.PReLU(3), LightPReLU(3)), (nn.InstanceNorm3d(3, affine=True), LightInstanceNorm(3, affine=True))], ids=["prelu", "norm"]
)
def test_values_and_gradients_are_pytorchs(plain: nn.Module, light: nn.Module, dtype: torch.dtype, innermost: bool) -> None:
    results = []
    for layer in (plain, light):
        with_parameters(layer).zero_grad()
        image = features(dtype)
        # Far from zero, where sums of squares would lose what matters.
        image[:, 1] += 8.0
        if innermost:
            image = image.contiguous(memory_format=torch.channels_last_3d)
        # Of PyTorch's own layers the float32 ones are the measure; their bfloat16 gradients are less exact than ours.
        image = (image.float() if layer is plain else image).requires_grad_()
        output = layer(image)
        (output.float() * torch.linspace(-1, 1, output.numel()).reshape(output.shape)).sum().backward()
        assert image.grad is not None
        results.append((output.float(), image.grad.float(), *[value.grad for value in layer.parameters()]))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2 if dtype == torch.bfloat16 else 1e-5, atol=5e-2 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("autocast", [True, False])
def test_an_image_is_repeated_exactly(autocast: bool) -> None:
    image = torch.randn((2, 1, 4, 5, 6))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        repeated = repeated_image(image, 8)
    assert torch.equal(repeated, image.to(repeated.dtype).expand(-1, 8, -1, -1, -1))
    assert repeated.dtype == (torch.bfloat16 if autocast else torch.float32)
    assert repeated.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_lightened_network_keeps_its_state_its_answers_and_its_gradients(norm: str) -> None:
    torch.manual_seed(2)
    network = VNet(VNetShape(base_channels=2, kernel=3, norm=norm)).double().train()
    plain = copy.deepcopy(network)
    lighten(network)
    assert not [layer for layer in network.modules() if type(layer) in (nn.PReLU, nn.InstanceNorm3d)]
    assert list(network.state_dict()) == list(plain.state_dict())
    image, target = torch.randn((2, 1, 32, 16, 32), dtype=torch.float64), torch.randn((2, 2, 32, 16, 32), dtype=torch.float64)
    answers = [model(image) for model in (network, plain)]
    torch.testing.assert_close(*answers)
    for answer in answers:
        (answer * target).sum().backward()
    for (name, ours), theirs in zip(network.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
