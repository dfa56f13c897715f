"""The worker with a bench that does as the preset says, and no PyTorch: `python -m Testing.Slicer.moody_worker`.

Presets: "halfway" waits at 50 % until it is cancelled, "deaf" waits there and hears nothing, "crash" dies there.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from KidneyTumorCascadeLib import worker
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.worker_messages import FINDING, Step
from KidneyTumorCascadeLib.worker_protocol import CLOSE_SCAN, ENVIRONMENT, LIST_BUNDLES, OPEN_SCAN, PROGRESS
from KidneyTumorCascadeLib.worker_task import Task


class MoodyBench:
    """Stands in for the workbench."""

    def run(self, task: Task, folder: Path) -> Mapping[str, Any]:
        answers: dict[str, Mapping[str, Any]] = {
            OPEN_SCAN: {"scan_id": "scan-1", "warnings": []},
            CLOSE_SCAN: {},
            ENVIRONMENT: {"report": "moody"},
            LIST_BUNDLES: {"bundles": []},
        }
        return answers[task.method] if task.method in answers else self._work(task)

    def release(self) -> None:
        """Holds nothing."""

    def _work(self, task: Task) -> NoReturn:
        task.notify(PROGRESS, Step(task.id, FINDING, 0.5, 7.0).to_dict())
        mood = task.params["options"]["preset"]
        while mood == "deaf" or (mood == "halfway" and not task.stopped):
            threading.Event().wait(0.01)
        if mood == "crash":
            sys.stderr.write("no memory left\n")
            sys.stderr.flush()
            os._exit(9)
        task.check()
        raise InputError("This scan is not to be worked on.")


if __name__ == "__main__":
    vars(worker)["make_bench"] = MoodyBench
    worker.leave(worker.main())
