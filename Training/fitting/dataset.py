"""Patches for one stage, drawn from a folder of cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from KidneyTumorCascadeLib.normalization import FixedNormalization
from Training.cases import AIR_HU, KIDNEY, TUMOR, Case
from Training.fitting.augmentation import IntensityRange, SpatialRange, change_intensity, patch_points, sample, uniform
from Training.fitting.case_choice import CaseChoice
from Training.fitting.case_store import CaseStore
from Training.fitting.losses import IGNORED


@dataclass(frozen=True)
class Sampling:
    """What one stage is shown. Raises ValueError, from the constructor, for what cannot be drawn.

    Attributes:
        patch: voxels (z, y, x).
        spacing_mm: edge of a voxel.
        foreground: label values that are this stage's foreground.
        focus: label values to centre patches on, each as often as the others.
        focus_probability: how often a patch is centred on one of them, when the case has any.
        jitter_mm: how far from it the centre may lie.
        negative_probability: how often a patch comes from a case without any kidney.
        ignore_beyond_mm: what is further than this from kidney and tumor does not count; None: everything counts. A tumor network whose
            answers are bounded by a kidney network need not learn the rest of the body.
        choice: which cases training draws more or less often than others; validation draws all alike.
    """

    patch: tuple[int, int, int]
    spacing_mm: float
    foreground: tuple[int, ...]
    focus: tuple[int, ...]
    focus_probability: float = 0.7
    jitter_mm: float = 30.0
    negative_probability: float = 0.05
    ignore_beyond_mm: float | None = None
    spatial: SpatialRange = field(default_factory=SpatialRange)
    intensity: IntensityRange = field(default_factory=IntensityRange)
    choice: CaseChoice = field(default_factory=CaseChoice)

    def __post_init__(self) -> None:
        if len(self.patch) != 3 or min(self.patch) < 1:
            raise ValueError(f"a patch has three edges (z, y, x) of at least one voxel, not {self.patch!r}")
        if not self.spacing_mm > 0 or not self.jitter_mm >= 0:
            raise ValueError(f"a spacing of {self.spacing_mm} mm with a jitter of {self.jitter_mm} mm is impossible")
        if self.ignore_beyond_mm is not None and not self.ignore_beyond_mm >= 0:
            raise ValueError(f"ignore_beyond_mm is a length or null, not {self.ignore_beyond_mm}")
        for name in ("focus_probability", "negative_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is from 0 to 1, not {getattr(self, name)}")
        if not self.foreground or not {*self.foreground, *self.focus} <= {KIDNEY, TUMOR}:
            raise ValueError(f"foreground and focus are of the labels 1 and 2, not {self.foreground} and {self.focus}")


class PatchSource:
    """Draws (input, target) patches; the same seed gives the same patches.

    Args:
        cases: that patches come from.
        sampling: which patches.
        normalization: of all cases, or of each of them.
        device: where patches are made (`drawing_device`) and left.
        seed: of the generator that everything is drawn with.

    Raises ValueError without cases, or when the choice leaves none of them.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        sampling: Sampling,
        normalization: FixedNormalization | Sequence[FixedNormalization],
        device: torch.device,
        seed: int,
    ) -> None:
        if not cases:
            raise ValueError("there are no training cases")
        self.sampling, self.target_device, self.device = sampling, device, drawing_device(device)
        self.cases, self.store = list(cases), CaseStore(cases, self.device)
        self.normalizations = [normalization] * len(cases) if isinstance(normalization, FixedNormalization) else list(normalization)
        self.places = [focus_places(case, sampling.focus) for case in self.cases]
        self.weights = torch.tensor([sampling.choice.weight(case) for case in self.cases])
        self.groups = [group for group in split_by_labels(self.cases) if self.weights[group].sum() > 0]
        if not self.groups:
            raise ValueError("the choice of cases leaves none")
        self.generator = torch.Generator().manual_seed(seed)

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Inputs (B, 1, z, y, x) float32, targets (B, z, y, x) uint8: 0, 1, or IGNORED."""
        pairs = [self.patch() for _ in range(size)]
        images, targets = torch.stack([image for image, _ in pairs])[:, None], torch.stack([target for _, target in pairs])
        return images.to(self.target_device), targets.to(self.target_device)

    def patch(self) -> tuple[Tensor, Tensor]:
        """One augmented, normalized patch (z, y, x) and its target."""
        index = self.choose()
        case, sampling = self.cases[index], self.sampling
        center = self.center(case, self.places[index])
        points = patch_points(sampling.patch, sampling.spacing_mm, sampling.spatial, self.generator, self.device)
        where, shifted, center = neighbourhood(case, center, points)
        hu, labels = self.store.crop(index, where)
        image = sample(hu - AIR_HU, shifted, points, case.spacing_mm) + AIR_HU
        kinds = sample(labels, shifted, points, case.spacing_mm, mode="nearest").round().to(torch.uint8)
        image, kinds = change_intensity(image, kinds, sampling.intensity, self.generator)
        return self.normalizations[index].apply(image), target_of(kinds, sampling)

    def choose(self) -> int:
        """Index of a case: one without kidneys as often as the sampling says, when there are both kinds."""
        group = self.groups[0]
        if len(self.groups) == 2 and uniform(0, 1, self.generator) < self.sampling.negative_probability:
            group = self.groups[1]
        return group[int(torch.multinomial(self.weights[group], 1, generator=self.generator))]

    def center(self, case: Case, places: Sequence[Tensor]) -> Tensor:
        """Voxel index x, y, z of the middle of a patch, such that the patch lies inside the scan where that is possible, as it does in use."""
        size = torch.tensor(list(reversed(case.hu.shape)), dtype=torch.float32)
        if len(places) and uniform(0, 1, self.generator) < self.sampling.focus_probability:
            voxels = places[int(torch.randint(len(places), (), generator=self.generator))]
            chosen = voxels[int(torch.randint(len(voxels), (), generator=self.generator))].float()
            wanted = chosen + (torch.rand(3, generator=self.generator) * 2.0 - 1.0) * self.sampling.jitter_mm / case.spacing_mm
        else:
            wanted = torch.rand(3, generator=self.generator) * (size - 1.0)
        half = torch.tensor(list(reversed(self.sampling.patch))) * self.sampling.spacing_mm / case.spacing_mm / 2.0
        middle = (size - 1.0) / 2.0
        return torch.maximum(torch.minimum(wanted, torch.maximum(size - 1.0 - half, middle)), torch.minimum(half, middle))


def drawing_device(device: torch.device) -> torch.device:
    """Where patches for a device are made: on it, but for Apple's GPU, which cannot take the nearest of a volume's labels."""
    return torch.device("cpu") if device.type == "mps" else device


def target_of(kinds: Tensor, sampling: Sampling) -> Tensor:
    """1 where a label (z, y, x) is one of the foreground's, 0 elsewhere, IGNORED where nothing counts; uint8."""
    target = torch.isin(kinds, torch.tensor(sampling.foreground, dtype=torch.uint8, device=kinds.device)).to(torch.uint8)
    if sampling.ignore_beyond_mm is not None:
        reach = round(sampling.ignore_beyond_mm / sampling.spacing_mm)
        near = (kinds > 0).float()[None, None]
        # A cube is as far as its edges reach, one after the other: 3 n comparisons instead of n cubed.
        for edges in ((1, 1, 2 * reach + 1), (1, 2 * reach + 1, 1), (2 * reach + 1, 1, 1)):
            near = F.max_pool3d(near, kernel_size=edges, stride=1, padding=[edge // 2 for edge in edges])
        target[near[0, 0] == 0] = IGNORED
    return target


def split_by_labels(cases: Sequence[Case]) -> tuple[list[int], list[int]]:
    """Indices of the cases with kidneys and of those without."""
    positive = [index for index, case in enumerate(cases) if case.labels.any()]
    return positive, [index for index, case in enumerate(cases) if not case.labels.any()]


def focus_places(case: Case, focus: Sequence[int], most: int = 4000) -> list[Tensor]:
    """For each label to centre patches on that the case has: up to `most` of its voxels (x, y, z), evenly drawn."""
    places = []
    for label in focus:
        found = np.argwhere(case.labels == label)[:, ::-1]
        if len(found) > most:
            found = found[np.linspace(0, len(found) - 1, most).astype(int)]
        if len(found):
            places.append(torch.from_numpy(found.copy()))
    return places


def neighbourhood(case: Case, center: Tensor, points: Tensor) -> tuple[tuple[slice, slice, slice], Tensor, Tensor]:
    """The part of a case (z, y, x) that a deformed patch reads, and the centre within it: only that part becomes floating point."""
    flat = points.reshape(-1, 3) / case.spacing_mm
    low = torch.floor(center + flat.amin(dim=0).cpu()).long() - 1
    high = torch.ceil(center + flat.amax(dim=0).cpu()).long() + 2
    size = torch.tensor(list(reversed(case.hu.shape)))
    low = torch.minimum(low.clamp(min=0), size - 1)
    high = torch.maximum(torch.minimum(high, size), low + 1)
    z, y, x = (slice(int(low[axis]), int(high[axis])) for axis in (2, 1, 0))
    return (z, y, x), center - low, center
