"""What to do when memory runs out: the same work with less and less need of it, from many patches at once on a GPU to one on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from KidneyTumorCascadeLib.device import Engine, choose_device, is_out_of_memory, release_memory
from KidneyTumorCascadeLib.errors import MemoryShortage

CPU = torch.device("cpu")
GPU_BATCH = 4
T = TypeVar("T")


@dataclass(frozen=True)
class Rung:
    """One way to do the work.

    Attributes:
        engine: where patches are computed.
        batch: patches at once.
        sums_on: where what they say is added up.
        description: for people.
    """

    engine: Engine
    batch: int
    sums_on: torch.device
    description: str


def ladder(engine: Engine) -> list[Rung]:
    """The ways to do the work on an engine, fastest first, each with less need of its memory than the one before."""
    last = Rung(engine, 1, CPU, "one patch at a time on the CPU")
    if engine.device.type == "cpu":
        return [last]
    name = engine.device.type
    return [
        Rung(engine, GPU_BATCH, engine.device, f"{GPU_BATCH} patches at a time on {name}"),
        Rung(engine, 1, engine.device, f"one patch at a time on {name}"),
        Rung(engine, 1, CPU, f"one patch at a time on {name}, adding up on the CPU"),
        Rung(choose_device("cpu"), 1, CPU, last.description),
    ]


def climb_down(rungs: list[Rung], work: Callable[[Rung], T], report: Callable[[str], None]) -> T:
    """The result of the work on the first rung whose memory suffices; each step down is reported as a sentence.

    Raises MemoryShortage when the last one's does not; any error but running out of memory is passed on.
    """
    for index, rung in enumerate(rungs):
        try:
            return work(rung)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Only here, after the except clause, has the traceback let go of the tensors that did not fit.
        release_memory(rung.engine.device)
        if index + 1 < len(rungs):
            report(f"Memory ran out with {rung.description}; went on with {rungs[index + 1].description}.")
    raise MemoryShortage("There is not enough memory for this scan, even with one patch at a time on the CPU; close other programs and try again.")
