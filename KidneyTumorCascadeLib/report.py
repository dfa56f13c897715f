"""What is written beside a segmentation: the manifest (JSON), its summary (text), and the writing of files whole or not at all."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import platform
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from KidneyTumorCascadeLib import __version__
from KidneyTumorCascadeLib.errors import CascadeError, InputError, SetupError
from KidneyTumorCascadeLib.geometry import Box, Geometry, describe_mm

SCHEMA = 1
PRODUCT = "kidney-tumor-cascade"
NOTICE = "Research software. Not for clinical use."
PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "safetensors")
COMPOUND_EXTENSIONS = (".seg.nrrd", ".seg.nhdr", ".nii.gz", ".img.gz", ".hdr.gz", ".gipl.gz", ".nrrd.gz")
# Manifests have some kilobytes.
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
PROCESS_STATUS = Path("/proc/self/status")
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)


# --- files that appear whole or not at all ---------------------------------------------------------------------------------------------------


def write_bytes_atomically(path: str | Path, data: bytes) -> None:
    """Write a file under a temporary name in its folder, flush it to the disk, and only then give it its name.

    Whatever interrupts this, the old file (if any) stays as it was and no temporary file stays behind. Raises SetupError when the disk is
    full, InputError when the folder is missing or cannot be written to.
    """
    target = _target_of(path)
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        _write_and_flush(temporary, data)
        os.replace(temporary, target)
    except OSError as error:
        raise writing_error(Path(path), error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def require_place_for(path: str | Path) -> None:
    """Raise what `write_bytes_atomically` would raise for this path, before the work of a run is done in vain."""
    target = _target_of(path)
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise writing_error(Path(path), PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def write_text_atomically(path: str | Path, text: str) -> None:
    """`write_bytes_atomically` for text, as UTF-8 with the line ends it has. Same errors."""
    write_bytes_atomically(path, text.encode("utf-8"))


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically. Numbers that are not finite become null, as JSON has none. Same errors."""
    write_text_atomically(path, json.dumps(to_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _target_of(path: str | Path) -> Path:
    """The file to replace: what a link points to, so that it goes on pointing there. Raises InputError for what is no file."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise InputError(f"{path} is a {'folder' if target.is_dir() else 'device'}; give the name of a file.")
    return target


def _write_and_flush(path: Path, data: bytes) -> None:
    # "x" refuses to write through a link that someone else put there; the mode follows the user's umask.
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def writing_error(path: Path, error: OSError) -> CascadeError:
    """The sentence for the user about a file that could not be written."""
    if error.errno in DISK_FULL:
        return SetupError(f"The disk has no room for {path}; free some space or write to another disk.")
    if not path.parent.is_dir():
        return InputError(f"{path} cannot be written because the folder {path.parent} does not exist; create it first.")
    return InputError(f"{path} cannot be written ({error.strerror or error}); choose another folder or change its permissions.")


# --- the manifest ----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunRecord:
    """What happened in one run of the cascade; `build_manifest` adds the machine's side.

    Attributes:
        input: the scan's file or folder. Only its name is written down, as folders may hold names of people.
        geometry: of the scan as stored.
        output: the label map's file.
        bundle: name, version, sha256 and licence of the model bundle.
        preset: "standard", "fast" or "paper".
        merge: "overlay" or "compare".
        device: "cuda", "mps" or "cpu".
        precision: "float16", "bfloat16" or "float32".
        device_description: for people, such as the GPU's name.
        boxes: in which the fine networks looked.
        measurements: one row per side (mappings or dataclasses).
        removals: what the component rules took away (mappings or dataclasses).
        passed_over: parts of the first network's prediction that were not taken for kidney, counted by reason.
        seconds: per stage, in the order of the stages.
        warnings: one sentence each.
    """

    input: Path
    geometry: Geometry
    output: Path
    bundle: Mapping[str, Any]
    preset: str
    merge: str
    device: str
    precision: str
    device_description: str
    boxes: Sequence[Box] = ()
    measurements: Sequence[Any] = ()
    removals: Sequence[Any] = ()
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    warnings: Sequence[str] = ()


def manifest_path(output: str | Path) -> Path:
    """Where the manifest of this output lies: beside it, `liver.seg.nrrd` -> `liver.json`."""
    output = Path(output)
    return output.with_name(f"{output_stem(output)}.json")


def require_manifest_place(path: Path) -> None:
    """Raise InputError when a file of that name exists that is no manifest of this program, such as a sidecar that came with the scan."""
    if path.exists() and not is_manifest(path):
        raise InputError(f"The manifest {path} would overwrite a file that this program did not write; choose another name for the output.")


def is_manifest(path: Path) -> bool:
    """Whether a file is a manifest that this program wrote, of whatever version."""
    try:
        content = json.loads(path.read_bytes()) if path.is_file() and path.stat().st_size <= MAX_MANIFEST_BYTES else None
    except (OSError, ValueError, RecursionError):
        return False
    product = content.get("product") if isinstance(content, dict) else None
    return isinstance(product, dict) and product.get("name") == PRODUCT


def output_stem(output: Path) -> str:
    """The name of a file without its extension, compound ones such as .nii.gz included."""
    compound = next((end for end in COMPOUND_EXTENSIONS if output.name.lower().endswith(end)), "")
    stem = output.name[: -len(compound)] if compound else output.stem
    return stem or output.name


def build_manifest(run: RunRecord, created: datetime | None = None) -> dict[str, Any]:
    """The manifest: all that is needed to trace a label map, in plain JSON types. `created` is now unless given."""
    moment = (created or datetime.now(timezone.utc)).astimezone(timezone.utc)
    manifest = {
        "schema": SCHEMA,
        "notice": NOTICE,
        "created": moment.isoformat(timespec="seconds"),
        "product": {"name": PRODUCT, "version": __version__},
        "versions": versions(),
        "input": {"name": run.input.name, "geometry": run.geometry},
        "output": {"name": run.output.name},
        "bundle": run.bundle,
        "preset": run.preset,
        "merge": run.merge,
        "device": {"name": run.device, "precision": run.precision, "description": run.device_description},
        "boxes": run.boxes,
        "measurements": run.measurements,
        "removals": run.removals,
        "passed_over": run.passed_over,
        "seconds": {stage: round(value, 3) for stage, value in run.seconds.items()},
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "warnings": run.warnings,
    }
    plain: dict[str, Any] = to_plain(manifest)
    return plain


def versions() -> dict[str, str | None]:
    """Versions of Python, the system and the packages that the numbers depend on; None when not installed. Imports none of them."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        **{name: _installed_version(name) for name in PACKAGES},
    }


def _installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def peak_memory_mb() -> float:
    """The most memory this process held so far, in MB (1e6 bytes); 0 where the system does not say."""
    if sys.platform == "win32":
        return _windows_peak_bytes() / 1e6
    peak = _linux_peak_bytes() if sys.platform == "linux" else 0
    return (peak or _posix_peak_bytes()) / 1e6


def _linux_peak_bytes() -> int:
    """VmHWM of /proc, 0 where it is missing. What getrusage says there includes the peak of the process that started this one: exec keeps it."""
    try:
        status = PROCESS_STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


def _posix_peak_bytes() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, the others KiB.
    return peak if sys.platform == "darwin" else peak * 1024


def _windows_peak_bytes() -> int:
    """PeakWorkingSetSize of PROCESS_MEMORY_COUNTERS (psapi.h)."""
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("size", ctypes.c_ulong),
            ("page_faults", ctypes.c_ulong),
            ("peak_working_set", ctypes.c_size_t),
            *((f"unused_{number}", ctypes.c_size_t) for number in range(7)),
        )

    kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009  (the attribute exists on Windows only)
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    counters = Counters(size=ctypes.sizeof(Counters))
    done = kernel.K32GetProcessMemoryInfo(ctypes.c_void_p(kernel.GetCurrentProcess()), ctypes.byref(counters), counters.size)
    return int(counters.peak_working_set) if done else 0


