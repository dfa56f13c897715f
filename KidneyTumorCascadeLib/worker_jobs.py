"""What the worker does for its client, and what it keeps warm in between: open scans, a bundle's networks on a device.

Every result is that of the library's `Cascade`, voxel for voxel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.nn.modules.module import register_module_forward_pre_hook

from KidneyTumorCascadeLib.bundle import Bundle, FoundBundle, list_bundles, load_bundle, verify_bundle, verify_hashes
from KidneyTumorCascadeLib.bundle_store import install_bundle, remove_bundle
from KidneyTumorCascadeLib.cascade import Cascade, SegmentedBox, empty_box_warnings
from KidneyTumorCascadeLib.device import choose_device, is_out_of_memory, release_memory
from KidneyTumorCascadeLib.environment import environment_report
from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.geometry import Box
from KidneyTumorCascadeLib.kidney_boxes import NOTHING_FOUND, FoundKidneys
from KidneyTumorCascadeLib.measurements import SideMeasurement, measure, overlap_warnings
from KidneyTumorCascadeLib.merging import MERGES
from KidneyTumorCascadeLib.progress import Clock, Reporter, StageTimer
from KidneyTumorCascadeLib.report import RunRecord, build_manifest
from KidneyTumorCascadeLib.volume import Volume
from KidneyTumorCascadeLib.worker_messages import (
    FINDING,
    MERGING,
    PREPARING,
    Found,
    MapFile,
    Options,
    Part,
    ScanFile,
    Segmented,
    boxes_from_list,
    object_of,
    require_known,
    text_of,
)
from KidneyTumorCascadeLib.worker_protocol import (
    CLOSE_SCAN,
    ENVIRONMENT,
    FIND_KIDNEYS,
    INSTALL_BUNDLE,
    LIST_BUNDLES,
    OPEN_SCAN,
    REMOVE_BUNDLE,
    SEGMENT,
    SEGMENT_BOXES,
    VERIFY_BUNDLE,
)
from KidneyTumorCascadeLib.worker_results import ResultFolder, in_own_order
from KidneyTumorCascadeLib.worker_scans import OpenScan, Scans, scan_answer
from KidneyTumorCascadeLib.worker_task import SEGMENTING, Task, TaskProgress

Handler = Callable[[Task, Path], Mapping[str, Any]]


class Workbench:
    """What the worker's requests work with. One request at a time."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.scans = Scans()
        self._clock = clock
        self._cascade: Cascade | None = None
        self._made_for: tuple[Path, str, str] | None = None
        self._handlers: Mapping[str, Handler] = {
            ENVIRONMENT: lambda task, folder: {"report": environment_report()},
            LIST_BUNDLES: lambda task, folder: {"bundles": [describe_bundle(found) for found in list_bundles()]},
            INSTALL_BUNDLE: lambda task, folder: {"bundle": describe_bundle(installed(Path(text_of(task.params, "zip"))))},
            VERIFY_BUNDLE: lambda task, folder: {"findings": verify_bundle(load_bundle(text_of(task.params, "name")).folder)},
            REMOVE_BUNDLE: lambda task, folder: {"folder": str(remove_bundle(text_of(task.params, "name")))},
            OPEN_SCAN: lambda task, folder: scan_answer(*self.scans.open(ScanFile.from_dict(task.params))),
            CLOSE_SCAN: self._close_scan,
            FIND_KIDNEYS: self._find_kidneys,
            SEGMENT_BOXES: self._segment_boxes,
            SEGMENT: self._segment,
        }

    def run(self, task: Task, folder: Path) -> Mapping[str, Any]:
        """The result of a request, its files in the folder.

        Raises:
            CascadeError: for everything that the user or the client can do something about.
        """
        try:
            return self._handlers[task.method](task, folder)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise SetupError("There is not enough memory for this; close other programs and try again.") from error

    def release(self) -> None:
        """Give back the networks' memory; the next request reads them again."""
        cascade, self._cascade, self._made_for = self._cascade, None, None
        if cascade is not None:
            device = cascade.engine.device
            del cascade
            release_memory(device)

    def _close_scan(self, task: Task, folder: Path) -> Mapping[str, Any]:
        self.scans.close(task.params.get("scan_id"))
        return {}

    def _find_kidneys(self, task: Task, folder: Path) -> Mapping[str, Any]:
        require_known(task.params, ("scan_id", "options"))
        with self._run(task) as run:
            found = run.find_kidneys()
            run.progress.finish()
        return Found(found.boxes, [*run.cascade.engine.warnings, *found.warnings, *run.cascade.warnings]).to_dict()

    def _segment_boxes(self, task: Task, folder: Path) -> Mapping[str, Any]:
        require_known(task.params, ("scan_id", "boxes", "options"))
        boxes = boxes_from_list(task.params)
        with self._run(task) as run:
            return run.segment(FoundKidneys(boxes, [] if boxes else [NOTHING_FOUND]), folder)

    def _segment(self, task: Task, folder: Path) -> Mapping[str, Any]:
        require_known(task.params, ("scan_id", "options"))
        with self._run(task) as run:
            return run.segment(run.find_kidneys(), folder)

    @contextmanager
    def _run(self, task: Task) -> Iterator[Run]:
        """A run of the cascade over a scan as a request asks for it; what it leaves behind in the cascade is tidied away."""
        scan, options = self.scans.get(task.params.get("scan_id")), Options.from_dict(object_of(task.params, "options"))
        progress = TaskProgress(task, self._clock)
        cascade = self._prepared(options, task)
        cascade.bundle = scan.settled(cascade.bundle)
        cascade.progress, cascade.should_stop = progress, lambda: task.stopped
        progress(PREPARING, 1, 1)
        try:
            with stopping_between_layers(task):
                yield Run(task, scan, cascade, progress)
        finally:
            cascade.progress, cascade.should_stop = Reporter(), None

    def _prepared(self, options: Options, task: Task) -> Cascade:
        """The cascade for these options; the one of the last request, with its networks, where bundle and device are the same."""
        bundle = load_bundle(options.bundle)
        preset = bundle.preset(options.preset)
        if options.merge not in (None, *MERGES):
            raise InputError(f"There is no merge rule {options.merge!r}; choose one of {', '.join(MERGES)}.")
        cascade = self._cascade_of(bundle, options.device, task)
        cascade.bundle, cascade.preset, cascade.merge = bundle, preset, options.merge or preset.merge
        cascade.keep_probabilities, cascade.timer, cascade.warnings = options.probabilities, StageTimer(), []
        return cascade

    def _cascade_of(self, bundle: Bundle, device: str, task: Task) -> Cascade:
        wanted = (bundle.folder, bundle.digest, device)
        if self._cascade is None or self._made_for != wanted:
            self.release()
            verify_hashes(bundle)
            task.check()
            self._cascade, self._made_for = Cascade(bundle, choose_device(device)), wanted
            task.log(f"Using the bundle {bundle.name} {bundle.version} on {self._cascade.engine.description}.")
        return self._cascade


