"""Whether a probability means what it says: of all voxels with the probability 0.7, seven in ten should be kidney (or tumor).

The table has ten equal bins of the predicted probability of the foreground, each with the mean probability and the observed frequency
(DeGroot and Fienberg 1983; Niculescu-Mizil and Caruana 2005). The expected calibration error is the mean gap between the two, each bin
weighted by its voxels (Naeini et al. 2015); as nearly all voxels of a box are certain background, it is small for most networks, so the mean
gap of the bins alike (average calibration error, Neumann et al. 2018) stands beside it. Tables of several scans are added up, so no
probabilities need to be kept.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.bundle import Bundle
from KidneyTumorCascadeLib.cascade import SegmentedBox
from KidneyTumorCascadeLib.errors import SetupError
from KidneyTumorCascadeLib.geometry import Geometry, Slices
from KidneyTumorCascadeLib.report import write_bytes_atomically
from KidneyTumorCascadeLib.resampling import resample
from KidneyTumorCascadeLib.volume import Volume

BINS = 10
REGIONS = ("kidney", "tumor")


@dataclass(frozen=True)
class Reliability:
    """The voxels of each bin of probability.

    Attributes:
        voxels: how many there are.
        probabilities: the sum of their probabilities.
        positives: how many of them are foreground in the reference.
    """

    voxels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    positives: NDArray[np.int64]

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(self.voxels + other.voxels, self.probabilities + other.probabilities, self.positives + other.positives)

    @classmethod
    def none(cls) -> Reliability:
        """Of no voxels."""
        return cls(np.zeros(BINS, np.int64), np.zeros(BINS), np.zeros(BINS, np.int64))

    @classmethod
    def from_dict(cls, values: Mapping[str, Sequence[float]]) -> Reliability:
        """What `to_dict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        table = cls(*(np.asarray(values[name]) for name in ("voxels", "probabilities", "positives")))
        if any(column.shape != (BINS,) for column in (table.voxels, table.probabilities, table.positives)):
            raise ValueError(f"a reliability table has {BINS} bins")
        return table

    def to_dict(self) -> dict[str, list[float]]:
        """In plain JSON types."""
        sums = [round(value, 6) for value in self.probabilities.tolist()]
        return {"voxels": self.voxels.tolist(), "probabilities": sums, "positives": self.positives.tolist()}

    @property
    def used(self) -> NDArray[np.bool_]:
        """The bins that have voxels."""
        return np.asarray(self.voxels > 0)

    @property
    def mean_probability(self) -> NDArray[np.float64]:
        """Of each used bin."""
        return np.asarray(self.probabilities[self.used] / self.voxels[self.used])

    @property
    def frequency(self) -> NDArray[np.float64]:
        """How often each used bin's voxels are foreground."""
        return np.asarray(self.positives[self.used] / self.voxels[self.used])

    @property
    def expected_error(self) -> float | None:
        """The expected calibration error, 0 to 1; None without voxels."""
        if not self.used.any():
            return None
        return float(np.average(np.abs(self.mean_probability - self.frequency), weights=self.voxels[self.used]))

    @property
    def average_error(self) -> float | None:
        """The mean gap of the used bins, all alike, 0 to 1; None without voxels."""
        return float(np.abs(self.mean_probability - self.frequency).mean()) if self.used.any() else None


def reliability(probabilities: NDArray[Any], foreground: NDArray[np.bool_]) -> Reliability:
    """The table of one array of probabilities and the reference of the same shape. The last bin includes 1."""
    values = np.asarray(probabilities, dtype=np.float64).ravel()
    bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
    return Reliability(
        np.bincount(bins, minlength=BINS),
        np.bincount(bins, weights=values, minlength=BINS).astype(np.float64),
        np.bincount(bins[foreground.ravel()], minlength=BINS),
    )


def reliability_in_boxes(
    boxes: Sequence[SegmentedBox], labels: Volume, bundle: Bundle, support: float | None, regions: Sequence[str] = REGIONS
) -> dict[str, Reliability]:
    """The tables of kidney and tumor in the boxes of one scan, on the networks' own voxels.

    Args:
        boxes: with their probabilities.
        labels: the reference in LPS order.
        bundle: tells which labels each network takes for foreground.
        support: of a tumor by the Kidney-V-Net, as in `merging`.
        regions: which of the two tables are wanted.
    """
    tables = {region: Reliability.none() for region in regions}
    for box in boxes:
        for region, volume in probabilities_of(box, support).items():
            if region in tables:
                tables[region] += reliability_in_box(volume, box.part.slices, labels, bundle.stages[region].foreground)
    return tables


def probabilities_of(box: SegmentedBox, support: float | None) -> dict[str, Volume]:
    """What a box's probabilities mean once they are merged; empty when they were not kept.

    Where Kidney-V-Net takes tumors in, merging believes Tumor-V-Net only where it has the support of the other: tumor is no more probable than
    kidney, with kidney's probabilities stretched such that the support becomes 0.5. Elsewhere, Tumor-V-Net need not have learned anything.
    """
    if box.probabilities is None:
        return {}
    kidney, tumor = box.probabilities
    if support is not None:
        # Without any support needed, whatever kidney has is enough.
        most = kidney.voxels * np.float32(0.5 / support) if support else np.float32(1.0)
        tumor = replace(tumor, voxels=np.minimum(most, tumor.voxels))
    return {"kidney": kidney, "tumor": tumor}


def reliability_in_box(probabilities: Volume, box: Slices, labels: Volume, foreground: Sequence[int]) -> Reliability:
    """The table of one network in one box, which is given in voxels (z, y, x) of the reference."""
    inside = voxels_within(probabilities.geometry, labels.geometry.cropped(box))
    grid = probabilities.geometry.cropped(inside)
    mask = np.isin(labels.voxels, foreground).astype(np.uint8)
    return reliability(probabilities.voxels[inside], resample(mask, labels.geometry, grid).numpy() > 0.5)


def voxels_within(grid: Geometry, box: Geometry) -> Slices:
    """The voxels (z, y, x) of a grid whose centres lie within another grid with the same axes."""
    first = grid.to_index(box.to_patient((-0.5, -0.5, -0.5)))
    last = grid.to_index(box.to_patient((box.size[0] - 0.5, box.size[1] - 0.5, box.size[2] - 0.5)))
    # The rounding lets a voxel count that lies on the box's face.
    bounds = [
        slice(max(0, int(np.ceil(round(low, 4)))), min(size, int(np.floor(round(high, 4))) + 1))
        for low, high, size in zip(first.tolist(), last.tolist(), grid.size, strict=True)
    ]
    return bounds[2], bounds[1], bounds[0]


def write_reliability_plot(path: Path, tables: Mapping[str, Reliability], title: str) -> None:
    """A reliability diagram as a PNG file. Raises SetupError when matplotlib is not installed, and what `write_bytes_atomically` raises."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SetupError("The reliability plot needs the package matplotlib; install it with: pip install matplotlib") from error
    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for axes, (region, table) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        draw_reliability(axes, region, table)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_bytes_atomically(path, content.getvalue())


def draw_reliability(axes: Any, region: str, table: Reliability) -> None:
    """One network's diagram: observed frequency against probability, with the voxels of each bin behind it on a log scale."""
    counts = axes.twinx()
    counts.bar((np.arange(BINS) + 0.5) / BINS, table.voxels, width=0.9 / BINS, color="0.85")
    counts.set(ylim=(1.0, 2.0 * max(int(table.voxels.max()), 5)), yscale="log" if table.used.any() else "linear")
    counts.set_ylabel("voxels", color="0.5")
    axes.set_zorder(counts.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot([0, 1], [0, 1], "--", color="0.5", linewidth=1)
    axes.plot(table.mean_probability, table.frequency, "o-", color="tab:blue", clip_on=False)
    error = "no voxels" if table.expected_error is None else f"ECE {table.expected_error:.4f}, mean gap {table.average_error:.3f}"
    axes.set(title=f"{region}: {error}", xlabel="predicted probability", ylabel="observed frequency", xlim=(0, 1), ylim=(0, 1))
