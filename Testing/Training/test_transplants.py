"""Another patient's kidneys in a scan: labelled exactly, the scan's own gone, bone and everything far away untouched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from KidneyTumorCascadeLib.errors import InputError
from Training.anatomy.anatomies import KidneyMap
from Training.anatomy.anatomy_pool import transplants_of
from Training.anatomy.transplants import parenchyma_of, transplanted
from Training.cases import KIDNEY, TUMOR, Case
from Training.sources import Sources


@pytest.fixture(scope="module")
def patient() -> KidneyMap:
    """Two kidneys on voxels of 2 mm, a tumor on each."""
    z, y, x = np.ogrid[:40, :36, :60]
    labels = np.zeros((40, 36, 60), dtype=np.uint8)
    for middle in (14, 46):
        labels[((z - 20) / 15) ** 2 + ((y - 18) / 10) ** 2 + ((x - middle) / 9) ** 2 <= 1] = 1
        labels[(z - 28) ** 2 + (y - 12) ** 2 + (x - middle) ** 2 <= 36] = 2
    return KidneyMap("patient", labels, 2.0)


def first_that_fits(body: Case, patient: KidneyMap, seed: int = 0) -> Case:
    return next(case for case in (transplanted(body, patient, np.random.default_rng(seed + n)) for n in range(20)) if case is not None)


def test_kidneys_and_tumors_are_labelled_and_look_like_what_they_are(body: Case, patient: KidneyMap) -> None:
    case = first_that_fits(body, patient)
    assert case.hu.shape == body.hu.shape
    assert np.count_nonzero(case.labels == TUMOR) > 300
    assert np.count_nonzero(case.labels == KIDNEY) > 2000
    own = np.median(body.hu[body.labels == KIDNEY])
    assert np.median(case.hu[case.labels == KIDNEY]) == pytest.approx(own, abs=25.0)


def test_what_was_kidney_and_is_none_is_fat(body: Case, patient: KidneyMap) -> None:
    case = first_that_fits(body, patient)
    gone = (body.labels > 0) & ~ndimage.binary_dilation(case.labels > 0, iterations=2)
    changed = gone & (case.hu != body.hu)
    assert changed.any()
    assert np.median(case.hu[changed]) < -50.0


def test_the_case_given_is_not_changed_and_bone_is_spared(body: Case, patient: KidneyMap) -> None:
    hu, labels = body.hu.copy(), body.labels.copy()
    case = first_that_fits(body, patient)
    assert np.array_equal(body.hu, hu)
    assert np.array_equal(body.labels, labels)
    bone = body.hu > 400
    assert not (case.labels[bone & (body.labels == 0)] > 0).any()


def test_the_same_seed_makes_the_same(body: Case, patient: KidneyMap) -> None:
    first, again = first_that_fits(body, patient, 5), first_that_fits(body, patient, 5)
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.labels, again.labels)


def test_a_scan_without_kidneys_takes_none(body: Case, patient: KidneyMap) -> None:
    assert transplanted(replace(body, labels=np.zeros_like(body.labels)), patient, np.random.default_rng(0)) is None


def test_the_parenchyma_is_measured_by_depth() -> None:
    z, y, x = np.ogrid[:40, :40, :40]
    radius = np.sqrt((z - 20.0) ** 2 + (y - 20.0) ** 2 + (x - 20.0) ** 2)
    kidney = radius <= 16
    look = parenchyma_of(np.where(radius > 12, 180.0, 100.0).astype(np.float32), kidney, 2.0)
    assert look.profile[0] == 180.0
    assert look.profile[-1] == 100.0


def test_transplants_without_patients_are_a_sentence(body: Case) -> None:
    with pytest.raises(InputError, match="The train split has no scan with kidneys or no anatomy"):
        list(transplants_of(Sources((), (), 0), "train", [body], 1, 1))
