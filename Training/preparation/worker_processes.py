"""Processes that share a command's work, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import torch

from KidneyTumorCascadeLib.errors import SetupError


@contextmanager
def worker_processes(count: int, remedy: str, begin: Callable[[], None] | None = None) -> Iterator[ProcessPoolExecutor]:
    """That many processes of one thread each; what is still waiting for them when the block ends is not done any more.

    Args:
        count: how many.
        remedy: what to do when a worker is ended, before "with fewer --workers".
        begin: what each of them does first; it goes to other processes, so it must be a function of a module, or a `functools.partial` of one.

    Raises SetupError when memory runs out.
    """
    # Not forked: threads of torch do not survive that.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=begin_worker, initargs=(begin,)) as executor:
        try:
            yield executor
        except (BrokenProcessPool, MemoryError) as error:
            raise SetupError(f"A worker was ended, most likely for lack of memory; {remedy} with fewer --workers.") from error
        finally:
            executor.shutdown(cancel_futures=True)


def begin_worker(begin: Callable[[], None] | None) -> None:
    """One thread for each worker, and an end for it when the command is killed: an orphan would wait for work for ever."""
    torch.set_num_threads(1)
    # Control-C reaches every process of a terminal, and it is the command that says so. Where the command ignores it, so do its workers.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=end_after, args=(parent,), daemon=True).start()
    if begin is not None:
        begin()


def end_after(parent: Any) -> None:
    """End this process once that one has ended."""
    parent.join()
    os._exit(1)
