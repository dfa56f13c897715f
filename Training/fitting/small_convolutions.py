"""Convolutions over fewer voxels than their kernel has, which PyTorch gets wrong in bfloat16 on CPUs.

The gradient of their weights then has values that nobody wrote: with torch 2.13 on a CPU with bfloat16 units, a kernel of 3 over 2 x 2 x 2
voxels and one of 5 over 4 x 3 x 3 gave other numbers each time, NaN among them; over 3 x 3 x 3 and 5 x 4 x 4 they were right. A V-Net of four
levels has so few voxels at its bottom when its patch is 32 voxels long, or 64 with the published kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SmallConv3d(nn.Conv3d):
    """nn.Conv3d that computes in float32 where an axis of its input is shorter than its kernel; its state has the same names and shapes."""

    def forward(self, input: Tensor) -> Tensor:
        """Features (B, channels, z, y, x), in autocast's precision as elsewhere."""
        kind = input.device.type
        if not torch.is_autocast_enabled(kind) or all(length >= edge for length, edge in zip(input.shape[2:], self.kernel_size, strict=True)):
            return super().forward(input)
        with torch.autocast(kind, enabled=False):
            return super().forward(input.float()).to(torch.get_autocast_dtype(kind))


def mend_small_convolutions(network: nn.Module) -> None:
    """Put a `SmallConv3d` with the same parameters in the place of every convolution with a kernel of more than one voxel."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Conv3d and max(child.kernel_size) > 1:
                setattr(parent, name, mended(child))


def mended(layer: nn.Conv3d) -> SmallConv3d:
    """The convolution with the parameters of that one."""
    kept = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}
    result = SmallConv3d(layer.in_channels, layer.out_channels, layer.kernel_size, **kept, bias=layer.bias is not None, device="meta")  # type: ignore[arg-type]
    result.weight, result.bias = layer.weight, layer.bias
    return result
