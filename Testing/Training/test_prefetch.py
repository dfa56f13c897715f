"""Patches prepared ahead: the same ones in the same order, and nothing of it in a checkpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from Training.fitting import prefetch
from Training.fitting.prefetch import Prefetcher

CPU = torch.device("cpu")


class Counting:
    """Draws random numbers, counts its batches, and says when one was begun."""

    def __init__(self, seed: int = 1, fails_at: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.drawn, self.fails_at = 0, fails_at
        self.begun = [threading.Event() for _ in range(20)]

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        self.begun[self.drawn].set()
        self.drawn += 1
        if self.drawn == self.fails_at:
            raise ValueError("no patch")
        return torch.rand(size, generator=self.generator), torch.rand(size, generator=self.generator)


def taken(prefetcher: Prefetcher, count: int) -> list[Tensor]:
    return [prefetcher.next()[0] for _ in range(count)]


def test_the_batches_are_those_of_the_source_in_its_order() -> None:
    prefetcher, source = Prefetcher(Counting(), 3, CPU), Counting()
    assert all(torch.equal(found, source.batch(3)[0]) for found in taken(prefetcher, 6))
    prefetcher.close()


def test_while_a_batch_is_used_the_next_is_prepared_and_no_further_one() -> None:
    source = Counting()
    prefetcher = Prefetcher(source, 1, CPU)
    for used in range(1, 5):
        prefetcher.next()
        assert source.begun[used].wait(30.0)
        assert prefetcher.coming is not None
        prefetcher.coming.result()
        assert source.drawn == used + 1
    prefetcher.close()


class Eager(ThreadPoolExecutor):
    """A thread so fast that it is done before anybody else goes on."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        future = super().submit(task, *args, **more)
        future.exception()
        return future


def test_the_state_is_that_of_the_batch_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "ThreadPoolExecutor", Eager)
    prefetcher, source = Prefetcher(Counting(), 2, CPU), Counting()
    assert torch.equal(prefetcher.state, source.generator.get_state())
    for _ in range(4):
        prefetcher.next()
        source.batch(2)
        assert torch.equal(prefetcher.state, source.generator.get_state())
    prefetcher.close()


def test_it_goes_on_from_a_state_whatever_was_prepared_before() -> None:
    prefetcher = Prefetcher(Counting(), 2, CPU)
    taken(prefetcher, 2)
    state = prefetcher.state
    expected = taken(prefetcher, 3)
    prefetcher.restart(state)
    assert all(torch.equal(first, second) for first, second in zip(expected, taken(prefetcher, 3), strict=True))
    prefetcher.close()


def test_a_state_from_the_end_of_a_larger_tensor_is_taken_from_there() -> None:
    """As in a checkpoint of several processes. PyTorch itself reads it from the beginning of the memory."""
    states = torch.stack([torch.Generator().manual_seed(seed).get_state() for seed in (1, 2)])
    prefetcher = Prefetcher(Counting(seed=3), 2, CPU)
    prefetcher.restart(states[1])
    assert torch.equal(prefetcher.next()[0], Counting(seed=2).batch(2)[0])
    prefetcher.close()


def test_what_the_source_raises_arrives_with_the_batch_it_belongs_to() -> None:
    prefetcher = Prefetcher(Counting(fails_at=3), 1, CPU)
    taken(prefetcher, 2)
    with pytest.raises(ValueError, match="no patch"):
        prefetcher.next()
    prefetcher.close()
