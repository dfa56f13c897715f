"""nnU-Net v2's predictor, MONAI's V-Net and our cascade side by side: same scans, same device, same threads, in turns, each in its own process.

    python -m Testing.Benchmarks.peers [--device cpu]

On the CPU the large scan would take nnU-Net most of an hour, and MONAI's V-Net minutes. There their networks compute three patches of the large scan,
and their totals are computed: everything besides the network as measured on that scan, plus their own number of patches times the median of the
patches measured in this run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import SimpleITK

from KidneyTumorCascadeLib.device import name_of, precisions
from Testing.Benchmarks.clock import Timing, digits, in_turns, ratio
from Testing.Benchmarks.nnunet_plan import patch_count, resampled_shape
from Testing.Benchmarks.own_process import in_own_process
from Testing.Benchmarks.scans import large_file, small_file
from Testing.Benchmarks.settings import Settings, settings_from
from Testing.Benchmarks.table import Section
from Testing.Benchmarks.whole_scan import peak_of, segmented, whole_of

SAMPLED_PATCHES = 3
Runs = list[dict[str, Any]]
HEADER = ["scan", "contender", "patches", "time", "this is", "times faster than nnU-Net", "peak memory", "times below nnU-Net"]
# As MONAI is used by default, and as ours computes on the same device.
MONAI_PRECISIONS = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "float16")}


def nnunet(scan: Path, settings: Settings, patches: int | None) -> dict[str, Any]:
    """nnU-Net's predictor on a scan; only so many patches computed, if that is said."""
    limit = [] if patches is None else ["--patches", patches]
    return in_own_process("Testing.Benchmarks.nnunet_peer", [scan, "--device", settings.device, *limit], settings.threads)


def monai(scan: Path, settings: Settings, precision: str, patches: int | None) -> dict[str, Any]:
    """MONAI's V-Net and sliding window over a scan; only so many patches computed, if that is said."""
    limit = [] if patches is None else ["--patches", patches]
    arguments = [scan, "--device", settings.device, "--precision", precision, *limit]
    return in_own_process("Testing.Benchmarks.monai_peer", arguments, settings.threads)


def monai_precisions(device: str) -> list[str]:
    """The precisions in which MONAI is measured there."""
    used = {name_of(precision) for precision in precisions(device)}
    return [precision for precision in MONAI_PRECISIONS[device] if precision in used]


def expected_patches(scan: Path) -> int:
    """nnU-Net's number of patches for a scan, from its header."""
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(scan))
    reader.ReadImageInformation()
    return patch_count(resampled_shape(reader.GetSize()[::-1], reader.GetSpacing()[::-1]))


def patch_timing(*runs: Runs) -> Timing:
    """Seconds of a patch over all runs."""
    return Timing(tuple(seconds for group in runs for run in group for seconds in run["patch_seconds"]))


def peer_whole(runs: Runs, patch: Timing, computed: bool) -> Timing:
    """Seconds of a peer's whole prediction; computed ones from what was measured besides the network, and patches at their median."""
    if not computed:
        return Timing(tuple(run["seconds"] for run in runs))
    besides = [run["seconds"] - sum(run["patch_seconds"]) for run in runs]
    return Timing(tuple(rest + run["patches"] * patch.median for rest, run in zip(besides, runs, strict=True)))


def rows_of(name: str, theirs: Runs, seconds: Timing, kind: str, ours: dict[str, Runs]) -> list[list[str]]:
    """nnU-Net's row and one for each of our presets."""
    rows = [[name, "nnU-Net", str(theirs[0]["patches"]), seconds.text(), kind, "", peak_of(theirs).text("MB"), ""]]
    for preset, runs in ours.items():
        rows.append(row_against(seconds, theirs, f"ours, {preset}", "", whole_of(runs), "measured", runs))
    return rows


def row_against(seconds: Timing, theirs: Runs, name: str, patches: str, own: Timing, kind: str, runs: Runs) -> list[str]:
    """One contender compared with nnU-Net."""
    middle, low, high = ratio(seconds, own)
    faster, smaller = f"{digits(middle)} ({digits(low)} to {digits(high)})", digits(peak_of(theirs).median / peak_of(runs).median)
    return ["", name, patches, own.text(), kind, faster, peak_of(runs).text("MB"), smaller]


def monai_rows(seconds: Timing, runs: dict[str, Runs], computed: bool) -> list[list[str]]:
    """A row for each precision of MONAI's V-Net on the large scan."""
    rows = []
    for key, group in monai_runs(runs).items():
        own, kind = peer_whole(group, patch_timing(group), computed), "computed" if computed else "measured"
        rows.append(row_against(seconds, runs["nnU-Net large"], key.removesuffix(" large"), str(group[0]["patches"]), own, kind, group))
    return rows


def monai_runs(runs: dict[str, Runs]) -> dict[str, Runs]:
    """Those of MONAI."""
    return {key: group for key, group in runs.items() if key.startswith("MONAI")}


