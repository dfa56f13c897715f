"""Memory that runs out at a chosen step: every operation of PyTorch within `out_of_memory` is counted, and some raise what its allocators raise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from KidneyTumorCascadeLib import cascade
from KidneyTumorCascadeLib.device import Engine
from KidneyTumorCascadeLib.memory_ladder import CPU, Rung, ladder

ON_GPU = "CUDA out of memory. Tried to allocate 2.00 GiB (planted)"
ON_CPU = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 2147483648 bytes (planted)"


class OutOfMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Fails at the n-th operation, and at the n-th after each failure, until it has failed so often.

    Attributes:
        operations: since the beginning, or the last failure.
        failures: so far.
    """

    def __init__(self, at: int, most_failures: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._at, self._most = at, most_failures
        self.operations = self.failures = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Each operation comes by here."""
        self.operations += 1
        if self.operations == self._at and self.failures < self._most:
            self.operations, self.failures = 0, self.failures + 1
            raise torch.cuda.OutOfMemoryError(ON_GPU) if self.failures % 2 else RuntimeError(ON_CPU)
        return function(*args, **(kwargs or {}))


@contextmanager
def out_of_memory(at: int, most_failures: int) -> Iterator[OutOfMemory]:
    """Within it, memory runs out while the cascade computes; what is computed before and after, such as the trial of a device, is left alone."""
    memory = OutOfMemory(at, most_failures)

    def within(real: Callable[..., Any]) -> Callable[..., Any]:
        def function(*given: Any, **named: Any) -> Any:
            with memory:
                return real(*given, **named)

        return function

    with mock.patch.object(cascade.Cascade, "segment", within(cascade.Cascade.segment)):
        yield memory


@contextmanager
def as_on_gpu() -> Iterator[list[Rung]]:
    """Within it, a cascade has the ladder of a GPU, whose place the CPU takes."""
    gpu = Engine(torch.device("cuda"), torch.float32, "a stand-in for a GPU")

    def stand_in(engine: Engine) -> list[Rung]:
        there = replace(engine, description=gpu.description)
        return [replace(rung, engine=engine if rung.description.endswith("on the CPU") else there, sums_on=CPU) for rung in ladder(gpu)]

    with mock.patch.object(cascade, "ladder", stand_in):
        yield ladder(gpu)
