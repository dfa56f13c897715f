"""Installing a model bundle from a zip file and removing it again. The zip file is taken for hostile until proven otherwise."""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import stat
import zipfile
import zlib
from pathlib import Path
from typing import IO

from KidneyTumorCascadeLib.bundle import DEFAULT_NAME, list_bundles, store_folder, verify_bundle
from KidneyTumorCascadeLib.bundle_format import BUNDLE_FILE, NAME_PATTERN, WEIGHTS_PATTERN, Bundle, read_bundle
from KidneyTumorCascadeLib.errors import BundleError, InputError, SetupError
from KidneyTumorCascadeLib.json_fields import MAX_BYTES, quote, reason

MAX_TOTAL_BYTES = 1024**3
MAX_TEXT_BYTES = MAX_BYTES
MAX_ENTRIES = 64
# Weights hardly shrink when they are compressed: more than this, above a size that does not matter, is a bomb.
MAX_RATIO, RATIO_FREE_BYTES = 50, MAX_BYTES
CHUNK = 1024 * 1024
ALLOWED = re.compile(rf"bundle\.json|MODEL_CARD\.md|LICEN[CS]E[A-Za-z0-9._-]{{0,40}}|{WEIGHTS_PATTERN}")
# What macOS and Windows put into zip files by themselves; left behind without a word.
LITTER = re.compile(r"(?:.*/)?(?:\.DS_Store|Thumbs\.db|desktop\.ini)|__MACOSX/.*")
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1


def install_bundle(zip_path: Path) -> Bundle:
    """Unpacks a bundle's zip file, verifies all of it, and only then puts it among the installed bundles, whole.

    Raises InputError when there is no such file, BundleError when anything in it is not as it must be or the name is taken, SetupError
    when the disk has no room.
    """
    if not os.path.isfile(zip_path):
        is_folder = os.path.isdir(zip_path)
        hint = "zip its content, or use it as it is with --bundle" if is_folder else "give the zip file of a bundle"
        raise InputError(f"{zip_path} is {'a folder' if is_folder else 'not there'}; {hint}.")
    store = store_folder()
    temporary = store / f".install-{secrets.token_hex(8)}"
    try:
        temporary.mkdir(parents=True)
        extract(zip_path, temporary)
        return adopt(temporary, store)
    except OSError as error:
        raise SetupError(f"The bundle cannot be installed in {store} ({error.strerror or error}); make room or check its permissions.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def adopt(temporary: Path, store: Path) -> Bundle:
    """Gives a verified folder its name among the installed bundles."""
    name = read_bundle(temporary).name
    folder = store / name
    if name == DEFAULT_NAME:
        raise BundleError(f"A bundle cannot be installed under the name {DEFAULT_NAME!r}, which is the built-in one's; rename it in {BUNDLE_FILE}.")
    if os.path.lexists(folder):
        raise BundleError(f"A bundle named {name} is installed already; remove it first: kidney-tumor-cascade bundle remove {name}")
    verify_bundle(temporary)
    temporary.rename(folder)
    return read_bundle(folder)


def extract(zip_path: Path, folder: Path) -> None:
    """Writes the files of a bundle's zip file into a folder. Raises BundleError when it holds anything else, or is damaged."""
    try:
        with CautiousFile(zip_path) as file, zipfile.ZipFile(file) as archive:
            entries = checked_entries(archive, zip_path)
            require_room(folder, sum(entry.file_size for entry in entries.values()))
            for name, entry in entries.items():
                with archive.open(entry) as source, (folder / name).open("xb") as target:
                    copy_exactly(source, target, entry.file_size, f"{zip_path}: {name}")
    # A damaged archive fails in many ways: bad checksums, cut-off data, compressed nonsense, unknown features, headers beyond the end.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BundleError(f"{zip_path} is not a valid zip file ({reason(error)}); get a new copy of it.") from error


class CautiousFile(io.FileIO):
    """A file of which no more than `CHUNK` is read at once. A directory of millions of entries would be read as a whole and fill the memory."""

    def read(self, size: int | None = -1) -> bytes:
        """At most so many bytes, all that there are without a size. Raises BadZipFile when that is too much."""
        rest = os.fstat(self.fileno()).st_size - self.tell()
        if (rest if size is None or size < 0 else min(size, rest)) > CHUNK:
            raise zipfile.BadZipFile("its directory is too large")
        return super().read(size) or b""


def checked_entries(archive: zipfile.ZipFile, zip_path: Path) -> dict[str, zipfile.ZipInfo]:
    """The files to unpack by their names without folder. Raises BundleError at the first entry that a bundle cannot have."""
    listed = [entry for entry in archive.infolist() if not LITTER.fullmatch(entry.filename)]
    if len(listed) > MAX_ENTRIES:
        raise BundleError(f"{zip_path} has {len(listed)} entries, a bundle has at most {MAX_ENTRIES}; it is no model bundle.")
    files: dict[str, zipfile.ZipInfo] = {}
    tops = set()
    for entry in listed:
        top, name = split_name(entry, zip_path)
        tops.add(top)
        if entry.is_dir():
            continue
        if name.lower() in {known.lower() for known in files}:
            raise BundleError(f"{zip_path} holds {name} twice; get a new copy of it.")
        check_entry(entry, name, zip_path)
        files[name] = entry
    if len(tops) > 1:
        raise BundleError(f"{zip_path} must hold the files of one bundle, at the top or in one folder, not in several; get a new copy of it.")
    if sum(entry.file_size for entry in files.values()) > MAX_TOTAL_BYTES:
        raise BundleError(f"{zip_path} would unpack to more than the {MAX_TOTAL_BYTES // 1024**2} MiB that a bundle may have; it is no model bundle.")
    return files


def split_name(entry: zipfile.ZipInfo, zip_path: Path) -> tuple[str, str]:
    """Folder (or nothing) and file name of an entry. Raises BundleError for a path that could lead out of the bundle's folder."""
    # `orig_filename` still has what follows a NUL byte.
    name = entry.orig_filename
    parts = name.rstrip("/").split("/")
    harmless = all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9 ._-]{0,120}", part) for part in parts)
    if not harmless or len(parts) > (1 if entry.is_dir() else 2):
        raise BundleError(f"{zip_path} holds the path {quote(name)}, which a model bundle cannot have; do not trust this file.")
    return (parts[0], "") if entry.is_dir() else ("/".join(parts[:-1]), parts[-1])


