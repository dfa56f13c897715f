"""What the name of a pool's case tells of where the case comes from; `Training/synthesis.py` gives these names."""

from __future__ import annotations

import re

PHANTOM, ANATOMY, SLAB, IMPLANTED, REAL = "phantom", "anatomy", "slab", "implanted", "real"
ORIGINS = (PHANTOM, ANATOMY, SLAB, IMPLANTED, REAL)
# Where a pool has its slabs, in each split: `Training/slice_cases.py` puts them there.
SLAB_FOLDER = "slices"
# Where it has the cases of its validation split that are evaluated on, not cut to the kidneys' surroundings: `Training/synthesis.py`.
WHOLE_FOLDER = "whole"
COPY_PATTERN, TRANSPLANT_PATTERN = r"(.+)_v\d{3,}", r"(.+)_k\d{3,}"
# In this order: the name of a scan that a case was made from may itself look like anything.
PATTERNS = {
    PHANTOM: r"phantom_\d+",
    ANATOMY: r"anatomy_\d+",
    SLAB: r"slice_.+",
    IMPLANTED: f"{COPY_PATTERN}|{TRANSPLANT_PATTERN}",
}


def origin_of(name: str) -> str:
    """How a case of that name was made.

    PHANTOM: drawn from geometry alone. ANATOMY: label maps rendered. SLAB: one real slice again and again. IMPLANTED: a real scan, changed,
    with lesions grown into its kidneys, or with another patient's kidneys and tumors in their place. REAL: any other name; a scan as it was
    acquired.
    """
    return next((origin for origin, pattern in PATTERNS.items() if re.fullmatch(pattern, name)), REAL)


def scan_of_copy(name: str) -> str:
    """The scan that a changed copy was made of; empty for a case that is no such copy."""
    return scan_by(COPY_PATTERN, name)


def scan_of_transplant(name: str) -> str:
    """The scan that another patient's kidneys were put into; empty for a case that is no transplant."""
    return scan_by(TRANSPLANT_PATTERN, name)


def scan_by(pattern: str, name: str) -> str:
    """What a pattern's group says is the scan; empty for a name that does not fit."""
    found = re.fullmatch(pattern, name)
    return found.group(1) if found else ""


def rendered_body(name: str) -> str:
    """The name of a rendered body; empty for any other case."""
    return name if origin_of(name) == ANATOMY else ""
