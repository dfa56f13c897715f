"""A process of a batch: `python -m KidneyTumorCascadeLib.batch_worker`. It is told what to do on standard input and answers on standard output.

The first line says how cases are done, each other line is a case. While one is computed the next one is read. Answers, one JSON object a line:
`ready`, `done` with an outcome, `lost` with the reason when this process cannot be trusted any more, `unusable` when nothing can be computed here.
When whoever started it is gone, it ends at once.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from KidneyTumorCascadeLib.allocator import keep_freed_memory
from KidneyTumorCascadeLib.batch_records import Case, CaseOptions
from KidneyTumorCascadeLib.errors import BundleError, InputError, MemoryShortage, SetupError
from KidneyTumorCascadeLib.worker import Output, leave, read, take_streams
from KidneyTumorCascadeLib.worker_protocol import read_lines

if TYPE_CHECKING:
    from KidneyTumorCascadeLib.batch_case import CaseRunner, ReadCase

READY, FINISHED, LOST, UNUSABLE = "ready", "done", "lost", "unusable"
# A case of thousands of slices names each of them.
MAX_LINE_BYTES = 64 * 1024 * 1024
NO_MEMORY = "There is not enough memory for this scan; close other programs or use fewer workers, and try again."

Send = Callable[[dict[str, Any]], None]


def main() -> int:
    """Do cases until there are no more; returns the exit code."""
    # Who started this decides when it ends, also when Ctrl-C in a terminal reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    source, target = take_streams()
    output = Output(target)
    output.on_broken = lambda: leave(1)
    lines = read_lines(lambda most: read(source, most), MAX_LINE_BYTES)
    job = json.loads(next(lines, None) or "null")
    if job is None:
        return 1
    cases: queue.SimpleQueue[Case] = queue.SimpleQueue()
    threading.Thread(target=listen, args=(lines, cases), daemon=True).start()
    return work(job, cases, lambda message: output(json.dumps(message, allow_nan=False).encode("ascii") + b"\n"))


def listen(lines: Iterator[bytes | None], cases: queue.SimpleQueue[Case]) -> None:
    """Queue the cases that come, and end this process when no more can come."""
    for line in lines:
        cases.put(Case.from_dict(json.loads(line or b"{}")))
    os._exit(0)


def work(job: dict[str, Any], cases: queue.SimpleQueue[Case], send: Send) -> int:
    """Do case after case; returns the exit code when this process should not go on."""
    try:
        runner = make_runner(job)
    except (SetupError, InputError) as error:
        return give_up(send, error)
    send({"event": READY})
    waiting: queue.SimpleQueue[ReadCase] = queue.SimpleQueue()
    threading.Thread(target=read_ahead, args=(runner, cases, waiting), daemon=True).start()
    while True:
        case = waiting.get()
        try:
            outcome = runner.finish(case)
        except Exception as error:
            if isinstance(error, (SetupError, InputError)) and not isinstance(error, MemoryShortage):
                return give_up(send, error)
            send({"event": LOST, "reason": case.case.public(reason_of(error))})
            return 1
        send({"event": FINISHED, "outcome": outcome.to_dict()})


def make_runner(job: dict[str, Any]) -> CaseRunner:
    """What does the cases; brings PyTorch along and keeps it to its share of the processors, and to one of several GPUs."""
    import SimpleITK as sitk
    import torch

    from KidneyTumorCascadeLib.batch_case import CaseRunner

    torch.set_num_threads(job["threads"])
    if torch.cuda.device_count() > 1:
        torch.cuda.set_device(job["place"] % torch.cuda.device_count())
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(job["threads"])
    return CaseRunner(CaseOptions(**job["options"]), Path(job["output"]))


def read_ahead(runner: CaseRunner, cases: queue.SimpleQueue[Case], waiting: queue.SimpleQueue[ReadCase]) -> None:
    """Read each case as soon as it comes; whoever sends them sends but one more than is being computed."""
    while True:
        waiting.put(runner.read(cases.get()))


def give_up(send: Send, error: SetupError | InputError) -> int:
    """Say that nothing can be computed here; returns the exit code."""
    kind = next(kind for kind in (BundleError, SetupError, InputError) if isinstance(error, kind))
    send({"event": UNUSABLE, "kind": kind.__name__, "reason": str(error)})
    return error.exit_code


def reason_of(error: Exception) -> str:
    """Why a case could not be done here, as a sentence."""
    from KidneyTumorCascadeLib.device import is_out_of_memory

    if isinstance(error, MemoryShortage):
        return str(error)
    if is_out_of_memory(error):
        return NO_MEMORY
    return f"Something went wrong that should not have ({type(error).__name__}: {error}); please report it."


if __name__ == "__main__":
    leave(main())
