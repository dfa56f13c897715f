"""From a scan on disk to everything that is written for it: label map, manifest, preview, probabilities.

The files appear together, or not at all: a folder never holds a label map of a run that failed, nor one without its manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.bundle import Bundle, load_bundle, verify_hashes
from KidneyTumorCascadeLib.cascade import Cascade, Segmentation
from KidneyTumorCascadeLib.device import Engine, choose_device
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import FARTHEST_MM, SIDES, Box
from KidneyTumorCascadeLib.json_fields import MAX_BYTES, load_json, quote, reason
from KidneyTumorCascadeLib.measurements import SideMeasurement, measure, overlap_warnings
from KidneyTumorCascadeLib.output_files import FilesTogether, require_apart, require_ending, require_room
from KidneyTumorCascadeLib.preview import write_preview
from KidneyTumorCascadeLib.progress import Progress, StageTimer
from KidneyTumorCascadeLib.report import (
    RunRecord,
    build_manifest,
    manifest_path,
    output_stem,
    require_manifest_place,
    require_place_for,
    write_json,
)
from KidneyTumorCascadeLib.scan_reading import EarlyReading, Scan, checked_scan, public_name
from KidneyTumorCascadeLib.volume import Volume, require_writable, write_volume
from KidneyTumorCascadeLib.worker_messages import SOURCES

READING, MEASURING, WRITING = "reading", "measuring", "writing"
# What is written of a scan takes at most: label map and manifest, picture, probability maps.
LABELS_BYTES, PREVIEW_BYTES, PROBABILITIES_BYTES = 500_000, 1_500_000, 30_000_000

Reading = Callable[[Cascade], Scan]
Notes = Callable[[Sequence[Path]], Mapping[str, Any]]


@dataclass(frozen=True)
class Request:
    """One scan to be segmented, and how.

    Attributes:
        source: image file or DICOM folder.
        output: label map (.nii.gz, .nii, .nrrd, .seg.nrrd or .mha); the manifest goes beside it.
        bundle: name or folder of a model bundle; the default one when None.
        preset, merge, device: as in `Cascade` and `choose_device`; merge None is the preset's.
        boxes: to be segmented instead of finding the kidneys.
        boxes_file: where they were read from, if they were.
        preview: PNG to draw.
        probabilities: write each box's probabilities beside the output.
    """

    source: Path
    output: Path
    bundle: str | None = None
    preset: str = "standard"
    merge: str | None = None
    device: str = "auto"
    boxes: Sequence[Box] | None = None
    boxes_file: Path | None = None
    preview: Path | None = None
    probabilities: bool = False


def open_cascade(request: Request, progress: Progress | None = None, should_stop: Callable[[], bool] | None = None) -> Cascade:
    """The cascade that a request asks for, its weights verified: what is damaged is said before a scan is read.

    Raises BundleError, SetupError or InputError.
    """
    bundle: Bundle = load_bundle(request.bundle)
    verify_hashes(bundle)
    engine: Engine = choose_device(request.device)
    cascade = Cascade(bundle, engine, request.preset, request.merge, progress, should_stop)
    cascade.keep_probabilities = request.probabilities
    return cascade


def check_request(request: Request) -> None:
    """Raise InputError or SetupError when what is to be written cannot be, or would overwrite what is read: before anything is computed."""
    require_writable(request.output)
    read = [("scan", request.source), *([("list of boxes", request.boxes_file)] if request.boxes_file else [])]
    written = [("label map", request.output), ("manifest", manifest_path(request.output))]
    if request.preview:
        require_ending(request.preview, ".png", "preview")
        written.append(("preview", request.preview))
    if request.probabilities:
        written += [("probability map", path) for path in probability_paths(request.output, SIDES)]
    for _, path in written:
        require_place_for(path)
    require_apart(written, read)
    require_manifest_place(manifest_path(request.output))


def segment_file(
    request: Request,
    cascade: Cascade | None = None,
    progress: Progress | None = None,
    read: Reading | None = None,
    notes: Notes | None = None,
) -> dict[str, Any]:
    """Segment one scan and write everything that was asked for; returns the manifest.

    Args:
        request: what to do; it is checked before anything else happens.
        cascade: may serve many scans; without one, that of the request is opened.
        progress: what a cascade opened here tells of its steps.
        read: gives the scan and what is odd about it, for instance because it was read beforehand; `read_checked` by default. Nobody but the
            caller should hold on to the scan, so that its memory is free when the label map is written.
        notes: what else the manifest says, made when all other files (which it is given) are written but do not have their places yet.

    Raises:
        InputError: when the scan, a box or an output cannot be used.
        BundleError: when the bundle is damaged.
        SetupError: when the disk has no room or runs full; MemoryShortage when memory does.
        Cancelled: when the caller stops it.
    """
    check_request(request)
    cascade = cascade or open_cascade(request, progress)
    cascade.timer = StageTimer()  # A cascade may serve many scans.
    scan, warnings = read(cascade) if read else read_checked(request.source, cascade)
    for box in request.boxes or ():
        box.slices(scan.in_lps_order().geometry)  # One beside the scan is refused before the first is segmented.
    require_room_for_results(request, scan.voxels.size)
    result = cascade.segment(scan, request.boxes)
    with cascade.timer.stage(MEASURING):
        cascade.progress(MEASURING, 0, 1)
        parts = [box.part for box in result.boxes]
        measured = measure(parts, scan.in_lps_order())
    warnings += [*cascade.engine.warnings, *result.warnings, *(text for side in measured for text in side.warnings), *overlap_warnings(parts)]
    with FilesTogether() as files:
        with cascade.timer.stage(WRITING):
            cascade.progress(WRITING, 0, 1)
            write_pictures_and_probabilities(request, scan, result, warnings, files)
            del scan  # A label map is copied twice on its way to the disk, which takes about the memory of the scan.
            write_volume(result.labels, files.place(request.output))
        manifest = {**manifest_of(request, cascade, result, measured, warnings), **(notes(files.waiting) if notes else {})}
        write_json(files.place(manifest_path(request.output)), manifest)
    cascade.progress(WRITING, 1, 1)
    return manifest


def require_room_for_results(request: Request, voxels: int) -> None:
    """Raise SetupError when a disk has no room for what is to be written of a scan of so many voxels: before anything is computed."""
    uncompressed = request.output.name.lower().endswith(".nii")
    require_room(request.output.parent, (voxels if uncompressed else 0) + LABELS_BYTES + PROBABILITIES_BYTES * request.probabilities)
    if request.preview:
        require_room(request.preview.parent, PREVIEW_BYTES)


def read_checked(source: Path, cascade: Cascade, early: EarlyReading | None = None) -> Scan:
    """The scan and what is odd about it, from the thread that reads it already if there is one. Raises InputError when it cannot be used."""
    with cascade.timer.stage(READING):
        cascade.progress(READING, 0, 1)
        return early.scan() if early else checked_scan(source)


def write_pictures_and_probabilities(request: Request, scan: Volume, result: Segmentation, warnings: Sequence[str], files: FilesTogether) -> None:
    """The preview and the probability maps, as far as they were asked for."""
    boxes = [box.part.box for box in result.boxes]
    if request.preview:
        title, labels = public_name(request.source), result.labels.in_lps_order().voxels
        write_preview(files.place(request.preview), scan.in_lps_order(), labels, boxes, title, warnings)
    maps = [volume for box in result.boxes for volume in box.probabilities or ()]
    if maps:
        for path, volume in zip(probability_paths(request.output, [box.side for box in boxes]), maps, strict=True):
            write_volume(volume, files.place(path))


def probability_paths(output: Path, sides: Sequence[str]) -> list[Path]:
    """Beside the output a file for the kidney and one for the tumor of each box; the second box of a side is `left-2`."""
    names = [side if side not in sides[:index] else f"{side}-{sides[:index].count(side) + 1}" for index, side in enumerate(sides)]
    return [output.with_name(f"{output_stem(output)}_{name}_{what}_probability.nii.gz") for name in names for what in ("kidney", "tumor")]


def manifest_of(
    request: Request, cascade: Cascade, result: Segmentation, measured: Sequence[SideMeasurement], warnings: Sequence[str]
) -> dict[str, Any]:
    """The manifest of a run."""
    record = RunRecord(
        input=Path(public_name(request.source)),
        geometry=result.labels.geometry,
        output=request.output,
        bundle=cascade.bundle.summary(),
        preset=cascade.preset.name,
        merge=cascade.merge,
        device=cascade.engine.device.type,
        precision=cascade.engine.precision_name,
        device_description=cascade.engine.description,
        boxes=[box.part.box for box in result.boxes],
        measurements=[side.to_dict() for side in measured],
        removals=[{"side": box.part.box.side, **removal.to_dict()} for box in result.boxes for removal in box.removals],
        passed_over=result.passed_over,
        seconds=cascade.timer.seconds,
        warnings=warnings,
    )
    return build_manifest(record)


def boxes_to_json(boxes: Sequence[Box], warnings: Sequence[str] = ()) -> dict[str, Any]:
    """What boxes.json holds."""
    return {"schema": 1, "boxes": [box.to_dict() for box in boxes], "warnings": list(warnings)}


def read_boxes(path: Path) -> list[Box]:
    """The boxes of a boxes.json; none where no kidney was found. Raises InputError naming the file and what is wrong in it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InputError(f"{path} is too large for a list of boxes; give the JSON file that the boxes command writes.")
        content = load_json(data)
    except OSError as error:
        raise InputError(f"The boxes {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"{path} is not a JSON file ({reason(error)}); give one that the boxes command wrote.") from error
    if not isinstance(content, dict) or not isinstance(content.get("boxes"), list):
        raise InputError(f"{path} has no list named boxes; give a file that the boxes command wrote.")
    return [read_box(item, f"{path}, box {number}") for number, item in enumerate(content["boxes"], start=1)]


def read_box(item: Any, place: str) -> Box:
    """A box of a boxes.json. Raises InputError that begins with the place and says what is wrong there."""
    try:
        box = Box.from_dict(item)
    except InputError as error:
        raise InputError(f"{place}: {reason(error)}") from error
    except OverflowError as error:
        raise InputError(f"{place}: a number in it is too large; give millimetres.") from error
    if box.source not in SOURCES:
        raise InputError(f"{place}: its source is one of {', '.join(SOURCES)}, not {quote(box.source)}.")
    if max(map(abs, (*box.center, *box.size))) > FARTHEST_MM:
        raise InputError(f"{place}: its centre {box.center} or its size {box.size} is too far away; give millimetres within {FARTHEST_MM:g}.")
    return box
