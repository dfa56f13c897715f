"""DICOM folders: three slices, one of which is changed, byte by byte or field by field."""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path
from random import Random

from KidneyTumorCascadeLib.dicom import is_dicom, read_series
from Testing.Corpus.dicom_files import write_dicom
from Testing.Corpus.patients import grid_of
from Testing.Fuzz.judge import Target, address_space
from Testing.Fuzz.mutations import mutated_bytes

GRID = grid_of((4, 4, 3), (80.0, 60.0, 5.0))
# Where the pixels begin: their tag (7fe0, 0010) and type in little endian.
PIXELS = b"\xe0\x7f\x10\x00OW\0\0"
# Fields that are read here or decide what ITK reads, as group and element in little endian.
FIELDS = tuple(
    struct.pack("<HH", group, element)
    for group, elements in {
        0x0002: (0x0000, 0x0002, 0x0010),
        0x0008: (0x0008, 0x0016, 0x0060, 0x103E),
        0x0020: (0x000E, 0x0032, 0x0037),
        0x0028: (0x0002, 0x0004, 0x0010, 0x0011, 0x0030, 0x0100, 0x0101, 0x0102, 0x0103, 0x1052, 0x1053),
    }.items()
    for element in elements
)
TEXTS = (
    *(b"", b" ", b"\\", b"\\\\\\", b"0", b"-1", b"nan\\nan", b"inf", b"1e999", b"1e308\\1e308", b"0\\0", b"-5\\5", b"1e-320\\1e-320", b"9" * 400),
    *(b"0\\0\\0", b"1e30\\0\\0", b"nan\\0\\0", b"1\\0\\0\\1\\0\\0", b"0\\0\\0\\0\\0\\0", b"1\\0\\0\\0\\0\\1", b"1\\2\\3\\4\\5\\6\\7", b"a\\b\\c"),
    *(b"MONOCHROME1", b"RGB", b"PALETTE COLOR", b"YBR_FULL", b"MR", b"RTSTRUCT", b"LOCALIZER", b"HU", b"\x1b[2J", b"\xff\xfe", b'a"b', b"../../x"),
    *(b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.4.90", b"1.2." * 200),
)
WHOLE = (0, 1, 2, 3, 4, 5, 8, 12, 15, 16, 31, 32, 64, 255, 32_768, 65_535)
# Explicit value representations with a length of 32 bits.
LONG_KINDS = (b"OB", b"OW", b"SQ", b"UN", b"UT")

# What libraries set aside once is less, what an impossible length costs is more.
MOST_KEPT_BYTES = 200_000_000


def dicom_targets(folder: Path) -> list[Target]:
    """Series of slices."""
    place = write_dicom(folder / "dicom", grid=GRID)
    slices = {path.name: path.read_bytes() for path in sorted(place.iterdir())}
    return [Target("DICOM series", partial(make_slice, list(slices.values())), partial(feed_series, place, list(slices)), 4)]


def make_slice(examples: list[bytes], random: Random) -> bytes:
    """One of the slices, changed; the first byte says which."""
    number = random.randrange(len(examples))
    data = examples[number]
    for _ in range(random.choice((0, 1, 1, 2))):
        data = with_other_value(random, data)
    if random.random() < 0.5:
        # The pixels' own values tell nothing.
        at = data.find(PIXELS) if random.random() < 0.9 else len(data)
        data = mutated_bytes(random, data[:at]) + data[at:]
    return bytes([number]) + data


def with_other_value(random: Random, data: bytes) -> bytes:
    """A field with another value and the length that goes with it."""
    at = data.find(random.choice(FIELDS), 132)
    if at < 0 or data[at + 4 : at + 6] in LONG_KINDS:
        return data
    (length,) = struct.unpack_from("<H", data, at + 6)
    value = struct.pack("<H", random.choice(WHOLE)) if data[at + 4 : at + 6] == b"US" else random.choice(TEXTS)
    value += b" " * (len(value) % 2)
    return data[: at + 6] + struct.pack("<H", len(value)) + value + data[at + 8 + length :]


def feed_series(folder: Path, names: list[str], data: bytes) -> None:
    """Read the series, then put the good slice back."""
    path = folder / names[data[0]]
    good, before = path.read_bytes(), address_space()
    path.write_bytes(data[1:])
    try:
        is_dicom(path)
        read_series(folder)
    finally:
        path.write_bytes(good)
        kept = address_space() - before
        if kept > MOST_KEPT_BYTES:
            raise AssertionError(f"{kept / 1e6:.0f} MB are kept")
