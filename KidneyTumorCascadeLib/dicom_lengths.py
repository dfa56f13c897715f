"""Checking the lengths that a DICOM file gives before ITK's reader believes them: for one of a gigabyte it takes that memory, and keeps it."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# The preamble and "DICM" that all but old files begin with.
PREAMBLE_BYTES = 132
# A length that goes less beyond the end than this costs nothing; the reader says itself what it makes of it.
NO_HARM_BYTES = 1 << 20
UNDEFINED = 0xFFFFFFFF
META_GROUP, SYNTAX, PIXELS = 0x0002, (0x0002, 0x0010), (0x7FE0, 0x0010)
# Items of a sequence and the ends of both have a length of four bytes and no type, whatever the others have (PS3.5 7.5).
ITEM_GROUP = 0xFFFE
# Transfer syntaxes (PS3.5 annex A); the last is General Electric's own.
BIG_ENDIAN, DEFLATED = b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"
IMPLICIT = (b"1.2.840.10008.1.2", b"1.2.840.113619.5.2")
# Types of values (PS3.5 6.2) whose length has two bytes, and those of two reserved and four bytes.
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


@dataclass
class Elements:
    """A file's elements, one after the other; those within sequences as if they stood outside.

    Attributes:
        file: where it is read.
        size: of the file in bytes.
        explicit: whether each says its type.
        order: of bytes, as struct writes it.
    """

    file: BinaryIO
    size: int
    explicit: bool = True
    order: str = "<"

    def next(self) -> tuple[tuple[int, int], bytes, int] | None:
        """Tag, type and length of the next one, after which its value begins; None at the end of the file."""
        head = self.file.read(8)
        if len(head) < 8:
            return None
        group, element, short = struct.unpack(f"{self.order}HHxxH", head)
        (length,) = struct.unpack(f"{self.order}I", head[4:])
        kind = head[4:6] if self.explicit and group != ITEM_GROUP else b""
        if kind in SHORT:
            length = short
        elif kind in LONG:
            more = self.file.read(4)
            length = struct.unpack(f"{self.order}I", more)[0] if len(more) == 4 else 0
        return (group, element), kind, length

    def fits(self, length: int) -> bool:
        """Whether the file has that many more bytes, or nearly so."""
        return self.file.tell() + length <= self.size + NO_HARM_BYTES


def lengths_fit(path: Path) -> bool:
    """Whether all lengths up to the pixels' are possible in a file of this size. Raises OSError."""
    with path.open("rb") as file:
        elements = Elements(file, os.fstat(file.fileno()).st_size)
        begin(elements)
        syntax = read_meta(elements)
        if syntax is None:
            return False
        if syntax == DEFLATED:
            return True
        elements.order = ">" if syntax == BIG_ENDIAN else "<"
        elements.explicit = says_types(elements, syntax not in IMPLICIT)
        return walk(elements)


def transfer_syntax(path: Path) -> bytes:
    """How a file's elements and pixels are written, as its first group says; empty where it does not. Raises OSError."""
    with path.open("rb") as file:
        elements = Elements(file, os.fstat(file.fileno()).st_size)
        begin(elements)
        return read_meta(elements) or b""


def begin(elements: Elements) -> None:
    """Go to the first element, after the preamble if there is one."""
    elements.file.seek(PREAMBLE_BYTES - 4)
    elements.file.seek(PREAMBLE_BYTES if elements.file.read(4) == b"DICM" else 0)


def read_meta(elements: Elements) -> bytes | None:
    """The transfer syntax that the first group names, empty without one; None where a length or type is impossible."""
    syntax = b""
    elements.explicit = says_types(elements, True)
    while True:
        place = elements.file.tell()
        found = elements.next()
        if found is None or found[0][0] != META_GROUP:
            elements.file.seek(place)
            return syntax
        tag, kind, length = found
        if not elements.fits(length) or (elements.explicit and kind not in SHORT | LONG):
            return None
        value = elements.file.read(length)
        syntax = value.rstrip(b"\0 ") if tag == SYNTAX else syntax


def says_types(elements: Elements, default: bool) -> bool:
    """Whether the elements say their types, by the first of them: some files are not what they say they are."""
    place = elements.file.tell()
    kind = elements.file.read(6)[4:]
    elements.file.seek(place)
    return kind in SHORT | LONG if len(kind) == 2 else default


def walk(elements: Elements) -> bool:
    """Whether all lengths from here to the pixels are possible."""
    while (found := elements.next()) is not None:
        tag, kind, length = found
        if length != UNDEFINED and not elements.fits(length):
            return False
        if tag == PIXELS:
            return True
        # Of what may hold other elements, these come next.
        if length != UNDEFINED and tag[0] != ITEM_GROUP and kind != b"SQ":
            elements.file.seek(length, os.SEEK_CUR)
    return True
