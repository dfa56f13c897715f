"""All kinds of input, family by family."""

from __future__ import annotations

from Testing.Corpus.nifti import NIFTI
from Testing.Corpus.registry import Kind

FAMILIES = (NIFTI,)
KINDS: tuple[Kind, ...] = tuple(kind for family in FAMILIES for kind in family.kinds)
