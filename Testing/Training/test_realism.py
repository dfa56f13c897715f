"""The two-sample test of tumor slices: blind to samples of one kind, sharp for samples of two, and patients never on both sides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from Training import realism
from Training.cases import Case
from Training.lesion.lesion_shapes import Shape, shape_of
from Training.lesion.lesions import grow
from Training.resemblance import two_sample
from Training.resemblance.realism_picture import HEADING, MADE, OUTLINE, ZOOM, outlined, write_picture
from Training.resemblance.slice_statistics import KIDNEY_FRACTION, STATISTICS, statistics_of, table
from Training.resemblance.slice_window import muscle_gray, muscle_grays
from Training.resemblance.tumor_slices import (
    NOISE_GRAY,
    PATCH,
    PIXEL_MM,
    SLICES_PER_PATIENT,
    TumorSlice,
    as_hu_of,
    case_slice,
    matched,
    noise_of,
    real_slices,
    treated,
    tumor_slice,
    windowed,
)
from Training.resemblance.two_sample import BORDER_MM, FOLDS, INPUTS, auc, folds, network_auc, seen, splits, statistics_auc


def disk(radius: float, size: int = PATCH) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2.0
    return np.asarray(np.hypot(y, x) <= radius)


def picture(group: str, seed: int, coarseness: float = 2.0, brightness: float = 90.0) -> TumorSlice:
    """A disk of Gaussian texture."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=(PATCH, PATCH)), coarseness)
    tumor = disk(rng.uniform(8.0, 16.0))
    gray = (30.0 + tumor * (brightness - 30.0 + 25.0 * texture / texture.std())).clip(0, 255).astype(np.float32)
    return TumorSlice(group, gray, gray, tumor, np.zeros_like(tumor), 2.0 * PIXEL_MM * float(np.sqrt(tumor.sum() / np.pi)))


def sample(name: str, patients: int, first_seed: int, **kind: float) -> list[TumorSlice]:
    """Two slices of each patient."""
    return [picture(f"{name}{index // 2}", first_seed + index, **kind) for index in range(2 * patients)]


# --- the test itself -------------------------------------------------------------------------------------------------------------------------


def test_halves_of_one_distribution_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_sample, "STEPS", 60)
    one, other = sample("a", 40, 0), sample("b", 40, 1000)
    assert np.mean(statistics_auc(one, other, 3, 1)) == pytest.approx(0.5, abs=0.15)
    assert np.mean(network_auc(one, other, "all", 1, 1)) == pytest.approx(0.5, abs=0.2)


def test_obviously_different_slices_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_sample, "STEPS", 60)
    one, other = sample("a", 16, 0), sample("b", 16, 1000, coarseness=5.0, brightness=150.0)
    assert np.mean(statistics_auc(one, other, 1, 1)) > 0.95
    assert np.mean(network_auc(one, other, "tumor", 1, 1)) > 0.95


def test_auc_is_how_often_real_scores_higher() -> None:
    real, synthetic = np.array([3.0, 1.0, 2.0]), np.array([0.0, 2.0])
    pairs = [(a > b) + 0.5 * (a == b) for a in real for b in synthetic]
    assert auc(real, synthetic) == pytest.approx(np.mean(pairs))
    assert auc(synthetic, real) == pytest.approx(1.0 - np.mean(pairs))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=FOLDS, max_size=60), st.integers(0, 99))
def test_a_patient_is_never_on_both_sides(patients: list[int], seed: int) -> None:
    groups = [str(patient) for patient in patients]
    dealt = folds(groups, np.random.default_rng(seed))
    assert all(len(set(dealt[[own == group for own in groups]])) == 1 for group in groups)
    if len(set(groups)) >= FOLDS:
        assert set(dealt) == set(range(FOLDS))


def test_every_slice_is_tested_once_and_both_samples_are_split() -> None:
    one, other = sample("a", 7, 0), sample("b", 5, 100)
    parts = list(splits(one, other, np.random.default_rng(0)))
    for index, whole in enumerate((one, other)):
        assert np.array_equal(np.sum([part[index] for part in parts], axis=0), np.ones(len(whole)))
        for part in parts:
            tested = {item.group for item, test in zip(whole, part[index], strict=True) if test}
            trained = {item.group for item, test in zip(whole, part[index], strict=True) if not test}
            assert tested
            assert not tested & trained


