"""The cascade: scan -> boxes -> probabilities -> labels. The only module that knows the order of things.

Everything happens on the scan seen along its own axes in LPS order, which is a view; only boxes are resampled, segmented, and resampled back
to the scan's own voxels, so that memory grows with the box and not with the scan. Arrays are z, y, x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from KidneyTumorCascadeLib.body import body_midline, body_slices
from KidneyTumorCascadeLib.bundle import Bundle, load_network
from KidneyTumorCascadeLib.component_rules import ComponentRules, Removal, apply_rules
from KidneyTumorCascadeLib.device import PRECISION_VARIABLE, Engine
from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.geometry import Box, Geometry, Size, Slices, Vector
from KidneyTumorCascadeLib.kidney_boxes import NOTHING_FOUND, FoundKidneys, adaptive_boxes, fixed_boxes
from KidneyTumorCascadeLib.labelled_box import LabelledBox
from KidneyTumorCascadeLib.labelling import labels_on, without_faint_tumors
from KidneyTumorCascadeLib.memory_ladder import Rung, climb_down, ladder
from KidneyTumorCascadeLib.merging import MERGES
from KidneyTumorCascadeLib.normalization import for_scan
from KidneyTumorCascadeLib.packed_vnet import PACKED_PRECISIONS, PackedVNet
from KidneyTumorCascadeLib.progress import Progress, Reporter, StageTimer
from KidneyTumorCascadeLib.resampling import resample, thinned
from KidneyTumorCascadeLib.sliding_window import sliding_window, stretched_patch
from KidneyTumorCascadeLib.vnet import VNet
from KidneyTumorCascadeLib.volume import Volume

FINDING, SEGMENTING = "finding kidneys", "segmenting"
TUMOR = 2
Probability = NDArray[np.float32]
Predictor = Callable[[Tensor], Tensor]
T = TypeVar("T")


@dataclass(frozen=True)
class SegmentedBox:
    """What was found in one box.

    Attributes:
        part: labels (z, y, x) of the box's voxels, and where they lie in the scan seen in LPS order.
        removals: what was not believed: faint tumors, and what the component rules took away.
        probabilities: foreground of Kidney-V-Net and Tumor-V-Net on the network's own grid, if they were asked for.
    """

    part: LabelledBox
    removals: list[Removal]
    probabilities: tuple[Volume, Volume] | None = None


@dataclass(frozen=True)
class Segmentation:
    """The result of a whole run.

    Attributes:
        labels: uint8 label map of the scan's own grid: 0 background, 1 kidney, 2 tumor.
        boxes: what was found in each box.
        warnings: one sentence each.
        passed_over: parts of ROI-V-Net's prediction that were not taken for kidney, counted by reason.
    """

    labels: Volume
    boxes: list[SegmentedBox]
    warnings: list[str] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)


class Cascade:
    """Three networks of a bundle, ready to be applied; they are read when first needed and then kept.

    Args:
        bundle: the verified bundle.
        engine: where to compute and how precisely.
        preset: the name of one of the bundle's presets.
        merge: "overlay" or "compare" instead of the preset's rule.
        progress: told of every patch.
        should_stop: asked between patches; True raises Cancelled.

    Raises:
        InputError: when the bundle has no such preset, or there is no such rule.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        preset: str = "standard",
        merge: str | None = None,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.preset = bundle.preset(preset)
        self.merge = merge or self.preset.merge
        if self.merge not in MERGES:
            raise InputError(f"There is no merge rule {self.merge!r}; choose one of {', '.join(MERGES)}.")
        self.progress: Progress = progress or Reporter()
        self.should_stop = should_stop
        self.timer = StageTimer()
        self.keep_probabilities = False
        self.warnings: list[str] = []
        self._rungs = ladder(engine)
        self._networks: dict[tuple[str, torch.device], nn.Module] = {}

    @property
    def tumor_support(self) -> float | None:
        """How probable the Kidney-V-Net must find kidney where a tumor is believed; None where it was trained without tumors."""
        return self.preset.tumor_support if TUMOR in self.bundle.stages["kidney"].foreground else None

    def find_kidneys(self, volume: Volume) -> FoundKidneys:
        """Boxes around the kidneys of a CT (HU, any orientation), by ROI-V-Net over the whole scan."""
        with self.timer.stage(FINDING):
            scan = volume.in_lps_order()
            grid = scan.geometry.resampled(self.bundle.spacing("roi", self.preset))
            probability, midline = self._on_ladder(lambda rung: self._look_for_kidneys(scan, grid, rung))
            rules = self.preset.boxes
            if rules.kind == "fixed":
                boxes = fixed_boxes(probability > rules.threshold, grid, scan.geometry, rules.edge_voxels)
                return FoundKidneys(boxes, whole_half_warnings(boxes))
            return adaptive_boxes(probability, grid, rules, midline)

    def segment_box(self, volume: Volume, box: Box, turn: tuple[int, int] = (0, 1)) -> SegmentedBox:
        """Kidney and tumor in one box of a CT, wherever the box came from. Raises InputError when the box misses the scan.

        `turn` says which of how many boxes this is, so that the progress of all together can be told.
        """

        def on_patch(done: int, total: int) -> None:
            self.progress(SEGMENTING, turn[0] * total + done, turn[1] * total)

        with self.timer.stage(f"{SEGMENTING} {box.side}"):
            scan = volume.in_lps_order()
            slices = box.slices(scan.geometry)
            spacing = self.bundle.spacing("kidney", self.preset)
            grid = with_context(slices, scan.geometry, spacing, self.bundle.stages["kidney"].patch).resampled(spacing)
            kidney, tumor = self._on_ladder(lambda rung: self._predict(hu_on(grid, scan, rung), scan, ("kidney", "tumor"), rung, on_patch))
            target = scan.geometry.cropped(slices)
            believed, faint = without_faint_tumors(kidney, tumor, grid, self.merge, self.tumor_support, self.preset.min_tumor_peak)
            labels = labels_on(target, kidney, believed, grid, self.merge, self.tumor_support)
            labels, removals = apply_rules(labels, target, rules_for(box.side, self.preset.rules))
            kept = (Volume(kidney, grid), Volume(tumor, grid)) if self.keep_probabilities else None
            return SegmentedBox(LabelledBox(box, slices, labels), faint + removals, kept)

    def segment(self, volume: Volume, boxes: Sequence[Box] | None = None) -> Segmentation:
        """The whole cascade over a CT. Boxes that are given are segmented as they are; without any the kidneys are found first."""
        self.warnings = []
        found = self.find_kidneys(volume) if boxes is None else FoundKidneys(list(boxes), [] if boxes else [NOTHING_FOUND])
        parts = [self.segment_box(volume, box, (index, len(found.boxes))) for index, box in enumerate(found.boxes)]
        warnings = [*found.warnings, *empty_box_warnings(parts), *self.warnings]
        return Segmentation(assembled(volume, [part.part for part in parts]), parts, warnings, found.dropped)

    def _look_for_kidneys(self, scan: Volume, grid: Geometry, rung: Rung) -> tuple[Probability, float | None]:
        """ROI-V-Net's probability on the grid, and the midline of the body (LPS x in mm)."""
        hu = hu_on(grid, thinned_scan(scan, grid) if self.preset.thinned else scan, rung)
        part = body_slices(hu, self.bundle.stages["roi"].patch) if self.preset.within_body else (slice(None),) * 3
        (inside,) = self._predict(hu[part], scan, ("roi",), rung, lambda done, total: self.progress(FINDING, done, total))
        probability = np.zeros(grid.shape_zyx, dtype=np.float32)
        probability[part] = inside
        return probability, body_midline(hu, grid)

    def _predict(self, hu: Tensor, scan: Volume, names: Sequence[str], rung: Rung, on_patch: Callable[[int, int], None]) -> list[Probability]:
        """Foreground probabilities (z, y, x) of the named networks, which share one image and one pass over its patches."""
        stage = self.bundle.stages[names[0]]
        normalization = for_scan(stage.normalization, scan.voxels)
        overlap = self.preset.overlap[names[0]]
        depth, height, width = hu.shape
        patch = stretched_patch((depth, height, width), stage.patch, overlap, self.preset.stretch.get(names[0], 1.0), stage.shape.divisor)
        results = sliding_window(
            normalization.apply(hu)[None],
            [self._predictor(name, rung.engine) for name in names],
            patch,
            overlap,
            batch=rung.batch,
            padding_value=normalization.air,
            on_patch=on_patch,
            should_stop=self.should_stop,
            sums_on=rung.sums_on,
        )
        if not all(bool(torch.isfinite(result).all()) for result in results):
            raise SetupError(
                f"The networks gave values that are no numbers with {rung.engine.description}; "
                f"set the environment variable {PRECISION_VARIABLE} to float32 and try again."
            )
        return [result[0].cpu().numpy() for result in results]

    def _predictor(self, name: str, engine: Engine) -> Predictor:
        """What a stage's network says of patches, in the way of the preset."""
        predict = foreground_of(self._network(name, engine.device), engine)
        return with_mirror_image(predict) if self.preset.mirrored else predict

    def _network(self, name: str, device: torch.device) -> nn.Module:
        key = (name, device)
        if key not in self._networks:
            self._networks[key] = prepared(load_network(self.bundle.stages[name], device), self.engine)
        return self._networks[key]

    def _on_ladder(self, work: Callable[[Rung], T]) -> T:
        """Do the work; where memory runs out, again with less need of it, and from then on so. Each step is a warning of the run."""

        def report(step: str) -> None:
            self._networks.clear()
            self._rungs = self._rungs[1:]
            self.engine = self._rungs[0].engine
            self.warnings.append(step)

        return climb_down(self._rungs, work, report)


