"""Applies a trained V-Net on a processor: the numbers of its modules, up to rounding, in a fraction of their time.

What is done otherwise, and why; Testing/Benchmarks/NOTES.md has the measurements:

- Channels lie innermost, as oneDNN's convolutions want them, so that nothing is laid out anew before and after each of them.
- Few channels leave most of a vector register empty. Neighbours along x lie side by side in memory, so two voxels of 8 channels are, without
  a copy, one voxel of 16 channels. Kernels are spread over such packs, with zeros where a neighbour is out of reach.
- An image that is repeated to many channels is convolved once, with the sum of their kernels.
- Instance norm takes away the mean, so a bias before it is not added at all. Batch norm is folded into the kernels.
- Statistics, normalization and activation take whole lines of the image for channels, which fills registers however few channels there are.
- Up-convolutions are matrix products: each voxel makes its own 2 x 2 x 2.

Outside, images are (B, channel, z, y, x). Within, they are "rows": (B, z, y, x, channel), contiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from KidneyTumorCascadeLib.vnet import Resample, ResidualBlock, VNet

# Numbers in a vector register, in float32; bfloat16 is multiplied into as many columns.
LANES = 16
# Numbers that stay in the cache of a core while several operations follow each other.
CACHED = 1 << 18
PACKED_PRECISIONS = (torch.float32, torch.bfloat16)


class PackedVNet(nn.Module):
    """Logits of every class for every voxel: (B, in, z, y, x) -> (B, out, z, y, x), edges multiples of the network's divisor.

    Args:
        network: trained, on the CPU; left as it is.
        precision: float32 or bfloat16, of weights and of what goes from layer to layer; statistics are float32 in both.
    """

    def __init__(self, network: VNet, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        shape = network.shape
        self._precision = precision
        # At full resolution edges are multiples of 2 ** levels, and of half as much on each level below.
        packs = [min(packing(shape.base_channels << level), 1 << (shape.levels - level)) for level in range(shape.levels + 1)]
        blocks = cast("list[ResidualBlock]", [*network.encoders, network.bottom])
        first = PackedBlock(blocks[0], packs[0], precision, repeated=shape.in_channels)
        self._downward = nn.ModuleList([first, *(PackedBlock(block, pack, precision) for block, pack in zip(blocks[1:], packs[1:], strict=True))])
        self._downs = nn.ModuleList(PackedDown(cast(Resample, down), pack, precision) for down, pack in zip(network.downs, packs, strict=False))
        self._ups = nn.ModuleList(PackedUp(cast(Resample, up), precision) for up in network.ups)
        decoders = zip(cast("list[ResidualBlock]", network.decoders), packs[-2::-1], strict=True)
        self._upward = nn.ModuleList(PackedBlock(block, pack, precision, inputs=2) for block, pack in decoders)
        self._repeat = repeating_matrix(shape.in_channels, shape.base_channels, shape.divisor).to(precision)
        self._head = PackedHead(network.head, shape.divisor, precision)

    def forward(self, image: Tensor) -> Tensor:
        # What would be cast is in its precision already.
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            features = image.to(self._precision).movedim(1, -1).contiguous()
            residual = (features.view(-1, len(self._repeat)) @ self._repeat).view(*features.shape[:-1], -1)
            skips = []
            for block, down in zip(self._downward, self._downs, strict=False):
                skips.append(block([features], residual))
                features = residual = down(skips[-1])
            features = self._downward[-1]([features], residual)
            for up, block in zip(self._ups, self._upward, strict=True):
                raised = up(features)
                features = block([raised, skips.pop()], raised)
            return self._head(features)


class PackedHead:
    """The last convolution, 1 x 1 x 1, as a matrix product of so many neighbours along x at once, whose logits come out class by class."""

    def __init__(self, head: nn.Conv3d, pack: int, precision: torch.dtype) -> None:
        weight = head.weight.detach().flatten(1)
        self._pack, self._classes = pack, len(weight)
        # (pack, channel, class, pack): a voxel's logits come from its own channels alone.
        spread = torch.einsum("pq,oc->pcoq", torch.eye(pack), weight)
        self._matrix = spread.flatten(2, 3).flatten(0, 1).to(precision)
        self._bias = cast(Tensor, head.bias).detach().repeat_interleave(pack).to(precision)

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows (B, z, y, x, channel) -> logits (B, class, z, y, x)."""
        batch, z, y, x, _ = rows.shape
        packs = torch.addmm(self._bias, rows.view(batch * z * y * x // self._pack, -1), self._matrix)
        return packs.view(batch, z, y, x // self._pack, self._classes, self._pack).permute(0, 4, 1, 2, 3, 5).reshape(batch, -1, z, y, x)


class PackedBlock(nn.Module):
    """A `ResidualBlock` on rows.

    Args:
        block: the trained one.
        pack: voxels along x to a pack.
        precision: of weights and rows.
        inputs: images, of as many channels each, that lie side by side for its first convolution.
        repeated: channels of an image that stands for what `repeat_channels` makes of it; 0 where there are as many as the block asks for.
    """

    def __init__(self, block: ResidualBlock, pack: int, precision: torch.dtype, inputs: int = 1, repeated: int = 0) -> None:
        super().__init__()
        kernels = [folded(convolution, norm) for convolution, norm in zip(block.convolutions, block.norms, strict=True)]
        weight, bias = kernels[0]
        if repeated:
            weight = torch.stack(weight.chunk(weight.shape[1] // repeated, dim=1)).sum(dim=0)
        # A single channel has oneDNN take a way that is many times slower.
        first = PackedConvolution(weight, bias, max(pack, 2) if repeated == 1 else pack, precision, inputs)
        self._convolutions = [first, *(PackedConvolution(*kernel, pack, precision) for kernel in kernels[1:])]
        self._ends = [LayerEnd(norm, activation, precision) for norm, activation in zip(block.norms, block.activations, strict=True)]

    def forward(self, inputs: Sequence[Tensor], residual: Tensor) -> Tensor:
        for convolution, end in zip(self._convolutions[:-1], self._ends[:-1], strict=True):
            inputs = [end(convolution(inputs))]
        return self._ends[-1](self._convolutions[-1](inputs), residual)


class PackedConvolution:
    """A convolution of stride 1 that keeps the image's size; see `packed_kernel`."""

    def __init__(self, weight: Tensor, bias: Tensor | None, pack: int, precision: torch.dtype, inputs: int = 1) -> None:
        self._pack = pack
        self._weight = channels_last(torch.cat([packed_kernel(part, pack) for part in weight.chunk(inputs, dim=1)], dim=1), precision)
        self._bias = None if bias is None else bias.repeat(pack).to(precision)
        self._padding = [edge // 2 for edge in self._weight.shape[2:]]

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        size = inputs[0].shape[:-1]
        packs = [rows.view(*size[:-1], size[-1] // self._pack, -1) for rows in inputs]
        image = packs[0] if len(packs) == 1 else torch.cat(packs, dim=-1)
        return convolved(image, self._weight, self._bias, self._padding, [1, 1, 1]).reshape(*size, -1)


class PackedDown(nn.Module):
    """A `Resample` of stride 2 downwards: within packs of two along x and more, the kernel is one pack long and nothing of it is zero."""

    def __init__(self, down: Resample, pack: int, precision: torch.dtype) -> None:
        super().__init__()
        weight, bias = folded(down.convolution, down.norm)
        self._pack = pack
        self._weight = channels_last(halving_kernel(weight, pack), precision)
        self._bias = None if bias is None else bias.repeat(max(1, pack // 2)).to(precision)
        self._stride = list(self._weight.shape[2:])
        self._end = LayerEnd(down.norm, down.activation, precision)

    def forward(self, rows: Tensor) -> Tensor:
        batch, z, y, x, _ = rows.shape
        image = rows.view(batch, z, y, x // self._pack, -1)
        result = convolved(image, self._weight, self._bias, [0, 0, 0], self._stride)
        return self._end(result.reshape(batch, z // 2, y // 2, x // 2, -1))


class PackedUp(nn.Module):
    """A `Resample` of stride 2 upwards."""

    def __init__(self, up: Resample, precision: torch.dtype) -> None:
        super().__init__()
        weight, bias = folded(up.convolution, up.norm)
        self._matrix = weight.movedim(1, -1).flatten(1).to(precision)
        self._bias = None if bias is None else bias.repeat(8).to(precision)
        self._end = LayerEnd(up.norm, up.activation, precision)

    def forward(self, rows: Tensor) -> Tensor:
        batch, z, y, x, _ = rows.shape
        result = rows @ self._matrix
        if self._bias is not None:
            result += self._bias
        # Normalized and activated while each voxel's eight are still together: (z, y, x, 2, 2, 2, channel).
        result = self._end(result).view(batch, z, y, x, 2, 2, -1)
        return result.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, 2 * z, 2 * y, 2 * x, -1)


class LayerEnd:
    """What follows a convolution: instance norm if there is one, a residual if it is given, PReLU. Overwrites its input.

    Rows may hold the channels several times in their last dimension.
    """

    def __init__(self, norm: nn.Module, activation: nn.Module, precision: torch.dtype) -> None:
        self._norm = norm if isinstance(norm, nn.InstanceNorm3d) else None
        self._slopes = cast(nn.PReLU, activation).weight.detach().to(precision)

    def __call__(self, rows: Tensor, residual: Tensor | None = None) -> Tensor:
        lines = rows.view(len(rows), -1, rows.shape[-2] * rows.shape[-1])
        others = [None] * len(lines) if residual is None else residual.view(lines.shape)
        for image, other in zip(lines, others, strict=True):
            self._finish(image, other)
        return rows

    def _finish(self, lines: Tensor, residual: Tensor | None) -> None:
        """One image, some lines at a time: as many as stay in the processor's cache from one operation to the next."""
        slopes = tiled(self._slopes, lines)
        normalized = None if self._norm is None else normalization_of(lines, self._norm)
        step = max(1, CACHED // lines.shape[1])
        for start in range(0, len(lines), step):
            part = lines[start : start + step]
            result = part if normalized is None else normalized(part)
            if residual is not None:
                result += residual[start : start + step]
            part.copy_(functional.prelu(result, slopes))


def normalization_of(lines: Tensor, norm: nn.InstanceNorm3d) -> Callable[[Tensor], Tensor]:
    """What instance norm does to an image of lines (line, x * channel), channels innermost; to be applied to any of its lines."""
    width, channels = lines.shape[1], norm.num_features
    column_mean, column_variance = torch.batch_norm_update_stats(lines, torch.zeros(width), torch.ones(width), 0.0)
    means = column_mean.view(-1, channels)
    mean = means.mean(dim=0)
    # Each column holds as many voxels of its channel as every other one.
    variance = (column_variance.view(-1, channels) + (means - mean).square()).mean(dim=0)
    each = [tiled(values.detach(), lines) for values in (mean, variance, norm.weight, norm.bias)]
    return lambda part: functional.batch_norm(part, each[0], each[1], each[2], each[3], eps=norm.eps)


def tiled(values: Tensor, lines: Tensor) -> Tensor:
    """A value for each channel, again and again along a line."""
    return values.expand(lines.shape[1] // len(values), -1).reshape(-1)


def convolved(rows: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int], stride: list[int]) -> Tensor:
    """A convolution on rows.

    In float32, PyTorch itself chooses oneDNN only for batches of several images or large ones (`use_mkldnn` in its
    aten/src/ATen/native/Convolution.cpp); most levels of a V-Net fall below that, and into a fallback that is many times slower.
    """
    image = rows.movedim(-1, 1)
    if rows.dtype == torch.float32 and has_onednn():
        result = torch.mkldnn_convolution(image, weight, bias, padding, stride, [1, 1, 1], 1)
    else:
        result = functional.conv3d(image, weight, bias, stride, padding)
    # Other ways to convolve may lay their result out otherwise.
    return result.movedim(1, -1).contiguous()


def has_onednn() -> bool:
    """Whether this PyTorch can be told to use oneDNN."""
    return bool(torch.backends.mkldnn.is_available()) and hasattr(torch, "mkldnn_convolution")  # type: ignore[no-untyped-call]


def packing(channels: int) -> int:
    """How many neighbours along x, a power of two, fill a vector register together."""
    return 1 << max(0, (LANES // channels).bit_length() - 1)


def packed_kernel(weight: Tensor, pack: int) -> Tensor:
    """(out, in, kz, ky, kx) -> (pack * out, pack * in, kz, ky, packs), for packs of voxels along x in place of voxels; the channel is innermost.

    The same convolution: what a voxel of a pack does not see of its pack and the neighbouring ones has zeros.
    """
    outputs, inputs, *planes, edge = weight.shape
    reach = edge // 2
    packs = -(-reach // pack)
    spread = weight.new_zeros(pack, outputs, pack, inputs, *planes, 2 * packs + 1)
    for target in range(pack):
        for tap in range(edge):
            block, source = divmod(target + tap - reach, pack)
            spread[target, :, source, ..., block + packs] = weight[..., tap]
    return spread.flatten(2, 3).flatten(0, 1)


def halving_kernel(weight: Tensor, pack: int) -> Tensor:
    """(out, in, 2, 2, 2) of stride 2 -> (pack / 2 * out, pack * in, 2, 2, 1) of stride (2, 2, 1), for packs along x; as it is for packs of one."""
    if pack == 1:
        return weight
    outputs, inputs = weight.shape[:2]
    spread = weight.new_zeros(pack // 2, outputs, pack, inputs, 2, 2, 1)
    for target in range(pack // 2):
        for tap in range(2):
            spread[target, :, 2 * target + tap] = weight[..., tap : tap + 1]
    return spread.flatten(2, 3).flatten(0, 1)


def folded(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Kernel and bias of a convolution that does what its norm does besides, as far as that does not depend on the image."""
    convolution = cast(nn.Conv3d, convolution)
    weight, bias = convolution.weight.detach(), cast(Tensor, convolution.bias).detach()
    if isinstance(norm, nn.InstanceNorm3d):
        return weight, None
    if not isinstance(norm, nn.BatchNorm3d):
        return weight, bias
    variance, mean = cast(Tensor, norm.running_var), cast(Tensor, norm.running_mean)
    scale = norm.weight.detach() * torch.rsqrt(variance + norm.eps)
    # Of an up-convolution the second dimension is the outputs'.
    shape = [1] * 5
    shape[1 if convolution.transposed else 0] = -1
    return weight * scale.view(shape), (bias - mean) * scale + norm.bias.detach()


def repeating_matrix(channels: int, repeated: int, voxels: int) -> Tensor:
    """(voxels * channels, voxels * repeated): repeats the channels of so many neighbours at once, as `repeat_channels` does."""
    return torch.kron(torch.eye(voxels), torch.eye(channels).repeat(1, repeated // channels))


def channels_last(weight: Tensor, precision: torch.dtype) -> Tensor:
    """A kernel as oneDNN wants it beside images with channels innermost."""
    return weight.to(precision).contiguous(memory_format=torch.channels_last_3d)
