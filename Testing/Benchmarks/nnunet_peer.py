"""nnU-Net v2's own predictor with its KiTS plan and random weights on one scan; prints what it took as JSON.

    python -m Testing.Benchmarks.nnunet_peer SCAN [--device cpu] [--patches N]

Timed is `nnUNetPredictor.predict_single_npy_array`: preprocessing, sliding window without mirroring, resampling of the logits back to labels of the
scan; neither the start of Python nor reading the file. With --patches N the network computes only the first N patches and then repeats its last
answer: memory and everything besides the network are those of the whole scan, and `whole_seconds_computed` puts the median of the computed patches
in the place of those that were left out.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from Testing.Benchmarks.nnunet_plan import STEP, dataset, network, parameters_and_operations, plans
from Testing.Benchmarks.own_process import memory, only_result_on_stdout, say_result
from Testing.Benchmarks.settings import settler


class WatchedNetwork(nn.Module):
    """The network, timed patch by patch; after `limit` patches it gives its last answer again."""

    def __init__(self, inner: nn.Module, limit: int | None, settle: Callable[[], None]) -> None:
        super().__init__()
        self.inner = inner
        self.seconds: list[float] = []
        self.calls = 0
        self._limit, self._settle = limit, settle
        self._last: Tensor | None = None

    def forward(self, patch: Tensor) -> Tensor:
        self.calls += 1
        if self._last is not None and self._limit is not None and self.calls > self._limit:
            # The predictor weighs the answer in place.
            return self._last.clone()
        self._settle()
        begin = time.perf_counter()
        answer: Tensor = self.inner(patch)
        self._settle()
        self.seconds.append(time.perf_counter() - begin)
        self._last = answer.clone() if self._limit is not None else None
        return answer


def predictor_of(watched: nn.Module, device: str) -> Any:
    """nnU-Net's predictor as its command line makes it with `--disable_tta`."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    predictor = nnUNetPredictor(tile_step_size=STEP, use_mirroring=False, device=torch.device(device), allow_tqdm=False)
    manager = PlansManager(plans())
    weights = [watched.state_dict()]
    predictor.manual_initialization(watched, manager, manager.get_configuration("3d_fullres"), weights, dataset(), "nnUNetTrainer", None)
    return predictor


def split_of(predictor: Any) -> dict[str, float]:
    """Filled with the moments at which the predictor begins and ends with the sliding window."""
    moments: dict[str, float] = {}
    predict = predictor.predict_logits_from_preprocessed_data

    def watched(data: Tensor) -> Tensor:
        moments["begin"] = time.perf_counter()
        logits: Tensor = predict(data).cpu()
        moments["end"] = time.perf_counter()
        return logits

    predictor.predict_logits_from_preprocessed_data = watched
    return moments


def measured(scan: Path, device: str, limit: int | None) -> dict[str, Any]:
    """What the prediction of a scan took."""
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    torch.manual_seed(0)
    # On a GPU waiting for each patch would forbid the overlap that the predictor is made for.
    settle = settler(device) if limit is not None else lambda: None
    watched = WatchedNetwork(network(), limit, settle)
    predictor = predictor_of(watched, device)
    moments = split_of(predictor)
    image, properties = SimpleITKIO().read_images([str(scan)])
    begin = time.perf_counter()
    labels = predictor.predict_single_npy_array(image, properties)
    end = time.perf_counter()
    assert labels.shape == image.shape[1:]
    predicting = moments["end"] - moments["begin"]
    # Without waiting, the times of single calls on a GPU are those of asking, not of computing.
    patches = watched.seconds if device == "cpu" or limit is not None else [predicting / watched.calls]
    left_out = watched.calls - len(watched.seconds)
    return {
        "seconds": end - begin,
        "stages": {"preprocessing": moments["begin"] - begin, "sliding window": predicting, "back to labels": end - moments["end"]},
        "patches": watched.calls,
        "patch_seconds": patches,
        "whole_seconds_computed": end - begin + left_out * statistics.median(patches),
        **memory(device),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="nnU-Net's predictor on one scan.")
    parser.add_argument("scan", type=Path)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--patches", type=int, help="compute only so many")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    with only_result_on_stdout():
        parameters, operations = parameters_and_operations()
        result = measured(arguments.scan, arguments.device, arguments.patches)
    say_result({"parameters": parameters, "operations_a_patch": operations, "threads": torch.get_num_threads(), **result})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