def prepared(network: nn.Module, engine: Engine) -> nn.Module:
    """A network as it is fastest on its engine: a V-Net on a processor packed, everything else as it is."""
    if isinstance(network, VNet) and engine.device.type == "cpu" and engine.precision in PACKED_PRECISIONS:
        return PackedVNet(network, engine.precision)
    return network


def with_mirror_image(predict: Predictor) -> Predictor:
    """The mean of what a network says of patches (B, 1, z, y, x) and of their images in a mirror, left and right exchanged.

    Networks are trained on mirror images as well, so both answers are as good, and errors of the two are not the same.
    """
    return lambda patches: (predict(patches) + predict(patches.flip(-1)).flip(-1)) / 2


def foreground_of(network: nn.Module, engine: Engine) -> Predictor:
    """(B, 1, z, y, x) -> (B, 1, z, y, x) float32: the probability of the network's foreground."""

    def predict(patches: Tensor) -> Tensor:
        with torch.inference_mode(), engine.autocast():
            logits: Tensor = network(patches)
        if logits.shape[1] == 2:
            # The same as their softmax, in a fraction of its time.
            return torch.sigmoid(logits[:, 1:].float() - logits[:, :1].float())
        return torch.softmax(logits.float(), dim=1)[:, 1:]

    return predict


