"""Patches prepared one batch ahead, in a thread of their own, while the network computes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Source(Protocol):
    """What batches are drawn from; nobody else may use its generator meanwhile."""

    generator: torch.Generator

    def batch(self, size: int) -> tuple[Tensor, Tensor]: ...


class Drawn(NamedTuple):
    """A batch, and the generator's state once it was drawn."""

    image: Tensor
    target: Tensor
    state: Tensor


class Prefetcher:
    """The batches of a source, in its order. While one is used, a thread prepares the next.

    Attributes:
        state: the generator's state (uint8) after the batch that was handed out last: what a checkpoint keeps. The batch that is prepared
            meanwhile leaves no trace in it.
    """

    def __init__(self, source: Source, size: int, device: torch.device) -> None:
        self.source, self.size = source, size
        self.state = source.generator.get_state()
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="patches")
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self.coming: Future[Drawn] | None = None

    def next(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the next batch, as soon as it is ready. Raises what the source raises."""
        drawn = (self.coming or self.thread.submit(self.draw)).result()
        self.coming = self.thread.submit(self.draw)
        self.state = drawn.state
        if self.stream is not None:
            for tensor in (drawn.image, drawn.target):
                # The memory is the thread's stream's: it must not be given to another patch before this stream has used it.
                tensor.record_stream(torch.cuda.current_stream(tensor.device))
        return drawn.image, drawn.target

    def draw(self) -> Drawn:
        """One batch, complete when this returns."""
        with torch.cuda.stream(self.stream) if self.stream is not None else nullcontext():
            image, target = self.source.batch(self.size)
            if self.stream is not None:
                self.stream.synchronize()
        return Drawn(image, target, self.source.generator.get_state())

    def restart(self, state: Tensor) -> None:
        """Go on from a generator's state; what was prepared before is forgotten."""
        if self.coming is not None:
            self.coming.result()
            self.coming = None
        # A copy: PyTorch reads a state that lies within another tensor from that one's beginning, or beyond its end.
        self.state = state.clone()
        self.source.generator.set_state(self.state)

    def close(self) -> None:
        """End the thread; what it prepares is lost."""
        self.thread.shutdown(cancel_futures=True)
