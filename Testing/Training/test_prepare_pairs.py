"""A lab's own scans: names that belong together, Slicer's segmentations as Slicer writes them, and a sentence for what is unclear."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import AxisOrder, Geometry, Slices
from KidneyTumorCascadeLib.phantom import Phantom
from KidneyTumorCascadeLib.volume import Volume, write_volume
from Testing.Training.kits_phantoms import kits_phantom
from Training import prepare_pairs
from Training.cases import around, case_around_kidneys, load_case
from Training.measuring.trials import indexed_trials, read_index
from Training.preparation.drawn_labels import SegmentNames, placed, read_drawn_labels
from Training.prepare_pairs import role_of

QUICK = ["--fine-mm", "6", "--fine-margin-mm", "30", "--fine-least-mm", "0", "--coarse-mm", "9", "--workers", "1"]
KIDNEYS = {"Right kidney": 1, "Left kidney": 2, "Right tumor": 3}


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    """A patient with tumors, the file's axes like those of a scanner's."""
    return kits_phantom(3, orientation="LPS")


@pytest.fixture
def folder(phantom: Phantom, tmp_path: Path) -> Path:
    """One scan without labels, and another with plain ones."""
    (tmp_path / "lab").mkdir()
    for name in ("a", "b"):
        write_volume(phantom.volume, tmp_path / "lab" / f"{name}.nrrd")
    write_volume(phantom.labels, tmp_path / "lab" / "b_labels.nii.gz")
    return tmp_path / "lab"


def run(folder: Path, pool: Path, *words: str) -> int:
    return prepare_pairs.main([str(folder), str(pool), *QUICK, *words])


def index_of(pool: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((pool / "index.json").read_text())
    return content


def crop_of(labels: Volume, margin: int = 1) -> Slices:
    return around(labels.voxels > 0, margin)


def write_segmentation(path: Path, layers: np.ndarray, geometry: Geometry, segments: Sequence[Mapping[str, object]], space: str = "LPS") -> None:
    """A .seg.nrrd as Slicer writes it, byte for byte by hand: layers (z, y, x, layer), one layer without the list axis."""
    axes = geometry.axes * geometry.spacing
    signs = np.array([1, 1, 1] if space == "LPS" else [-1, -1, 1])
    vectors = " ".join("(" + ",".join(repr(float(value)) for value in axes[:, axis] * signs) + ")" for axis in range(3))
    several = layers.shape[-1] > 1
    sizes = [*([layers.shape[-1]] if several else []), *geometry.size]
    lines = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        "type: unsigned char",
        f"dimension: {len(sizes)}",
        "space: " + ("left-posterior-superior" if space == "LPS" else "right-anterior-superior"),
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {'none ' if several else ''}{vectors}",
        f"kinds: {'list ' if several else ''}domain domain domain",
        "encoding: gzip",
        "space origin: (" + ",".join(repr(float(value)) for value in np.array(geometry.origin) * signs) + ")",
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|Closed surface|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        *(f"Segment{number}_{field}:={value}" for number, segment in enumerate(segments) for field, value in segment.items()),
    ]
    content = np.ascontiguousarray(layers if several else layers[..., 0], dtype=np.uint8)
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + gzip.compress(content.tobytes()))


def segments_of(values: Mapping[str, int], layers: Mapping[str, int] | None = None) -> list[Mapping[str, object]]:
    return [
        {"ID": f"Segment_{value}", "Name": name, "LabelValue": value, "Layer": (layers or {}).get(name, 0), "Tags": "TerminologyEntry:x|"}
        for name, value in values.items()
    ]


def drawn_by_slicer(labels: Volume) -> np.ndarray:
    """Right kidney 1, left kidney 2, all tumors 3, as one layer."""
    voxels = labels.voxels.copy()
    half = np.arange(voxels.shape[2]) >= voxels.shape[2] // 2
    result = np.where(voxels == 1, np.where(half, 2, 1), 0)
    result[voxels == 2] = 3
    return result[..., None].astype(np.uint8)


# --- names -------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("a.nii.gz", ("a", False)),
        ("Patient 1.2.NRRD", ("Patient 1.2", False)),
        ("a_labels.nii.gz", ("a", True)),
        ("a-label.mha", ("a", True)),
        ("a.seg.nrrd", ("a", True)),
        ("a_b.nii", ("a_b", False)),
        ("notes.txt", ("", False)),
        (".a.nrrd", ("", False)),
        ("_labels.nrrd", ("", True)),
    ],
)
def test_names_say_what_a_file_is(file: str, expected: tuple[str, bool]) -> None:
    assert role_of(file) == expected


@pytest.mark.parametrize("labels", ["a_labels.nii.gz", "a-label.nrrd", "a.seg.nrrd", "labels/a.mha", "labels/a.seg.nrrd"])
def test_each_way_of_naming_gives_the_same_pool(folder: Path, phantom: Phantom, tmp_path: Path, labels: str) -> None:
    (folder / "labels").mkdir()
    write_volume(phantom.labels, folder / labels)
    assert run(folder, tmp_path / "pool", "--split", "1/1") == 0
    index = index_of(tmp_path / "pool")
    assert (index["source"], index["split"]) == ("pairs", "1/1")
    first, second = index["cases"]
    assert (first["ct"], first["labels"]) == ("a.nrrd", labels)
    expected = case_around_kidneys("a", phantom.volume, phantom.labels, 6.0, 30.0)
    for case in (first, second):
        made = load_case(tmp_path / "pool" / case["split"] / "fine" / f"{case['name']}.npz")
        assert np.array_equal(made.labels, expected.labels)
        assert np.array_equal(made.hu, expected.hu)


def test_what_is_alone_or_ambiguous_is_left_out(folder: Path, phantom: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("c.nrrd", "c.nii.gz", "d.nrrd", "e.nrrd"):
        write_volume(phantom.volume, folder / name)
    for name in ("c_labels.nrrd", "d_labels.nrrd", "d-label.nrrd", "e_labels.nrrd", "ghost.seg.nrrd"):
        write_volume(phantom.labels, folder / name)
    assert run(folder, tmp_path / "pool", "--validation", "1") == 0
    index = index_of(tmp_path / "pool")
    assert [case["name"] for case in index["cases"]] == ["b", "e"]
    assert index["split"] == "rest/1"
    assert {entry["name"]: entry["reason"] for entry in index["left_out"]} == {
        "a": "It has no label map.",
        "c": "It has 2 files that could be its scan (c.nii.gz, c.nrrd); leave one.",
        "d": "It has 2 files that could be its label map (d-label.nrrd, d_labels.nrrd); leave one.",
        "ghost": "It has no scan.",
    }
    assert "ghost: It has no scan." in capsys.readouterr().out


def test_a_folder_without_pairs_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "b_labels.nii.gz").unlink()
    assert run(folder, tmp_path / "pool") == 2
    assert "holds no scan with a label map" in capsys.readouterr().err
    assert run(folder / "missing", tmp_path / "pool") == 2
    assert "missing cannot be read" in capsys.readouterr().err


def test_two_wishes_for_a_split_are_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, tmp_path / "pool", "--split", "1/1", "--validation", "1") == 2
    assert "not both" in capsys.readouterr().err


# --- Slicer's segmentations --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["LPS", "RAS"])
def test_a_cropped_segmentation_is_put_in_its_place(folder: Path, phantom: Phantom, tmp_path: Path, space: str) -> None:
    """Slicer writes the effective extent only, and numbers segments in the order of their making."""
    where = crop_of(phantom.labels)
    layers = drawn_by_slicer(phantom.labels)[where]
    write_segmentation(folder / "a.seg.nrrd", layers, phantom.labels.geometry.cropped(where), segments_of(KIDNEYS), space)
    assert run(folder, tmp_path / "pool", "--validation", "1") == 0
    first, second = index_of(tmp_path / "pool")["cases"]
    assert (first["kidney_ml"], first["tumor_ml"]) == (second["kidney_ml"], second["tumor_ml"])
    made = [load_case(tmp_path / "pool" / case["split"] / "fine" / f"{case['name']}.npz") for case in (first, second)]
    assert np.array_equal(made[0].labels, made[1].labels)


def test_overlapping_layers_are_tumor_over_kidney(folder: Path, phantom: Phantom) -> None:
    """A kidney drawn whole with the tumor over it; both have the value 1, and the tumor comes first."""
    where = crop_of(phantom.labels)
    labels = phantom.labels.voxels[where]
    layers = np.stack([labels == 2, labels > 0], axis=-1).astype(np.uint8)
    segments = segments_of({"Tumour": 1, "Kidneys": 1}, {"Kidneys": 1})
    write_segmentation(folder / "a.seg.nrrd", layers, phantom.labels.geometry.cropped(where), segments)
    assert np.array_equal(read_drawn_labels(folder / "a.seg.nrrd", phantom.volume.geometry).voxels, phantom.labels.voxels)


def test_older_files_have_a_layer_for_each_segment_and_no_numbers(folder: Path, phantom: Phantom) -> None:
    labels = phantom.labels.voxels
    layers = np.stack([labels == 1, labels == 2], axis=-1).astype(np.uint8)
    segments = [{"ID": "Segment_1", "Name": "kidney"}, {"ID": "Segment_2", "Name": "tumor"}]
    write_segmentation(folder / "a.seg.nrrd", layers, phantom.labels.geometry, segments)
    assert np.array_equal(read_drawn_labels(folder / "a.seg.nrrd", phantom.volume.geometry).voxels, labels)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Kidney", 1),
        ("right_kidney", 1),
        ("Cyst of the left kidney", 1),
        ("Tumor", 2),
        ("kidney-tumor 2", 2),
        ("Clear cell carcinoma", 2),
        ("RCC", 2),
        ("Segment_1", None),
        ("adrenal gland", None),
        ("renal vein", None),
        ("lesion", None),
        ("", None),
    ],
)
def test_names_of_segments(name: str, expected: int | None) -> None:
    assert SegmentNames().label_of(name) == expected


def test_an_unclear_segment_is_refused_until_it_is_explained(
    folder: Path, phantom: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"Niere": 1, "left kidney": 2, "Befund": 3}
    write_segmentation(folder / "a.seg.nrrd", drawn_by_slicer(phantom.labels), phantom.labels.geometry, segments_of(names))
    (folder / "c.nrrd").write_bytes((folder / "b.nrrd").read_bytes())
    (folder / "c_labels.nii.gz").write_bytes((folder / "b_labels.nii.gz").read_bytes())
    assert run(folder, tmp_path / "pool", "--validation", "1") == 0
    (entry,) = index_of(tmp_path / "pool")["left_out"]
    assert entry["reason"].startswith("a.seg.nrrd has a segment 'Niere' whose name says neither kidney nor tumor; rename it, or say")
    assert run(folder, tmp_path / "pool", "--validation", "1", "--kidney", "niere", "--tumor", "BEFUND") == 0
    first, second, _ = index_of(tmp_path / "pool")["cases"]
    assert (first["kidney_ml"], first["tumor_ml"]) == (second["kidney_ml"], second["tumor_ml"])
    assert run(folder, tmp_path / "pool", "--validation", "1", "--kidney", "Niere", "--ignore", "Befund") == 0
    assert index_of(tmp_path / "pool")["cases"][0]["tumor_ml"] == 0


@pytest.mark.parametrize(
    ("segments", "layers", "expected"),
    [
        ([{"ID": "S1", "Name": "kidney", "LabelValue": "one", "Layer": 0}], 1, "which are no numbers"),
        (segments_of({"kidney": 1}, {"kidney": 4}), 2, "lacks the layer 4"),
        (segments_of({"kidney": 9}), 1, "marks no voxel as kidney or tumor"),
    ],
)
def test_impossible_segments_are_a_sentence(
    folder: Path,
    phantom: Phantom,
    tmp_path: Path,
    segments: Sequence[Mapping[str, object]],
    layers: int,
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = np.repeat(drawn_by_slicer(phantom.labels), layers, axis=-1)
    write_segmentation(folder / "a.seg.nrrd", content, phantom.labels.geometry, segments)
    assert run(folder, tmp_path / "pool", "--validation", "1") == 2
    assert expected in capsys.readouterr().err


def test_an_empty_segmentation_is_a_single_voxel(folder: Path, phantom: Phantom) -> None:
    write_segmentation(folder / "a.seg.nrrd", np.zeros((1, 1, 1, 1)), Geometry((1, 1, 1), (1.0, 1.0, 1.0)), segments_of({"kidney": 1}))
    with pytest.raises(InputError, match="holds no segmented voxels"):
        read_drawn_labels(folder / "a.seg.nrrd", phantom.volume.geometry)


def test_a_damaged_segmentation_is_a_sentence(folder: Path, phantom: Phantom) -> None:
    path = folder / "a.seg.nrrd"
    write_segmentation(path, drawn_by_slicer(phantom.labels), phantom.labels.geometry, segments_of(KIDNEYS))
    whole = path.read_bytes()
    for content in (whole[:-400], whole[:200], b"no NRRD"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.seg\.nrrd"):
            read_drawn_labels(path, phantom.volume.geometry)


# --- places ------------------------------------------------------------------------------------------------------------------------------------


@given(
    permutation=st.permutations([0, 1, 2]),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    low=st.tuples(*[st.integers(-3, 4)] * 3),
    beyond=st.tuples(*[st.integers(0, 3)] * 3),
)
def test_any_part_of_the_grid_in_any_order_of_axes_comes_back(
    permutation: list[int], flips: tuple[bool, bool, bool], low: tuple[int, int, int], beyond: tuple[int, int, int]
) -> None:
    """Slicer's extents may begin below 0 and end beyond the scan."""
    scan = Geometry((9, 8, 7), (0.7, 0.8, 3.0), (-100.0, 30.0, 12.0))
    wide = np.zeros([length + 8 for length in scan.shape_zyx], np.uint8)
    inside = np.random.default_rng(0).integers(0, 3, scan.shape_zyx).astype(np.uint8)
    for axis, start in enumerate(low):
        cut = [slice(None)] * 3
        cut[axis] = slice(0, max(0, start))
        inside[tuple(cut)] = 0
    wide[tuple(slice(4, 4 + length) for length in scan.shape_zyx)] = inside
    part = wide[tuple(slice(4 + start, 4 + length + end) for start, length, end in zip(low, scan.shape_zyx, beyond, strict=True))]
    z, y, x = part.shape
    labels = Volume(part, replace(scan, size=(x, y, z), origin=tuple(scan.to_patient(low[::-1]))))
    order = AxisOrder((permutation[0], permutation[1], permutation[2]), flips)
    turned = Volume(order.apply(labels.voxels), labels.geometry.reordered(order))
    assert np.array_equal(placed(turned.in_lps_order(), scan, Path("x")).voxels, inside)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"origin": (0.35, 0.0, 0.0)}, "does not lie on the voxels"),
        ({"spacing": (1.0, 1.0, 2.1)}, "does not lie on the voxels"),
        ({"direction": (0.9992, -0.04, 0.0, 0.04, 0.9992, 0.0, 0.0, 0.0, 1.0)}, "does not lie on the voxels"),
        ({"origin": (3.0, 0.0, 0.0)}, "marks voxels beyond its scan"),
        ({"origin": (300.0, 0.0, 0.0)}, "marks voxels beyond its scan"),
    ],
)
def test_labels_of_other_voxels_are_refused(change: dict[str, Any], expected: str) -> None:
    scan = Geometry((20, 20, 20), (1.0, 1.0, 2.0))
    labels = Volume(np.ones((20, 20, 20), np.uint8), replace(scan, **change))
    with pytest.raises(InputError, match=rf"x\.seg\.nrrd {expected}"):
        placed(labels, scan, Path("x.seg.nrrd"))


