"""NIfTI's two ways of saying where the voxels are: mirrored, permuted, oblique, sheared, contradictory, missing."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from Testing.Corpus.nifti_files import LPS_TO_RAS, nifti_bytes, write_nifti
from Testing.Corpus.patients import AXIAL, STANDARD, Floats, Grid, grid_of, scanned
from Testing.Corpus.registry import Family

AFFINES = Family("NIfTI affines")
RIGHT, LEFT, FRONT, BACK, UP, DOWN = (-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, 1), (0, 0, -1)
NOT_SAID = "does not say how the patient lies"


def sform(affine_lps: Floats) -> tuple[float, ...]:
    """The header's srow of an affine in LPS."""
    return tuple((LPS_TO_RAS @ affine_lps)[:3].ravel())


def turned(degrees: float) -> Grid:
    """A grid turned about the patient's long axis."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return grid_of((80, 72, 48), axes=((cosine, sine, 0), (-sine, cosine, 0), (0, 0, 1)))


@AFFINES.right("affine turned", "i to the right, j to the front, k to the head")
def ras(folder: Path) -> Path:
    return write_nifti(folder, grid=grid_of(axes=(RIGHT, FRONT, UP)))


@AFFINES.right("affine mirrored", "a negative determinant: i to the right, j to the back, k to the head")
def mirrored(folder: Path) -> Path:
    return write_nifti(folder, grid=grid_of(axes=(RIGHT, BACK, UP)))


@AFFINES.right("affine upside down", "slices stored from the head to the feet")
def upside_down(folder: Path) -> Path:
    return write_nifti(folder, grid=grid_of(axes=(LEFT, BACK, DOWN)))


@AFFINES.right("affine permuted", "slices first, then rows, then columns, as in KiTS19")
def permuted(folder: Path) -> Path:
    return write_nifti(folder, grid=grid_of((48, 48, 68), axes=(DOWN, BACK, LEFT)))


@AFFINES.right("affine oblique", "the grid turned by 20 degrees about the patient's long axis")
def oblique(folder: Path) -> Path:
    return write_nifti(folder, grid=turned(20))


@AFFINES.right("affine in the qform only", "no sform")
def qform_only(folder: Path) -> Path:
    return write_nifti(folder, grid=grid_of(axes=(RIGHT, BACK, UP)), sform_code=0)


@AFFINES.right("affine in the sform only", "no qform")
def sform_only(folder: Path) -> Path:
    return write_nifti(folder, grid=grid_of(axes=(RIGHT, BACK, UP)), qform_code=0)


@AFFINES.right("affine far from the scanner's centre", "the table at -1,900 mm", STANDARD.moved((0, 0, -1900)))
def far(folder: Path) -> Path:
    affine = AXIAL.affine.copy()
    affine[2, 3] -= 1900.0
    return write_nifti(folder, scanned(), Grid(AXIAL.size, affine))


# Without a word on where the voxels are, ITK begins at (0, 0, 0) and lays i, j, k along the patient's left, back and head.
UNPLACED = STANDARD.moved(-AXIAL.origin)


@AFFINES.warned("affine missing", "neither qform nor sform", NOT_SAID, patient=UNPLACED)
def missing(folder: Path) -> Path:
    return write_nifti(folder, qform_code=0, sform_code=0)


@AFFINES.warned("analyze", "the format before NIfTI, which never says how the patient lies", NOT_SAID, patient=UNPLACED)
def analyze(folder: Path) -> Path:
    content = nifti_bytes(magic=b"\0\0\0\0", vox_offset=0.0)
    (folder / "ct.hdr").write_bytes(content[:348])
    (folder / "ct.img").write_bytes(content[352:])
    return folder / "ct.img"


@AFFINES.right("nifti pair", "header and voxels in two files, given by either")
def pair(folder: Path) -> Path:
    content = nifti_bytes(magic=b"ni1\0", vox_offset=0.0)
    (folder / "ct.hdr").write_bytes(content[:348])
    (folder / "ct.img.gz").write_bytes(gzip.compress(content[352:]))
    return folder / "ct.hdr"


@AFFINES.refused("half a nifti pair", "the header without its voxels", "lacks its other half")
def half_pair(folder: Path) -> Path:
    (folder / "ct.hdr").write_bytes(nifti_bytes(magic=b"ni1\0", vox_offset=0.0)[:348])
    return folder / "ct.hdr"


@AFFINES.refused("affine sheared", "rows that run askew by 0.2", "not at right angles")
def sheared(folder: Path) -> Path:
    affine = AXIAL.affine.copy()
    affine[0, 1] = 0.2 * affine[1, 1]
    return write_nifti(folder, qform_code=0, srow=sform(affine))


@AFFINES.refused("affine of a tilted gantry", "slices tilted by 12 degrees, as converters write it", "not at right angles")
def tilted(folder: Path) -> Path:
    affine = AXIAL.affine.copy()
    affine[1, 2] = np.tan(np.radians(12)) * affine[2, 2]
    spacing = (5.0, 5.0, float(np.linalg.norm(affine[:3, 2])))
    return write_nifti(folder, qform_code=0, srow=sform(affine), pixdim=(1, *spacing, 0, 0, 0, 0))


@AFFINES.refused("affine sheared in one of two", "an upright qform and a sheared sform, of which ITK takes the upright one", "not at right angles")
def sheared_in_one(folder: Path) -> Path:
    affine = AXIAL.affine.copy()
    affine[0, 1] = 0.2 * affine[1, 1]
    return write_nifti(folder, srow=sform(affine))


@AFFINES.refused("affine with two opinions", "qform and sform mirror each other, so that programs show right for left", "two different ways")
def two_opinions(folder: Path) -> Path:
    return write_nifti(folder, srow=sform(np.diag([-1.0, 1.0, 1.0, 1.0]) @ AXIAL.affine))


@AFFINES.refused("affine without a third axis", "zeros", "an axis without a length")
def flat(folder: Path) -> Path:
    affine = AXIAL.affine.copy()
    affine[:3, 2] = 0.0
    return write_nifti(folder, srow=sform(affine))


@AFFINES.refused("affine with a position that is no number", "NaN", "a position that is not a number")
def nan_position(folder: Path) -> Path:
    affine = AXIAL.affine.copy()
    affine[0, 3] = np.nan
    return write_nifti(folder, srow=sform(affine))


@AFFINES.refused("affine beyond the moon", "the scan is 1e20 mm from the scanner's centre", "from the scanner's centre")
def beyond(folder: Path) -> Path:
    affine = AXIAL.affine.copy()
    affine[0, 3] = 1e20
    return write_nifti(folder, scanned(), Grid(AXIAL.size, affine))


@AFFINES.refused("affine of another spacing", "the affine says 10 mm, the spacing 5 mm", "contradicts itself")
def other_spacing(folder: Path) -> Path:
    affine = AXIAL.affine.copy()
    affine[:3, 2] *= 2.0
    return write_nifti(folder, srow=sform(affine))


@AFFINES.refused("quaternion that is none", "numbers beyond 1", "orientation")
def impossible_quaternion(folder: Path) -> Path:
    return write_nifti(folder, sform_code=0, quatern=(3.0, 4.0, 0.0))


@AFFINES.refused("quaternion that is no number", "NaN", "orientation")
def nan_quaternion(folder: Path) -> Path:
    return write_nifti(folder, sform_code=0, quatern=(float("nan"), 0.0, 0.0))


@AFFINES.refused("lengths in metres", "millimetres declared metres", "too coarse for a kidney")
def metres(folder: Path) -> Path:
    return write_nifti(folder, xyzt_units=1)


@AFFINES.refused("lengths in micrometres", "millimetres declared micrometres", "is too small")
def micrometres(folder: Path) -> Path:
    return write_nifti(folder, xyzt_units=3)
