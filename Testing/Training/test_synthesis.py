"""The pool: what SOURCES.json may say, and that the two sides of the split stay apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.volume import Volume, write_volume
from Training import synthesis
from Training.anatomy.anatomy_pool import anatomy_name, transplant_name
from Training.case_names import ANATOMY, IMPLANTED, PHANTOM, REAL, origin_of
from Training.cases import Case, load_cases
from Training.lesion.lesion_shapes import Shape, shape_of
from Training.sources import Sources, read_sources
from Training.synthesis import LesionBank, build_split, copy_name, phantom_name, phantom_seeds, variant, with_lesions, write_case


@pytest.fixture(autouse=True)
def small_lesions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones take seconds."""
    monkeypatch.setattr(synthesis, "TUMOR_DIAMETER_MM", (10.0, 25.0))
    monkeypatch.setattr(synthesis, "CYST_DIAMETER_MM", (6.0, 15.0))


@pytest.fixture
def shape() -> Shape:
    z, y, x = np.mgrid[:18, :18, :18] - 8.5
    return shape_of(z**2 + y**2 + x**2 <= 81, "ball")


@pytest.fixture
def folder(tmp_path: Path, body_with_tumor: Case, body: Case) -> Path:
    """Two scans with kidneys, one without labels, and the label map of a patient with tumor and cyst on either side."""
    for name, case in (("a", body), ("b", body_with_tumor)):
        write_volume(Volume(case.hu, case.geometry), tmp_path / f"{name}.nii.gz")
        write_volume(Volume(case.labels, case.geometry), tmp_path / f"{name}_labels.nii.gz")
    write_volume(Volume(body.hu[:20], replace(body.geometry, size=(72, 72, 20))), tmp_path / "c.nii.gz")
    lesions = np.zeros((40, 40, 40), dtype=np.uint8)
    lesions[5:17, 5:17, 5:17] = 2
    lesions[22:33, 22:33, 22:33] = 3
    for name in ("x", "y"):
        write_volume(Volume(lesions, replace(body.geometry, size=(40, 40, 40), spacing=(1.0, 1.0, 1.0))), tmp_path / f"{name}.nii.gz")
    return tmp_path


CONTENT: dict[str, Any] = {
    "scans": [
        {"name": "a", "ct": "a.nii.gz", "labels": "a_labels.nii.gz", "kidney_labels": [1], "split": "train"},
        {"name": "b", "ct": "b.nii.gz", "labels": "b_labels.nii.gz", "split": "validation"},
        {"name": "c", "ct": "c.nii.gz", "labels": None, "split": "train"},
    ],
    "lesions": [{"labels": "x.nii.gz", "split": "train"}, {"labels": "y.nii.gz", "split": "validation"}],
    "phantoms": 2,
}


def sources_file(folder: Path, content: Any = CONTENT) -> Path:
    path = folder / "SOURCES.json"
    path.write_text(json.dumps(content))
    return path


def test_sources_are_read_with_paths_of_their_own_folder(folder: Path) -> None:
    sources = read_sources(sources_file(folder))
    assert [scan.name for scan in sources.scans] == ["a", "b", "c"]
    assert sources.scans[0].ct == folder / "a.nii.gz"
    assert sources.scans[0].kidney_labels == (1,)
    assert sources.scans[1].kidney_labels == ()
    assert sources.scans[2].labels is None
    assert sources.lesions[1].labels == folder / "y.nii.gz"
    assert sources.phantoms == 2


def with_scan(**changes: Any) -> dict[str, Any]:
    """The content with another second scan."""
    first, second, *others = CONTENT["scans"]
    changed = {name: value for name, value in {**second, **changes}.items() if value != "remove"}
    return {**CONTENT, "scans": [first, changed, *others]}


def with_anatomy(**changes: Any) -> dict[str, Any]:
    """The content with an anatomy; the same patient's lesions are there for validation."""
    return {**CONTENT, "anatomies": [{"labels": "y.nii.gz", "kind": "kidneys", "organs": "kits", "split": "validation", **changes}]}


