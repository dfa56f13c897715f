"""Several processes that train one network together: torchrun starts them, DistributedDataParallel averages their gradients.

    torchrun --nproc-per-node=8 Training/train.py ...

Each process draws its own patches. Only the first one writes and speaks, except for an error: the process that meets one first says so, and
the others end with it in silence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from KidneyTumorCascadeLib.device import Engine
from KidneyTumorCascadeLib.errors import InputError, SetupError

# What torchrun tells each of its processes.
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# A process waits for the others at each step; reading a large pool from a slow disk may keep one of them.
PATIENCE = timedelta(minutes=30)
BACKENDS = {"cuda": "nccl", "cpu": "gloo"}
FAILURES = "failures"
CPU = torch.device("cpu")
Network = TypeVar("Network", bound=nn.Module)


class Notes(Protocol):
    """What processes leave for each other, a `torch.distributed.Store`."""

    def add(self, key: str, amount: int, /) -> int: ...
    def set(self, key: str, value: str, /) -> None: ...
    def get(self, key: str, /) -> bytes: ...


@dataclass(frozen=True)
class Processes:
    """The processes that train together, seen from one of them; alone, every question to the others is answered at once.

    Attributes:
        rank: this one's number, from 0.
        size: how many there are.
        local_rank: this one's number on its machine, which is that of its GPU.
        device: where tensors have to lie for an exchange.
        store: what the processes leave notes in for each other.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: torch.device = CPU
    store: Notes | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def gathered(self, values: Tensor) -> Tensor:
        """What each process holds, (size, ...), on the CPU. Shapes and types must agree."""
        if self.size == 1:
            return values.cpu()[None]
        mine = values.to(self.device).contiguous()
        everyones = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(everyones, mine)
        return torch.stack(everyones).cpu()

    def mean(self, value: float) -> float:
        """The mean of a number over the processes: no finite one as soon as one of them is none."""
        return self.total([value])[0] / self.size

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes, in float64: exact for counts."""
        return [float(number) for number in self.gathered(torch.tensor(values, dtype=torch.float64)).sum(dim=0)]

    def share(self, network: nn.Module) -> None:
        """Average what a network's normalization layers remember of the patches, which differ between the processes; none on CUDA do."""
        if self.size > 1 and self.device.type != "cuda":
            for buffer in network.buffers():
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer /= self.size

    def require_same(self, number: int, sentence: str) -> None:
        """Raises InputError with that sentence, in all processes, when they do not hold the same number."""
        if len(set(self.gathered(torch.tensor([number])).flatten().tolist())) > 1:
            raise InputError(sentence)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network to compute with: its gradients are averaged over the processes."""
        if self.size == 1:
            return network
        devices = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices)

    def with_shared_norms(self, network: Network) -> Network:
        """Let batch normalization count the patches of all processes, on CUDA. PyTorch has no such layer for the CPU."""
        if self.size == 1 or self.device.type != "cuda":
            return network
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-any-return, no-untyped-call]


@contextmanager
def joined_processes(environment: Mapping[str, str] = os.environ) -> Iterator[Processes]:
    """This process among those that torchrun started, or alone; `connected` lets them exchange numbers.

    Whatever ends one of them ends the others: torchrun stops them, and those that notice first (an exchange fails) end without a word.

    Raises SetupError when the variables of torchrun are incomplete or the processes do not find each other.
    """
    if int(environment.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    processes, store = meet(environment)
    try:
        yield processes
    except BaseException as error:
        if store.add(FAILURES, 1) > 1:
            raise SystemExit(getattr(error, "exit_code", 1)) from None
        raise
    # After an error this would wait for processes that are gone.
    if dist.is_initialized():
        dist.destroy_process_group()


def meet(environment: Mapping[str, str]) -> tuple[Processes, Notes]:
    """Which process this is, and what all leave notes in. Raises SetupError as `joined_processes` does."""
    missing = [name for name in VARIABLES if name not in environment]
    if missing:
        raise SetupError(f"The environment has WORLD_SIZE but not {missing[0]}; start several processes with torchrun.")
    rank, size, local_rank = (int(environment[name]) for name in VARIABLES[:3])
    try:
        store, _, _ = next(iter(rendezvous("env://", rank, size, timeout=PATIENCE)))
    except (RuntimeError, ValueError) as error:
        raise SetupError(f"The {size} processes do not find each other ({error}); look at MASTER_ADDR and MASTER_PORT.") from error
    return Processes(rank, size, local_rank, store=store), store


def take_gpu(processes: Processes, wish: str) -> None:
    """Make the GPU of this process's number the one that "cuda" means. Raises InputError when the machine has not that many."""
    if processes.size == 1 or wish not in ("auto", "cuda") or not torch.cuda.is_available():
        return
    if processes.local_rank >= torch.cuda.device_count():
        raise InputError(f"There are {torch.cuda.device_count()} GPUs, too few for one each; give torchrun that number as --nproc-per-node.")
    torch.cuda.set_device(processes.local_rank)


def connected(processes: Processes, engine: Engine) -> tuple[Processes, Engine]:
    """Let the processes exchange tensors, by NCCL between GPUs and by Gloo between CPUs; each computes on its own device.

    Raises SetupError when they were given devices of different kinds, or one that cannot exchange.
    """
    if processes.store is None:
        return processes, engine
    kind = engine.device.type
    processes.store.set(f"device {processes.rank}", kind)
    other = processes.store.get("device 0").decode()
    if kind != other or kind not in BACKENDS:
        raise SetupError(f"The processes cannot train together on {kind} and {other}; say --device cpu, or cuda where each has a GPU that works.")
    device = torch.device(kind, processes.local_rank) if kind == "cuda" else engine.device
    store = dist.PrefixStore("exchange", processes.store)  # type: ignore[attr-defined, arg-type]
    dist.init_process_group(BACKENDS[kind], store=store, rank=processes.rank, world_size=processes.size, timeout=PATIENCE)
    return replace(processes, device=device), replace(engine, device=device)