def test_the_rounding_of_a_header_does_no_harm() -> None:
    scan = Geometry((20, 20, 20), (0.7, 0.7, 2.0), (-100.0, 20.0, 3.0))
    rounded = replace(scan, origin=(-100.00004, 20.00001, 3.0), spacing=(0.70001, 0.7, 2.0))
    result = placed(Volume(np.ones((20, 20, 20), np.uint8), rounded), scan, Path("x"))
    assert result.geometry == scan
    assert result.voxels.all()


def test_an_evaluation_reads_the_labels_as_the_preparation_did(folder: Path, phantom: Phantom, tmp_path: Path) -> None:
    """A cropped segmentation with a name that only the preparation's option explains."""
    where = crop_of(phantom.labels)
    names = {"Niere": 1, "Left kidney": 2, "Right tumor": 3}
    write_segmentation(folder / "a.seg.nrrd", drawn_by_slicer(phantom.labels)[where], phantom.labels.geometry.cropped(where), segments_of(names))
    assert run(folder, tmp_path / "pool", "--validation", "1", "--kidney", "Niere") == 0
    cases = read_index(tmp_path / "pool" / "index.json", folder, ("train", "validation"))
    for trial in indexed_trials(cases):
        assert trial.labels is not None
        assert np.array_equal(trial.labels.voxels, phantom.labels.voxels)