class Run:
    """One run of a prepared cascade over a scan."""

    def __init__(self, task: Task, scan: OpenScan, cascade: Cascade, progress: TaskProgress) -> None:
        self.task, self.scan, self.cascade, self.progress = task, scan, cascade, progress

    def find_kidneys(self) -> FoundKidneys:
        """Boxes around the kidneys."""
        self.progress(FINDING, 0, 1)
        found = self.cascade.find_kidneys(self.scan.volume)
        self.task.check()
        return found

    def segment(self, found: FoundKidneys, folder: Path) -> Mapping[str, Any]:
        """Segment the boxes; the answer to segment and segment_boxes, its files in the folder."""
        for box in found.boxes:
            box.slices(self.scan.in_lps_order.geometry)  # One beside the scan is refused before the first is segmented.
        segmented = [self._segment_box(box, index, len(found.boxes)) for index, box in enumerate(found.boxes)]
        self.progress(MERGING, 0, 2)
        with self.cascade.timer.stage(MERGING):
            parts = [item.part for item in segmented]
            measured = measure(parts, self.scan.in_lps_order)
        own = [*self.cascade.engine.warnings, *found.warnings, *empty_box_warnings(segmented), *self.cascade.warnings]
        warnings = [*self.scan.warnings, *own, *(text for side in measured for text in side.warnings), *overlap_warnings(parts)]
        self.progress(MERGING, 1, 2)
        with ResultFolder(folder) as files:
            written = [self._write(files, number, *item) for number, item in enumerate(zip(segmented, measured, strict=True))]
            result = Segmented(files.path, written, warnings, self._manifest(found, segmented, measured, warnings)).to_dict()
            self.progress.finish()
            self.task.settle()
            files.keep()
        return result

    def _segment_box(self, box: Box, index: int, count: int) -> SegmentedBox:
        self.task.check()
        self.progress.side = box.side
        self.progress(SEGMENTING, index, count)
        return self.cascade.segment_box(self.scan.volume, box, (index, count))

    def _write(self, files: ResultFolder, number: int, item: SegmentedBox, measured: SideMeasurement) -> Part:
        """Write one box's arrays. The names tell boxes of the same side apart."""
        self.task.check()
        box = item.part.box
        start, labels = in_own_order(item.part, self.scan.volume.geometry)
        maps = dict(zip(("kidney", "tumor"), item.probabilities or (), strict=False))
        probabilities = {name: write_map(files, f"{number}-{box.side}-{name}-probability", volume) for name, volume in maps.items()}
        return Part(box, files.save(f"{number}-{box.side}-labels", labels), start, measured.to_dict(), probabilities)

    def _manifest(
        self, found: FoundKidneys, segmented: Sequence[SegmentedBox], measured: Sequence[SideMeasurement], warnings: Sequence[str]
    ) -> Mapping[str, Any]:
        cascade = self.cascade
        record = RunRecord(
            input=Path(self.scan.name),
            geometry=self.scan.volume.geometry,
            output=Path("labels"),
            bundle=cascade.bundle.summary(),
            preset=cascade.preset.name,
            merge=cascade.merge,
            device=cascade.engine.device.type,
            precision=cascade.engine.precision_name,
            device_description=cascade.engine.description,
            boxes=[item.part.box for item in segmented],
            measurements=[side.to_dict() for side in measured],
            removals=[{"side": item.part.box.side, **removal.to_dict()} for item in segmented for removal in item.removals],
            passed_over=found.dropped,
            seconds=cascade.timer.seconds,
            warnings=warnings,
        )
        return build_manifest(record)


