"""Anatomies: labels as the label maps have them, sides, HU in physical ranges, the same by the same seed, and negatives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.volume import Volume, write_volume
from Training.anatomy import anatomy_cases, anatomy_pool
from Training.anatomy.anatomies import KidneyMap, OrganMap, organ_numbers, read_kidneys, read_organs
from Training.anatomy.anatomy_bodies import body_of, frame_of
from Training.anatomy.anatomy_cases import Wish, anatomy_case, rendered
from Training.anatomy.anatomy_labels import Tissue
from Training.anatomy.anatomy_sides import between_kidneys, sides_of
from Training.anatomy.anatomy_tissue import PHASES, blurred, random_look
from Training.anatomy.anatomy_warp import Warp, warped
from Training.cases import KIDNEY, TUMOR, Case
from Training.sources import AnatomySource, Sources

CPU = torch.device("cpu")
MM, COARSE_MM = 3.0, 4.0


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> np.ndarray:
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2


@pytest.fixture(scope="module")
def abdomen() -> OrganMap:
    """Liver on the right (x small), spleen on the left, kidneys, colon; voxels of 3 mm."""
    shape = (64, 70, 100)
    tissues = np.zeros(shape, dtype=np.uint8)
    for tissue, centre, radius in (
        (Tissue.LIVER, (48, 30, 22), 15),
        (Tissue.SPLEEN, (50, 40, 84), 9),
        (Tissue.COLON, (24, 12, 50), 10),
        (Tissue.KIDNEY, (32, 50, 28), 9),
        (Tissue.KIDNEY, (34, 50, 72), 9),
    ):
        tissues[ball(shape, centre, radius)] = tissue
    return OrganMap("abdomen", tissues, MM)


@pytest.fixture(scope="module")
def patient() -> KidneyMap:
    """Two kidneys; the one of the patient's left (x large) has a tumor, the other a cyst."""
    shape = (40, 40, 70)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[ball(shape, (20, 20, 14), 10)] = 1
    labels[ball(shape, (20, 20, 54), 10)] = 1
    labels[ball(shape, (26, 20, 60), 6)] = 2
    labels[ball(shape, (26, 20, 10), 4)] = 3
    return KidneyMap("patient", labels, MM)


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies on voxels of 4 mm take a twentieth of the time."""
    monkeypatch.setattr(anatomy_cases, "SPACING_MM", COARSE_MM)


def make(abdomen: OrganMap, patient: KidneyMap | None, seed: int, wish: Wish) -> Case:
    return anatomy_case("anatomy_00000", abdomen, patient, np.random.default_rng(seed), wish)


def test_labels_are_kept_by_warping_without_deformation() -> None:
    source = np.random.default_rng(0).integers(0, 4, size=(12, 14, 16)).astype(np.uint8)
    same = Warp(np.eye(3), torch.zeros(3, 4, 4, 4))
    middle = (np.array(source.shape) - 1) / 2.0
    assert np.array_equal(warped(source, 2.0, middle, source.shape, 2.0, middle, same, CPU), source)


def test_mirroring_exchanges_left_and_right_and_nothing_else() -> None:
    source = np.random.default_rng(0).integers(0, 4, size=(12, 14, 16)).astype(np.uint8)
    mirror = Warp(np.diag([1.0, 1.0, -1.0]), torch.zeros(3, 4, 4, 4))
    middle = (np.array(source.shape) - 1) / 2.0
    assert np.array_equal(warped(source, 2.0, middle, source.shape, 2.0, middle, mirror, CPU), source[:, :, ::-1])


@pytest.mark.parametrize("mirrored", [False, True])
def test_left_stays_left_unless_mirrored(abdomen: OrganMap, patient: KidneyMap, monkeypatch: pytest.MonkeyPatch, mirrored: bool) -> None:
    monkeypatch.setattr(anatomy_cases, "MIRRORED_PROBABILITY", float(mirrored))
    labels = make(abdomen, patient, 3, Wish()).labels
    tumor, kidneys = np.argwhere(labels == TUMOR)[:, 2].mean(), np.argwhere(labels == KIDNEY)[:, 2].mean()
    assert (tumor < kidneys) == mirrored


def test_another_patients_kidneys_keep_their_volumes(abdomen: OrganMap, patient: KidneyMap) -> None:
    case = make(abdomen, patient, 5, Wish())
    for value, given in ((TUMOR, patient.labels == 2), (KIDNEY, (patient.labels == 1) | (patient.labels == 3))):
        volume = np.count_nonzero(case.labels == value) * case.spacing_mm**3
        assert volume == pytest.approx(np.count_nonzero(given) * MM**3, rel=0.5)
    assert set(np.unique(case.labels)) == {0, KIDNEY, TUMOR}


def test_own_kidneys_are_gone_when_another_patients_are_set(abdomen: OrganMap, patient: KidneyMap) -> None:
    rng = np.random.default_rng(1)
    tissues = abdomen.tissues.copy()
    frame = frame_of(tissues == Tissue.KIDNEY, MM, rng)
    tissues[tissues == Tissue.KIDNEY] = 0
    assert not (body_of(tissues, frame, rng) == Tissue.KIDNEY).any()


def test_labels_are_where_kidneys_are_painted(abdomen: OrganMap) -> None:
    rng = np.random.default_rng(2)
    kidneys = (abdomen.tissues == Tissue.KIDNEY).astype(np.uint8)
    case = rendered("x", np.where(kidneys > 0, Tissue.KIDNEY, Tissue.VISCERAL_FAT).astype(np.uint8), kidneys, rng, CPU, cut=False)
    assert np.array_equal(case.labels, kidneys)
    inside, outside = case.hu[kidneys > 0].mean(), case.hu[kidneys == 0].mean()
    assert inside > 0.0 > -60.0 > outside


def test_a_kidney_that_gives_way_to_the_spine_is_not_labelled_there(abdomen: OrganMap, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[np.ndarray] = []

    def noted(*arguments: object) -> np.ndarray:
        bodies.append(body_of(*arguments))  # type: ignore[arg-type]
        return bodies[-1]

    monkeypatch.setattr(anatomy_cases, "body_of", noted)
    shape = (20, 20, 70)
    close = np.zeros(shape, dtype=np.uint8)
    for middle in (28, 42):
        close[ball(shape, (10, 10, middle), 6)] = 1
    case = make(abdomen, KidneyMap("close", close, MM), 5, Wish())
    assert case.labels.any()
    assert np.array_equal(case.labels > 0, bodies[0] == Tissue.KIDNEY)
    assert np.count_nonzero(case.labels) * case.spacing_mm**3 < 0.97 * np.count_nonzero(close) * MM**3


@pytest.mark.parametrize("kidneys", ["none", "one", "both"])
def test_as_many_kidneys_as_wished(abdomen: OrganMap, patient: KidneyMap, kidneys: str) -> None:
    case = make(abdomen, patient, 7, Wish(kidneys))
    assert len(sides_of(case.labels > 0, case.spacing_mm, None)) == {"none": 0, "one": 1, "both": 2}[kidneys]
    assert not case.labels[0].any()
    assert not case.labels[-1].any()


def test_kidneys_cut_by_the_field_of_view(abdomen: OrganMap) -> None:
    case = make(abdomen, None, 7, Wish("both", cut=True))
    assert case.labels[0].any() != case.labels[-1].any()


def test_the_same_seed_makes_the_same_case_and_another_one_does_not(abdomen: OrganMap, patient: KidneyMap) -> None:
    first, again, other = (make(abdomen, patient, seed, Wish()) for seed in (11, 11, 12))
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.labels, again.labels)
    assert first.hu.shape != other.hu.shape or not np.array_equal(first.hu, other.hu)


def test_the_sources_are_not_changed(abdomen: OrganMap, patient: KidneyMap) -> None:
    before = abdomen.tissues.copy(), patient.labels.copy()
    make(abdomen, patient, 13, Wish("one"))
    assert np.array_equal(abdomen.tissues, before[0])
    assert np.array_equal(patient.labels, before[1])


def test_tissues_look_as_physics_has_it() -> None:
    looks = [random_look(np.random.default_rng(seed)) for seed in range(200)]
    for look in looks:
        assert look.mean[Tissue.GAS] < look.mean[Tissue.LUNG] < look.mean[Tissue.FAT] < -80.0
        assert look.mean[Tissue.CORTICAL] > 200.0
        assert look.medulla <= look.cortex
    usual = {phase: np.median([look.cortex for look in looks if look.phase == phase]) for phase in PHASES}
    assert usual["none"] < 70.0 < 120.0 < usual["arterial"] < 240.0
    assert np.median([look.mean[Tissue.AORTA] for look in looks if look.phase == "arterial"]) > 180.0


def test_every_tissue_has_its_own_number() -> None:
    assert sorted(Tissue) == list(range(len(Tissue)))


def test_a_body_has_what_label_maps_lack(abdomen: OrganMap) -> None:
    tissues = abdomen.tissues.copy()
    rng = np.random.default_rng(3)
    padded = np.pad(tissues, ((0, 0), (25, 25), (20, 20)))
    body = body_of(padded.copy(), frame_of(padded == Tissue.KIDNEY, MM, rng), rng)
    for tissue in (Tissue.SKIN, Tissue.FAT, Tissue.MUSCLE, Tissue.MARROW, Tissue.DISC, Tissue.AORTA, Tissue.CAVA, Tissue.RIB, Tissue.LUNG):
        assert (body == tissue).any(), tissue
    kept = np.isin(padded, (Tissue.SPLEEN, Tissue.KIDNEY))
    assert np.array_equal(body[kept], padded[kept])
    # The spine lies between the kidneys and behind their fronts; the aorta on its left, the cava on its right.
    spine, kidneys = np.argwhere(body == Tissue.DISC), np.argwhere(padded == Tissue.KIDNEY)
    assert kidneys[:, 2].min() < spine[:, 2].min()
    assert spine[:, 2].max() < kidneys[:, 2].max()
    assert np.argwhere(body == Tissue.CAVA)[:, 2].mean() < spine[:, 2].mean() < np.argwhere(body == Tissue.AORTA)[:, 2].mean()


def test_the_midline_is_between_the_kidneys_whatever_the_tumor(patient: KidneyMap) -> None:
    mask = patient.labels > 0
    assert between_kidneys(patient.labels == 1, mask, MM)[2] == pytest.approx(34.0, abs=1.5)
    alone = mask.copy()
    alone[:, :, 35:] = False
    alone[:, :, 14:18][:, 14:27] = False
    assert between_kidneys(alone, alone, MM)[2] > 25.0
    grown_together = mask.copy()
    grown_together[18:22, 18:22, 14:54] = True
    assert between_kidneys(grown_together, grown_together, MM)[2] == pytest.approx(34.0, abs=2.0)


def test_blurring_keeps_the_mean_and_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).standard_normal((20, 22, 24)).astype(np.float32)
    ours = blurred(torch.from_numpy(values), (0.0, 1.2, 0.7)).numpy()
    theirs = ndimage.gaussian_filter(values, (0.0, 1.2, 0.7), mode="nearest", truncate=2.5)
    assert np.abs(ours - theirs).max() < 2e-3


@pytest.fixture
def files(tmp_path: Path, abdomen: OrganMap, patient: KidneyMap) -> Sources:
    """An abdomen and two patients on either side of the split, as files of the schemes word and kits."""
    numbers = {Tissue[name.upper()]: values[0] for name, values in organ_numbers("word", "organs").items()}
    word = np.zeros_like(abdomen.tissues)
    for tissue, value in numbers.items():
        word[abdomen.tissues == tissue] = value
    anatomies = []
    for split in ("train", "validation"):
        for name, kind, scheme, labels in (
            ("o", "organs", "word", word),
            ("k", "kidneys", "kits", patient.labels),
            ("l", "kidneys", "kits", patient.labels),
        ):
            path = tmp_path / f"{split}_{name}.nii.gz"
            z, y, x = labels.shape
            write_volume(Volume(labels, Geometry((x, y, z), (MM, MM, MM))), path)
            anatomies.append(AnatomySource(path, kind, tuple(organ_numbers(scheme, kind).items()), scheme, split))
    return Sources((), (), 0, tuple(anatomies))


def test_label_maps_are_read(files: Sources, abdomen: OrganMap, patient: KidneyMap) -> None:
    organs, kidneys = files.anatomies[0], files.anatomies[1]
    body = read_organs(organs.labels, organs.organs)
    for tissue in (Tissue.LIVER, Tissue.KIDNEY):
        volume = np.count_nonzero(body.tissues == tissue) * body.spacing_mm**3
        assert volume == pytest.approx(np.count_nonzero(abdomen.tissues == tissue) * MM**3, rel=0.05)
    labels = read_kidneys(kidneys.labels, dict(kidneys.organs))
    assert labels.spacing_mm == MM
    assert np.array_equal(np.bincount(labels.labels.ravel())[1:], np.bincount(patient.labels.ravel())[1:])


def test_a_label_map_without_kidneys_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "empty.nii.gz"
    write_volume(Volume(np.zeros((5, 5, 5), dtype=np.uint8), Geometry((5, 5, 5), (1.0, 1.0, 1.0))), path)
    with pytest.raises(InputError, match=r"empty\.nii\.gz shows none"):
        read_kidneys(path, organ_numbers("kits", "kidneys"))


def test_the_sides_of_the_split_are_never_mixed_and_validation_takes_one_patient_after_the_other(
    files: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    for name in ("read_organs", "read_kidneys"):
        original = getattr(anatomy_pool, name)

        def noted(path: Path, *rest: object, original: object = original) -> object:
            read.append(path.name)
            return original(path, *rest)  # type: ignore[operator]

        monkeypatch.setattr(anatomy_pool, name, noted)
    for split, other in (("train", "validation"), ("validation", "train")):
        read.clear()
        cases = [case for case, _ in anatomy_pool.anatomies_of(files, split, 2, 1, CPU)]
        assert read
        assert not any(name.startswith(other) for name in read)
        assert len({case.name for case in cases}) == 2
    assert sorted(name for name in read if "_o" not in name) == ["validation_k.nii.gz", "validation_l.nii.gz"]


def test_validation_takes_its_patients_in_the_drawn_order(files: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def read(path: Path, *rest: object) -> KidneyMap:
        taken.append(path.name)
        return read_kidneys(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(anatomy_pool, "read_kidneys", read)
    monkeypatch.setattr(anatomy_pool, "shuffled", lambda patients, seed: list(patients)[:: -1 if seed == 2 else 1])
    for seed in (1, 2):
        list(anatomy_pool.anatomies_of(files, "validation", 2, seed, CPU))
    assert taken == [f"validation_{name}.nii.gz" for name in ("k", "l", "l", "k")]


def test_other_seeds_measure_on_other_patients_and_none_comes_twice_too_early() -> None:
    patients = [AnatomySource(Path(f"{number}.nii.gz"), "kidneys", (), "kits", "validation") for number in range(12)]
    orders = [anatomy_pool.shuffled(patients, seed) for seed in (1, 1, 2)]
    assert orders[0] == orders[1]
    assert {source.labels for source in orders[0][:6]} != {source.labels for source in orders[2][:6]}
    for order in orders:
        assert sorted(order, key=patients.index) == patients


def test_a_longer_pool_begins_with_the_cases_of_a_shorter_one(files: Sources) -> None:
    short = [case for case, _ in anatomy_pool.anatomies_of(files, "train", 1, 1, CPU)]
    long = [case for case, _ in anatomy_pool.anatomies_of(files, "train", 2, 1, CPU)]
    assert np.array_equal(short[0].hu, long[0].hu)
    assert not np.array_equal(long[0].hu.ravel()[:1000], long[1].hu.ravel()[:1000])


def test_anatomies_without_an_abdomen_are_a_sentence() -> None:
    with pytest.raises(InputError, match="No anatomy of the train split"):
        list(anatomy_pool.anatomies_of(Sources((), (), 0), "train", 1, 1, CPU))
