"""NRRD and MetaImage files, and files of other formats."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from Testing.Corpus.nifti_files import write_nifti
from Testing.Corpus.patients import AXIAL, Grid, grid_of, noisy, scanned
from Testing.Corpus.registry import Family

OTHER_FILES = Family("NRRD, MetaImage and others")
FINE = grid_of((112, 80, 80), (3.0, 3.0, 3.0))
RIGHT, FRONT, UP = (-1, 0, 0), (0, -1, 0), (0, 0, 1)


def text_of(values: NDArray[np.float64]) -> str:
    """(1,2,3) as NRRD writes vectors."""
    return "(" + ",".join(f"{value:.12g}" for value in values) + ")"


def nrrd_fields(grid: Grid) -> dict[str, str | None]:
    """A correct header, in the order that readers need; None stands for a field that is left out."""
    return {
        "type": "short",
        "dimension": "3",
        "space": "left-posterior-superior",
        "space dimension": None,
        "sizes": " ".join(map(str, grid.size)),
        "space directions": " ".join(text_of(column) for column in grid.affine[:3, :3].T),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": text_of(grid.origin),
    }


def write_nrrd(folder: Path, hu: NDArray[np.int16] | None = None, grid: Grid = AXIAL, magic: str = "NRRD0004", **fields: str | None) -> Path:
    """A .nrrd; `fields` (with _ for spaces) are written instead of what the header should say, or left out when None."""
    hu = scanned(grid=grid) if hu is None else hu
    header = {**nrrd_fields(grid), **{name.replace("_", " "): value for name, value in fields.items()}}
    lines = [magic, *(f"{name}: {value}" for name, value in header.items() if value is not None), "", ""]
    voxels = hu.astype("<i2").tobytes()
    path = folder / "ct.nrrd"
    path.write_bytes("\n".join(lines).encode() + (gzip.compress(voxels, 1) if header["encoding"] == "gzip" else voxels))
    return path


def write_metaimage(folder: Path, hu: NDArray[np.int16] | None = None, grid: Grid = AXIAL, *, packed: bool = False, **fields: str) -> Path:
    """An .mha; `fields` are written instead of what the header should say."""
    hu = scanned(grid=grid) if hu is None else hu
    voxels = zlib.compress(hu.astype("<i2").tobytes(), 1) if packed else hu.astype("<i2").tobytes()
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(packed),
        **({"CompressedDataSize": str(len(voxels))} if packed else {}),
        "TransformMatrix": " ".join(f"{value:.12g}" for value in grid.directions.T.ravel()),
        "Offset": " ".join(f"{value:.12g}" for value in grid.origin),
        "ElementSpacing": " ".join(f"{value:.12g}" for value in grid.spacing),
        "DimSize": " ".join(map(str, grid.size)),
        "ElementType": "MET_SHORT",
        **fields,
        "ElementDataFile": "LOCAL",
    }
    path = folder / "ct.mha"
    path.write_bytes("".join(f"{name} = {value}\n" for name, value in header.items()).encode() + voxels)
    return path


def flipped(path: Path, place: float = 0.5) -> Path:
    """The file with one bit of it turned."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 16
    path.write_bytes(content)
    return path


def shortened(path: Path, kept: float = 0.6) -> Path:
    """The file without its end."""
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    return path


@OTHER_FILES.right("nrrd plain", "uncompressed, as Slicer writes it")
def nrrd(folder: Path) -> Path:
    return write_nrrd(folder)


@OTHER_FILES.right("nrrd compressed", "and in RAS with mirrored axes")
def nrrd_compressed(folder: Path) -> Path:
    grid = grid_of(axes=(RIGHT, FRONT, UP))
    directions = " ".join(text_of(column * (-1, -1, 1)) for column in grid.affine[:3, :3].T)
    return write_nrrd(
        folder,
        grid=grid,
        encoding="gzip",
        space="right-anterior-superior",
        space_directions=directions,
        space_origin=text_of(grid.origin * (-1, -1, 1)),
    )


