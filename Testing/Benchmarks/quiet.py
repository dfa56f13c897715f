"""How much of the machine others used meanwhile: what tells a figure worth keeping from one that is not."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
# user, nice, system, irq, softirq and steal of /proc/stat; guests are in user already.
BUSY_COLUMNS = (1, 2, 3, 6, 7, 8)
# Above this, a figure says more about the neighbours than about the contender.
MOST_FOR_OTHERS = 0.05


@dataclass(frozen=True)
class Usage:
    """Seconds since some moment: of the wall clock, of all cores together at work, and of this process and its ended children at work."""

    wall: float
    busy: float
    own: float


def usage(stat: Path = STAT) -> Usage | None:
    """The usage so far; None where the system does not tell."""
    try:
        columns = stat.read_text(encoding="ascii").splitlines()[0].split()
    except OSError:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return Usage(time.perf_counter(), sum(int(columns[index]) for index in BUSY_COLUMNS) / ticks, own)


def others_share(before: Usage | None, after: Usage | None, cores: int) -> float | None:
    """What other processes used of all cores between two moments, 0 to 1; None where it cannot be told."""
    if before is None or after is None or after.wall <= before.wall:
        return None
    others = (after.busy - before.busy) - (after.own - before.own)
    return min(1.0, max(0.0, others / ((after.wall - before.wall) * cores)))


def remark(share: float | None) -> str:
    """A sentence on how quiet the machine was."""
    if share is None:
        return "How quiet the machine was cannot be told here."
    verdict = "quiet enough" if share <= MOST_FOR_OTHERS else "too much: measure again on a quiet machine"
    return f"Meanwhile other processes used {100 * share:.0f} % of the machine ({verdict})."
