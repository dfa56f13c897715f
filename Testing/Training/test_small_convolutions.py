"""Gradients of convolutions over fewer voxels than their kernel has: right in bfloat16 too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from KidneyTumorCascadeLib.vnet import VNetShape
from Training.fitting.optimization import make_network
from Training.fitting.small_convolutions import SmallConv3d, mended

CPU = torch.device("cpu")
TRIES = 6


def leave_garbage_in_memory(like: Tensor) -> None:
    """What is allocated next lies where these numbers were, so that values that nobody writes are seen."""
    for kind in (torch.float32, torch.bfloat16):
        _ = [torch.full(like.shape, float("nan"), dtype=kind) for _ in range(3)]


def gradient(layer: nn.Module, features: Tensor, wanted: Tensor, bfloat16: bool) -> Tensor:
    """Of the layer's weight."""
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        found = layer(features)
    assert found.dtype == (torch.bfloat16 if bfloat16 else torch.float32)
    found.backward(wanted.to(found.dtype))
    assert isinstance(layer.weight, Tensor)
    assert layer.weight.grad is not None
    return layer.weight.grad.flatten().clone()


@pytest.mark.parametrize(("kernel", "size"), [(3, (2, 2, 2)), (3, (2, 3, 3)), (3, (2, 1, 1)), (3, (3, 3, 3)), (5, (4, 3, 3)), (5, (2, 2, 2))])
def test_gradients_in_bfloat16_are_those_of_float32(kernel: int, size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    layer = mended(nn.Conv3d(64, 64, kernel, padding=kernel // 2))
    features, wanted = torch.randn(2, 64, *size), torch.randn(2, 64, *size)
    right = gradient(layer, features, wanted, bfloat16=False)
    for _ in range(TRIES):
        leave_garbage_in_memory(layer.weight)
        found = gradient(layer, features, wanted, bfloat16=True)
        assert float(functional.cosine_similarity(right, found, dim=0)) > 0.99


def test_every_convolution_of_a_network_in_training_is_mended_and_says_the_same() -> None:
    shape = VNetShape(base_channels=4, kernel=3, norm="instance")
    torch.manual_seed(1)
    network = make_network(shape, CPU)
    wide = [layer for layer in network.modules() if isinstance(layer, nn.Conv3d) and max(layer.kernel_size) > 1 and layer.stride == (1, 1, 1)]
    assert wide
    assert all(isinstance(layer, SmallConv3d) for layer in wide)
    plain = nn.Conv3d(3, 5, 3, padding=1)
    image = torch.randn(1, 3, 6, 7, 2)
    assert torch.equal(mended(plain)(image), plain(image))
    assert mended(plain).weight is plain.weight
