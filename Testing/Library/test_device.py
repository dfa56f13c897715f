"""Devices are chosen by what they compute; precision follows; running out of memory is recognised."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from KidneyTumorCascadeLib import device as module
from KidneyTumorCascadeLib import environment
from KidneyTumorCascadeLib.device import PRECISION_VARIABLE, Engine, Trial, choose_device, is_out_of_memory, try_device
from KidneyTumorCascadeLib.errors import InputError, SetupError

CPU = torch.device("cpu")


def pretend(monkeypatch: pytest.MonkeyPatch, results: dict[tuple[str, torch.dtype], str]) -> None:
    """Trials come out as listed (an empty text for success); what is not listed does not exist."""
    monkeypatch.delenv(PRECISION_VARIABLE, raising=False)
    monkeypatch.setattr(module, "try_device", lambda name, dtype: Trial(name, dtype, results.get((name, dtype), "no such device")))
    monkeypatch.setattr(module, "describe", lambda name: f"a {name}")
    monkeypatch.setattr(module, "is_present", lambda name: any(key[0] == name for key in results))
    monkeypatch.setattr(module, "cpu_has_bfloat16", lambda: True)


def test_cpu_works_here_and_auto_finds_something() -> None:
    assert choose_device("cpu").device == CPU
    assert try_device(choose_device("auto").device.type).problem == ""


def test_auto_prefers_cuda_then_mps_then_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = {("cuda", torch.float16): "", ("mps", torch.float32): "", ("cpu", torch.bfloat16): ""}
    pretend(monkeypatch, everything)
    assert (choose_device().device.type, choose_device().precision) == ("cuda", torch.float16)
    del everything["cuda", torch.float16]
    assert (choose_device().device.type, choose_device().precision) == ("mps", torch.float32)
    del everything["mps", torch.float32]
    assert (choose_device().device.type, choose_device().precision) == ("cpu", torch.bfloat16)
    assert choose_device().warnings == ()


def test_a_present_device_that_fails_is_passed_over_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = "no kernel image is available"
    pretend(monkeypatch, {("cuda", torch.float16): broken, ("cuda", torch.float32): broken, ("cpu", torch.bfloat16): ""})
    engine = choose_device("auto")
    assert engine.device.type == "cpu"
    assert len(engine.warnings) == 1
    assert broken in engine.warnings[0]


def test_a_wrong_half_precision_falls_back_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {("cuda", torch.float16): "came out wrong", ("cuda", torch.float32): ""})
    assert choose_device("cuda").precision == torch.float32


def test_a_device_asked_for_that_fails_is_an_error_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {("cpu", torch.bfloat16): ""})
    with pytest.raises(SetupError, match=r"cuda does not work here \(no such device\); use --device cpu"):
        choose_device("cuda")


def test_unknown_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"'gpu'.*auto, cuda, mps, cpu"):
        choose_device("gpu")
    with pytest.raises(InputError, match="'int8'"):
        choose_device("cpu", "int8")
    monkeypatch.setenv(PRECISION_VARIABLE, "half")
    with pytest.raises(InputError, match="'half'"):
        choose_device("cpu")


def test_precision_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu", "float32").precision == torch.float32
    monkeypatch.setenv(PRECISION_VARIABLE, "bfloat16")
    assert choose_device("cpu").precision == torch.bfloat16
    assert choose_device("cpu", "float32").precision == torch.float32


@pytest.mark.parametrize(("hardware", "expected"), [(True, [torch.bfloat16, torch.float32]), (False, [torch.float32])])
def test_bfloat16_only_on_cpus_that_have_it(monkeypatch: pytest.MonkeyPatch, hardware: bool, expected: list[torch.dtype]) -> None:
    monkeypatch.setattr(module, "cpu_has_bfloat16", lambda: hardware)
    assert module.precisions("cpu") == expected


@pytest.mark.parametrize(("flags", "expected"), [("fma avx512_bf16 sse", True), ("amx_bf16", True), ("fma avx2", False)])
def test_older_torch_is_helped_by_the_cpus_flags(monkeypatch: pytest.MonkeyPatch, flags: str, expected: bool) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    monkeypatch.setattr(module, "cpu_lines", lambda: ["processor : 0", f"flags\t\t: {flags}"])
    assert module.cpu_has_bfloat16() is expected


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_autocast_sets_the_precision_of_convolutions(precision: torch.dtype) -> None:
    image, kernel = module.trial_tensors()
    with Engine(CPU, precision, "").autocast():
        assert module.trial_convolution(image, kernel).dtype == precision
    assert module.trial_convolution(image, kernel).dtype == torch.float32


@pytest.mark.parametrize("factor", [1.05, -1.0, float("nan"), 0.0])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_device_that_computes_nonsense_does_not_work(factor: float, precision: torch.dtype) -> None:
    def wrong(image: Tensor, kernel: Tensor) -> Tensor:
        return module.trial_convolution(image, kernel) * factor

    assert "came out wrong" in try_device("cpu", precision, wrong).problem
    assert try_device("cpu", precision).problem == ""


def test_a_device_that_raises_does_not_work() -> None:
    def broken(image: Tensor, kernel: Tensor) -> Tensor:
        raise RuntimeError("CUDA error: no kernel image is available.\nCompile with ...")

    assert try_device("cpu", torch.float32, broken).problem == "CUDA error: no kernel image is available"


def test_the_trial_leaves_torchs_random_state_alone() -> None:
    before = torch.get_rng_state()
    choose_device("cpu")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("Expected 5-dimensional input"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_recognised(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_real_allocation_that_fails_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    module.release_memory(CPU)


def test_report_names_versions_devices_and_damaged_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setattr(environment, "bundle_rows", lambda: iter([("bundle default", "x 1.0.0")]))
    facts = dict(line.split("  ", 1) for line in environment.environment_report().splitlines())
    assert facts["torch"].strip() == torch.__version__
    assert facts["device cpu"].strip().startswith("cpu: works")
    assert {"device auto", "device cuda", "device mps", "python", "threads", "free memory", "bundle default", "CUDA_VISIBLE_DEVICES"} <= set(facts)


def test_report_hides_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane.doe")
    monkeypatch.setenv("USERPROFILE", "/home/jane.doe")
    assert environment.without_home("at /home/jane.doe/x") == "at ~/x"
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setenv("USERPROFILE", "/")
    assert environment.without_home("at /x") == "at /x"