def test_each_input_shows_its_part_alone() -> None:
    one = picture("a", 1)
    lit = TumorSlice("a", np.full((PATCH, PATCH), 255.0, np.float32), one.crisp, disk(10.0), one.kidney, 30.0)
    shown = {part: seen(lit, part) for part in INPUTS}
    assert np.array_equal(shown["tumor"] > 0, disk(10.0))
    np.testing.assert_array_equal(shown["surroundings"] + shown["tumor_and_border"], shown["all"])
    width = np.sqrt((shown["tumor_and_border"] > 0).sum() / np.pi) * PIXEL_MM - 10.0 * PIXEL_MM
    assert width == pytest.approx(BORDER_MM, abs=1.0)


# --- slices ----------------------------------------------------------------------------------------------------------------------------------


def test_the_window_goes_there_and_back() -> None:
    hu = np.linspace(10.0, 280.0, 20)
    np.testing.assert_allclose(as_hu_of(windowed(hu)), hu, atol=0.01)
    assert windowed(np.array([-100.0, 900.0])).tolist() == [0.0, 255.0]


@pytest.mark.parametrize("pixel_mm", [0.78, 1.5])
def test_a_slice_is_centred_on_its_tumor_in_millimetres(pixel_mm: float) -> None:
    size = round(300.0 / pixel_mm)
    y, x = (np.mgrid[:size, :size]) * pixel_mm
    labels = np.where(np.hypot(y - 120.0, x - 170.0) < 20.0, 2, 0).astype(np.uint8)
    one = tumor_slice("a", (100.0 * (labels == 2)).astype(np.float32), labels, pixel_mm, np.random.default_rng(0))
    assert one is not None
    assert one.diameter_mm == pytest.approx(40.0, rel=0.02)
    assert one.tumor.sum() * PIXEL_MM**2 == pytest.approx(np.pi * 20.0**2, rel=0.05)
    np.testing.assert_allclose(np.argwhere(one.tumor).mean(axis=0), (PATCH - 1) / 2.0, atol=0.6)
    assert one.crisp[PATCH // 2, PATCH // 2] == pytest.approx(100.0, abs=1.0)
    assert one.crisp[2, 2] == pytest.approx(0.0, abs=1.0)


def test_noise_is_measured_in_spite_of_texture() -> None:
    rng = np.random.default_rng(0)
    texture = 30.0 * ndimage.gaussian_filter(rng.normal(size=(PATCH, PATCH)), 5.0) * 17.0
    for strength in (5.0, 20.0):
        noisy = (100.0 + texture + rng.normal(0.0, strength, texture.shape)).astype(np.float32)
        assert noise_of(noisy, disk(25.0)) == pytest.approx(strength, rel=0.2)


@pytest.mark.parametrize("strength", [0.0, 8.0, 20.0, 27.0])
def test_scanners_noise_does_not_give_a_slice_away(strength: float) -> None:
    rng = np.random.default_rng(0)
    silent = np.full((PATCH, PATCH), 120.0, np.float32)
    wanted = treated(silent, disk(25.0), rng)[disk(25.0)].std()
    result = treated((silent + rng.normal(0.0, strength, silent.shape)).astype(np.float32), disk(25.0), rng)[disk(25.0)].std()
    assert result == pytest.approx(wanted, rel=0.12)
    assert result < NOISE_GRAY / 2.5


def test_slices_without_a_tumor_of_a_usual_size_are_left_out() -> None:
    empty = np.zeros((50, 50), np.uint8)
    assert tumor_slice("a", np.zeros((50, 50), np.float32), empty, 1.5, np.random.default_rng(0)) is None
    empty[20:23, 20:23] = 2
    assert tumor_slice("a", np.zeros((50, 50), np.float32), empty, 1.5, np.random.default_rng(0)) is None


def write_slices(folder: Path, patients: int, slices: int) -> None:
    folder.mkdir()
    for patient in range(patients):
        for index in range(slices):
            label = (2 * disk(25.0, 200)).astype(np.uint8)
            gray = np.random.default_rng(index).normal(80.0, 10.0, label.shape).clip(0, 255).astype(np.uint8)
            Image.fromarray(gray).save(folder / f"{1000 + patient}_{index}f_ct.png")
            Image.fromarray(label).save(folder / f"{1000 + patient}_{index}f_label.png")


def test_no_patient_gives_more_slices_than_its_share(tmp_path: Path) -> None:
    write_slices(tmp_path / "real", 3, SLICES_PER_PATIENT + 2)
    groups = [one.group for one in real_slices(tmp_path / "real", np.random.default_rng(0))]
    assert sorted(groups) == sorted(["1000", "1001", "1002"] * SLICES_PER_PATIENT)


def test_sizes_are_matched_and_none_is_taken_twice() -> None:
    real, candidates = sample("a", 6, 0), sample("b", 20, 100)
    chosen = matched(real, candidates)
    assert len(chosen) == len(real)
    assert len({id(one) for one in chosen}) == len(chosen)
    gaps = np.abs(np.sort([one.diameter_mm for one in real]) - np.sort([one.diameter_mm for one in chosen]))
    assert gaps.max() < 4.0


def test_a_case_gives_a_slice_through_its_tumor(body_with_tumor: Case) -> None:
    one = case_slice(body_with_tumor, "scan", np.random.default_rng(0))
    assert one is not None
    assert one.group == "scan"
    assert one.diameter_mm == pytest.approx(24.0 * np.sqrt(4.0 / np.pi), rel=0.02)
    assert one.kidney.any()


def trunk(muscle: float, pixel_mm: float, vertebra: bool = True) -> np.ndarray:
    """A vertebra with muscle on both sides and behind, brighter organs in front."""
    y, x = np.indices((300, 400)) * pixel_mm
    middle_y, middle_x = 150.0 * pixel_mm, 200.0 * pixel_mm
    gray = np.where(y > middle_y - 40.0, muscle, 110.0)
    bone = (np.hypot(y - middle_y, x - middle_x) < 18.0) & vertebra
    return np.where(bone, 255.0, gray + np.random.default_rng(0).normal(0.0, 12.0, gray.shape)).clip(0, 255).astype(np.float32)


@pytest.mark.parametrize("pixel_mm", [0.7, 1.0])
@pytest.mark.parametrize("muscle", [35.0, 60.0])
def test_muscle_is_found_beside_the_vertebra(muscle: float, pixel_mm: float) -> None:
    assert muscle_gray(trunk(muscle, pixel_mm), pixel_mm) == pytest.approx(muscle, abs=2.0)


def test_without_a_vertebra_there_is_no_muscle_to_find(tmp_path: Path) -> None:
    assert muscle_gray(trunk(50.0, 0.8, vertebra=False), 0.8) is None
    write_slices(tmp_path / "real", 2, 1)
    assert muscle_grays(tmp_path / "real") == {}


# --- statistics ------------------------------------------------------------------------------------------------------------------------------


def test_statistics_say_what_was_drawn() -> None:
    def value(one: TumorSlice, name: str) -> float:
        return float(statistics_of(one)[STATISTICS.index(name)])

    fine, coarse = picture("a", 1, coarseness=1.5), picture("a", 1, coarseness=5.0)
    assert value(fine, "correlation_length_mm") < value(coarse, "correlation_length_mm")
    bright = picture("a", 1, brightness=150.0)
    assert value(bright, "mean_hu") - value(fine, "mean_hu") == pytest.approx(60.0 / 255.0 * 300.0, rel=0.25)
    assert value(bright, "border_step_hu") > value(fine, "border_step_hu")
    assert value(picture("a", 1), "compactness") == pytest.approx(1.0, abs=0.15)


def test_brightness_relative_to_the_kidney_needs_a_labelled_kidney() -> None:
    plain = sample("a", 3, 0)
    assert KIDNEY_FRACTION not in table(plain)
    with_kidney = [TumorSlice("a", np.where(one.tumor, 60, 120).astype(np.float32), one.crisp, one.tumor, ~one.tumor, 30.0) for one in plain]
    assert table(with_kidney)[KIDNEY_FRACTION]["median"] == pytest.approx(0.5, abs=0.01)


# --- the command -----------------------------------------------------------------------------------------------------------------------------


def test_the_command_compares_a_pools_tumors(tmp_path: Path, body_with_tumor: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_sample, "STEPS", 2)
    write_slices(tmp_path / "real", 4, 2)
    folder = tmp_path / "pool" / "train" / "fine"
    folder.mkdir(parents=True)
    for scan in "abcd":
        for index in range(2):
            case = Case(f"{scan}_v{index:03d}", body_with_tumor.hu, body_with_tumor.labels, body_with_tumor.spacing_mm)
            case.save(folder)
    out, drawing = tmp_path / "out.json", tmp_path / "out.png"
    words = ["--real", str(tmp_path / "real"), "--pool", str(tmp_path / "pool"), "--out", str(out), "--picture", str(drawing), "--repeats", "1"]
    assert realism.main(words) == 0
    result = json.loads(out.read_text())
    assert result["real"]["patients"] == 4
    assert result["synthetic"]["scans"] == ["a", "b", "c", "d"]
    assert set(result["auc"]) == {*INPUTS, "statistics"}
    assert all(0.0 <= value["mean"] <= 1.0 for value in result["auc"].values())
    assert Image.open(drawing).size[0] > 500


def test_each_kind_of_case_is_judged_by_itself(tmp_path: Path, body_with_tumor: Case) -> None:
    """Transplants lie on one side by their scan; a rendered body is a group of its own."""
    folder = tmp_path / "train" / "fine"
    folder.mkdir(parents=True)
    for name in ("a_v000", "a_k000", "b_k001", "anatomy_00003", "anatomy_00004", "phantom_1", "a"):
        replace(body_with_tumor, name=name).save(folder)
    assert set(realism.GROUPS) == set(MADE)
    groups = {kind: [one.group for one in realism.pool_slices(tmp_path, np.random.default_rng(1), kind)] for kind in realism.GROUPS}
    assert groups == {"copies": ["a"], "transplants": ["a", "b"], "bodies": ["anatomy_00003", "anatomy_00004"]}


def test_the_line_round_a_tumor_covers_nothing_of_it() -> None:
    one = picture("a", 1)
    drawn = outlined(one)
    line = (drawn == OUTLINE).all(axis=-1)
    inside = one.tumor.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    assert not (line & inside).any()
    # One line of one pixel all round: the step from tumor to surroundings is always drawn.
    assert (ndimage.binary_dilation(line) & inside).sum() == (inside & ~ndimage.binary_erosion(inside)).sum()
    rest = drawn[~line]
    assert (rest == rest[:, :1]).all()


def test_the_picture_has_the_real_ones_above_under_a_heading_of_their_own(tmp_path: Path) -> None:
    write_picture(sample("real", 1, 0, brightness=220.0), sample("made", 1, 9, brightness=60.0), tmp_path / "both.png")
    whole = np.asarray(Image.open(tmp_path / "both.png"))
    headings = [whole[: len(whole) // 2][:HEADING], whole[len(whole) // 2 :][:HEADING]]
    assert all((band == 255).mean() > 0.8 and (band < 128).any() for band in headings)
    assert not np.array_equal(headings[0], headings[1])
    first = [half[HEADING : HEADING + ZOOM * PATCH, : ZOOM * PATCH].mean() for half in (whole[: len(whole) // 2], whole[len(whole) // 2 :])]
    assert first[0] > first[1] + 10


def test_tumors_are_grown_with_forms_of_their_scans_own(body: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "pool" / "train" / "fine"
    folder.mkdir(parents=True)
    for name in ("a", "b", "c", "plain", "d_v000", "a_k000", "slice_a", "phantom_10000"):
        hu = body.hu - 120 * (body.labels == 1).astype(np.int16) if name == "plain" else body.hu
        Case(name, hu, body.labels, body.spacing_mm).save(folder)
    forms = {name: [shape_of(np.pad(np.ones((size,) * 3, bool), 2), name)] for name, size in (("one", 9), ("two", 10), ("three", 11))}
    monkeypatch.setattr(realism, "forms_for", lambda sources, scans, rng: list(forms.values())[:scans])
    used: dict[str, set[str]] = {}

    def recorded(case: Case, shape: Shape, *rest: object) -> Case | None:
        used.setdefault(case.name, set()).add(shape.source)
        return grow(case, shape, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(realism, "grow", recorded)
    found = list(realism.grown_slices(tmp_path / "pool", tmp_path, sample("r", 3, 0), 6, np.random.default_rng(0)))
    assert {one.group for one in found} <= {"a", "b", "c"}
    assert used == {"a": {"one"}, "b": {"two"}, "c": {"three"}}


def test_what_cannot_be_compared_is_said_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_slices(tmp_path / "real", 3, 1)
    words = ["--real", str(tmp_path / "real"), "--pool", str(tmp_path), "--out", str(tmp_path / "out.json")]
    assert realism.main(words) == 2
    assert "less than 3 scans" in capsys.readouterr().err
    assert realism.main(["--real", str(tmp_path / "none"), "--statistics"]) == 2
    assert "no slices" in capsys.readouterr().err
