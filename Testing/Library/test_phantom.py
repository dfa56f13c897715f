"""The phantom: the truth that it comes with has to be true, whatever its spacing and orientation."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib import phantom as module
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.phantom import Phantom, PhantomSettings, make_phantom, orientations
from KidneyTumorCascadeLib.phantom_kidneys import TUMOR_HU, TUMOR_KINDS, Kidney
from KidneyTumorCascadeLib.volume import Volume

COARSE = PhantomSettings(seed=3, spacing=(5, 6, 7))
QUIET = PhantomSettings(tumors=0, cysts=0, spacing=(4, 4, 4), noise_sd=0)
AROUND_KIDNEYS = (270, 170, 210)
SPHERE = np.pi / 6000.0


@lru_cache(maxsize=16)
def made(settings: PhantomSettings) -> Phantom:
    return make_phantom(settings)


def kidney_side(labels: Volume, side: str) -> NDArray[np.bool_]:
    """Kidney and tumor left or right of the patient's middle (x = 0 in a phantom that is not oblique)."""
    x = labels.geometry.to_patient(np.stack([np.arange(labels.geometry.size[0]), *(np.zeros((2, labels.geometry.size[0])))], axis=1))[:, 0]
    return (labels.voxels > 0) & ((x < 0) if side == "right" else (x > 0))


