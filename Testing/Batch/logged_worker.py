"""A batch's worker that notes in a file which scans it begins and ends with: `python -m Testing.Batch.logged_worker [--bright]`.

With `--bright` its networks find bright voxels, whatever the bundle's weights say.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from KidneyTumorCascadeLib import batch_case, batch_worker, cascade, segment_file
from KidneyTumorCascadeLib.worker import leave
from Testing.bright_blocks import LEVELS, Brightness

LOG_VARIABLE = "ENDURANCE_LOG"
BEGIN, END = "begin", "end"
real_segment = segment_file.segment_file


def note(what: str, name: str) -> None:
    """A line with this process and the one that started it; whole, also when several write at once."""
    line = f"{what}\t{name}\t{os.getpid()}\t{os.getppid()}\n".encode()
    log = os.open(os.environ[LOG_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(log, line)
    finally:
        os.close(log)


def segment_and_note(request: Any, *positional: Any, **named: Any) -> dict[str, Any]:
    """In the place of `segment_file`: only what has been read well comes here."""
    # A scan that cannot be read is an error that is raised on the way; reading is no work that counts.
    real_read = named["read"]

    def read(cascade: Any) -> Any:
        scan = real_read(cascade)
        note(BEGIN, request.source.name)
        return scan

    manifest = real_segment(request, *positional, **{**named, "read": read})
    note(END, request.source.name)
    return manifest


if __name__ == "__main__":
    vars(batch_case)["segment_file"] = segment_and_note
    if "--bright" in sys.argv:
        vars(cascade)["load_network"] = lambda stage, device: Brightness(LEVELS[stage.name])
    leave(batch_worker.main())