def measure(settings: Settings) -> Section:
    """All contenders on both scans, in turns."""
    small, large = small_file(settings.folder), large_file(settings.folder)
    sampled = SAMPLED_PATCHES if settings.device == "cpu" else None
    contenders: dict[str, Callable[[], dict[str, Any]]] = {
        "nnU-Net small": partial(nnunet, small, settings, None),
        "standard small": partial(segmented, small, "standard", settings),
        "nnU-Net large": partial(nnunet, large, settings, sampled),
        "standard large": partial(segmented, large, "standard", settings),
        "fast large": partial(segmented, large, "fast", settings),
    }
    contenders |= {
        f"MONAI V-Net, {precision} large": partial(monai, large, settings, precision, sampled) for precision in monai_precisions(settings.device)
    }
    runs = in_turns(contenders, settings.long_repeats)
    return section_of(runs, computed=sampled is not None, expected=expected_patches(large))


def section_of(runs: dict[str, Runs], computed: bool, expected: int) -> Section:
    """The table of what was measured. Raises ValueError when nnU-Net's own number of patches is not the expected one."""
    if runs["nnU-Net large"][0]["patches"] != expected:
        raise ValueError(f"nnU-Net looked at {runs['nnU-Net large'][0]['patches']} patches where {expected} were expected")
    patch = patch_timing(runs["nnU-Net small"], runs["nnU-Net large"])
    seconds_small = peer_whole(runs["nnU-Net small"], patch, computed=False)
    seconds_large = peer_whole(runs["nnU-Net large"], patch, computed)
    rows = rows_of("small, 250 x 100 x 150 mm", runs["nnU-Net small"], seconds_small, "measured", {"standard": runs["standard small"]})
    ours = {preset: runs[f"{preset} large"] for preset in ("standard", "fast")}
    rows += rows_of("large, 400 x 400 x 450 mm", runs["nnU-Net large"], seconds_large, "computed" if computed else "measured", ours)
    rows += monai_rows(seconds_large, runs, computed)
    figures = figures_of(runs, patch, seconds_large)
    figures |= {f"{key} seconds": peer_whole(group, patch_timing(group), computed).median for key, group in monai_runs(runs).items()}
    return Section("peers", "nnU-Net, MONAI and ours, side by side", HEADER, rows, notes_of(runs, patch), figures)


def notes_of(runs: dict[str, Runs], patch: Timing) -> list[str]:
    """What the table does not say."""
    large = runs["nnU-Net large"]
    stages = {name: Timing(tuple(run["stages"][name] for run in large)) for name in ("preprocessing", "back to labels")}
    ours = runs["standard large"][0]["device"]
    parameters, operations = large[0]["parameters"], large[0]["operations_a_patch"]
    return [
        "Ours: the whole command, from the start of Python over reading to the label map on disk. "
        "nnU-Net: `predict_single_npy_array` alone, from the array in memory to the labels in memory.",
        f"nnU-Net: {parameters / 1e6:.1f} M parameters, {operations / 1e12:.3f} TFLOP a patch (both counted); a patch {patch.text()}, "
        f"{digits(operations / patch.median / 1e9)} GFLOP/s; on the large scan preprocessing {stages['preprocessing'].text()}, "
        f"resampling to labels {stages['back to labels'].text()}.",
        *(monai_note(key, group) for key, group in monai_runs(runs).items()),
        f"Precision: nnU-Net float32 on a CPU (it has no other) and float16 autocast on a GPU; ours {ours['description']}.",
    ]


def monai_note(key: str, runs: Runs) -> str:
    """What a patch of MONAI's V-Net costs."""
    patch, operations = patch_timing(runs), runs[0]["operations_a_patch"]
    return (
        f"{key.removesuffix(' large')}: `sliding_window_inference` alone over the whole scan at our spacing, patch and overlap, without reading and "
        f"resampling; {operations / 1e12:.3f} TFLOP a patch, {patch.text()}, {digits(operations / patch.median / 1e9)} GFLOP/s."
    )


def figures_of(runs: dict[str, Runs], patch: Timing, seconds_large: Timing) -> dict[str, float]:
    """For the plot and the aims."""
    standard, fast = runs["standard large"], runs["fast large"]
    return {
        "nnunet_seconds": seconds_large.median,
        "nnunet_patch_seconds": patch.median,
        "nnunet_patches": runs["nnU-Net large"][0]["patches"],
        "nnunet_peak_mb": peak_of(runs["nnU-Net large"]).median,
        "nnunet_gpu_mb": runs["nnU-Net large"][0].get("gpu_memory_mb", 0.0),
        "standard_seconds": whole_of(standard).median,
        "standard_peak_mb": peak_of(standard).median,
        "fast_seconds": whole_of(fast).median,
        "times_nnunet": seconds_large.median / whole_of(standard).median,
        "memory_times_nnunet": peak_of(runs["nnU-Net large"]).median / peak_of(standard).median,
    }


if __name__ == "__main__":
    print(measure(settings_from(None, __doc__)).text())
