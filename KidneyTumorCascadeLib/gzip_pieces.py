"""Files compressed with gzip or zlib, read piece by piece: what is packed in a few kilobytes may fill the memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b"
# Bytes taken in at once, and given out at once.
PACKED, CHUNK = 1 << 16, 1 << 18
# Deflate packs no more than this into one byte (zlib.net/zlib_tech.html).
HIGHEST_RATIO = 1032
# What zlib's decompressor takes for "gzip or zlib, as it comes".
EITHER_FORMAT = 47


class Inflated:
    """The decompressed pieces of what follows in a file: one or several members of gzip, or one stream of zlib.

    Attributes:
        most: bytes of a piece; what goes before damage is given in whole pieces.
        whole: afterwards, whether the end is there and every checksum right.
        broken: afterwards, whether a part cannot be decompressed or has another checksum.
    """

    def __init__(self, file: BinaryIO, most: int = CHUNK) -> None:
        self.file = file
        self.most = most
        self.whole = False
        self.broken = False

    def __iter__(self) -> Iterator[bytes]:
        stream = zlib.decompressobj(EITHER_FORMAT)
        try:
            while piece := self.file.read(PACKED):
                while piece:
                    if stream.eof and piece[:1] != GZIP_MAGIC[:1]:
                        self.whole = True  # What follows the last member, such as zeros of a tape, is no part of it.
                        return
                    stream = zlib.decompressobj(EITHER_FORMAT) if stream.eof else stream
                    # At most so much at a time: air compresses a thousandfold.
                    yield stream.decompress(piece, self.most)
                    piece = stream.unused_data or stream.unconsumed_tail
            self.whole = stream.eof
        except zlib.error:
            self.broken = True


def is_gzip(path: Path) -> bool:
    """Whether a file begins as gzip does, whatever its name."""
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


def first_bytes(path: Path, count: int) -> bytes:
    """So many bytes from the start of the file or of what it decompresses to; fewer when it ends or breaks before."""
    with path.open("rb") as file:
        if not is_gzip(path):
            return file.read(count)
        result = b""
        for piece in Inflated(file, count):
            result += piece
            if len(result) >= count:
                break
        return result[:count]


def may_hold_bytes(path: Path, wanted: int) -> bool:
    """Whether the file is large enough to hold, or decompress to, that many bytes; nothing of it is read."""
    return path.stat().st_size * (HIGHEST_RATIO if is_gzip(path) else 1) >= wanted


def holds_bytes(path: Path, wanted: int) -> bool:
    """Whether the file, or what it decompresses to, has that many bytes."""
    if not is_gzip(path):
        return path.stat().st_size >= wanted
    with path.open("rb") as file:
        # The last four bytes of a gzip file say its length modulo 2^32 (RFC 1952): enough to trust it without decompressing it twice.
        file.seek(-4, 2)
        if struct.unpack("<I", file.read(4))[0] == wanted % (1 << 32):
            return True
        file.seek(0)
        pieces = Inflated(file)
        return sum(len(piece) for piece in pieces) >= wanted and pieces.whole
