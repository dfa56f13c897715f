"""All kinds of input, family by family."""

from __future__ import annotations

from Testing.Corpus.affines import AFFINES
from Testing.Corpus.anatomy import ANATOMY
from Testing.Corpus.dicom_damage import DICOM_DAMAGE
from Testing.Corpus.dicom_series import DICOM_SERIES
from Testing.Corpus.nifti import NIFTI
from Testing.Corpus.other_files import OTHER_FILES
from Testing.Corpus.positions import POSITIONS
from Testing.Corpus.registry import Kind
from Testing.Corpus.sizes import SIZES
from Testing.Corpus.values import VALUES

FAMILIES = (NIFTI, AFFINES, OTHER_FILES, DICOM_DAMAGE, DICOM_SERIES, POSITIONS, VALUES, SIZES, ANATOMY)
KINDS: tuple[Kind, ...] = tuple(kind for family in FAMILIES for kind in family.kinds)