@OTHER_FILES.refused("nrrd cut short", "a download that stopped", "damaged or incomplete")
def nrrd_cut(folder: Path) -> Path:
    return shortened(write_nrrd(folder))


@OTHER_FILES.refused("nrrd compressed and cut short", "a download that stopped", "damaged or incomplete")
def nrrd_compressed_cut(folder: Path) -> Path:
    return shortened(write_nrrd(folder, noisy(scanned()), encoding="gzip"))


@OTHER_FILES.refused("nrrd with a flipped bit", "in its compressed voxels", "damaged or incomplete")
def nrrd_flipped(folder: Path) -> Path:
    return flipped(write_nrrd(folder, noisy(scanned(grid=FINE)), FINE, encoding="gzip"))


@OTHER_FILES.refused("nrrd with a wrong magic", "NSRD", "format is not known")
def nrrd_magic(folder: Path) -> Path:
    return write_nrrd(folder, magic="NSRD0004")


@OTHER_FILES.refused("nrrd with a huge size", "100,000 voxels along each axis", "is too large for a CT")
def nrrd_huge(folder: Path) -> Path:
    return write_nrrd(folder, sizes="100000 100000 100000")


@OTHER_FILES.refused("nrrd with a compressed huge size", "100,000 voxels along each axis, in a compressed file", "is too large for a CT")
def nrrd_compressed_huge(folder: Path) -> Path:
    return write_nrrd(folder, sizes="100000 100000 100000", encoding="gzip")


@OTHER_FILES.refused("nrrd with a negative size", "-68 columns", "cannot be read")
def nrrd_negative(folder: Path) -> Path:
    return write_nrrd(folder, sizes="-68 48 48")


@OTHER_FILES.refused("nrrd with a size of zero", "no slices", "cannot be read")
def nrrd_zero(folder: Path) -> Path:
    return write_nrrd(folder, sizes="68 48 0")


@OTHER_FILES.refused("nrrd with axes askew", "sheared by 0.2", "not at right angles")
def nrrd_sheared(folder: Path) -> Path:
    return write_nrrd(folder, space_directions="(5,0,0) (1,5,0) (0,0,5)")


@OTHER_FILES.refused("nrrd with a direction that is no number", "NaN", "damaged")
def nrrd_nan(folder: Path) -> Path:
    return write_nrrd(folder, space_directions="(5,0,0) (0,5,0) (0,0,nan)")


@OTHER_FILES.refused("nrrd with an origin that is no number", "NaN", "damaged")
def nrrd_nan_origin(folder: Path) -> Path:
    return write_nrrd(folder, space_origin="(nan,0,0)")


@OTHER_FILES.refused("nrrd with a direction of zero", "the slices have no thickness", "voxel spacing of 5 x 5 x 0 mm")
def nrrd_flat(folder: Path) -> Path:
    return write_nrrd(folder, space_directions="(5,0,0) (0,5,0) (0,0,0)")


@OTHER_FILES.refused("nrrd without directions", "nor spacings, which ITK takes for 1 mm", "does not say how far its voxels are apart")
def nrrd_unspaced(folder: Path) -> Path:
    return write_nrrd(folder, space_directions=None)


@OTHER_FILES.refused("nrrd with a spacing that is no number", "NaN, which ITK takes for 1 mm", "which are not all numbers")
def nrrd_nan_spacing(folder: Path) -> Path:
    return write_nrrd(folder, space=None, space_directions=None, space_origin=None, spacings="5 5 nan")


@OTHER_FILES.refused("nrrd with a huge direction", "slices of 1e30 mm", "too coarse for a kidney")
def nrrd_endless(folder: Path) -> Path:
    return write_nrrd(folder, space_directions="(5,0,0) (0,5,0) (0,0,1e30)")


@OTHER_FILES.right("nrrd big-endian", "the byte order of old workstations")
def nrrd_big_endian(folder: Path) -> Path:
    return write_nrrd(folder, scanned().byteswap(), endian="big")


