"""Scans for long trials: many small phantoms, and among them files that are damaged in ways of their own."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom
from KidneyTumorCascadeLib.volume import Volume, write_volume

Damage = Callable[[bytes], bytes]

DIMENSIONS_AT = 40


def small_phantom(seed: int) -> Volume:
    """An abdomen of 3 x 3 x 5 mm with a tumor or two."""
    return make_phantom(PhantomSettings(seed=seed, tumors=1 + seed % 2, spacing=(3, 3, 5), size_mm=(340, 270, 240))).volume


def flip_a_bit(data: bytes) -> bytes:
    """In the middle of the compressed voxels."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]


def without_voxels(data: bytes) -> bytes:
    """A header that promises more than follows."""
    return gzip.compress(gzip.decompress(data)[:20_000], mtime=0)


def flat(data: bytes) -> bytes:
    """A header whose dimensions are 0."""
    whole = gzip.decompress(data)
    return gzip.compress(whole[:DIMENSIONS_AT] + bytes(16) + whole[DIMENSIONS_AT + 16 :], mtime=0)


DAMAGES: tuple[Damage, ...] = (
    lambda data: data[: len(data) // 2],
    flip_a_bit,
    lambda data: b"",
    lambda data: b"not a scan",
    lambda data: gzip.compress(b"not a scan either", mtime=0),
    without_voxels,
    flat,
    lambda data: bytes(len(data)),
)


def make_scans(folder: Path, count: int, damaged: int, make: Callable[[int], Volume] = small_phantom, processes: int = 2) -> set[str]:
    """Write that many scans; returns the names, without ending, of the damaged ones, which lie evenly among the others."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"scan-{number:03d}.nii.gz" for number in range(count)]
    if processes > 1:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            list(pool.map(write_scan, range(count), paths, [make] * count, chunksize=4))
    else:
        list(map(write_scan, range(count), paths, [make] * count))
    chosen = [paths[round((turn + 0.5) * count / damaged)] for turn in range(damaged)]
    for turn, path in enumerate(chosen):
        path.write_bytes(DAMAGES[turn % len(DAMAGES)](path.read_bytes()))
    return {path.name.removesuffix(".nii.gz") for path in chosen}


def write_scan(seed: int, path: Path, make: Callable[[int], Volume]) -> None:
    """One scan."""
    write_volume(make(seed), path)
