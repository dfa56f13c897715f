"""Patches for training: where they come from, what they hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from KidneyTumorCascadeLib.normalization import FixedNormalization
from Training.cases import Case
from Training.fitting import dataset
from Training.fitting.augmentation import PLAIN_INTENSITY, PLAIN_SPATIAL
from Training.fitting.case_choice import CaseChoice
from Training.fitting.dataset import PatchSource, Sampling, drawing_device, focus_places, neighbourhood, target_of
from Training.fitting.losses import IGNORED

CPU = torch.device("cpu")
NORMALIZATION = FixedNormalization()
PLAIN = Sampling(
    patch=(16, 18, 20),
    spacing_mm=2.0,
    foreground=(2,),
    focus=(1, 2),
    focus_probability=1.0,
    jitter_mm=10.0,
    spatial=PLAIN_SPATIAL,
    intensity=PLAIN_INTENSITY,
)
AUGMENTED = Sampling(patch=(16, 16, 16), spacing_mm=2.0, foreground=(1, 2), focus=(1, 2))


def source_of(case: Case, sampling: Sampling = PLAIN, seed: int = 0) -> PatchSource:
    return PatchSource([case], sampling, NORMALIZATION, CPU, seed)


def empty_case(name: str = "empty") -> Case:
    return Case(name, np.full((40, 40, 40), -1000, dtype=np.int16), np.zeros((40, 40, 40), dtype=np.uint8), 2.0)


def test_a_plain_patch_is_cut_out_of_the_case(body_with_tumor: Case) -> None:
    """With the patch's middle on a voxel, odd edges and the case's own spacing, no value is interpolated."""
    source = source_of(body_with_tumor, replace(PLAIN, patch=(15, 17, 19), jitter_mm=0.0))
    image, target = source.patch()
    source.generator.manual_seed(0)
    source.choose()
    x, y, z = (int(index) for index in source.center(body_with_tumor, source.places[0]))
    where = slice(z - 7, z + 8), slice(y - 8, y + 9), slice(x - 9, x + 10)
    expected = NORMALIZATION.apply(torch.from_numpy(body_with_tumor.hu[where].astype(np.float32)))
    torch.testing.assert_close(image, expected, atol=1e-3, rtol=0)
    assert np.array_equal(target.numpy(), body_with_tumor.labels[where] == 2)


def test_focus_labels_are_in_the_patch(body_with_tumor: Case) -> None:
    for focus in ((1,), (2,)):
        source = source_of(body_with_tumor, replace(PLAIN, focus=focus, foreground=focus))
        assert all(source.patch()[1].any() for _ in range(25))


def test_rare_labels_are_in_focus_as_often_as_common_ones(body: Case) -> None:
    labels = body.labels.copy()
    labels[36, 36, 20] = 2
    source = source_of(replace(body, labels=labels), replace(PLAIN, patch=(3, 3, 3), jitter_mm=0.0))
    hits = sum(bool(source.patch()[1].any()) for _ in range(100))
    assert 30 < hits < 70


def test_patches_lie_inside_the_scan_where_they_can(body_with_tumor: Case) -> None:
    source = source_of(body_with_tumor, replace(PLAIN, focus_probability=0.3, jitter_mm=80.0))
    half = np.array([10.0, 9.0, 8.0])
    centers = np.array([source.center(body_with_tumor, source.places[0]).numpy() for _ in range(200)])
    assert (centers >= half - 0.5 - 1e-4).all()
    assert (centers <= np.array(body_with_tumor.hu.shape)[::-1] - 0.5 - half + 1e-4).all()
    assert (centers.std(axis=0) > 5.0).all()


def test_a_patch_larger_than_the_scan_is_centred_and_padded_with_air(body: Case) -> None:
    case = body.cropped((slice(0, 10), slice(20, 60), slice(10, 60)))
    source = source_of(case)
    assert all(float(source.center(case, source.places[0])[2]) == 4.5 for _ in range(5))
    image, target = source.patch()
    torch.testing.assert_close(image[[0, 1, 14, 15]], torch.full((4, 18, 20), NORMALIZATION.air))
    assert not target[[0, 1, 14, 15]].any()


@pytest.mark.parametrize("wanted", [0.0, 0.3, 1.0])
def test_cases_without_kidneys_come_as_often_as_asked(body: Case, wanted: float) -> None:
    source = PatchSource([empty_case("a"), body, empty_case("b")], replace(PLAIN, negative_probability=wanted), NORMALIZATION, CPU, 1)
    chosen = [source.choose() for _ in range(300)]
    assert np.mean([index != 1 for index in chosen]) == pytest.approx(wanted, abs=0.09)
    assert wanted == 0.0 or {0, 2} <= set(chosen)


def test_only_cases_without_kidneys_still_give_patches() -> None:
    image, target = source_of(empty_case()).patch()
    torch.testing.assert_close(image, torch.full(PLAIN.patch, NORMALIZATION.air))
    assert not target.any()


def test_batches_have_the_shapes_that_networks_and_losses_take(body_with_tumor: Case) -> None:
    images, targets = source_of(body_with_tumor, AUGMENTED).batch(3)
    assert images.shape == (3, 1, 16, 16, 16)
    assert images.dtype == torch.float32
    assert targets.shape == (3, 16, 16, 16)
    assert targets.dtype == torch.uint8
    assert set(targets.flatten().tolist()) <= {0, 1}


def test_the_same_seed_gives_the_same_batches(body_with_tumor: Case) -> None:
    first, again, other = (source_of(body_with_tumor, AUGMENTED, seed).batch(3) for seed in (5, 5, 6))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_the_generators_state_is_all_there_is_to_go_on_from(body_with_tumor: Case) -> None:
    source = source_of(body_with_tumor, AUGMENTED)
    source.batch(2)
    state = source.generator.get_state()
    expected = source.batch(2)
    other = source_of(body_with_tumor, AUGMENTED, seed=99)
    other.generator.set_state(state)
    found = other.batch(2)
    assert torch.equal(expected[0], found[0])
    assert torch.equal(expected[1], found[1])


def test_augmented_patches_keep_the_kidneys_apart_from_what_is_around_them(body: Case) -> None:
    """The target stays on the tissue that it marks, whatever is done to the patch."""
    source = source_of(body, replace(AUGMENTED, focus=(1,), jitter_mm=5.0, patch=(24, 24, 24)))
    # A patch that the end of the scan cuts may have lost its kidney.
    patches = [(image, target) for image, target in (source.patch() for _ in range(16)) if target.sum() > 50]
    assert len(patches) >= 10
    assert all(image[target > 0].median() > image[target == 0].median() for image, target in patches)


def test_only_the_neighbourhood_that_a_patch_reads_is_taken(body: Case) -> None:
    points = torch.zeros((2, 2, 2, 3))
    where, shifted, center = neighbourhood(body, torch.tensor([30.2, 40.7, 50.0]), points)
    assert all(item.stop - item.start <= 5 for item in where)
    assert torch.equal(center, torch.tensor([30.2, 40.7, 50.0]))
    torch.testing.assert_close(shifted + torch.tensor([float(item.start) for item in reversed(where)]), center)


def test_a_neighbourhood_beyond_the_scan_is_one_voxel_of_it(body: Case) -> None:
    where, _, _ = neighbourhood(body, torch.tensor([500.0, -300.0, 10.0]), torch.zeros((1, 1, 1, 3)))
    assert body.hu[where].size > 0
    assert where[2] == slice(71, 72)
    assert where[1] == slice(0, 1)


def test_places_are_voxels_of_their_label_spread_over_the_organ(body_with_tumor: Case) -> None:
    kidney, tumor = focus_places(body_with_tumor, (1, 2), most=500)
    for places, label in ((kidney, 1), (tumor, 2)):
        assert len(places) == 500
        x, y, z = places.T.numpy()
        assert (body_with_tumor.labels[z, y, x] == label).all()
        assert z.max() - z.min() > 0.8 * np.ptp(np.argwhere(body_with_tumor.labels == label)[:, 0])
    assert focus_places(empty_case(), (1, 2)) == []


def test_patches_are_drawn_where_their_labels_can_be_and_left_where_they_are_needed(body: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawing_device(torch.device("mps")) == torch.device("cpu")
    assert drawing_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    monkeypatch.setattr(dataset, "drawing_device", lambda device: CPU)
    source = PatchSource([body], PLAIN, NORMALIZATION, torch.device("meta"), 0)
    assert (source.device, source.store.device) == (CPU, CPU)
    assert [tensor.device.type for tensor in source.batch(1)] == ["meta", "meta"]


def test_no_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="no training cases"):
        PatchSource([], PLAIN, NORMALIZATION, CPU, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"patch": (16, 16)},
        {"patch": (16, 0, 16)},
        {"spacing_mm": 0.0},
        {"spacing_mm": float("nan")},
        {"jitter_mm": -1.0},
        {"focus_probability": 1.5},
        {"negative_probability": -0.1},
        {"ignore_beyond_mm": -1.0},
        {"foreground": ()},
        {"foreground": (3,)},
        {"focus": (0,)},
    ],
    ids=str,
)
def test_impossible_sampling_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"patch|spacing|probability|foreground|ignore_beyond_mm"):
        replace(PLAIN, **change)  # type: ignore[arg-type]


def test_what_lies_far_from_kidney_and_tumor_is_ignored() -> None:
    kinds = torch.zeros(12, 12, 12, dtype=torch.uint8)
    kinds[5:7, 5:7, 5:7] = 1
    kinds[6, 6, 6] = 2
    sampling = Sampling(patch=(12, 12, 12), spacing_mm=2.0, foreground=(2,), focus=(2,), ignore_beyond_mm=4.0)
    target = target_of(kinds, sampling)
    assert (target == 1).sum() == 1
    assert (target != IGNORED).sum() == 6**3
    assert (target[3:9, 3:9, 3:9] != IGNORED).all()
    assert not (target_of(kinds, replace(sampling, ignore_beyond_mm=None)) == IGNORED).any()


def test_cases_that_the_choice_leaves_out_are_never_drawn_and_others_as_often_as_it_says() -> None:
    cases = [replace(case_with_tumor(tumor_hu), name=str(tumor_hu)) for tumor_hu in (150, 60, 100)]
    sampling = replace(PLAIN, choice=CaseChoice(least_contrast_hu=20.0))
    source = PatchSource(cases, sampling, NORMALIZATION, CPU, seed=0)
    drawn = Counter(source.choose() for _ in range(200))
    assert set(drawn) == {1, 2}
    assert min(drawn.values()) > 60
    with pytest.raises(ValueError, match="leaves none"):
        PatchSource(cases[:1], sampling, NORMALIZATION, CPU, seed=0)


def case_with_tumor(tumor_hu: int) -> Case:
    """A kidney of 150 HU with a tumor of another."""
    labels = np.zeros((40, 40, 40), dtype=np.uint8)
    labels[5:35, 5:35, 5:35] = 1
    labels[10:20, 10:20, 10:20] = 2
    hu = np.choose(labels, [0, 150, tumor_hu]).astype(np.int16)
    return Case("case", hu, labels, 2.0)