def rules_for(side: str, rules: ComponentRules) -> ComponentRules:
    """The rules for a box: one around both kidneys may hold twice as many parts."""
    return replace(rules, max_kidney_parts=2 * rules.max_kidney_parts) if side == "both" else rules


def hu_on(grid: Geometry, scan: Volume, rung: Rung) -> Tensor:
    """The scan's HU (z, y, x) on another grid, where the rung computes."""
    return resample(scan.voxels, scan.geometry, grid, rung.engine.device)


def thinned_scan(scan: Volume, grid: Geometry) -> Volume:
    """Those of the scan's voxels that are enough to look at on a coarser grid."""
    return Volume(*thinned(scan.voxels, scan.geometry, grid))


def with_context(slices: Slices, geometry: Geometry, spacing: Vector, patch: Size) -> Geometry:
    """The scan's voxels that a network sees for a box: the box itself, and around a small one as much of the scan as fills a patch.

    Real surroundings beat padding. At the border of the scan the region is moved inwards rather than cut.
    """
    result = []
    for axis, item in enumerate(slices):
        wanted = int(np.ceil(patch[axis] * spacing[2 - axis] / geometry.spacing[2 - axis]))
        length = min(max(item.stop - item.start, wanted), geometry.shape_zyx[axis])
        start = (item.start + item.stop - length) // 2
        start = min(max(start, 0), geometry.shape_zyx[axis] - length)
        result.append(slice(start, start + length))
    return geometry.cropped((result[0], result[1], result[2]))


def assembled(volume: Volume, parts: Sequence[LabelledBox]) -> Volume:
    """The label map of the scan's own grid. Where boxes overlap, tumor wins over kidney and kidney over background."""
    order = volume.geometry.lps_order()
    labels = np.zeros(volume.geometry.shape_zyx, dtype=np.uint8)
    in_lps = order.apply(labels)
    for part in parts:
        in_lps[part.slices] = np.maximum(in_lps[part.slices], part.labels)
    return Volume(labels, volume.geometry)


def whole_half_warnings(boxes: Sequence[Box]) -> list[str]:
    """A sentence for every half in which ROI-V-Net found nothing."""
    return [f"No kidney was found in the {box.side} half of the scan; all of it was searched." for box in boxes if box.source == "whole half"]


def empty_box_warnings(parts: Sequence[SegmentedBox]) -> list[str]:
    """A sentence for every box in which neither kidney nor tumor was found."""
    sides = {"both": "the box across the midline", "left": "the left box", "right": "the right box"}
    return [f"No kidney was found in {sides[part.part.box.side]}." for part in parts if not part.part.labels.any()]
