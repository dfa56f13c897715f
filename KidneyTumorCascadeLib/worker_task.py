"""One request on its way through the worker: it may be cancelled until it is settled, and tells how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from KidneyTumorCascadeLib.errors import Cancelled
from KidneyTumorCascadeLib.progress import Clock, Estimate
from KidneyTumorCascadeLib.worker_messages import FINDING, MERGING, PREPARING, STAGE_OF_SIDE, Step
from KidneyTumorCascadeLib.worker_protocol import FIND_KIDNEYS, LOG, PROGRESS, SEGMENT, SEGMENT_BOXES, Call, Id, encode_call

Say = Callable[[bytes], None]

SEGMENTING = "segmenting"
# The share of a whole request on a CPU, in the order of the stages; only the proportions count.
WEIGHTS: Mapping[str, Mapping[str, float]] = {
    FIND_KIDNEYS: {PREPARING: 2.0, FINDING: 98.0},
    SEGMENT_BOXES: {PREPARING: 2.0, SEGMENTING: 92.0, MERGING: 6.0},
    SEGMENT: {PREPARING: 2.0, FINDING: 12.0, SEGMENTING: 80.0, MERGING: 6.0},
}
# A panel shows no more than this, and a GPU does hundreds of patches a second.
SECONDS_BETWEEN_STEPS = 0.1


class Task:
    """A request that is waiting or being worked on. `cancel` comes from another thread than the rest.

    Args:
        call: the request; its id is not None.
        say: sends a line to the client.
    """

    def __init__(self, call: Call, say: Say) -> None:
        if call.id is None:
            raise ValueError("a notification is no task")
        self.id: Id = call.id
        self.method = call.method
        self.params = call.params
        self._say = say
        self._lock = threading.Lock()
        self._stopped = self._settled = False

    @property
    def stopped(self) -> bool:
        """Whether it shall not go on."""
        return self._stopped

    def cancel(self) -> bool:
        """Stop it at the next opportunity. False when it is too late: its answer is on its way."""
        with self._lock:
            self._stopped = self._stopped or not self._settled
            return self._stopped

    def check(self) -> None:
        """Raise Cancelled when it shall not go on."""
        if self._stopped:
            raise Cancelled()

    def settle(self) -> None:
        """From here on it cannot be cancelled any more. Raises Cancelled when it was before: one of the two wins, whatever the moment."""
        with self._lock:
            if self._stopped:
                raise Cancelled()
            self._settled = True

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Send the client a notification."""
        self._say(encode_call(Call(method, params)))

    def log(self, message: str) -> None:
        """Tell the client something that may interest a curious user."""
        self.notify(LOG, {"message": message})


class TaskProgress:
    """The library's progress as progress notifications: at a new stage and at the end of one, otherwise at most ten a second.

    Attributes:
        side: of the box that is being segmented.
    """

    def __init__(self, task: Task, clock: Clock = time.monotonic) -> None:
        self.side = "both"
        self._task = task
        self._clock = clock
        self._estimate = Estimate(WEIGHTS[task.method], clock)
        self._stage = PREPARING
        self._said_at = float("-inf")
        self(PREPARING, 0, 1)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps of a stage of the library are finished."""
        self._estimate.update(stage, done, total)
        shown = STAGE_OF_SIDE[self.side] if stage == SEGMENTING else stage
        now = self._clock()
        if shown == self._stage and done < total and now - self._said_at < SECONDS_BETWEEN_STEPS:
            return
        self._stage, self._said_at = shown, now
        self._send(self._estimate.fraction, self._estimate.seconds_left)

    def finish(self) -> None:
        """All is done."""
        self._send(1.0, 0.0)

    def _send(self, fraction: float, seconds_left: float | None) -> None:
        self._task.notify(PROGRESS, Step(self._task.id, self._stage, fraction, seconds_left).to_dict())
