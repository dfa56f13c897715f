"""Where a scan ends, and what lies about the patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from Training.cases import AIR_HU, Case
from Training.variation.field_of_view import body_mask, with_circular_view, with_ends_cut, with_kidneys_cut, with_narrow_view, with_other_couch


@pytest.fixture
def patient(body: Case) -> Case:
    """The block of tissue in air, on a flat couch."""
    hu = np.full((72, 100, 110), -1000, dtype=np.int16)
    labels = np.zeros(hu.shape, dtype=np.uint8)
    hu[:, 8:80, 20:92], labels[:, 8:80, 20:92] = body.hu, body.labels
    hu[:, 84:86, 5:105] = 50
    return Case("patient", hu, labels, 2.0)


def test_a_circular_view_is_a_circle_and_cuts_labels_with_it(patient: Case) -> None:
    result = with_circular_view(patient, 60.0, (10.0, -20.0))
    y, x = np.mgrid[:100, :110]
    inside = ((y - 49.5) * 2 - 10) ** 2 + ((x - 54.5) * 2 + 20) ** 2 <= 3600
    assert np.array_equal(result.hu, np.where(inside, patient.hu, AIR_HU))
    assert np.array_equal(result.labels, np.where(inside, patient.labels, 0))


def test_a_view_wider_than_the_scan_cuts_nothing(patient: Case) -> None:
    result = with_circular_view(patient, 500.0)
    assert np.array_equal(result.hu, patient.hu)
    assert np.array_equal(result.labels, patient.labels)


def test_ends_are_cut_at_slices(patient: Case) -> None:
    result = with_ends_cut(patient, 10, 50)
    assert (result.hu[:10] == AIR_HU).all()
    assert (result.hu[50:] == AIR_HU).all()
    assert np.array_equal(result.hu[10:50], patient.hu[10:50])
    assert not result.labels[:10].any()
    assert np.array_equal(result.labels[10:50], patient.labels[10:50])


def test_kidneys_are_cut_and_not_lost(patient: Case) -> None:
    whole = np.count_nonzero(patient.labels)
    for seed in range(10):
        result = with_kidneys_cut(patient, np.random.default_rng(seed))
        assert 0 < np.count_nonzero(result.labels) < whole
        assert ((result.hu == patient.hu) | (result.hu == AIR_HU)).all()
        assert not result.labels[result.hu == AIR_HU].any()
    empty = replace(patient, labels=np.zeros_like(patient.labels))
    assert with_kidneys_cut(empty, np.random.default_rng(0)) is empty


def test_narrow_views_stay_about_the_body(patient: Case) -> None:
    for seed in range(10):
        result = with_narrow_view(patient, np.random.default_rng(seed))
        assert np.array_equal(result.hu[:, 40:50, 50:62], patient.hu[:, 40:50, 50:62])
        assert (result.hu[:, 0, 0] == AIR_HU).all()


def test_the_body_is_found_without_the_couch(patient: Case) -> None:
    mask = body_mask(patient.hu, patient.spacing_mm)
    assert mask[:, 12:76, 24:88].mean() > 0.99
    assert not mask[:, :, :10].any()
    assert not mask[:, 90:, :].any()


def test_another_couch_replaces_the_one_there_was(patient: Case) -> None:
    seen = []
    for seed in range(6):
        result = with_other_couch(patient, np.random.default_rng(seed))
        assert np.array_equal(result.labels, patient.labels)
        # But for the corners of the block; no patient has any.
        assert np.array_equal(result.hu[:, 11:77, 20:92], patient.hu[:, 11:77, 20:92])
        assert (result.hu[:, 84:86, 96:104] < 40).all()
        seen.append(int((result.hu[36, 80:, 54] > -400).sum()))
    assert max(seen) > 0


@pytest.mark.parametrize("change", [with_narrow_view, with_other_couch])
def test_a_scan_of_air_is_left_alone(patient: Case, change) -> None:  # type: ignore[no-untyped-def]
    empty = replace(patient, hu=np.full_like(patient.hu, -1000))
    assert change(empty, np.random.default_rng(0)) is empty