def to_plain(value: Any) -> Any:
    """The value in plain JSON types: numbers that are not finite become None, NumPy scalars numbers, dataclasses objects, paths text.

    Raises TypeError for what has no place in JSON.
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        # A file name that is not UTF-8 reaches Python with lone surrogates, which no UTF-8 file can hold.
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (np.generic, np.ndarray)):
        return to_plain(value.tolist())
    if isinstance(value, os.PathLike):
        return to_plain(os.fspath(value))
    return _plain_container(value)


def _plain_container(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return to_plain(value.to_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [to_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no place in a manifest")


# --- tables ----------------------------------------------------------------------------------------------------------------------------------


COLUMNS = (
    ("side", "side", ""),
    ("kidney ml", "kidney_ml", ".1f"),
    ("tumor ml", "tumor_ml", ".1f"),
    ("tumors", "tumors", "d"),
    ("longest mm", "longest_mm", ".1f"),
    ("axial mm", "longest_axial_mm", ".1f"),
    ("mean HU", "mean_hu", ".0f"),
)


def summary_text(manifest: Mapping[str, Any]) -> str:
    """A manifest for the terminal: measurements, boxes, seconds per stage, warnings. Plain aligned text without a final line end."""
    blocks = (
        aligned([[title for title, _, _ in COLUMNS], *(_measurement_cells(row) for row in manifest["measurements"])]),
        aligned([["box", "source", "centre LPS mm", "size"], *(_box_cells(box) for box in manifest["boxes"])]),
        aligned([["stage", "seconds"], *_seconds_cells(manifest["seconds"])]),
        "\n".join(f"Warning: {warning}" for warning in manifest["warnings"]),
        f"Bundle {manifest['bundle'].get('name')} {manifest['bundle'].get('version')}, preset {manifest['preset']}, "
        f"{manifest['device']['description']}, peak memory {manifest['peak_memory_mb']:.0f} MB. {manifest['notice']}",
    )
    return "\n\n".join(block for block in blocks if block)


def _measurement_cells(row: Mapping[str, Any]) -> list[str]:
    return [_formatted(row.get(key), style) for _, key, style in COLUMNS]


def _formatted(value: Any, style: str) -> str:
    return "-" if value is None else format(value, style)


def _box_cells(box: Mapping[str, Any]) -> list[str]:
    center = ", ".join(f"{value:.1f}" for value in box["center_lps_mm"])
    return [box["side"], box["source"], center, describe_mm(box["size_mm"])]


def _seconds_cells(seconds: Mapping[str, float]) -> Iterator[list[str]]:
    for stage, value in seconds.items():
        yield [stage, f"{value:.1f}"]
    if seconds:
        yield ["total", f"{sum(seconds.values()):.1f}"]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell, the first to the left and numbers to the right; nothing when there is only a header."""
    if len(rows) < 2:
        return ""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)
