"""Floating point operations a second of the V-Net, against what this machine reaches at best, in each precision that is used.

    python -m Testing.Benchmarks.ceilings [--device cpu]

Three ceilings, all measured in turns with the networks: a matrix product (the best of several sizes); plain 3 x 3 x 3 convolutions (the best of
several numbers of channels, memory formats and, on the CPU, of PyTorch's own choice, oneDNN, and packs of voxels); and the network's own
convolutions, each shape alone in its best way, their times added up. The first two are what the machine can do with other work, the third is what it
can do with this network, if all but the convolutions cost nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.cascade import Cascade, foreground_of, prepared
from KidneyTumorCascadeLib.device import Engine, choose_device, name_of, precisions, try_device
from KidneyTumorCascadeLib.geometry import Size
from KidneyTumorCascadeLib.memory_ladder import ladder
from KidneyTumorCascadeLib.packed_vnet import channels_last, convolved, packed_kernel, packing
from KidneyTumorCascadeLib.vnet import VNet, VNetShape, convolution_layers, count_operations
from Testing.Benchmarks.clock import Timing, digits, timed
from Testing.Benchmarks.settings import Settings, settings_from, settler
from Testing.Benchmarks.table import Section

# Repeated until it lasts that long, so that neither clock nor call are measured.
LEAST_SECONDS = {"cpu": 0.05, "cuda": 0.02}
MATRIX_EDGES = {"cpu": (1024, 2048), "cuda": (4096, 8192, 16384)}
# Channels and edge of a plain convolution: from many voxels of few channels to few of many.
CHANNELS = {
    "cpu": ((8, 64), (16, 64), (32, 64), (64, 32), (128, 32), (256, 16)),
    "cuda": ((8, 160), (16, 160), (32, 128), (64, 128), (128, 64), (256, 64)),
}
KERNEL = 3
# Of the published network, which is large: 16 channels, kernels of 5 x 5 x 5.
PUBLISHED_PATCH = (64, 64, 64)
FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last_3d}
HEADER = ["precision", "what", "GFLOP/s", "of the matrix product", "of the best plain convolution", "of its own convolutions"]
Work = Callable[[], object]


@dataclass(frozen=True)
class Load:
    """Something to compute.

    Attributes:
        group: what it is compared with: "matrix", "convolution", "network <name>", or "layer <key>".
        name: which of the group.
        operations: of one call.
        work: does it.
    """

    group: str
    name: str
    operations: float
    work: Work


@dataclass(frozen=True)
class Layer:
    """One convolution of a network: its kind as in `convolution_layers`, channels, kernel edge, and the size of its input (z, y, x)."""

    kind: str
    inputs: int
    outputs: int
    kernel: int
    size: Size

    @property
    def operations(self) -> float:
        """Two for each multiply-accumulate, as in `count_operations`."""
        z, y, x = self.size
        voxels = z * y * x / 8 if self.kind == "down" else z * y * x * 8 if self.kind == "up" else z * y * x
        return 2.0 * self.inputs * self.outputs * voxels * (1 if self.kind == "up" else self.kernel**3)


def layers_of(shape: VNetShape, patch: Size) -> list[Layer]:
    """Every convolution of the network, in order."""
    found = []
    for kind, inputs, outputs, kernel, level in convolution_layers(shape):
        # Levels are those of the outputs: a down-convolution reads the finer one, an up-convolution the coarser one.
        reads = level - 1 if kind == "down" else level + 1 if kind == "up" else level
        found.append(Layer(kind, inputs, outputs, kernel, (patch[0] >> reads, patch[1] >> reads, patch[2] >> reads)))
    return found


def convolution(layer: Layer, batch: int, engine: Engine, memory_format: torch.memory_format, onednn: bool = False) -> Work:
    """That convolution alone on random numbers of the engine's precision and device."""
    kind = {"device": engine.device, "dtype": engine.precision}
    image = torch.randn((batch, layer.inputs, *layer.size), **kind).contiguous(memory_format=memory_format)  # type: ignore[call-overload]
    channels = (layer.inputs, layer.outputs) if layer.kind == "up" else (layer.outputs, layer.inputs)
    weight = torch.randn((*channels, *[layer.kernel] * 3), **kind).contiguous(memory_format=memory_format)  # type: ignore[call-overload]
    stride, padding = (2, 0) if layer.kind in ("up", "down") else (1, layer.kernel // 2)
    if onednn:
        return partial(torch.mkldnn_convolution, image, weight, None, [padding] * 3, [stride] * 3, [1] * 3, 1)
    function: Callable[..., Tensor] = functional.conv_transpose3d if layer.kind == "up" else functional.conv3d
    return partial(function, image, weight, stride=stride, padding=padding)


def ways(layer: Layer, batch: int, engine: Engine) -> Iterator[tuple[str, Work]]:
    """All the ways to compute one convolution."""
    for name, memory_format in FORMATS.items():
        yield name, convolution(layer, batch, engine, memory_format)
    if engine.device.type == "cpu":
        yield from ways_on_cpu(layer, batch, engine)


def ways_on_cpu(layer: Layer, batch: int, engine: Engine) -> Iterator[tuple[str, Work]]:
    """What `packed_vnet` does, besides: oneDNN by name, packs of voxels in place of voxels, a matrix product in place of an up-convolution."""
    if layer.kind == "up":
        voxels = batch * layer.size[0] * layer.size[1] * layer.size[2]
        a, b = (torch.randn(shape, dtype=engine.precision) for shape in ((voxels, layer.inputs), (layer.inputs, 8 * layer.outputs)))
        yield "matrix product", partial(torch.mm, a, b)
        return
    if engine.precision == torch.float32:
        for name, memory_format in FORMATS.items():
            yield f"oneDNN, {name}", convolution(layer, batch, engine, memory_format, onednn=True)
    pack = packing(layer.inputs)
    if layer.kind == "conv" and pack > 1 and layer.size[2] % pack == 0:
        yield f"packs of {pack}", packed_convolution(layer, pack, batch, engine.precision)


def packed_convolution(layer: Layer, pack: int, batch: int, precision: torch.dtype) -> Work:
    """That convolution on packs of voxels along x."""
    z, y, x = layer.size
    rows = torch.randn((batch, z, y, x // pack, pack * layer.inputs), dtype=precision)
    kernel = packed_kernel(torch.randn(layer.outputs, layer.inputs, *[layer.kernel] * 3), pack)
    weight = channels_last(kernel, precision)
    return partial(convolved, rows, weight, None, [edge // 2 for edge in weight.shape[2:]], [1, 1, 1])


def matrix_loads(engine: Engine) -> Iterator[Load]:
    """Square matrix products."""
    for edge in MATRIX_EDGES[engine.device.type]:
        a, b = (torch.randn((edge, edge), device=engine.device, dtype=engine.precision) for _ in range(2))
        yield Load("matrix", f"{edge} x {edge}", 2.0 * edge**3, partial(torch.mm, a, b))


def convolution_loads(engine: Engine) -> Iterator[Load]:
    """Plain convolutions that keep size and channels."""
    for channels, edge in CHANNELS[engine.device.type]:
        layer = Layer("conv", channels, channels, KERNEL, (edge, edge, edge))
        for way, work in ways(layer, 1, engine):
            yield Load("convolution", f"{channels} channels, {edge} x {edge} x {edge}, {way}", layer.operations, work)


def layer_loads(layers: Iterable[Layer], batch: int, engine: Engine) -> Iterator[Load]:
    """Each different convolution of a network in every way."""
    for layer in dict.fromkeys(layers):
        for way, work in ways(layer, batch, engine):
            yield Load(f"layer {layer}", way, batch * layer.operations, work)


def network_loads(cascade: Cascade, batch: int) -> Iterator[Load]:
    """ROI-V-Net and Kidney-V-Net, each on its own patch, as the sliding window calls them."""
    for name in ("roi", "kidney"):
        stage = cascade.bundle.stages[name]
        # As the cascade itself prepares it: a network that is merely loaded may be laid out otherwise.
        predict = foreground_of(cascade._network(name, cascade.engine.device), cascade.engine)
        patches = torch.randn((batch, 1, *stage.patch), device=cascade.engine.device)
        yield Load(f"network {name}", "forward", batch * float(count_operations(stage.shape, stage.patch)), partial(predict, patches))
    predict = foreground_of(published_network(cascade.engine), cascade.engine)
    patches = torch.randn((1, 1, *PUBLISHED_PATCH), device=cascade.engine.device)
    yield Load("network published", "forward", float(count_operations(VNetShape(), PUBLISHED_PATCH)), partial(predict, patches))


def published_network(engine: Engine) -> nn.Module:
    """The V-Net as published, with random weights, as the cascade would prepare it."""
    torch.manual_seed(0)
    return prepared(VNet(VNetShape()).requires_grad_(False).eval().to(engine.device), engine)


def speeds(loads: Iterable[Load], device: str, repeats: int) -> dict[str, dict[str, Timing]]:
    """GFLOP/s by group and name, all measured in turns."""
    settle = settler(device)
    contenders, operations = {}, {}
    for load in loads:
        loops = enough_loops(load.work, settle, LEAST_SECONDS[device])
        contenders[f"{load.group}|{load.name}"] = repeated(load.work, loops)
        operations[f"{load.group}|{load.name}"] = loops * load.operations
    with torch.inference_mode():
        seconds = timed(contenders, repeats, warmups=1, settle=settle)
    found: dict[str, dict[str, Timing]] = {}
    for key, timing in seconds.items():
        group, _, name = key.partition("|")
        found.setdefault(group, {})[name] = Timing(tuple(operations[key] / value / 1e9 for value in timing.values))
    return found


def enough_loops(work: Work, settle: Callable[[], None], least: float) -> int:
    """How often to do it until it lasts long enough."""
    with torch.inference_mode():
        work()
        settle()
        begin = time.perf_counter()
        work()
        settle()
    return max(1, round(least / max(time.perf_counter() - begin, 1e-6)))


def repeated(work: Work, loops: int) -> Work:
    """The same several times."""

    def run() -> None:
        for _ in range(loops):
            work()

    return run


def best(group: dict[str, Timing]) -> tuple[str, Timing]:
    """The fastest of a group, by its median."""
    name = max(group, key=lambda key: group[key].median)
    return name, group[name]


def own_ceiling(layers: Iterable[Layer], found: dict[str, dict[str, Timing]]) -> float:
    """GFLOP/s of all convolutions of a network one after the other, each in the way that is best for it: all operations over all seconds."""
    operations = seconds = 0.0
    for layer in layers:
        operations += layer.operations / 1e9
        seconds += layer.operations / 1e9 / best(found[f"layer {layer}"])[1].median
    return operations / seconds


def rows_of(precision: str, cascade: Cascade, found: dict[str, dict[str, Timing]]) -> tuple[list[list[str]], dict[str, float]]:
    """Rows and figures of one precision."""
    matrix_name, matrix = best(found["matrix"])
    plain_name, plain = best(found["convolution"])
    rows = [
        [precision, f"matrix product {matrix_name}", matrix.text("").replace(" ,", ","), "100 %", "", ""],
        ["", f"best plain convolution: {plain_name}", plain.text(""), percent(plain.median, matrix.median), "100 %", ""],
    ]
    figures = {f"{precision}_matrix": matrix.median, f"{precision}_convolution": plain.median}
    for name in ("roi", "kidney"):
        stage, speed = cascade.bundle.stages[name], best(found[f"network {name}"])[1]
        own = own_ceiling(layers_of(stage.shape, stage.patch), found)
        patch = " x ".join(map(str, stage.patch))
        rows.append(
            [
                "",
                f"the {name} network's own convolutions, patch {patch}",
                digits(own),
                percent(own, matrix.median),
                percent(own, plain.median),
                "100 %",
            ]
        )
        shares = [percent(speed.median, ceiling) for ceiling in (matrix.median, plain.median, own)]
        rows.append(["", f"the {name} network, patch {patch}", speed.text(""), *shares])
        figures |= {f"{precision}_{name}": speed.median, f"{precision}_{name}_own_convolutions": own}
    speed = best(found["network published"])[1]
    patch = " x ".join(map(str, PUBLISHED_PATCH))
    rows.append(
        ["", f"the published network, patch {patch}", speed.text(""), percent(speed.median, matrix.median), percent(speed.median, plain.median), ""]
    )
    return rows, {**figures, f"{precision}_published": speed.median}


def percent(part: float, whole: float) -> str:
    """Whole percent."""
    return f"{100 * part / whole:.0f} %"


def working_precisions(device: str) -> list[torch.dtype]:
    """The precisions that the cascade may use there."""
    return [precision for precision in precisions(device) if not try_device(device, precision).problem]


def measure(settings: Settings) -> Section:
    """All precisions, one after the other; within each all loads take turns."""
    torch.set_num_threads(settings.threads)
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    for precision in working_precisions(settings.device):
        engine = choose_device(settings.device, name_of(precision))
        cascade = Cascade(load_bundle(), engine)
        batch = ladder(engine)[0].batch
        stages = [cascade.bundle.stages[name] for name in ("roi", "kidney")]
        layers = [layer for stage in stages for layer in layers_of(stage.shape, stage.patch)]
        loads = [*matrix_loads(engine), *convolution_loads(engine), *network_loads(cascade, batch), *layer_loads(layers, batch, engine)]
        found = speeds(loads, settings.device, settings.repeats)
        more_rows, more_figures = rows_of(name_of(precision), cascade, found)
        rows += more_rows
        figures |= more_figures
    note = (
        f"Batches of {batch}. Operations: two for each multiply-accumulate of a convolution; normalization, activation, softmax and whatever "
        "else the network does are not counted but cost time. The first convolution of an image that is repeated to all channels is counted whole, "
        "though on a CPU it is done once for all of them."
    )
    return Section("ceilings", "Networks alone, against what the machine can do", HEADER, rows, [note], figures)


if __name__ == "__main__":
    print(measure(settings_from(None, __doc__)).text())