def points(labels: Volume, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """LPS mm of the voxels of a mask."""
    return labels.geometry.to_patient(np.argwhere(mask)[:, ::-1])


def test_the_same_settings_give_the_same_bits() -> None:
    again = make_phantom(COARSE)
    assert np.array_equal(made(COARSE).volume.voxels, again.volume.voxels)
    assert np.array_equal(made(COARSE).labels.voxels, again.labels.voxels)
    assert made(COARSE).volume.geometry == again.volume.geometry


def test_another_seed_is_another_patient() -> None:
    other = make_phantom(replace(COARSE, seed=4))
    assert (made(COARSE).labels.voxels != other.labels.voxels).mean() > 0.005


def test_types_and_range() -> None:
    phantom = made(COARSE)
    assert phantom.volume.voxels.dtype == np.int16
    assert phantom.labels.voxels.dtype == np.uint8
    assert set(np.unique(phantom.labels.voxels)) == {0, 1, 2}
    assert phantom.volume.voxels.min() >= -1024
    assert phantom.volume.geometry == phantom.labels.geometry


@pytest.mark.parametrize("slab", [1, 30_000])
def test_slabs_of_any_thickness_give_the_same_phantom(slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLAB_VOXELS", slab)
    phantom = make_phantom(COARSE)
    assert np.array_equal(phantom.labels.voxels, made(COARSE).labels.voxels)
    assert np.abs(phantom.volume.voxels - made(COARSE).volume.voxels).max() <= 1


@pytest.mark.parametrize("code", orientations())
def test_all_orientations_are_the_same_patient_in_the_same_place(code: str) -> None:
    settings = replace(COARSE, orientation=code, spacing=(9, 11, 13))
    reference = made(replace(settings, orientation="LPS"))
    phantom = make_phantom(settings)
    assert sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(phantom.volume.geometry.direction) == code
    for turned, upright in ((phantom.volume, reference.volume), (phantom.labels, reference.labels)):
        view = turned.in_lps_order()
        assert view.geometry.matches(upright.geometry)
        assert np.array_equal(view.voxels, upright.voxels)


def test_the_48_orientations_are_all_there() -> None:
    assert len(set(orientations())) == 48


@pytest.mark.parametrize("code", ["LPS", "SRA"])
def test_oblique_turns_grid_and_patient_together_about_the_middle(code: str) -> None:
    upright = make_phantom(replace(COARSE, orientation=code))
    oblique = make_phantom(replace(COARSE, orientation=code, oblique_degrees=20))
    assert np.array_equal(upright.volume.voxels, oblique.volume.voxels)
    turn = oblique.volume.geometry.axes @ upright.volume.geometry.axes.T
    assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) == pytest.approx(20, abs=1e-6)
    assert np.linalg.det(turn) == pytest.approx(1)
    middle = (np.array(upright.volume.geometry.size) - 1) / 2
    assert np.allclose(upright.volume.geometry.to_patient(middle), oblique.volume.geometry.to_patient(middle))
    assert oblique.volume.geometry.lps_order() == upright.volume.geometry.lps_order()


@pytest.mark.parametrize("seed", [0, 7])
def test_volumes_do_not_depend_on_the_spacing(seed: int) -> None:
    coarse, fine = (
        made(PhantomSettings(seed=seed, tumors=2, spacing=spacing, size_mm=(270, 180, 240))).labels for spacing in ((3.0, 3.0, 4.0), (2.1, 2.4, 2.2))
    )
    for label, tolerance in ((1, 0.03), (2, 0.06)):
        volumes = [(labels.voxels == label).sum() * labels.geometry.voxel_ml for labels in (coarse, fine)]
        assert volumes[0] == pytest.approx(volumes[1], rel=tolerance)
    for side in ("right", "left"):
        centers = [points(labels, kidney_side(labels, side)).mean(axis=0) for labels in (coarse, fine)]
        assert np.allclose(centers[0], centers[1], atol=0.7)


@pytest.mark.parametrize("seed", range(4))
def test_kidneys_lie_as_kidneys_do(seed: int) -> None:
    labels = made(replace(QUIET, seed=seed)).labels
    for side, sign in (("right", -1), ("left", 1)):
        cloud = points(labels, kidney_side(labels, side))
        _, _, axes = np.linalg.svd(cloud - cloud.mean(axis=0), full_matrices=False)
        up = axes[0] * np.sign(axes[0][2])
        length = np.ptp((cloud - cloud.mean(axis=0)) @ up)
        assert 92 < length < 134
        assert up[0] * sign < 0, "upper pole towards the midline"
        assert up[1] > 0, "upper pole towards the back"
        assert 100 < len(cloud) * labels.geometry.voxel_ml < 270
        assert 50 < sign * cloud.mean(axis=0)[0] < 95


def test_the_right_kidney_lies_a_little_lower() -> None:
    drop = []
    for seed in range(6):
        labels = made(replace(QUIET, seed=seed, spacing=(5, 5, 5))).labels
        right, left = (points(labels, kidney_side(labels, side))[:, 2].mean() for side in ("right", "left"))
        drop.append(left - right)
    assert 4 < np.mean(drop) < 30


@pytest.mark.parametrize(("phase", "low", "high"), [("arterial", 105, 220), ("portal", 120, 200), ("none", 22, 42)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_label_map_lies_on_enhanced_kidney(phase: str, low: float, high: float, seed: int) -> None:
    phantom = made(replace(QUIET, phase=phase, seed=seed))
    kidney = phantom.volume.voxels[phantom.labels.voxels == 1]
    assert low < kidney.mean() < high
    assert np.percentile(kidney, 3) > -60, "sinus fat does not count as kidney"


def test_the_kidneys_of_a_patient_are_not_mirror_images() -> None:
    right, left = (Kidney.random(0, side) for side in ("right", "left"))
    assert np.abs(np.subtract(right.semi, left.semi)).max() > 0.5


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_cortex_and_medulla_differ_in_the_arterial_phase_only(seed: int) -> None:
    spread = {}
    for phase in ("arterial", "portal", "none"):
        phantom = made(replace(QUIET, phase=phase, seed=seed))
        inner = ndimage.binary_erosion(phantom.labels.voxels == 1)
        kidney = phantom.volume.voxels[inner]
        spread[phase] = np.percentile(kidney, 80) - np.percentile(kidney, 20)
    assert spread["arterial"] > 40
    assert spread["portal"] < 18
    assert spread["none"] < 15


def test_a_shell_around_the_kidney_is_no_kidney() -> None:
    phantom = made(replace(QUIET, spacing=(2.5, 2.5, 2.5), size_mm=AROUND_KIDNEYS))
    kidney = phantom.labels.voxels == 1
    shell = ndimage.binary_dilation(kidney, iterations=3) & ~ndimage.binary_dilation(kidney, iterations=1)
    assert np.median(phantom.volume.voxels[shell]) < -50
    assert phantom.volume.voxels[kidney].mean() - phantom.volume.voxels[shell].mean() > 100


def test_the_rest_of_the_abdomen() -> None:
    phantom = made(replace(QUIET, phase="none"))
    view = phantom.volume.in_lps_order()
    hu = view.voxels
    x, y, z = (np.array([view.geometry.to_patient(np.eye(3)[axis] * n)[axis] for n in range(view.geometry.size[axis])]) for axis in range(3))
    assert (hu[:, 0] < -950).all(), "air in front"
    body = hu > -200
    assert 0.2 < body.mean() < 0.7
    upper = (z > 40) & (z < 80)
    right = hu[np.ix_(upper, (y > -40) & (y < 20), (x > -110) & (x < -60))]
    assert 48 < np.median(right) < 62, "liver on the patient's right, which comes first along x in LPS"
    left = hu[np.ix_(upper, (y > -40) & (y < 20), (x > 60) & (x < 110))]
    assert (np.abs(left - 55) < 8).mean() < 0.5
    spine = hu[np.ix_(np.ones(len(z), bool), (y > 30) & (y < 50), np.abs(x) < 15)]
    assert np.median(spine) > 100
    fat = hu[(hu > -150) & (hu < -40)]
    assert -112 < np.median(fat) < -90
    assert (hu[:, y > 0][:, :, np.abs(x) < 5].max(axis=(0, 2))[-6:] < 200).all(), "only couch and air behind the back"


def test_aorta_is_bright_in_the_arterial_phase() -> None:
    values = {}
    for phase in ("arterial", "portal", "none"):
        phantom = made(replace(QUIET, phase=phase))
        geometry = phantom.volume.geometry
        i, j, k = np.rint(geometry.to_index((7, 15, 60))).astype(int)
        values[phase] = np.median(phantom.volume.voxels[k, j - 1 : j + 2, i - 1 : i + 2])
    assert 240 < values["arterial"] < 360
    assert 140 < values["portal"] < 200
    assert 30 < values["none"] < 50


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tumors", [0, 1, 3])
def test_tumors_are_as_many_and_as_large_as_promised(seed: int, tumors: int) -> None:
    phantom = made(PhantomSettings(seed=seed, tumors=tumors, cysts=seed % 2, spacing=(3, 3, 3), size_mm=(290, 200, 250)))
    labels = phantom.labels.voxels
    parts, count = ndimage.label(labels == 2, np.ones((3, 3, 3)))
    assert count == tumors == len(phantom.tumor_kinds)
    assert set(phantom.tumor_kinds) <= set(TUMOR_KINDS)
    volumes = ndimage.sum_labels(parts > 0, parts, range(1, count + 1)) * phantom.labels.geometry.voxel_ml
    assert ((volumes > 0.7 * SPHERE * 10**3) & (volumes < SPHERE * 80**3)).all()
    promised = sum(SPHERE * lesion.diameter**3 for lesion in phantom.lesions if lesion.kind != "cyst")
    assert promised * 0.6 <= volumes.sum() <= promised * 1.5
    for part in range(1, count + 1):
        assert (labels[ndimage.binary_dilation(parts == part, iterations=2)] == 1).any(), "every tumor grows on a kidney"


def test_tumors_look_like_their_kind() -> None:
    seen = set()
    for seed in range(10):
        phantom = made(PhantomSettings(seed=seed, tumors=1, cysts=0, spacing=(3, 3, 3), noise_sd=0, size_mm=AROUND_KIDNEYS))
        (lesion,) = phantom.lesions
        tumor = ndimage.binary_erosion(phantom.labels.voxels == 2)
        if not tumor.any():
            continue
        mean = phantom.volume.voxels[tumor].mean()
        low, high = TUMOR_HU[lesion.kind][0]
        fluid_or_fat = lesion.kind in ("cystic", "angiomyolipoma")
        assert (-90 if fluid_or_fat else 0.6 * low) < mean < 1.25 * high, (seed, lesion.kind, mean)
        seen.add(lesion.kind)
    assert len(seen) >= 3


def test_a_cyst_is_water_and_counts_as_kidney() -> None:
    for seed in range(2):
        settings = replace(QUIET, seed=seed, spacing=(2.5, 2.5, 2.5), size_mm=AROUND_KIDNEYS)
        without, phantom = made(settings), made(replace(settings, cysts=2))
        changed = ndimage.binary_erosion(without.volume.voxels != phantom.volume.voxels, iterations=2)
        assert changed.any()
        assert (phantom.labels.voxels[changed] == 1).all()
        assert -5 < phantom.volume.voxels[changed].mean() < 25


def test_more_lesions_do_not_change_the_patient() -> None:
    settings = replace(QUIET, seed=5)
    plain, ill = made(settings), made(replace(settings, tumors=1))
    tumor = ndimage.binary_dilation(ill.labels.voxels == 2, iterations=3)
    assert np.array_equal(plain.volume.voxels[~tumor], ill.volume.voxels[~tumor])


@pytest.mark.parametrize("side", ["right", "left"])
def test_one_kidney(side: str) -> None:
    both, one = made(QUIET), made(replace(QUIET, kidneys=(side,)))
    other = "left" if side == "right" else "right"
    assert not kidney_side(one.labels, other).any()
    assert np.array_equal(kidney_side(one.labels, side), kidney_side(both.labels, side))
    single = make_phantom(PhantomSettings(kidneys=(side,), tumors=2, spacing=(5, 5, 5)))
    assert {lesion.side for lesion in single.lesions} == {side}


def test_no_kidneys() -> None:
    assert not make_phantom(replace(QUIET, kidneys=(), spacing=(6, 6, 6))).labels.voxels.any()


def test_as_many_lesions_as_allowed_on_one_kidney() -> None:
    phantom = make_phantom(PhantomSettings(tumors=6, cysts=6, kidneys=("left",), spacing=(5, 5, 5)))
    assert len(phantom.lesions) == 12
    assert len(phantom.tumor_kinds) == 6


def test_noise_has_the_asked_size_and_is_correlated() -> None:
    settings = PhantomSettings(spacing=(3, 3, 5), noise_sd=20)
    noisy, quiet = make_phantom(settings), make_phantom(replace(settings, noise_sd=0))
    noise = noisy.volume.voxels.astype(float) - quiet.volume.voxels
    noise = noise[(quiet.volume.voxels > -900) & (noisy.volume.voxels > -1024)]
    assert noise.std() == pytest.approx(20, rel=0.05)
    assert abs(noise.mean()) < 0.5
    field = noisy.volume.voxels.astype(float)[:, 20:80] - quiet.volume.voxels[:, 20:80]
    along = [np.corrcoef(field[:, :, :-step].ravel(), field[:, :, step:].ravel())[0, 1] for step in (1, 5)]
    assert along[0] > 0.3
    assert abs(along[1]) < 0.05


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seed": -1}, "seed"),
        ({"tumors": -1}, "tumors"),
        ({"cysts": 7}, "cysts"),
        ({"phase": "nephrogenic"}, "phase"),
        ({"spacing": (1, 0, 1)}, "spacing"),
        ({"spacing": (1, 1)}, "three spacings"),
        ({"spacing": (1, float("nan"), 1)}, "spacing"),
        ({"noise_sd": -1}, "noise"),
        ({"size_mm": (380, 300, 30)}, "too small"),
        ({"spacing": (1, 1, 100)}, "too small"),
        ({"oblique_degrees": float("inf")}, "angle"),
        ({"orientation": "LPL"}, "LPL"),
        ({"orientation": "lps"}, "lps"),
        ({"kidneys": ("middle",)}, "middle"),
        ({"kidneys": ("left", "left")}, "left"),
        ({"kidneys": ()}, "without kidneys"),
    ],
)
def test_impossible_settings(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        PhantomSettings(**wrong)  # type: ignore[arg-type]


def test_a_small_field_of_view_cuts_the_same_patient() -> None:
    whole = made(COARSE)
    cut = make_phantom(replace(COARSE, size_mm=(380, 300, 70)))
    first = np.rint(whole.labels.geometry.to_index(cut.labels.geometry.origin)).astype(int)[2]
    assert np.array_equal(cut.labels.voxels, whole.labels.voxels[first : first + cut.labels.voxels.shape[0]])
    assert (cut.labels.voxels[0] > 0).any()
