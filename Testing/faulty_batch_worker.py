"""A batch's worker whose networks find bright voxels, and which meets with what the names of scans say: `python -m Testing.faulty_batch_worker`.

`kill-once` in a name kills it in the middle of that scan unless it has done so before, `kill` always, `hang` lets it stand still, `memory` takes
all memory, `bug` raises what nobody expects, `after` kills it when the result is written but not yet told of; `read-kill` kills it while reading;
`node-once` kills the process that started it, as when a computer is lost.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from KidneyTumorCascadeLib import batch_case, batch_worker, cascade, scan_reading, segment_file
from KidneyTumorCascadeLib.batch_records import Case
from KidneyTumorCascadeLib.bundle_format import Stage
from KidneyTumorCascadeLib.volume import Volume
from KidneyTumorCascadeLib.worker import leave
from Testing.bright_blocks import LEVELS, Brightness

LOG = "log.txt"
real_read, real_segment, real_outcome = scan_reading.checked_scan, segment_file.segment_file, batch_case.outcome_of


def load_network(stage: Stage, device: object) -> nn.Module:
    """In the place of the bundle's own network."""
    return Brightness(LEVELS[stage.name])


def die() -> None:
    """As when the system kills a process for its memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def read_with_faults(path: Path) -> tuple[Volume, list[str]]:
    """Reading, noted in a file beside the scans' folder."""
    with (path.parent.parent / LOG).open("a", encoding="utf-8") as log:
        log.write(f"{path.name}\n")
    if "read-kill" in path.name:
        die()
    return real_read(path)


def segment_with_faults(request: Any, *positional: Any, **named: Any) -> dict[str, Any]:
    """Segmenting, with what the name of the scan says."""
    name: str = request.source.name
    once = request.source.parent.parent / f"{name}.once"
    if "kill-once" in name and not once.exists():
        once.touch()
        die()
    if "node-once" in name and not once.exists():
        once.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        threading.Event().wait()
    if "kill." in name:
        die()
    if "hang" in name:
        threading.Event().wait()
    if "memory" in name:
        np.empty(2**62, dtype=np.uint8)
    if "bug" in name:
        raise ValueError(f"{request.source} is odd")
    return real_segment(request, *positional, **named)


def outcome_with_faults(case: Case, output: Path, status: str, *rest: Any) -> Any:
    """What is told of a result."""
    if "after" in case.name and status == "done":
        die()
    return real_outcome(case, output, status, *rest)


if __name__ == "__main__":
    vars(cascade)["load_network"] = load_network
    vars(batch_case).update(checked_scan=read_with_faults, segment_file=segment_with_faults, outcome_of=outcome_with_faults)
    leave(batch_worker.main())
