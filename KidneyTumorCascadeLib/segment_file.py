"""From a scan on disk to everything that is written for it: label map, manifest, preview, probabilities.

The label map is written last but for the manifest, each file whole or not at all; a folder never holds a label map of a run that failed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.bundle import Bundle, load_bundle
from KidneyTumorCascadeLib.cascade import Cascade, Segmentation
from KidneyTumorCascadeLib.device import Engine, choose_device
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Box
from KidneyTumorCascadeLib.json_fields import MAX_BYTES
from KidneyTumorCascadeLib.measurements import SideMeasurement, measure
from KidneyTumorCascadeLib.preview import write_preview
from KidneyTumorCascadeLib.progress import Progress
from KidneyTumorCascadeLib.report import RunRecord, build_manifest, manifest_path, output_stem, require_place_for, write_json
from KidneyTumorCascadeLib.scan_check import check_scan
from KidneyTumorCascadeLib.volume import Volume, read_scan, require_writable, write_volume

READING, MEASURING, WRITING = "reading", "measuring", "writing"


@dataclass(frozen=True)
class Request:
    """One scan to be segmented, and how.

    Attributes:
        source: image file or DICOM folder.
        output: label map, in any format that SimpleITK writes.
        bundle: name or folder of a model bundle; the default one when None.
        preset, merge, device: as in `Cascade` and `choose_device`; merge None is the preset's.
        boxes: to be segmented instead of finding the kidneys.
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
    preview: Path | None = None
    probabilities: bool = False


def open_cascade(request: Request, progress: Progress | None = None, should_stop: Callable[[], bool] | None = None) -> Cascade:
    """The cascade that a request asks for. Raises BundleError, SetupError or InputError."""
    bundle: Bundle = load_bundle(request.bundle)
    engine: Engine = choose_device(request.device)
    cascade = Cascade(bundle, engine, request.preset, request.merge, progress, should_stop)
    cascade.keep_probabilities = request.probabilities
    return cascade


def segment_file(request: Request, cascade: Cascade) -> dict[str, Any]:
    """Segment one scan and write everything that was asked for; returns the manifest.

    Raises:
        InputError: when the scan, a box or an output cannot be used.
        SetupError: when memory or disk run out, or the bundle is damaged.
        Cancelled: when the caller stops it.
    """
    require_writable(request.output)
    for path in (manifest_path(request.output), request.preview):
        require_place_for(path or request.output)
    scan, warnings = read_checked(request.source, cascade)
    result = cascade.segment(scan, request.boxes)
    with cascade.timer.stage(MEASURING):
        cascade.progress(MEASURING, 0, 1)
        measured = measure([box.part for box in result.boxes], scan.in_lps_order())
    warnings += [*cascade.engine.warnings, *result.warnings, *(text for side in measured for text in side.warnings)]
    with cascade.timer.stage(WRITING):
        cascade.progress(WRITING, 0, 1)
        write_pictures_and_probabilities(request, scan, result, warnings)
        write_volume(result.labels, request.output)
    manifest = manifest_of(request, cascade, scan, result, measured, warnings)
    write_json(manifest_path(request.output), manifest)
    cascade.progress(WRITING, 1, 1)
    return manifest


def read_checked(source: Path, cascade: Cascade) -> tuple[Volume, list[str]]:
    """The scan and what is odd about it. Raises InputError when it cannot be used."""
    with cascade.timer.stage(READING):
        cascade.progress(READING, 0, 1)
        scan, warnings = read_scan(source)
        return scan, [*warnings, *check_scan(scan, source.name)]


def write_pictures_and_probabilities(request: Request, scan: Volume, result: Segmentation, warnings: Sequence[str]) -> None:
    """The preview and the probability maps, as far as they were asked for."""
    if request.preview:
        boxes = [box.part.box for box in result.boxes]
        write_preview(request.preview, scan.in_lps_order(), result.labels.in_lps_order().voxels, boxes, request.source.name, warnings)
    for box in result.boxes:
        if box.probabilities is not None:
            for name, volume in zip(("kidney", "tumor"), box.probabilities, strict=True):
                file = f"{output_stem(request.output)}_{box.part.box.side}_{name}_probability.nii.gz"
                write_volume(volume, request.output.with_name(file))


def manifest_of(
    request: Request, cascade: Cascade, scan: Volume, result: Segmentation, measured: Sequence[SideMeasurement], warnings: Sequence[str]
) -> dict[str, Any]:
    """The manifest of a run."""
    record = RunRecord(
        input=request.source,
        geometry=scan.geometry,
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
        seconds=cascade.timer.seconds,
        warnings=warnings,
    )
    return build_manifest(record)


def boxes_to_json(boxes: Sequence[Box], warnings: Sequence[str] = ()) -> dict[str, Any]:
    """What boxes.json holds."""
    return {"schema": 1, "boxes": [box.to_dict() for box in boxes], "warnings": list(warnings)}


def read_boxes(path: Path) -> list[Box]:
    """The boxes of a boxes.json. Raises InputError naming the file and what is wrong in it."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is too large for a list of boxes; give the JSON file that the boxes command writes.")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"The boxes {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a JSON file; give one that the boxes command wrote.") from error
    if not isinstance(content, dict) or not isinstance(content.get("boxes"), list) or not content["boxes"]:
        raise InputError(f"{path} has no list named boxes with at least one box; give a file that the boxes command wrote.")
    try:
        return [Box.from_dict(item) for item in content["boxes"]]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