@OTHER_FILES.refused("nrrd of two dimensions", "all slices below each other", "of 2 dimensions")
def nrrd_picture(folder: Path) -> Path:
    return write_nrrd(
        folder, dimension="2", sizes="68 2304", kinds="domain domain", space=None, space_directions=None, space_origin=None, spacings="5 5"
    )


@OTHER_FILES.refused("nrrd of four dimensions", "two phases in one file", "2 numbers per voxel")
def nrrd_phases(folder: Path) -> Path:
    directions = "(5,0,0) (0,5,0) (0,0,5) none"
    voxels = np.concatenate((scanned(),) * 2)
    return write_nrrd(folder, voxels, dimension="4", sizes="68 48 48 2", kinds="domain domain domain list", space_directions=directions)


@OTHER_FILES.refused("nrrd in color", "RGB voxels", "3 numbers per voxel")
def nrrd_color(folder: Path) -> Path:
    directions = "none (5,0,0) (0,5,0) (0,0,5)"
    voxels = np.repeat(scanned()[..., None], 3, axis=-1)
    return write_nrrd(folder, voxels, dimension="4", sizes="3 68 48 48", kinds="RGB-color domain domain domain", space_directions=directions)


@OTHER_FILES.warned("nrrd without a space", "which axis is the patient's left is not said", "does not say how the patient lies")
def nrrd_placeless(folder: Path) -> Path:
    return write_nrrd(folder, space=None, space_dimension="3")


@OTHER_FILES.refused("nrrd header alone", "a .nhdr whose file of voxels is missing", "cannot be read")
def nrrd_detached(folder: Path) -> Path:
    path = write_nrrd(folder, data_file="ct.raw").rename(folder / "ct.nhdr")
    path.write_bytes(path.read_bytes().split(b"\n\n")[0] + b"\n")
    return path


@OTHER_FILES.right("metaimage plain", "an .mha")
def metaimage(folder: Path) -> Path:
    return write_metaimage(folder)


@OTHER_FILES.right("metaimage compressed", "an .mha with zlib")
def metaimage_compressed(folder: Path) -> Path:
    return write_metaimage(folder, packed=True)


@OTHER_FILES.refused("metaimage cut short", "a download that stopped", "damaged or incomplete")
def metaimage_cut(folder: Path) -> Path:
    return shortened(write_metaimage(folder))


@OTHER_FILES.refused("metaimage compressed and cut short", "a download that stopped", "is incomplete")
def metaimage_compressed_cut(folder: Path) -> Path:
    return shortened(write_metaimage(folder, packed=True))


@OTHER_FILES.refused("metaimage with a flipped bit", "in its compressed voxels", "is damaged")
def metaimage_flipped(folder: Path) -> Path:
    return flipped(write_metaimage(folder, noisy(scanned(grid=FINE)), FINE, packed=True))


@OTHER_FILES.refused("metaimage with a huge size", "100,000 voxels along each axis", "is too large for a CT")
def metaimage_huge(folder: Path) -> Path:
    return write_metaimage(folder, DimSize="100000 100000 100000")


@OTHER_FILES.refused("metaimage with a negative spacing", "-5 mm from slice to slice", "voxel spacing of 5 x 5 x -5 mm")
def metaimage_negative(folder: Path) -> Path:
    return write_metaimage(folder, ElementSpacing="5 5 -5")


@OTHER_FILES.refused("metaimage with a spacing of zero", "the slices have no thickness", "voxel spacing of 5 x 5 x 0 mm")
def metaimage_flat(folder: Path) -> Path:
    return write_metaimage(folder, ElementSpacing="5 5 0")


@OTHER_FILES.refused("metaimage with a spacing that is no number", "NaN, which ITK takes for zero", "is no list of numbers")
def metaimage_nan_spacing(folder: Path) -> Path:
    return write_metaimage(folder, ElementSpacing="5 5 nan")


@OTHER_FILES.refused("metaimage with an offset that is no number", "NaN, which ITK takes for zero", "is no list of numbers")
def metaimage_nan_offset(folder: Path) -> Path:
    return write_metaimage(folder, Offset="-167.5 nan -117.5")


