"""PReLU whose gradient costs what it should on a CPU: PyTorch's own takes a quarter of a training step there."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class LightPReLUFunction(torch.autograd.Function):
    """max(0, x) + weight min(0, x), with one weight a channel.

    PyTorch's `_prelu_kernel_backward` goes through bfloat16 and channels-last tensors voxel by voxel and writes a gradient of the weight as
    large as the features before it is summed; here both gradients are a few vectorized operations.
    """

    @staticmethod
    def forward(context: Any, features: Tensor, weight: Tensor) -> Tensor:
        """Features (B, channels, ...), weight (channels,)."""
        context.save_for_backward(features, weight)
        return functional.prelu(features, weight.to(features.dtype))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the features, in their precision, and of the weight, summed in float32."""
        features, weight = context.saved_tensors
        every_other = [axis for axis in range(features.dim()) if axis != 1]
        slope = weight.to(gradient.dtype).reshape(-1, *[1] * (features.dim() - 2))
        of_features = torch.where(features > 0, gradient, gradient * slope)
        of_weight = (gradient * features.clamp(max=0)).sum(every_other, dtype=torch.float32)
        return of_features, of_weight.to(weight.dtype)


class LightPReLU(nn.PReLU):
    """nn.PReLU with one weight a channel; its state has the same names and shapes."""

    def forward(self, input: Tensor) -> Tensor:
        return cast("Tensor", LightPReLUFunction.apply(input, self.weight))  # type: ignore[no-untyped-call]


def lighten(network: nn.Module) -> None:
    """Put a LightPReLU with the same weight in the place of every PReLU of a network that has one weight a channel."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.PReLU and child.num_parameters > 1:
                light = LightPReLU(child.num_parameters)
                light.weight = child.weight
                setattr(parent, name, light)
