"""The V-Net that all three stages of the cascade use.

Milletari, Navab, Ahmadi: "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation" (3DV 2016), in the
residual form that the cascade's publication adopts: PReLU everywhere, normalization after each convolution, and in the decoder the
skip is concatenated before the first convolution while the up-sampled features are added to the last one.

Tensors are (batch, channel, z, y, x).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

NORMS = ("batch", "instance", "none")


@dataclass(frozen=True)
class VNetShape:
    """Every number of the network; the defaults are the published ones (43.9 M parameters).

    Attributes:
        base_channels: channels at full resolution; doubled at every level below.
        kernel: edge of the cubic convolutions, odd.
        encoder_convolutions: convolutions per level on the way down, full resolution first.
        bottom_convolutions: convolutions at the coarsest level.
        decoder_convolutions: convolutions per level on the way up, coarsest first.
        norm: "batch" (as published), "instance" (independent of the batch), or "none".
        in_channels: channels of the input; repeated to `base_channels` before the first convolution.
        out_channels: classes, background included.
    """

    base_channels: int = 16
    kernel: int = 5
    encoder_convolutions: tuple[int, ...] = (1, 2, 3, 3)
    bottom_convolutions: int = 3
    decoder_convolutions: tuple[int, ...] = (3, 3, 2, 1)
    norm: str = "batch"
    in_channels: int = 1
    out_channels: int = 2

    def __post_init__(self) -> None:
        counts = (*self.encoder_convolutions, self.bottom_convolutions, *self.decoder_convolutions)
        if len(self.encoder_convolutions) != len(self.decoder_convolutions) or not self.encoder_convolutions:
            raise ValueError("a V-Net needs as many decoder levels as encoder levels, and at least one")
        if min(*counts, self.base_channels, self.in_channels, self.out_channels) < 1:
            raise ValueError("every level of a V-Net needs at least one convolution and one channel")
        if self.base_channels % self.in_channels:
            raise ValueError(f"{self.in_channels} input channels cannot be repeated to {self.base_channels}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"the kernel must be odd, not {self.kernel}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, not {self.norm!r}")

    @property
    def levels(self) -> int:
        """Number of down-samplings."""
        return len(self.encoder_convolutions)

    @property
    def divisor(self) -> int:
        """Every edge of an input patch must be a multiple of this."""
        return 1 << self.levels

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for a bundle."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> VNetShape:
        """The reverse of `to_dict`. Raises ValueError on unknown names or impossible numbers."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"unknown network settings: {', '.join(sorted(unknown))}")
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**fields)


def normalization_layer(norm: str, channels: int) -> nn.Module:
    """The layer that follows a convolution of `channels` outputs."""
    if norm == "batch":
        return nn.BatchNorm3d(channels)
    if norm == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    return nn.Identity()


