"""What the project has set itself to reach, and what was measured: one row an aim."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from Testing.Benchmarks.clock import digits
from Testing.Benchmarks.table import Section

Figures = Mapping[str, float]
HEADER = ["aim", "measured", "reached"]
LEAST_OF_CEILING = 0.6


def figures_by_section(sections: Sequence[Section]) -> dict[str, Figures]:
    """The figures of each section, by its name."""
    return {section.name: section.figures for section in sections}


def row(aim: str, measured: str, reached: bool) -> list[str]:
    """One row."""
    return [aim, measured, "yes" if reached else "no"]


def peers_rows(figures: Figures) -> list[list[str]]:
    """Against nnU-Net on the large scan."""
    times, memory = figures["times_nnunet"], figures["memory_times_nnunet"]
    return [
        row("at least 60 times faster than nnU-Net on 400 x 400 x 450 mm", f"{digits(times)} times", times >= 60),
        row("peak memory at least 4 times below nnU-Net's", f"{digits(memory)} times", memory >= 4),
    ]


def whole_scan_rows(figures: Figures) -> list[list[str]]:
    """The command on the large scan."""
    seconds, peak, faster = figures["standard_seconds"], figures["standard_peak_mb"], figures["standard_seconds"] / figures["fast_seconds"]
    return [
        row("512 x 512 x 300 voxels in 60 s", f"{digits(seconds)} s", seconds <= 60),
        row("peak memory under 3 GB", f"{digits(peak)} MB", peak < 3000),
        row("`fast` 3 times faster, the whole command", f"{digits(faster)} times", faster >= 3),
    ]


def in_memory_rows(figures: Figures) -> list[list[str]]:
    """The cascade alone."""
    rows = [row("`fast` 3 times faster, the cascade alone", f"{digits(figures['fast_times'])} times", figures["fast_times"] >= 3)]
    if "gpu_mb" in figures:
        whole = figures["standard whole cascade"]
        again = max(value for name, value in figures.items() if name.startswith("standard") and name.endswith("box again"))
        rows += [
            row("on a GPU, array to label map in 2 s", f"{digits(whole)} s", whole < 2),
            row("on a GPU, one box again in 0.5 s", f"{digits(again)} s", again < 0.5),
            row("GPU memory under 4 GB", f"{digits(figures['gpu_mb'])} MB", figures["gpu_mb"] < 4000),
        ]
    return rows


def again_rows(figures: Figures) -> list[list[str]]:
    """One box again."""
    return [
        row("one box again in 15 % of the whole command", f"{100 * figures['share_of_command']:.0f} %", figures["share_of_command"] < 0.15),
        row("one box again in 15 % of a whole run, worker cold", f"{100 * figures['share_of_cold']:.0f} %", figures["share_of_cold"] < 0.15),
        row("one box again in 15 % of a whole run, worker warm", f"{100 * figures['share_of_warm']:.0f} %", figures["share_of_warm"] < 0.15),
    ]


def scaling_rows(figures: Figures) -> list[list[str]]:
    """Growth with the scan."""
    time, slices, memory = figures["times_time"], figures["times_slices"], figures["times_beyond"]
    boxes = figures["boxes_long"] / figures["boxes_large"]
    return [
        row(f"{digits(slices)} times the slices in at most {digits(slices)} times the time", f"{digits(time)} times", time <= slices),
        row("beyond the kidneys the boxes take no longer (within a fifth)", f"{digits(boxes)} times", boxes <= 1.2),
        row("memory beyond the voxels of scan and label map stays as it is (within a tenth)", f"{digits(memory)} times", memory <= 1.1),
    ]


def ceilings_rows(figures: Figures) -> list[list[str]]:
    """The networks alone."""
    rows = []
    for precision in [name.removesuffix("_matrix") for name in figures if name.endswith("_matrix")]:
        own, plain = figures[f"{precision}_kidney_own_convolutions"], figures[f"{precision}_convolution"]
        shares = {
            "Kidney-V-Net at 60 % of its own convolutions": figures[f"{precision}_kidney"] / own,
            "Kidney-V-Net at 60 % of the best plain convolution": figures[f"{precision}_kidney"] / plain,
            "the published V-Net at 60 % of the best plain convolution": figures[f"{precision}_published"] / plain,
        }
        rows += [row(f"{aim}, {precision}", f"{100 * share:.0f} %", share >= LEAST_OF_CEILING) for aim, share in shares.items()]
    return rows


def accuracy_rows(figures: Figures) -> list[list[str]]:
    """Fast paths against the plain one."""
    return [
        row("labels of every fast path within Dice 0.999 of plain float32", f"{figures['least_dice']:.5f} at least", figures["least_dice"] >= 0.999)
    ]


ROWS: Mapping[str, Callable[[Figures], list[list[str]]]] = {
    "peers": peers_rows,
    "whole_scan": whole_scan_rows,
    "in_memory": in_memory_rows,
    "again": again_rows,
    "scaling_slices": scaling_rows,
    "ceilings": ceilings_rows,
    "fast_paths": accuracy_rows,
}


def aims(sections: Sequence[Section]) -> Section:
    """The aims about which something was measured."""
    figures = figures_by_section(sections)
    rows = [item for name, rows_of in ROWS.items() if name in figures for item in rows_of(figures[name])]
    return Section("aims", "Aims", HEADER, rows)
