"""MONAI's `sliding_window_inference` with MONAI's own V-Net and random weights over a whole scan; prints what it took as JSON.

    python -m Testing.Benchmarks.monai_peer SCAN [--device cpu] [--precision float32|bfloat16|float16] [--patches N]

At the spacing and with the patch of the bundle's Kidney-V-Net, with its overlap and Gaussian weights: what one would do with MONAI's parts and no
cascade. Timed is the inference alone, from the resampled image in memory to a label for each of its voxels; neither the start of Python nor
reading nor resampling. With --patches N the network computes only the first N patches; see `nnunet_peer`.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.bundle_format import Bundle
from KidneyTumorCascadeLib.normalization import for_scan
from KidneyTumorCascadeLib.resampling import resample
from KidneyTumorCascadeLib.volume import read_volume
from Testing.Benchmarks.nnunet_peer import WatchedNetwork
from Testing.Benchmarks.own_process import memory, only_result_on_stdout, say_result
from Testing.Benchmarks.settings import settler

CLASSES = 3
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def network() -> Any:
    """MONAI's V-Net as its own default is, for background, kidney and tumor."""
    from monai.networks.nets.vnet import VNet

    return VNet(spatial_dims=3, in_channels=1, out_channels=CLASSES)


def operations(patch: tuple[int, ...]) -> int:
    """Floating point operations of a patch, two for each multiply-accumulate."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        made, counter = network().eval(), FlopCounterMode(display=False)
        with counter, torch.no_grad():
            made(torch.empty(1, 1, *patch))
    return int(counter.get_total_flops())


def resampled(scan: Path, bundle: Bundle, device: torch.device) -> Tensor:
    """The scan (1, 1, z, y, x) as Kidney-V-Net would see all of it."""
    stage, volume = bundle.stages["kidney"], read_volume(scan).in_lps_order()
    hu = resample(volume.voxels, volume.geometry, volume.geometry.resampled(stage.spacing), device)
    return for_scan(stage.normalization, volume.voxels).apply(hu)[None, None]


def measured(scan: Path, device: str, precision: str, limit: int | None) -> dict[str, Any]:
    """What the inference took."""
    from monai.inferers.utils import sliding_window_inference

    torch.manual_seed(0)
    bundle, settle, kind = load_bundle(), settler(device), PRECISIONS[precision]
    stage = bundle.stages["kidney"]
    image = resampled(scan, bundle, torch.device(device))
    watched = WatchedNetwork(network().eval().to(device), limit, settle)
    overlap = bundle.preset("standard").overlap["kidney"]
    settle()
    begin = time.perf_counter()
    with torch.inference_mode(), torch.autocast(device, dtype=kind, enabled=kind != torch.float32):
        logits: Any = sliding_window_inference(image, stage.patch, 1, watched, overlap=overlap, mode="gaussian")
        labels = logits.argmax(dim=1).to(torch.uint8)
    settle()
    seconds = time.perf_counter() - begin
    assert labels.shape[1:] == image.shape[2:]
    left_out = watched.calls - len(watched.seconds)
    return {
        "seconds": seconds,
        "patches": watched.calls,
        "patch_seconds": watched.seconds,
        "whole_seconds_computed": seconds + left_out * statistics.median(watched.seconds),
        "operations_a_patch": operations(stage.patch),
        **memory(device),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="MONAI's V-Net and sliding window on one scan.")
    parser.add_argument("scan", type=Path)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="float32", choices=list(PRECISIONS))
    parser.add_argument("--patches", type=int, help="compute only so many")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    with only_result_on_stdout():
        result = measured(arguments.scan, arguments.device, arguments.precision, arguments.patches)
    say_result(result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
