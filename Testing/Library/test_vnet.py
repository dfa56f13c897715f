"""The V-Net against its description: sizes, operations, layers, and a second, plain way to compute it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from KidneyTumorCascadeLib.vnet import VNet, VNetShape, convolution_layers, count_operations, count_parameters

PUBLISHED = VNetShape()
SMALL = VNetShape(base_channels=2, kernel=3)
PATCH = (128, 128, 128)

# Size in millions of parameters and operations in TFLOP for one 128^3 patch, as published for each variant.
VARIANTS = [
    (PUBLISHED, 43.9, "1.12"),
    (VNetShape(kernel=3), 10.0, "0.25"),
    (VNetShape(base_channels=12, kernel=3), 5.7, "0.14"),
    (VNetShape(base_channels=8, kernel=3), 2.5, "0.062"),
]


def on_meta(shape: VNetShape) -> VNet:
    """A network without numbers: only shapes are computed."""
    with torch.device("meta"):
        return VNet(shape)


@pytest.mark.parametrize(("shape", "millions", "tflop"), VARIANTS)
def test_size_and_operations_are_the_published_ones(shape: VNetShape, millions: float, tflop: str) -> None:
    assert round(count_parameters(on_meta(shape)) / 1e6, 1) == millions
    digits = len(tflop.split(".")[1])
    assert round(count_operations(shape, PATCH) / 1e12, digits) == float(tflop)


@pytest.mark.parametrize("shape", [PUBLISHED, SMALL, VNetShape(3, 1, (2, 1), 1, (1, 3), "none", 3, 4)])
def test_operations_equal_what_torch_counts(shape: VNetShape) -> None:
    network, edge = on_meta(shape), 4 * shape.divisor
    with FlopCounterMode(display=False) as counter:
        network(torch.empty((1, shape.in_channels, edge, edge, 2 * edge), device="meta"))
    by_operator = counter.get_flop_counts()["Global"]
    convolutions = sum(count for operator, count in by_operator.items() if "convolution" in str(operator))
    assert convolutions == count_operations(shape, (edge, edge, 2 * edge))


def record_convolutions(shape: VNetShape, edge: int) -> list[tuple[Any, ...]]:
    """(up, in channels, out channels, kernel edge, stride, edge of the output) of each convolution, in the order in which they run."""
    network = on_meta(shape)
    record: list[tuple[Any, ...]] = []

    def note(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d))
        assert len(set(layer.kernel_size)) == len(set(layer.stride)) == 1
        up = isinstance(layer, nn.ConvTranspose3d)
        record.append((up, layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0], output.shape[2]))

    for layer in network.modules():
        if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d)):
            layer.register_forward_hook(note)
    output = network(torch.empty((1, 1, edge, edge, edge), device="meta"))
    assert output.shape == (1, 2, edge, edge, edge)
    return record


def test_layers_are_those_of_the_description() -> None:
    """Written out by hand: 1, 2, 3, 3 convolutions down, 3 at the bottom, 3, 3, 2, 1 up, 16 to 256 channels, 2 x 2 x 2 steps between."""

    def conv(inputs: int, outputs: int, edge: int) -> tuple[Any, ...]:
        return False, inputs, outputs, 5, 1, edge

    def down(inputs: int, edge: int) -> tuple[Any, ...]:
        return False, inputs, 2 * inputs, 2, 2, edge

    def up(inputs: int, edge: int) -> tuple[Any, ...]:
        return True, inputs, inputs // 2, 2, 2, edge

    expected = [
        *[conv(16, 16, 128), down(16, 64)],
        *[conv(32, 32, 64)] * 2 + [down(32, 32)],
        *[conv(64, 64, 32)] * 3 + [down(64, 16)],
        *[conv(128, 128, 16)] * 3 + [down(128, 8)],
        *[conv(256, 256, 8)] * 3,
        *[up(256, 16), conv(256, 128, 16)] + [conv(128, 128, 16)] * 2,
        *[up(128, 32), conv(128, 64, 32)] + [conv(64, 64, 32)] * 2,
        *[up(64, 64), conv(64, 32, 64), conv(32, 32, 64)],
        *[up(32, 128), conv(32, 16, 128)],
        (False, 16, 2, 1, 1, 128),
    ]
    assert record_convolutions(PUBLISHED, 128) == expected


@pytest.mark.parametrize("shape", [PUBLISHED, VNetShape(4, 3, (1, 3), 2, (2, 1))])
def test_list_of_layers_is_the_order_in_which_they_run(shape: VNetShape) -> None:
    kinds = {"conv": (False, 1), "down": (False, 2), "up": (True, 2), "head": (False, 1)}
    listed = [
        (kinds[kind][0], inputs, outputs, kernel, kinds[kind][1], 64 // 2**level)
        for kind, inputs, outputs, kernel, level in convolution_layers(shape)
    ]
    assert record_convolutions(shape, 64) == listed


def test_normalization_and_one_slope_per_channel_follow_every_convolution_but_the_head() -> None:
    network = on_meta(PUBLISHED)
    widths = [layer.out_channels for layer in network.modules() if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d))][:-1]
    assert sorted(layer.num_parameters for layer in network.modules() if isinstance(layer, nn.PReLU)) == sorted(widths)
    assert sorted(layer.num_features for layer in network.modules() if isinstance(layer, nn.BatchNorm3d)) == sorted(widths)


def randomized(shape: VNetShape) -> VNet:
    """A network in which no number has a value that would hide a missing layer (slopes, running statistics, biases)."""
    torch.manual_seed(1)
    network = VNet(shape).eval()
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if values.is_floating_point() and values.ndim == 1:
                values.copy_(torch.rand_like(values) * 0.6 + (0.5 if "running_var" in name or "norm" in name else 0.05))
    return network


def per_channel(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1, 1)


def plainly(state: dict[str, Tensor], image: Tensor, shape: VNetShape) -> Tensor:
    """The network computed a second time, straight from the description, with functions and a state dict only."""

    def finish(features: Tensor, norm: str, activation: str, residual: Tensor | float = 0.0) -> Tensor:
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        features = (features - per_channel(mean)) / torch.sqrt(per_channel(variance) + 1e-5)
        features = features * per_channel(state[f"{norm}.weight"]) + per_channel(state[f"{norm}.bias"]) + residual
        return torch.where(features > 0, features, features * per_channel(state[f"{activation}.weight"]))

    def block(name: str, features: Tensor, residual: Tensor, count: int) -> Tensor:
        for index in range(count):
            layer = f"{name}.convolutions.{index}"
            features = functional.conv3d(features, state[f"{layer}.weight"], state[f"{layer}.bias"], padding=shape.kernel // 2)
            features = finish(features, f"{name}.norms.{index}", f"{name}.activations.{index}", residual if index == count - 1 else 0.0)
        return features

    def step(name: str, features: Tensor, up: bool) -> Tensor:
        function = functional.conv_transpose3d if up else functional.conv3d
        features = function(features, state[f"{name}.convolution.weight"], state[f"{name}.convolution.bias"], stride=2)
        return finish(features, f"{name}.norm", f"{name}.activation")

    features = torch.cat([image] * (shape.base_channels // image.shape[1]), dim=1)
    skips = []
    for level, count in enumerate(shape.encoder_convolutions):
        skips.append(block(f"encoders.{level}", features, features, count))
        features = step(f"downs.{level}", skips[-1], up=False)
    features = block("bottom", features, features, shape.bottom_convolutions)
    for index, count in enumerate(shape.decoder_convolutions):
        raised = step(f"ups.{index}", features, up=True)
        features = block(f"decoders.{index}", torch.cat((raised, skips[-1 - index]), dim=1), raised, count)
    return functional.conv3d(features, state["head.weight"], state["head.bias"])


@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        VNetShape(4, 5, (1, 2), 2, (2, 1), "batch", 1, 3),
        VNetShape(4, 3, (2,), 1, (1,), "batch", 4, 2),
        VNetShape(4, 3, (1,), 1, (2,), "batch", 2),
    ],
)
def test_forward_equals_a_plain_computation(shape: VNetShape) -> None:
    network, edge = randomized(shape), 2 * shape.divisor
    image = torch.randn(2, shape.in_channels, edge, shape.divisor, edge)
    with torch.no_grad():
        result = network(image)
        expected = plainly(network.state_dict(), image, shape)
    assert result.shape == (2, shape.out_channels, edge, shape.divisor, edge)
    assert result.std() > 1e-3
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_every_number_takes_part_in_training() -> None:
    network = VNet(VNetShape(2, 3, (1, 2), 2, (2, 1)))
    network(torch.randn(2, 1, 8, 8, 8)).square().mean().backward()
    without = [name for name, values in network.named_parameters() if values.grad is None]
    assert not without


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm3d), ("instance", nn.InstanceNorm3d), ("none", nn.Identity)])
def test_norm_is_a_choice(norm: str, kind: type[nn.Module]) -> None:
    shape = VNetShape(2, 3, (1, 1), 1, (1, 1), norm)
    network = VNet(shape)
    assert sum(isinstance(layer, kind) for layer in network.modules()) == 9
    assert network(torch.randn(1, 1, 8, 8, 8)).shape == (1, 2, 8, 8, 8)


def test_instance_norm_makes_patches_of_a_batch_independent() -> None:
    network = VNet(VNetShape(2, 3, (1, 1), 1, (1, 1), "instance"))
    patches = torch.randn(2, 1, 8, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(network(patches)[1:], network(patches[1:]), rtol=1e-4, atol=1e-5)


def test_names_of_the_weights_are_those_that_bundles_hold() -> None:
    """Renaming any of these makes every published bundle unreadable."""
    norm = ("bias", "num_batches_tracked", "running_mean", "running_var", "weight")
    block = [f"convolutions.0.{name}" for name in ("bias", "weight")] + [f"norms.0.{name}" for name in norm] + ["activations.0.weight"]
    step = [f"convolution.{name}" for name in ("bias", "weight")] + [f"norm.{name}" for name in norm] + ["activation.weight"]
    expected = [f"{part}.{name}" for part in ("encoders.0", "bottom", "decoders.0") for name in block]
    expected += [f"{part}.{name}" for part in ("downs.0", "ups.0") for name in step]
    expected += ["head.bias", "head.weight"]
    assert sorted(on_meta(VNetShape(2, 3, (1,), 1, (1,))).state_dict()) == sorted(expected)


def test_shape_survives_json() -> None:
    shape = VNetShape(8, 3, (1, 2), 2, (2, 1), "instance", 1, 3)
    assert VNetShape.from_dict(shape.to_dict()) == shape
    assert all(isinstance(value, (int, str, list)) for value in shape.to_dict().values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder_convolutions": (1, 2)}, "as many decoder levels"),
        ({"encoder_convolutions": (), "decoder_convolutions": ()}, "at least one"),
        ({"encoder_convolutions": (1, 0, 3, 3)}, "at least one convolution"),
        ({"bottom_convolutions": 0}, "at least one convolution"),
        ({"base_channels": 0}, "at least one"),
        ({"out_channels": 0}, "at least one"),
        ({"in_channels": 3}, "cannot be repeated"),
        ({"kernel": 4}, "odd"),
        ({"kernel": -1}, "odd"),
        ({"norm": "group"}, "norm must be one of"),
        ({"depth": 4}, "unknown network settings: depth"),
    ],
)
def test_impossible_shapes_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VNetShape.from_dict(settings)


def test_divisor_is_the_least_edge() -> None:
    assert PUBLISHED.divisor == 16
    network = on_meta(SMALL).eval()
    assert network(torch.empty(1, 1, 16, 16, 16, device="meta")).shape[2:] == (16, 16, 16)
    for edge in (8, 24, 40):
        with pytest.raises(RuntimeError):
            network(torch.empty(1, 1, 16, edge, 16, device="meta"))