@OTHER_FILES.refused("metaimage with axes askew", "sheared by 0.2", "not at right angles")
def metaimage_sheared(folder: Path) -> Path:
    return write_metaimage(folder, TransformMatrix="1 0 0 0.2 1 0 0 0 1")


@OTHER_FILES.right("metaimage mirrored", "a negative determinant: the first axis to the right")
def metaimage_mirrored(folder: Path) -> Path:
    return write_metaimage(folder, grid=grid_of(axes=(RIGHT, (0, 1, 0), UP)))


@OTHER_FILES.refused("metaimage with a size of zero", "no slices", "68 x 48 x 0 voxels")
def metaimage_empty(folder: Path) -> Path:
    return write_metaimage(folder, DimSize="68 48 0")


@OTHER_FILES.refused("metaimage with a negative size", "-68 columns", "is too large for a CT")
def metaimage_negative_size(folder: Path) -> Path:
    return write_metaimage(folder, DimSize="-68 48 48")


@OTHER_FILES.refused("metaimage of 73 dimensions", "for which ITK has no room and dies", "its NDims is '73'")
def metaimage_many(folder: Path) -> Path:
    return write_metaimage(folder, NDims="73")


@OTHER_FILES.refused("metaimage of minus one dimensions", "at which ITK dies, too", "its NDims is '-1'")
def metaimage_negative_rank(folder: Path) -> Path:
    return write_metaimage(folder, NDims="-1")


@OTHER_FILES.refused("metaimage header without an end", "no line says where the voxels are", "has no end")
def metaimage_endless(folder: Path) -> Path:
    path = write_metaimage(folder)
    path.write_bytes(path.read_bytes().replace(b"ElementDataFile", b"ElementDauaFile", 1))
    return path


@OTHER_FILES.refused("metaimage without a spacing", "which ITK takes for 1 mm", "does not say how far its voxels are apart")
def metaimage_unspaced(folder: Path) -> Path:
    return without_field(write_metaimage(folder), b"ElementSpacing")


@OTHER_FILES.warned("metaimage without directions", "a flipped bit in that field's name", "does not say how the patient lies")
def metaimage_undirected(folder: Path) -> Path:
    return without_field(write_metaimage(folder), b"TransformMatrix")


def without_field(path: Path, name: bytes) -> Path:
    """The file with a bit of that field's name turned, so that nobody knows it."""
    path.write_bytes(path.read_bytes().replace(name, name[:-1] + bytes([name[-1] ^ 1]), 1))
    return path


@OTHER_FILES.refused("a picture", "a PNG of a slice", "does not keep a scan's geometry")
def png(folder: Path) -> Path:
    grey = ((scanned()[20] + 1000) // 8).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(folder / "ct.png"))
    return folder / "ct.png"


@OTHER_FILES.refused("a stack of pictures", "a TIFF of all slices", "does not keep a scan's geometry")
def tiff(folder: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(scanned()), str(folder / "ct.tif"))
    return folder / "ct.tif"


@OTHER_FILES.refused("an archive", "a scan in a zip file", "format is not known")
def archive(folder: Path) -> Path:
    (folder / "ct.zip").write_bytes(b"PK\3\4" + write_nifti(folder).read_bytes())
    return folder / "ct.zip"


@OTHER_FILES.refused("nothing", "a path that leads nowhere", "There is no file or folder")
def nothing(folder: Path) -> Path:
    return folder / "ct.nii.gz"


@OTHER_FILES.refused("a pipe", "a named pipe, which would never say anything", "neither a file nor a folder")
def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "ct.nii")
    return folder / "ct.nii"


@OTHER_FILES.refused("a link in a circle", "a symbolic link to itself", "There is no file or folder")
def circle(folder: Path) -> Path:
    (folder / "ct.nii").symlink_to(folder / "ct.nii")
    return folder / "ct.nii"


@OTHER_FILES.refused("a name too long", "of 5,000 letters", "cannot be opened")
def long_name(folder: Path) -> Path:
    return folder / ("c" * 5000 + ".nii")
