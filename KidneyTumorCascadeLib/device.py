"""Which device computes, with which precision, and how running out of memory is recognised.

A device counts as working when it has just computed a small 3-D convolution and got the CPU's result. Asking whether a driver exists is not
enough: a driver too old, a GPU too new for this PyTorch or a GPU in use by someone else all pass that question and fail at the first patch.
"""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from KidneyTumorCascadeLib.allocator import give_back_freed_memory
from KidneyTumorCascadeLib.errors import InputError, SetupError

DEVICES = ("auto", "cuda", "mps", "cpu")
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
PRECISION_VARIABLE = "KIDNEY_TUMOR_CASCADE_PRECISION"
# Largest error of the trial convolution relative to the largest value; float32 leaves room for TF32, which keeps 10 bits as float16 does.
TOLERANCE = {torch.float32: 5e-3, torch.float16: 5e-3, torch.bfloat16: 2e-2}
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "failed to allocate")


@dataclass(frozen=True)
class Engine:
    """What computes.

    Attributes:
        device: where tensors go.
        precision: of the convolutions; everything around them stays float32.
        description: for people, such as "NVIDIA H200, 141 GB, float16".
        warnings: one sentence for each better device that is there and does not work.
    """

    device: torch.device
    precision: torch.dtype
    description: str
    warnings: tuple[str, ...] = ()

    @property
    def precision_name(self) -> str:
        """float32, float16 or bfloat16."""
        return name_of(self.precision)

    def autocast(self) -> AbstractContextManager[object]:
        """Within it, convolutions run in this engine's precision."""
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)


@dataclass(frozen=True)
class Trial:
    """What came of trying a device with a precision; `problem` is empty when it works."""

    device: str
    precision: torch.dtype
    problem: str = ""


def choose_device(name: str = "auto", precision: str | None = None) -> Engine:
    """The device of that name, or the best that works, with the precision that is fastest there and right.

    Args:
        name: "auto" (the first that works of cuda, mps, cpu), "cuda", "mps" or "cpu".
        precision: "float32", "float16" or "bfloat16" instead of the device's own choice; the environment variable
            KIDNEY_TUMOR_CASCADE_PRECISION says the same.

    Raises InputError for an unknown name, SetupError when the device that was asked for does not work.
    """
    if name not in DEVICES:
        raise InputError(f"There is no device {name!r}; choose one of {', '.join(DEVICES)}.")
    wish = wished_precision(precision)
    if name != "auto":
        return working_engine(name, wish)
    warnings: list[str] = []
    for candidate in ("cuda", "mps"):
        try:
            return working_engine(candidate, wish, warnings)
        except SetupError as error:
            if is_present(candidate):
                warnings.append(f"{error} The CPU is used instead.")
    return working_engine("cpu", wish, warnings)


def working_engine(device: str, wish: torch.dtype | None, warnings: Sequence[str] = ()) -> Engine:
    """That device with the first precision that works there. Raises SetupError with the reason when none does."""
    problem = ""
    for precision in [wish] if wish else precisions(device):
        trial = try_device(device, precision)
        if not trial.problem:
            return Engine(torch.device(device), precision, f"{describe(device)}, {name_of(precision)}", tuple(warnings))
        problem = trial.problem
    remedy = "use another precision" if wish and device == "cpu" else "use --device cpu, or auto for the best that works"
    raise SetupError(f"The device {device} does not work here ({problem}); {remedy}.")


def wished_precision(precision: str | None) -> torch.dtype | None:
    """The precision asked for by argument or environment, None when the device may choose. Raises InputError for an unknown one."""
    wish = precision or os.environ.get(PRECISION_VARIABLE) or None
    if wish is None:
        return None
    if wish not in PRECISIONS:
        raise InputError(f"There is no precision {wish!r}; choose one of {', '.join(PRECISIONS)} (argument or {PRECISION_VARIABLE}).")
    return PRECISIONS[wish]


def precisions(device: str) -> list[torch.dtype]:
    """The precisions worth trying there, fastest first.

    No bfloat16 on GPUs: its 3-D convolutions were wrong on large inputs in some versions of PyTorch, and float16 is as fast.
    """
    if device == "cuda":
        return [torch.float16, torch.float32]
    if device == "cpu" and cpu_has_bfloat16():
        return [torch.bfloat16, torch.float32]
    return [torch.float32]


def cpu_has_bfloat16() -> bool:
    """True on CPUs that multiply bfloat16 in hardware (AVX512-BF16 or AMX); elsewhere it is emulated and slower than float32."""
    questions = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    if all(question is None for question in questions):
        return bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
    return any(question() for question in questions if question is not None)


def cpu_flags() -> set[str]:
    """What the CPU can do, as Linux names it; empty elsewhere."""
    for line in cpu_lines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


def cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def try_device(device: str, precision: torch.dtype = torch.float32, compute: Callable[[Tensor, Tensor], Tensor] | None = None) -> Trial:
    """Computes a small 3-D convolution there and compares it with the CPU's result in float32."""
    image, kernel = trial_tensors()
    truth = trial_convolution(image, kernel)
    engine = Engine(torch.device(device), precision, "")
    try:
        there = image.to(engine.device), kernel.to(engine.device)
        with torch.inference_mode(), engine.autocast():
            result = (compute or trial_convolution)(*there).float().cpu()
    # Backends that are missing, too old or broken raise anything from AssertionError to RuntimeError and ImportError.
    except Exception as error:
        return Trial(device, precision, first_line(error))
    error_size = float((result - truth).abs().max() / truth.abs().max())
    # Written so that NaN fails, too.
    if not error_size <= TOLERANCE[precision]:
        return Trial(device, precision, f"a test convolution in {name_of(precision)} came out wrong by {error_size:.1%}")
    return Trial(device, precision)


def trial_tensors() -> tuple[Tensor, Tensor]:
    """An image (1, 8, 12, 12, 12) and a kernel (8, 8, 3, 3, 3), the same every time and independent of torch's random state."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 8, 12, 12, 12, generator=generator), torch.randn(8, 8, 3, 3, 3, generator=generator) / 15


def trial_convolution(image: Tensor, kernel: Tensor) -> Tensor:
    return functional.conv3d(image, kernel, padding=1)


def first_line(error: BaseException) -> str:
    """The gist of an exception, without a final full stop."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def is_present(device: str) -> bool:
    """True when PyTorch says that the device is there, whether or not it works."""
    if device == "cuda":
        return torch.cuda.is_available()
    return device == "cpu" or torch.backends.mps.is_available()


def describe(device: str) -> str:
    """The device for people."""
    if device == "cuda":
        properties = torch.cuda.get_device_properties(torch.device("cuda"))
        return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
    if device == "mps":
        return "Apple GPU"
    models = [line.partition(":")[2].strip() for line in cpu_lines() if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return f"{model}, {torch.get_num_threads()} threads"


def name_of(precision: torch.dtype) -> str:
    """Name of a dtype without torch's prefix."""
    return str(precision).removeprefix("torch.")


def is_out_of_memory(error: BaseException) -> bool:
    """True when the error says that the device's or the computer's memory ran out, so that a smaller step may still work."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)


def release_memory(device: torch.device) -> None:
    """Gives back what the allocators of this process and of the device hold without need; to be called after a shortage of memory is over."""
    gc.collect()
    give_back_freed_memory()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
