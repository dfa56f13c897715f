"""Contenders in processes of their own: their peak memory is theirs alone, and all get the same threads."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from KidneyTumorCascadeLib.report import peak_memory_mb

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "nnUNet_def_n_proc")


class ContenderFailed(Exception):
    """A sentence with the last line of what it said."""


def environment_for(threads: int) -> dict[str, str]:
    """This process's environment with that many threads for everything that asks."""
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


def in_own_process(module: str, arguments: Sequence[object], threads: int) -> dict[str, Any]:
    """The JSON object that a module prints, with `process_seconds`, all from the start of its Python to its end. Raises ContenderFailed."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment_for(threads))
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise ContenderFailed(f"{module} ended with exit code {done.returncode}: {last}")
    return {**json.loads(done.stdout), "process_seconds": seconds}


@contextlib.contextmanager
def only_result_on_stdout() -> Iterator[None]:
    """Within it, what libraries print goes to standard error: standard output is for the result."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def memory(device: str) -> dict[str, float]:
    """Peak memory of this process and, where there is one, of the GPU (MB, 1e6 bytes)."""
    peaks = {"peak_memory_mb": peak_memory_mb()}
    if device == "cuda":
        import torch

        peaks["gpu_memory_mb"] = torch.cuda.max_memory_reserved() / 1e6
    return peaks


def say_result(result: Mapping[str, Any]) -> None:
    """The result as JSON on standard output."""
    sys.stdout.write(json.dumps(result) + "\n")
