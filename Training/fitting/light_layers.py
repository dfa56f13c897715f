"""Layers that cost in training on a CPU what they should: with PyTorch's own, all but convolutions are most of a step there.

With channels innermost a tensor (B, channels, z, y, x) is, without a copy, lines of x times channels: long enough for vectorized operations,
where PyTorch goes over the few channels of each voxel by itself (PReLU), or lays the whole tensor out anew, forth and back (instance norm).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from KidneyTumorCascadeLib.vnet import VNet


def lines_of(features: Tensor) -> Tensor:
    """(B, channels, z, y, x) as (B, z * y, x * channels): a view where channels are innermost, a copy otherwise."""
    batch, channels, depth, height, width = features.shape
    return features.permute(0, 2, 3, 4, 1).reshape(batch, depth * height, width * channels)


def features_of(lines: Tensor, shape: torch.Size) -> Tensor:
    """The reverse of `lines_of`, a view with channels innermost; `shape` is (B, channels, z, y, x)."""
    batch, channels, depth, height, width = shape
    return lines.reshape(batch, depth, height, width, channels).permute(0, 4, 1, 2, 3)


def sums(lines: Tensor, channels: int) -> Tensor:
    """Sums over each sample and channel of lines (B, z * y, x * channels): (B, channels), in float32 or better.

    PyTorch sums in float32 whatever the precision; that of a bfloat16 column is rounded once, where asking for float32 would copy all lines.
    """
    return precise(lines.sum(1)).reshape(len(lines), -1, channels).sum(1)


def along_lines(values: Tensor, lines: Tensor) -> Tensor:
    """Values of each channel, (channels,) or (B, channels), repeated along the lines' x and in their precision; they spread over the lines."""
    return values.to(lines.dtype).repeat(*[1] * (values.dim() - 1), lines.shape[2] // values.shape[-1]).unsqueeze(-2)


class LightPReLUFunction(torch.autograd.Function):
    """max(0, x) + weight min(0, x), with one weight a channel."""

    @staticmethod
    def forward(context: Any, features: Tensor, weight: Tensor) -> Tensor:
        """Features (B, channels, z, y, x), weight (channels,)."""
        context.save_for_backward(features, weight)
        lines = lines_of(features)
        result = functional.prelu(lines.flatten(0, 1), along_lines(weight, lines).flatten())
        return features_of(result, features.shape)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the features, in their precision, and of the weight, summed in float32."""
        features, weight = context.saved_tensors
        lines, slopes = lines_of(features), lines_of(gradient)
        above = torch.ops.aten.threshold_backward(slopes, lines, 0.0)
        below = slopes - above
        of_features = torch.addcmul(above, below, along_lines(weight, lines))
        of_weight = sums(below.mul_(lines), features.shape[1]).sum(0)
        return features_of(of_features, features.shape), of_weight.to(weight.dtype)


class LightInstanceNormFunction(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, with mean and variance of each sample and channel.

    Ulyanov, Vedaldi, Lempitsky: "Instance Normalization" (2016), equation 2. The backward pass is that of Ioffe and Szegedy: "Batch
    Normalization" (2015), section 3, collected by powers of x.
    """

    @staticmethod
    def forward(context: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        """Features (B, channels, z, y, x), weight and bias (channels,)."""
        lines = lines_of(features)
        mean, variance = statistics(lines, features.shape[1])
        context.save_for_backward(features, weight, mean, (variance + eps).rsqrt())
        result, columns = torch.empty_like(lines), lines.shape[2] // features.shape[1]
        kept = mean.new_empty(0)
        for sample, normalized, *values in zip(lines, result, mean, variance, strict=True):
            parameters = [value.repeat(columns) for value in (weight, bias, *values)]
            torch.ops.aten.native_batch_norm.out(sample, *parameters, False, 0.0, eps, out=normalized, save_mean=kept, save_invstd=kept)
        return features_of(result, features.shape)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of the features, in their precision, and of weight and bias, summed in float32."""
        features, weight, mean, scale = context.saved_tensors
        channels, count = features.shape[1], features[0, 0].numel()
        lines, slopes = lines_of(features), lines_of(gradient)
        # About the mean, as otherwise differences of large sums would be left; as bfloat16 it is not quite the mean, which is made up for.
        rounded = mean.to(lines.dtype)
        centered, off = lines - along_lines(rounded, lines), rounded.to(mean.dtype) - mean
        slope = sums(slopes, channels)
        of_scaled = (sums(centered * slopes, channels) + off * slope) * scale
        factor = scale * weight
        of_x = -factor * scale * of_scaled / count
        constant = off * of_x - factor * slope / count
        result = torch.addcmul(along_lines(constant, lines), centered, along_lines(of_x, lines)).addcmul_(slopes, along_lines(factor, lines))
        return features_of(result, features.shape), of_scaled.sum(0).to(weight.dtype), slope.sum(0).to(weight.dtype), None


def statistics(lines: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each sample and channel of lines (B, z * y, x * channels), in float32 or better: (B, channels) each.

    Those of every column come from PyTorch; columns of one channel are then taken together by the law of total variance.
    """
    # Its results have the precision of the running statistics, which it leaves as they are.
    unused = precise(lines.new_zeros(lines.shape[2]))
    columns = [torch.batch_norm_update_stats(sample, unused, unused, 0.0) for sample in lines]
    means, variances = (torch.stack(values).reshape(len(lines), -1, channels) for values in zip(*columns, strict=True))
    return means.mean(1), variances.mean(1) + means.var(1, correction=0)


def precise(values: Tensor) -> Tensor:
    """The values in float32; float64 stays as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def repeated_image(image: Tensor, channels: int) -> Tensor:
    """(B, 1, z, y, x) repeated to that many channels, innermost, in autocast's precision: what a V-Net would do with it, but in one go.

    A product with ones copies exactly, several times faster than copying does.
    """
    if torch.is_autocast_enabled(image.device.type):
        image = image.to(torch.get_autocast_dtype(image.device.type))
    batch, _, depth, height, width = image.shape
    repeated = image.reshape(-1, 1) @ torch.ones(1, channels, dtype=image.dtype, device=image.device)
    return repeated.reshape(batch, depth, height, width, channels).permute(0, 4, 1, 2, 3)


class LightPReLU(nn.PReLU):
    """nn.PReLU with one weight a channel; its state has the same names and shapes."""

    def forward(self, input: Tensor) -> Tensor:
        return cast("Tensor", LightPReLUFunction.apply(input, self.weight))  # type: ignore[no-untyped-call]


class LightInstanceNorm(nn.InstanceNorm3d):
    """nn.InstanceNorm3d with weight and bias and without running statistics; its state has the same names and shapes."""

    def forward(self, input: Tensor) -> Tensor:
        return cast("Tensor", LightInstanceNormFunction.apply(input, self.weight, self.bias, self.eps))  # type: ignore[no-untyped-call]


def lighten(network: nn.Module) -> None:
    """Put a light layer with the same parameters in the place of every layer that has one, and repeat a V-Net's image in a light way."""
    if isinstance(network, VNet) and network.shape.in_channels == 1:
        network.register_forward_pre_hook(lambda module, inputs: (repeated_image(inputs[0], network.shape.base_channels),))
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            light = light_layer(child)
            if light is not None:
                setattr(parent, name, light)


def light_layer(layer: nn.Module) -> nn.Module | None:
    """The light layer that does what this one does, with its parameters; None where there is none."""
    if type(layer) is nn.PReLU and layer.num_parameters > 1:
        light: nn.Module = LightPReLU(layer.num_parameters)
        light.weight = layer.weight
        return light
    if type(layer) is nn.InstanceNorm3d and layer.affine and not layer.track_running_stats:
        light = LightInstanceNorm(layer.num_features, eps=layer.eps, affine=True)
        light.weight, light.bias = layer.weight, layer.bias
        return light
    return None