class ResidualBlock(nn.Module):
    """`count` convolutions; a residual is added to the last one's output before its activation.

    Input (B, in_channels, z, y, x), residual and output (B, channels, z, y, x).
    """

    def __init__(self, in_channels: int, channels: int, count: int, kernel: int, norm: str) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * count
        self.convolutions = nn.ModuleList(nn.Conv3d(a, b, kernel, padding=kernel // 2) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(normalization_layer(norm, channels) for _ in range(count))
        self.activations = nn.ModuleList(nn.PReLU(channels) for _ in range(count))

    def forward(self, features: Tensor, residual: Tensor) -> Tensor:
        last = len(self.convolutions) - 1
        layers = zip(self.convolutions, self.norms, self.activations, strict=True)
        for index, (convolution, norm, activation) in enumerate(layers):
            features = norm(convolution(features))
            if index == last:
                features = features + residual
            features = activation(features)
        return features


def repeat_channels(features: Tensor, channels: int) -> Tensor:
    """(B, c, z, y, x) repeated along the channels to (B, channels, z, y, x), without a copy where c is 1."""
    present = features.shape[1]
    if present == channels:
        return features
    if present == 1:
        return features.expand(-1, channels, -1, -1, -1)
    return features.repeat(1, channels // present, 1, 1, 1)


class Resample(nn.Module):
    """A 2 x 2 x 2 convolution of stride 2, down or up, with normalization and PReLU."""

    def __init__(self, in_channels: int, channels: int, norm: str, up: bool) -> None:
        super().__init__()
        kind = nn.ConvTranspose3d if up else nn.Conv3d
        self.convolution = kind(in_channels, channels, kernel_size=2, stride=2)
        self.norm = normalization_layer(norm, channels)
        self.activation = nn.PReLU(channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(self.norm(self.convolution(features)))  # type: ignore[no-any-return]


class VNet(nn.Module):
    """Logits of every class for every voxel: (B, in, z, y, x) -> (B, out, z, y, x), edges multiples of `shape.divisor`."""

    def __init__(self, shape: VNetShape) -> None:
        super().__init__()
        self.shape = shape
        width, kernel, norm = shape.base_channels, shape.kernel, shape.norm
        widths = [width * 2**level for level in range(shape.levels + 1)]
        self.encoders = nn.ModuleList(
            ResidualBlock(channels, channels, count, kernel, norm) for channels, count in zip(widths, shape.encoder_convolutions, strict=False)
        )
        self.downs = nn.ModuleList(Resample(a, b, norm, up=False) for a, b in pairwise(widths))
        self.bottom = ResidualBlock(widths[-1], widths[-1], shape.bottom_convolutions, kernel, norm)
        upward = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(Resample(a, b, norm, up=True) for a, b in upward)
        self.decoders = nn.ModuleList(
            ResidualBlock(2 * channels, channels, count, kernel, norm)
            for (_, channels), count in zip(upward, shape.decoder_convolutions, strict=True)
        )
        self.head = nn.Conv3d(width, shape.out_channels, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        features, skips = repeat_channels(image, self.shape.base_channels), []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            features = encoder(features, features)
            skips.append(features)
            features = down(features)
        features = self.bottom(features, features)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            raised = up(features)
            features = decoder(torch.cat((raised, skip), dim=1), raised)
        return self.head(features)  # type: ignore[no-any-return]


def count_parameters(network: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


def convolution_layers(shape: VNetShape) -> Iterator[tuple[str, int, int, int, int]]:
    """(kind, in channels, out channels, kernel edge, level) of every convolution, in the order of the forward pass.

    Level 0 is full resolution. A down- or up-convolution is given at the coarser and the finer level respectively: the one it writes.
    """
    width = shape.base_channels
    for level, count in enumerate(shape.encoder_convolutions):
        channels = width * 2**level
        for _ in range(count):
            yield "conv", channels, channels, shape.kernel, level
        yield "down", channels, 2 * channels, 2, level + 1
    bottom = width * 2**shape.levels
    for _ in range(shape.bottom_convolutions):
        yield "conv", bottom, bottom, shape.kernel, shape.levels
    for level, count in zip(reversed(range(shape.levels)), shape.decoder_convolutions, strict=True):
        channels = width * 2**level
        yield "up", 2 * channels, channels, 2, level
        for index in range(count):
            yield "conv", 2 * channels if index == 0 else channels, channels, shape.kernel, level
    yield "head", width, shape.out_channels, 1, 0


def count_operations(shape: VNetShape, patch: tuple[int, int, int]) -> int:
    """Floating point operations (two for each multiply-accumulate) of one forward pass over a patch (z, y, x); convolutions only."""
    total = 0
    for kind, inputs, outputs, kernel, level in convolution_layers(shape):
        voxels = patch[0] * patch[1] * patch[2] // 8**level
        # A stride-2 up-convolution reaches each output voxel through exactly one of its 2 x 2 x 2 taps.
        taps = 1 if kind == "up" else kernel**3
        total += 2 * inputs * outputs * taps * voxels
    return total