def test_anatomies_are_read_by_scheme_or_table(folder: Path) -> None:
    (named,) = read_sources(sources_file(folder, with_anatomy())).anatomies
    assert (named.labels, named.kind, named.scheme, named.split) == (folder / "y.nii.gz", "kidneys", "kits", "validation")
    assert dict(named.organs) == {"kidney": (1,), "tumor": (2,), "cyst": (3,)}
    (table,) = read_sources(sources_file(folder, with_anatomy(kind="organs", organs={"kidney": [3, 4], "liver": [1]}))).anatomies
    assert dict(table.organs) == {"kidney": (3, 4), "liver": (1,)}
    assert table.scheme == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (with_scan(name="a"), "the name a is there 2 times"),
        (with_scan(ct="a.nii.gz"), "a.nii.gz is there 2 times"),
        ({**CONTENT, "lesions": [{"labels": "x.nii.gz", "split": side} for side in ("train", "validation")]}, "x.nii.gz is there 2 times"),
        (with_scan(split="test"), "split is one of train, validation, not 'test'"),
        (with_scan(labels="remove"), "lack 'labels'"),
        (with_scan(label="b"), "'label' is not known"),
        (with_scan(name="../b"), "cannot be a file's name"),
        (with_scan(ct="gone.nii.gz"), "which does not exist"),
        ({**CONTENT, "phantoms": -1}, "phantoms is a whole number"),
        ({"lesions": []}, "lack 'scans'"),
        (with_anatomy(kind="bones"), "kind is one of organs, kidneys, not 'bones'"),
        (with_anatomy(organs="wordy"), "organs is one of word, spl, kits or a table"),
        (with_anatomy(organs={"tumor": [2]}), "organs must say which labels are kidney"),
        (with_anatomy(organs={"kidney": [1], "soul": [2]}), "the organ 'soul' is not known"),
        (with_anatomy(split="train"), "y.nii.gz is there for both splits"),
        (with_anatomy(labels="gone.nii.gz"), "which does not exist"),
        ({**CONTENT, "scans": [{**CONTENT["scans"][0], "name": "a_v001"}]}, "'a_v001' is how made-up cases are called"),
        ([], "cannot be used"),
        ({**CONTENT, "scans": ["a"]}, "cannot be used"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_sources_are_a_sentence(folder: Path, content: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_sources(sources_file(folder, content))
    assert said in str(caught.value)
    assert "SOURCES.json" in str(caught.value)


def test_sources_that_are_no_json_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "SOURCES.json").write_text("{")
    with pytest.raises(InputError, match="cannot be used"):
        read_sources(tmp_path / "SOURCES.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_sources(tmp_path / "missing.json")


def test_names_tell_what_is_synthetic() -> None:
    assert origin_of(copy_name("any", 7)) == IMPLANTED
    assert origin_of(copy_name("any", 1234)) == IMPLANTED
    assert origin_of(phantom_name(10_000)) == PHANTOM
    assert origin_of(anatomy_name("train", 12)) == ANATOMY
    assert origin_of(anatomy_name("validation", 12)) == ANATOMY
    assert origin_of(transplant_name("any", 12)) == IMPLANTED
    assert {origin_of(name) for name in ("case_00000", "head_very_large", "phantom_like", "a_v12", "anatomy", "organ_kidneys")} == {REAL}


def test_no_phantom_is_in_both_splits() -> None:
    sources = Sources((), (), phantoms=5000)
    assert len(phantom_seeds(sources, "train")) == 5000
    assert not set(phantom_seeds(sources, "train")) & set(phantom_seeds(sources, "validation"))


def test_a_pool_is_built_by_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch, body: Case) -> None:
    monkeypatch.setattr(synthesis, "phantom_case", lambda seed, rng: replace(body, name=phantom_name(seed), spacing_mm=1.5))
    pool = folder / "pool"
    words = [str(sources_file(folder)), str(pool), "--count", "3", "--validation-count", "1"]
    assert synthesis.main(words) == 0
    train, validation = load_cases(pool / "train" / "fine"), load_cases(pool / "validation" / "coarse")
    assert [case.name for case in train] == ["a", "a_v000", "a_v001", "a_v002", "c", "phantom_10000", "phantom_10001"]
    assert [case.name for case in validation] == ["b", "b_v000", "phantom_20000", "phantom_20001", "phantom_20002"]
    # What is evaluated on is there whole, and real scans have files of their own.
    whole = load_cases(pool / "validation" / "whole")
    assert [case.name for case in whole] == ["b_v000", "phantom_20000", "phantom_20001", "phantom_20002"]
    assert all(case.hu.shape == body.hu.shape for case in whole[1:])
    assert not (pool / "train" / "whole").exists()
    assert {case.spacing_mm for case in train} == {1.5}
    assert {case.spacing_mm for case in validation} == {3.0}
    assert synthesis.main(words) == 2


def test_the_command_writes_anatomies_and_transplants_of_each_split(folder: Path, monkeypatch: pytest.MonkeyPatch, body: Case) -> None:
    asked: list[tuple[str, int]] = []

    def anatomies(sources: Sources, split: str, count: int, seed: int, device: torch.device) -> Iterator[tuple[Case, np.random.Generator]]:
        asked.append((split, count))
        yield from ((replace(body, name=anatomy_name(split, index)), np.random.default_rng(index)) for index in range(count))

    def transplants(sources: Sources, split: str, scans: list[Case], count: int, seed: int) -> Iterator[Case]:
        yield from (replace(scans[0], name=transplant_name(scans[0].name, index)) for index in range(count))

    monkeypatch.setattr(synthesis, "anatomies_of", anatomies)
    monkeypatch.setattr(synthesis, "transplants_of", transplants)
    monkeypatch.setattr(synthesis, "VALIDATION_PHANTOMS", 0)
    words = [str(sources_file(folder, {**CONTENT, "phantoms": 0})), str(folder / "pool"), "--count", "0", "--validation-count", "0"]
    words += ["--anatomies", "2", "--validation-anatomies", "1", "--transplants", "1", "--validation-transplants", "2"]
    assert synthesis.main(words) == 0
    assert asked == [("validation", 1), ("train", 2)]
    names = {split: [case.name for case in load_cases(folder / "pool" / split / "fine")] for split in ("train", "validation")}
    assert names["train"] == ["a", "a_k000", "anatomy_00000", "anatomy_00001", "c"]
    assert names["validation"] == ["anatomy_90000", "b", "b_k000", "b_k001"]
    assert [case.name for case in load_cases(folder / "pool" / "validation" / "whole")] == ["anatomy_90000", "b_k000", "b_k001"]


def test_the_same_seed_makes_the_same_pool(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = replace(read_sources(sources_file(folder)), phantoms=0)
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        build_split(sources, "train", folder / name, 1, seed)
    first, again, other = (load_cases(folder / name / "train" / "coarse")[1] for name in ("first", "again", "other"))
    assert np.array_equal(first.hu, again.hu)
    assert not np.array_equal(first.hu, other.hu)


def test_lesions_of_the_other_split_are_not_read(folder: Path) -> None:
    sources = replace(read_sources(sources_file(folder)), phantoms=0)
    (folder / "y.nii.gz").unlink()
    build_split(sources, "train", folder / "pool", 1, 1)
    with pytest.raises(InputError, match=r"y.nii.gz"):
        build_split(sources, "validation", folder / "pool", 1, 1)


def test_copies_of_no_kidneys_are_a_sentence(folder: Path) -> None:
    sources = read_sources(sources_file(folder))
    only_negative = replace(sources, scans=sources.scans[2:], phantoms=0)
    with pytest.raises(InputError, match="No scan of the train split has kidney labels"):
        build_split(only_negative, "train", folder / "pool", 3, 1)


def test_lesions_are_grown_as_far_as_there_are_forms(body: Case, shape: Shape) -> None:
    grown = [with_lesions(body, LesionBank([shape], []), np.random.default_rng(seed)) for seed in range(6)]
    assert any((case.labels == 2).any() for case in grown)
    assert with_lesions(body, LesionBank([], []), np.random.default_rng(0)) is body


def test_a_variant_is_changed_and_its_original_is_not(body: Case, shape: Shape) -> None:
    before = body.hu.copy()
    changed = [variant(body, LesionBank([shape], [shape]), np.random.default_rng(seed)) for seed in range(4)]
    assert any(not np.array_equal(case.hu, before) for case in changed)
    assert np.array_equal(body.hu, before)
    assert all(set(np.unique(case.labels)) <= {0, 1, 2} for case in changed)


def test_the_fine_version_keeps_the_place_of_a_removed_kidney(body: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "FINE_MARGIN_MM", 4.0)
    monkeypatch.setattr(synthesis, "FINE_LEAST_MM", 0.0)
    for kind in ("fine", "coarse"):
        (tmp_path / kind).mkdir()
    removed = replace(body, labels=np.where(np.arange(72) < 36, body.labels, 0).astype(np.uint8))
    write_case(removed, tmp_path, region=body)
    (fine,) = load_cases(tmp_path / "fine")
    assert fine.hu.shape[2] > 50
    write_case(replace(removed, name="alone"), tmp_path)
    assert load_cases(tmp_path / "fine")[0].hu.shape[2] < 30


def test_the_fine_version_of_cut_kidneys_shows_what_lies_beyond_them(body: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "FINE_MARGIN_MM", 4.0)
    for kind in ("fine", "coarse"):
        (tmp_path / kind).mkdir()
    first = int(np.argwhere(body.labels)[:, 0].mean())
    cut = body.cropped((slice(first, None), slice(None), slice(None)))
    assert (cut.labels[0] > 0).any()
    write_case(cut, tmp_path)
    assert load_cases(tmp_path / "fine")[0].hu.shape == cut.hu.shape
