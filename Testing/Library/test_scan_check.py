"""Every real CT passes; what is no CT, or too little of one, is refused in a sentence, and what is odd but usable is warned of."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.scan_check import check_scan
from KidneyTumorCascadeLib.volume import Volume, read_volume

SIZE = (100, 90, 80)
Array = NDArray[Any]


def body(margin: int = 15) -> Array:
    """Air around a block of fat with soft tissue inside and some bone, in HU with noise."""
    z, y, x = SIZE[::-1]
    hu = np.full((z, y, x), -1000.0)
    hu[:, margin : y - margin, margin : x - margin] = -100
    hu[:, margin + 5 : y - margin - 5, margin + 5 : x - margin - 5] = 60
    hu[:, 60:65, 45:55] = 500
    return (hu + np.random.default_rng(4).normal(0, 12, hu.shape)).astype(np.int16)


def scan(voxels: Array | None = None, spacing: tuple[float, float, float] = (3.0, 3.0, 3.0)) -> Volume:
    voxels = body() if voxels is None else voxels
    z, y, x = voxels.shape
    return Volume(voxels, Geometry((x, y, z), spacing))


def refusal(volume: Volume) -> str:
    with pytest.raises(InputError) as error:
        check_scan(volume, "ct.nii.gz")
    message = str(error.value)
    assert message.startswith("ct.nii.gz ")
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_a_ct_passes_without_a_warning() -> None:
    assert check_scan(scan(), "ct.nii.gz") == []


def test_every_real_ct_passes(shared_data: Path) -> None:
    paths = [*sorted(shared_data.glob("real/*/ct.nii.gz")), *sorted(shared_data.glob("negatives/*.nii.gz"))]
    assert len(paths) >= 13
    for path in paths:
        volume = read_volume(path)
        warnings = check_scan(volume, path.name)
        narrow = min(volume.in_lps_order().geometry.extent[:2]) < 150
        assert len(warnings) == narrow, (path, warnings)


def test_a_crop_without_air_passes(shared_data: Path) -> None:
    """The middle of an abdomen: no air outside, some fat, mostly soft tissue."""
    volume = read_volume(shared_data / "real" / "totalsegmentator_0009" / "ct.nii.gz")
    middle = (slice(40, 120), slice(40, 80), slice(40, 80))
    crop = Volume(volume.voxels[middle], volume.geometry.cropped(middle))
    assert all("field of view" in warning or "top to bottom" in warning for warning in check_scan(crop, "crop"))


def test_padding_of_scanners_and_metal_pass() -> None:
    voxels = body()
    voxels[:, :40] = -3024
    voxels[:, 50, 50] = 32767
    assert check_scan(scan(voxels), "ct.nii.gz") == []


def test_a_small_patient_in_much_padding_passes() -> None:
    voxels = np.full((80, 160, 160), -2000, np.int16)
    voxels[:, 65:95, 65:95] = body()[:, 30:60, 35:65]
    voxels[:, 65:70, 65:95] = -100
    assert check_scan(scan(voxels), "ct.nii.gz") == []


def test_dense_bone_in_fat_and_air_passes() -> None:
    voxels = body()
    voxels[:, 40:65, 20:80] = 1100
    assert check_scan(scan(voxels), "ct.nii.gz") == []


def test_any_view_of_a_scan_is_judged_alike() -> None:
    flipped = scan(body()[::-1, :, ::-1])
    assert check_scan(flipped, "ct.nii.gz") == []


REFUSED: dict[str, tuple[Callable[[Array], Array], str]] = {
    "constant": (np.zeros_like, "is empty: every voxel is 0"),
    "label map": (lambda hu: (hu > 0).astype(np.uint8), "8-bit picture or a label map"),
    "picture": (lambda hu: np.clip((hu + 160) * 0.6, 0, 255).astype(np.uint8), "8-bit picture or a label map"),
    "signed bytes": (lambda hu: hu.astype(np.int8), "8-bit picture or a label map"),
    "negated": (lambda hu: -hu, "upside down"),
    "raw": (lambda hu: np.maximum(hu + 1024, 0), "without the rescale intercept"),
    "raw with noisy air": (lambda hu: hu + 1000, "without the rescale intercept"),
    "raw with padding": (lambda hu: np.where(hu < -950, -2000, hu + 1024), "without the rescale intercept"),
    "wrapped": (lambda hu: hu.view(np.uint16).astype(np.int32), "wrapped round"),
    "magnetic resonance": (lambda hu: np.abs(hu % 700) + 30, "hardly a value below zero"),
    "only padding": (lambda hu: np.where(hu > 0, -2000, -3000), "hardly a value below zero"),
    "zero mean": (lambda hu: ((hu - hu.mean()) / hu.std()).astype(np.float32), "too little contrast"),
    "unit range": (lambda hu: (hu / 1000).astype(np.float32), "too little contrast"),
    "air": (lambda hu: np.where(hu > 480, hu, hu.clip(-1100, -400)), "hardly any soft tissue"),
    "attenuation per mm": (lambda hu: (hu * 1e6).astype(np.float32), "no CT in Hounsfield units"),
    "too low": (lambda hu: np.where(hu < -1020, -50_000, hu.astype(np.int32)), "from -50000 to"),
}


@pytest.mark.parametrize(("change", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_ct_is_refused(change: Callable[[Array], Array], why: str) -> None:
    assert why in refusal(scan(change(body())))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_voxel_that_is_no_number_is_enough(value: float) -> None:
    voxels = body().astype(np.float32)
    voxels[17, 33, 51] = value
    assert "NaN or infinite" in refusal(scan(voxels))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_scan_of_few_voxels_is_refused(axis: int) -> None:
    thin = np.take(body(), range(7), axis=axis)
    message = refusal(scan(thin, (10.0, 10.0, 10.0)))
    assert "too small" in message
    assert "at least 8 voxels" in message


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_scan_of_few_millimetres_is_refused(axis: int) -> None:
    spacing = [3.0, 3.0, 3.0]
    spacing[axis] = 49.0 / SIZE[axis]
    assert "50 mm along each axis" in refusal(scan(spacing=(spacing[0], spacing[1], spacing[2])))
    spacing[axis] = 51.0 / SIZE[axis]
    check_scan(scan(spacing=(spacing[0], spacing[1], spacing[2])), "ct.nii.gz")


def test_a_huge_spacing_is_refused() -> None:
    assert "3 x 3 x 21 mm" in refusal(scan(spacing=(3.0, 3.0, 21.0)))


@pytest.mark.parametrize(
    ("spacing", "words"),
    [
        ((3.0, 3.0, 5.0), []),
        ((3.0, 3.0, 6.0), ["slices of 6 mm"]),
        ((1.4, 3.0, 3.0), ["field of view of 140 x 270 mm"]),
        ((3.0, 3.0, 1.0), ["only 80 mm from top to bottom"]),
        ((1.0, 1.0, 1.0), ["field of view", "top to bottom"]),
    ],
)
def test_odd_grids_are_warned_of(spacing: tuple[float, float, float], words: list[str]) -> None:
    warnings = check_scan(scan(spacing=spacing), "ct.nii.gz")
    assert len(warnings) == len(words)
    for warning, word in zip(warnings, words, strict=True):
        assert word in warning
        assert warning.startswith("ct.nii.gz ")
        assert warning.endswith(".")


def test_the_field_of_view_is_the_patient_s_whatever_the_axes() -> None:
    """Sagittal slices: the array's first axis runs from right to left, and the scan is short along its last one."""
    sagittal = Geometry(SIZE, (3.0, 1.0, 3.0), (0, 0, 0), (0, 0, 1, 1, 0, 0, 0, 1, 0))
    warnings = check_scan(Volume(body(), sagittal), "ct.nii.gz")
    assert ["top to bottom" in warning for warning in warnings] == [True]


def test_values_below_padding_are_warned_of() -> None:
    voxels = body()
    voxels[:, :3] = -32768
    warnings = check_scan(scan(voxels), "ct.nii.gz")
    assert len(warnings) == 1
    assert "-32768" in warnings[0]


def test_what_a_display_window_cut_off_is_warned_of() -> None:
    warnings = check_scan(scan(body().clip(-160, 400)), "ct.nii.gz")
    assert len(warnings) == 1
    assert "nothing below -160 HU" in warnings[0]


def test_a_crop_with_its_own_lowest_value_is_not_taken_for_cut_off() -> None:
    crop = body()[:, 30:60, 35:65]
    crop[:, :4] = -100 + np.random.default_rng(1).normal(0, 12, crop[:, :4].shape)
    assert not [warning for warning in check_scan(scan(crop), "ct.nii.gz") if "cut off" in warning]


def test_no_copy_of_the_scan_is_made() -> None:
    voxels = np.tile(body(), (5, 5, 5))
    volume = scan(voxels, (1.0, 1.0, 1.0))
    tracemalloc.start()
    check_scan(volume, "ct.nii.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.7 * voxels.nbytes
