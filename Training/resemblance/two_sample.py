"""Whether two samples of tumor slices can be told apart: a small network trained on some patients, asked about others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from torch import Tensor, nn

from Training.resemblance.slice_statistics import statistics_of
from Training.resemblance.tumor_slices import PIXEL_MM, TumorSlice

# Which part of a slice is seen: inside the tumor's outline widened by that much, all, or all but that.
INPUTS = ("tumor", "tumor_and_border", "all", "surroundings")
BORDER_MM = 4.0
FOLDS = 3
STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 300, 32, 3e-3, 1e-3
RIDGE = 1.0


def seen(one: TumorSlice, part: str) -> NDArray[np.float32]:
    """A slice's grays, 0 to 1, with what lies outside of that part of it black."""
    if part == "all":
        return one.gray / np.float32(255.0)
    outside_mm = ndimage.distance_transform_edt(~one.tumor) * PIXEL_MM
    within = outside_mm <= (0.0 if part == "tumor" else BORDER_MM)
    return np.where(within != (part == "surroundings"), one.gray, 0.0).astype(np.float32) / np.float32(255.0)


def auc(real: NDArray[np.floating], synthetic: NDArray[np.floating]) -> float:
    """How often a real slice scores above a synthetic one (ties count half): the area under the ROC curve."""
    ranks = stats.rankdata(np.concatenate([real, synthetic]))[: len(real)]
    return float((ranks.sum() - len(real) * (len(real) + 1) / 2.0) / (len(real) * len(synthetic)))


def folds(groups: Sequence[str], rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold of each slice: whole groups, dealt out at random so that folds have about as many groups."""
    names = sorted(set(groups))
    dealt = {names[index]: place % FOLDS for place, index in enumerate(rng.permutation(len(names)))}
    return np.array([dealt[group] for group in groups])


def splits(real: Sequence[TumorSlice], synthetic: Sequence[TumorSlice], rng: np.random.Generator) -> Iterator[tuple[NDArray[np.bool_], ...]]:
    """For each fold, which real and which synthetic slices are tested on; the others are trained on."""
    real_folds, synthetic_folds = (folds([one.group for one in sample], rng) for sample in (real, synthetic))
    for fold in range(FOLDS):
        yield real_folds == fold, synthetic_folds == fold


def make_network() -> nn.Sequential:
    """About 7,000 parameters: more would learn single slices by heart."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, 1)),
    )


def train_network(pictures: Tensor, is_real: Tensor, seed: int) -> nn.Sequential:
    """A network that says how real pictures (n, 1, y, x) look, trained on as many real as synthetic ones, mirrored at random."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = make_network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    kinds = [np.flatnonzero((is_real == kind).numpy()) for kind in (0.0, 1.0)]
    for _ in range(STEPS):
        chosen = np.concatenate([rng.choice(kind, BATCH // 2) for kind in kinds])
        batch = torch.flip(pictures[chosen], [axis for axis in (2, 3) if rng.random() < 0.5])
        loss = nn.functional.binary_cross_entropy_with_logits(network(batch)[:, 0], is_real[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


@torch.no_grad()
def scores_of(network: nn.Sequential, pictures: Tensor) -> NDArray[np.float32]:
    """How real each picture looks, averaged over its mirror images."""
    return np.asarray(sum(network(torch.flip(pictures, axes))[:, 0] for axes in ([], [2], [3], [2, 3])).numpy())


def network_auc(real: Sequence[TumorSlice], synthetic: Sequence[TumorSlice], part: str, repeats: int, seed: int) -> list[float]:
    """The AUC of each fold of each repeat, on slices of patients and scans that the network was not trained on."""
    pictures = torch.from_numpy(np.stack([seen(one, part) for one in [*real, *synthetic]])[:, None])
    is_real = torch.arange(len(pictures)).lt(len(real)).float()
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        for test_real, test_synthetic in splits(real, synthetic, rng):
            tested = np.concatenate([test_real, test_synthetic])
            network = train_network(pictures[~tested], is_real[~tested], int(rng.integers(2**31)))
            found.append(auc(scores_of(network, pictures[: len(real)][test_real]), scores_of(network, pictures[len(real) :][test_synthetic])))
    return found


def statistics_auc(real: Sequence[TumorSlice], synthetic: Sequence[TumorSlice], repeats: int, seed: int) -> list[float]:
    """As `network_auc`, by a line through the statistics instead of a network: little data suffices to learn that."""
    values = np.array([statistics_of(one) for one in [*real, *synthetic]])
    is_real = np.arange(len(values)) < len(real)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        for test_real, test_synthetic in splits(real, synthetic, rng):
            tested = np.concatenate([test_real, test_synthetic])
            scores = linear_scores(values[~tested], is_real[~tested], values)
            found.append(auc(scores[: len(real)][test_real], scores[len(real) :][test_synthetic]))
    return found


def linear_scores(known: NDArray[np.float64], is_real: NDArray[np.bool_], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ridge regression on ranks-like, clipped standard scores, both kinds weighing alike."""
    middle, width = np.median(known, axis=0), known.std(axis=0) + 1e-6
    known, values = (np.clip((some - middle) / width, -3.0, 3.0) for some in (known, values))
    weight = np.where(is_real, 0.5 / is_real.sum(), 0.5 / (~is_real).sum()) * len(known)
    target = np.where(is_real, 1.0, -1.0)
    center = np.average(known, axis=0, weights=weight)
    centered = known - center
    normal = centered.T @ (centered * weight[:, None]) + RIDGE * np.eye(known.shape[1])
    return np.asarray((values - center) @ np.linalg.solve(normal, centered.T @ (weight * target)))
