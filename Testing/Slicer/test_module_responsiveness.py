"""While something is segmented, the panel's process stays free: its event loop is never kept from its work for more than 100 ms."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import qt

from KidneyTumorCascadeLib.geometry import Geometry, as_vector
from KidneyTumorCascadeLib.volume import Volume
from Testing.bright_blocks import make_bright_bundle, make_scan
from Testing.Slicer.module_at_desk import BRIGHT_WORKER, OpenPanel, add_scan, open_panel, warm_engine

if TYPE_CHECKING:
    from Testing.Slicer.desk.desk import Desk

LIMIT = 0.1
SCHEDULE = Path("/proc/thread-self/schedstat")


class Pulse:
    """A timer that beats as often as the event loop lets it, and notes the longest time without a beat.

    On a busy machine this thread waits for a processor; that time, which the kernel counts, is not the event loop's fault.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self.beats = 0
        self._last = self._now()
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._beat)
        self._timer.start(5)

    def stop(self) -> None:
        """What kept the event loop until now counts, a beat that it could not make any more included."""
        self._timer.stop()
        self._beat()

    def _now(self) -> float:
        waited = int(SCHEDULE.read_text(encoding="ascii").split()[1]) / 1e9 if SCHEDULE.exists() else 0.0
        return time.perf_counter() - waited

    def _beat(self) -> None:
        now = self._now()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        self.beats += 1


def fine_scan() -> Volume:
    """The small patient with as many voxels as a thin-sliced CT of the abdomen has: 50 million."""
    scan = make_scan()
    factor = 10
    voxels = scan.voxels.repeat(factor, 0).repeat(factor, 1).repeat(factor, 2)
    spacing = as_vector([length / factor for length in scan.geometry.spacing])
    first = scan.geometry.to_patient(np.full(3, (1 / factor - 1) / 2))
    geometry = Geometry((480, 360, 320), spacing, as_vector(first), scan.geometry.direction)
    return Volume(voxels, geometry)


@pytest.fixture
def panel(desk: Desk, tmp_path: Path) -> Iterator[OpenPanel]:
    add_scan(fine_scan())
    with open_panel(desk, warm_engine(BRIGHT_WORKER), make_bright_bundle(tmp_path / "bundle")) as opened:
        yield opened


def longest_pause(panel: OpenPanel) -> float:
    pulse = Pulse()
    panel.segment(120.0)
    pulse.stop()
    assert pulse.beats > 5
    return pulse.longest


def test_the_event_loop_is_never_blocked(panel: OpenPanel) -> None:
    assert longest_pause(panel) < LIMIT
    assert panel.parameters.segmentation is not None


def test_work_in_the_panels_own_process_would_be_noticed(panel: OpenPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    step = panel.workflow.onStep

    def busy(*arguments: Any) -> None:
        step(*arguments)
        until = time.process_time() + 3 * LIMIT
        while time.process_time() < until:
            np.sort(np.random.default_rng(0).random(100_000))

    monkeypatch.setattr(panel.workflow, "onStep", busy)
    assert longest_pause(panel) > LIMIT