def write_map(files: ResultFolder, name: str, volume: Volume) -> MapFile:
    """Write a probability map."""
    return MapFile(files.save(name, volume.voxels), volume.geometry)


@contextmanager
def stopping_between_layers(task: Task) -> Iterator[None]:
    """Within it, networks raise Cancelled in the middle of a patch: on a slow CPU one takes a second."""
    hook = register_module_forward_pre_hook(lambda module, inputs: task.check())
    try:
        yield
    finally:
        hook.remove()


def installed(zip_path: Path) -> FoundBundle:
    """Install a bundle and describe it as a list of bundles does."""
    bundle = install_bundle(zip_path)
    return FoundBundle(bundle.name, bundle.folder, bundle)


def describe_bundle(found: FoundBundle) -> Mapping[str, Any]:
    """A bundle for a list to choose from; of a damaged one only what is wrong with it."""
    common = {"name": found.name, "folder": str(found.folder), "problem": found.problem}
    if found.bundle is None:
        return {**common, "version": None, "licence": None, "description": None, "presets": []}
    presets = [{"name": preset.name, "description": preset.description} for preset in found.bundle.presets.values()]
    return {
        **common,
        "version": found.bundle.version,
        "licence": found.bundle.licence,
        "description": found.bundle.description,
        "presets": presets,
    }