def check_entry(entry: zipfile.ZipInfo, name: str, zip_path: Path) -> None:
    """Raises BundleError for a file that is no part of a bundle, is no plain file, or is too large."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    most = MAX_TOTAL_BYTES if name.endswith(".safetensors") else MAX_TEXT_BYTES
    if not ALLOWED.fullmatch(name):
        problem = "is no part of a model bundle (bundle.json, *.safetensors, MODEL_CARD.md, LICENSE)"
    elif kind not in (0, stat.S_IFREG):
        problem = "is a link or a device, not a file"
    elif entry.flag_bits & ENCRYPTED:
        problem = "is encrypted"
    elif entry.compress_type not in COMPRESSIONS:
        problem = "is compressed by a method other than deflate"
    elif entry.file_size > most:
        problem = f"has {entry.file_size} bytes, more than the {most} that it may have"
    elif entry.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * entry.compress_size):
        problem = f"would unpack to more than {MAX_RATIO} times its size"
    else:
        return
    raise BundleError(f"{zip_path}: {name} {problem}; do not trust this file.")


def require_room(folder: Path, size: int) -> None:
    """Raises SetupError when the disk has no room for that many bytes."""
    free = shutil.disk_usage(folder).free
    if free < size + CHUNK:
        raise SetupError(f"The bundle needs {size / 1024**2:.0f} MiB, the disk of {folder.parent} has {free / 1024**2:.0f} MiB left; make room.")


def copy_exactly(source: IO[bytes], target: IO[bytes], size: int, what: str) -> None:
    """Copies a file that says how long it is. Raises BundleError when it is longer or shorter than that."""
    copied = 0
    while chunk := source.read(CHUNK):
        copied += len(chunk)
        if copied > size:
            break
        target.write(chunk)
    if copied != size:
        raise BundleError(f"{what} is {'longer' if copied > size else 'shorter'} than the {size} bytes that it says; do not trust this file.")
    target.flush()
    os.fsync(target.fileno())


def remove_bundle(name: str) -> Path:
    """Removes an installed bundle and returns the folder that is gone. Raises InputError when there is none of that name or it is built in."""
    if name == DEFAULT_NAME:
        raise InputError(f"The bundle {DEFAULT_NAME!r} is part of the program and cannot be removed.")
    store = store_folder()
    folder = store / name
    if not re.fullmatch(NAME_PATTERN, name) or not os.path.lexists(folder):
        installed = [found.name for found in list_bundles() if found.name != DEFAULT_NAME]
        raise InputError(f"No bundle {quote(name)} is installed; installed are: {', '.join(installed) or 'none'}.")
    if folder.is_symlink() or not folder.is_dir():
        raise InputError(f"{folder} is a link or a file, not an installed bundle; remove it by hand.")
    doomed = store / f".remove-{secrets.token_hex(8)}"
    try:
        folder.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise SetupError(f"The bundle in {folder} cannot be removed ({error.strerror or error}); check its permissions.") from error
    return folder
