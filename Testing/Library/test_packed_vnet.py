"""The packed network against the one that it was made from: the same numbers, whatever the shape."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from KidneyTumorCascadeLib import packed_vnet
from KidneyTumorCascadeLib.packed_vnet import PackedVNet, packed_kernel, packing
from KidneyTumorCascadeLib.vnet import VNet, VNetShape

BUNDLED = VNetShape(8, 3, norm="instance")
SHAPES = [
    (BUNDLED, (16, 32, 48)),
    (VNetShape(16, 5), (16, 32, 16)),
    (VNetShape(4, 3, (1, 2), 2, (2, 1), "batch"), (8, 12, 4)),
    (VNetShape(2, 5, (1, 2), 1, (1, 1), "none"), (8, 12, 20)),
    (VNetShape(6, 3, (2,), 1, (2,), "instance", in_channels=2, out_channels=3), (6, 4, 10)),
    (VNetShape(1, 3, (2, 1, 1), 1, (1, 1, 2), "instance"), (8, 24, 8)),
    (VNetShape(3, 1, (1,), 1, (1,), "instance"), (4, 4, 6)),
]


def trained(shape: VNetShape) -> VNet:
    """A network of which every number matters."""
    generator = torch.Generator().manual_seed(3)
    network = VNet(shape)
    for values in network.parameters():
        values.data.normal_(0.1, 0.3, generator=generator)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm3d) and layer.running_mean is not None and layer.running_var is not None:
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    return network.requires_grad_(False).eval()


def noise(*size: int) -> Tensor:
    """The same random image each time: one that leaves instance norm two nearly equal voxels on the lowest level magnifies any rounding."""
    return torch.randn(size, generator=torch.Generator().manual_seed(5))


def largest_error(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
@pytest.mark.parametrize("batch", [1, 2])
def test_the_numbers_are_those_of_the_network(shape: VNetShape, patch: tuple[int, int, int], batch: int) -> None:
    network, images = trained(shape), noise(batch, shape.in_channels, *patch)
    found, expected = PackedVNet(network)(images), network(images)
    assert found.shape == expected.shape
    assert largest_error(found, expected) < 1e-5


def test_half_precision_is_as_near_as_it_can_be() -> None:
    """bfloat16 keeps 8 bits: what goes through some thirty layers may be off by a few of their last ones, and autocast is no nearer."""
    network, image = trained(BUNDLED), noise(1, 1, 32, 32, 32)
    expected = network(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        usual = largest_error(network(image), expected)
    found = PackedVNet(network, torch.bfloat16)(image)
    assert found.dtype == torch.bfloat16
    assert largest_error(found, expected) < max(1.5 * usual, 0.05)


def test_the_image_and_the_network_stay_as_they_are() -> None:
    network, image = trained(BUNDLED), noise(1, 1, 16, 16, 32)
    before, weights = image.clone(), {name: values.clone() for name, values in network.state_dict().items()}
    packed = PackedVNet(network)
    assert torch.equal(packed(image), packed(image))
    assert torch.equal(image, before)
    assert all(torch.equal(values, weights[name]) for name, values in network.state_dict().items())


def test_an_image_of_any_layout_is_taken() -> None:
    network, image = PackedVNet(trained(BUNDLED)), noise(1, 1, 32, 16, 32)
    turned = image.transpose(2, 4).contiguous().transpose(2, 4)
    assert torch.equal(network(turned), network(image))


def test_lines_that_do_not_fit_the_cache_are_no_different(monkeypatch: pytest.MonkeyPatch) -> None:
    network, image = PackedVNet(trained(BUNDLED)), noise(1, 1, 16, 32, 48)
    expected = network(image)
    monkeypatch.setattr(packed_vnet, "CACHED", 3000)
    torch.testing.assert_close(network(image), expected)


@pytest.mark.parametrize(("channels", "pack"), [(1, 16), (2, 8), (3, 4), (8, 2), (9, 1), (16, 1), (128, 1)])
def test_packs_fill_a_register(channels: int, pack: int) -> None:
    assert packing(channels) == pack


@pytest.mark.parametrize(("edge", "pack"), [(1, 2), (3, 1), (3, 2), (3, 4), (5, 2), (7, 2)])
def test_a_packed_kernel_is_the_same_convolution(edge: int, pack: int) -> None:
    image, weight = noise(1, 2, 6, 5, 8), noise(3, 2, edge, edge, edge)
    expected = nn.functional.conv3d(image, weight, padding=edge // 2)
    kernel = packed_kernel(weight, pack)
    rows = image.movedim(1, -1).reshape(1, 6, 5, 8 // pack, -1).movedim(-1, 1)
    found = nn.functional.conv3d(rows, kernel, padding=[length // 2 for length in kernel.shape[2:]])
    torch.testing.assert_close(found.movedim(1, -1).reshape(1, 6, 5, 8, 3).movedim(-1, 1), expected, rtol=1e-4, atol=1e-4)


def operators_of(network: nn.Module, image: Tensor) -> set[str]:
    """Names of the operators that PyTorch runs for this image."""
    with profile(activities=[ProfilerActivity.CPU]) as record, torch.no_grad():
        network(image)
    return {event.key for event in record.key_averages()}


@pytest.mark.skipif(not packed_vnet.has_onednn(), reason="this PyTorch has no oneDNN")
def test_small_images_convolve_with_onednn() -> None:
    network, image = trained(BUNDLED), noise(1, 1, 16, 16, 32)
    assert "aten::slow_conv3d_forward" in operators_of(network, image), "PyTorch chooses oneDNN by itself: it need not be told any longer"
    assert "aten::slow_conv3d_forward" not in operators_of(PackedVNet(network), image)


def test_without_onednn_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    network, image = trained(BUNDLED), noise(1, 1, 16, 32, 48)
    monkeypatch.setattr(packed_vnet, "has_onednn", lambda: False)
    assert largest_error(PackedVNet(network)(image), network(image)) < 1e-5


def test_a_caller_can_stop_between_layers() -> None:
    """The worker is cancelled by a hook of all modules."""
    seen = []
    with torch.nn.modules.module.register_module_forward_pre_hook(lambda module, inputs: seen.append(module)):
        PackedVNet(trained(BUNDLED))(noise(1, 1, 16, 16, 32))
    assert len(seen) >= 18
