"""The plot of a benchmark: contenders, growth with the scan, memory, and boxes, as far as they were measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from Testing.Benchmarks.aims import figures_by_section
from Testing.Benchmarks.clock import digits
from Testing.Benchmarks.table import Section

Series = Mapping[str, Sequence[Sequence[float]]]
STAGES = ("reading, writing", "finding kidneys", "boxes", "rest")


def bars(axes: Any, figures: Mapping[str, float]) -> None:
    """Seconds of every contender on the large scan, on a logarithmic axis."""
    names = {"nnU-Net": "nnunet_seconds", "ours, standard": "standard_seconds", "ours, fast": "fast_seconds"}
    values = {name: figures[key] for name, key in names.items()}
    values |= {key.partition(" large")[0]: value for key, value in figures.items() if key.startswith("MONAI")}
    ordered = sorted(values.items(), key=lambda item: item[1])
    axes.barh([name for name, _ in ordered], [seconds for _, seconds in ordered], color=["C0" if "ours" in name else "0.6" for name, _ in ordered])
    for position, (_, seconds) in enumerate(ordered):
        axes.text(seconds * 1.1, position, f"{digits(seconds)} s", va="center")
    axes.set(xscale="log", xlabel="seconds", title="400 x 400 x 450 mm to label map")
    axes.set_xlim(right=max(values.values()) * 8)


def stages(axes: Any, series: Series) -> None:
    """Seconds by stage, stacked, against slices."""
    slices = [point[0] for point in series["whole"]]
    axes.stackplot(slices, [[point[1] for point in series[name]] for name in STAGES], labels=STAGES, alpha=0.8)
    axes.set(xlabel="slices of 512 x 512", ylabel="seconds", title="Time by stage", ylim=(0, None))
    axes.legend(loc="upper left")


def memory(axes: Any, series: Series) -> None:
    """Peak memory against slices, with and without the voxels of scan and label map."""
    for name, label in (("peak", "peak"), ("beyond", "peak without the voxels of scan and label map")):
        axes.plot(*zip(*series[name], strict=True), "o-", label=label)
    axes.set(xlabel="slices of 512 x 512", ylabel="MB", title="Memory", ylim=(0, None))
    axes.legend(loc="upper left")


def boxes(axes: Any, series: Series) -> None:
    """Seconds of a box against the patches in it."""
    axes.plot(*zip(*series["patches"], strict=True), "o-")
    for (edge, seconds), (patches, _) in zip(series["edge"], series["patches"], strict=True):
        axes.annotate(f" {edge:.0f} mm", (patches, seconds), va="top")
    axes.set(xlabel="patches", ylabel="seconds", title="One box", xlim=(0, 1.2 * max(point[0] for point in series["patches"])), ylim=(0, None))


def draw(sections: Sequence[Section], path: Path) -> bool:
    """Write the plot as PNG; False when nothing was measured that it shows, or matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    found, figures = {section.name: section.series for section in sections}, figures_by_section(sections)
    panels: list[Callable[[Any], None]] = []
    if "peers" in figures:
        panels.append(lambda axes: bars(axes, figures["peers"]))
    if "scaling_slices" in found:
        panels += [lambda axes: stages(axes, found["scaling_slices"]), lambda axes: memory(axes, found["scaling_slices"])]
    if "scaling_boxes" in found:
        panels.append(lambda axes: boxes(axes, found["scaling_boxes"]))
    if not panels:
        return False
    figure = Figure(figsize=(11, 4 * ((len(panels) + 1) // 2)), layout="constrained")
    for number, panel in enumerate(panels, start=1):
        panel(figure.add_subplot((len(panels) + 1) // 2, 2, number))
    figure.savefig(path, dpi=110)
    return True
