"""From a scan on disk to the files written for it: which, under which names, all or none."""

from __future__ import annotations

import itertools
import json
import os
from functools import partial
from pathlib import Path

import pytest

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Box
from KidneyTumorCascadeLib.output_files import FilesTogether, require_apart, require_ending
from KidneyTumorCascadeLib.progress import StageTimer
from KidneyTumorCascadeLib.scan_reading import public_name
from KidneyTumorCascadeLib.segment_file import (
    Request,
    boxes_to_json,
    check_request,
    open_cascade,
    probability_paths,
    read_boxes,
    segment_file,
)
from KidneyTumorCascadeLib.volume import read_label_map, read_volume, write_volume
from Testing.bright_blocks import Desk, make_scan, use_brightness, write_dicom


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    use_brightness(monkeypatch)
    return Desk(tmp_path, capsys)


def box(side: str, center: tuple[float, float, float] = (70.0, -10.0, 120.0)) -> Box:
    return Box(center, (90.0, 90.0, 90.0), side, "user")


# --- one run ---------------------------------------------------------------------------------------------------------------------------------


def test_a_run_returns_the_manifest_it_wrote(desk: Desk) -> None:
    request = Request(desk.ct, desk.out / "labels.mha", bundle=str(desk.bundle), device="cpu")
    seen: list[tuple[str, int, int]] = []
    manifest = segment_file(request, open_cascade(request, lambda *step: seen.append(step)))
    assert manifest == json.loads((desk.out / "labels.json").read_text(encoding="utf-8"))
    assert seen[0] == ("reading", 0, 1)
    assert seen[-1] == ("writing", 1, 1)
    assert read_label_map(desk.out / "labels.mha").voxels.any()


def test_one_cascade_serves_several_scans(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("KidneyTumorCascadeLib.segment_file.StageTimer", partial(StageTimer, clock=partial(next, itertools.count())))
    requests = [Request(desk.ct, desk.out / f"{name}.nii.gz", bundle=str(desk.bundle), device="cpu") for name in "ab"]
    cascade = open_cascade(requests[0])
    first, second = (segment_file(request, cascade) for request in requests)
    assert first["measurements"] == second["measurements"]
    assert first["warnings"] == second["warnings"]
    assert first["seconds"] == second["seconds"]


def test_two_boxes_of_a_side_keep_their_probabilities_apart(desk: Desk) -> None:
    boxes = [box("left"), box("right", (-80.0, -10.0, 120.0)), box("left", (10.0, -10.0, 120.0))]
    request = Request(desk.ct, desk.out / "labels.nii.gz", str(desk.bundle), device="cpu", boxes=boxes, probabilities=True)
    manifest = segment_file(request, open_cascade(request))
    assert [entry["side"] for entry in manifest["measurements"]] == ["left", "right", "left"]
    paths = probability_paths(request.output, ["left", "right", "left"])
    assert len(set(paths)) == 6
    assert all(path.is_file() for path in paths)
    first, third = (read_volume(paths[index]).geometry.origin[0] for index in (0, 4))
    assert first > third


def test_probability_maps_are_named_after_their_boxes() -> None:
    names = [path.name for path in probability_paths(Path("out/a.b.seg.nrrd"), ["both", "left", "left"])]
    assert names[::2] == [f"a.b_{side}_kidney_probability.nii.gz" for side in ("both", "left", "left-2")]
    assert names[1::2] == [f"a.b_{side}_tumor_probability.nii.gz" for side in ("both", "left", "left-2")]


def test_only_files_of_images_are_named(tmp_path: Path) -> None:
    write_volume(make_scan(), tmp_path / "ct.nrrd")
    folder = write_dicom(make_scan(), tmp_path / "DOE^JANE")
    assert public_name(tmp_path / "ct.nrrd") == "ct.nrrd"
    assert public_name(folder) == public_name(folder / "000.dcm") == "DICOM series"


# --- what may be written where ---------------------------------------------------------------------------------------------------------------


def test_a_request_that_harms_nothing_passes(tmp_path: Path) -> None:
    scan = tmp_path / "ct.nii.gz"
    scan.write_bytes(b"a scan")
    check_request(
        Request(scan, tmp_path / "ct-labels.nii.gz", boxes_file=tmp_path / "ct.json", preview=tmp_path / "ct.png", probabilities=True),
    )
    assert os.listdir(tmp_path) == ["ct.nii.gz"]


def test_files_apart_pass_and_others_do_not(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    require_apart([("map", a)], [("scan", b)])
    for same in (a, tmp_path / "x" / ".." / "a"):
        with pytest.raises(InputError, match=r"The map .* would overwrite the scan"):
            require_apart([("map", a)], [("scan", same)])
        with pytest.raises(InputError, match=r"The table .* would overwrite the map"):
            require_apart([("map", a), ("table", same)])
    a.touch()
    b.symlink_to(a)
    with pytest.raises(InputError, match="would overwrite"):
        require_apart([("map", b)], [("scan", a)])
    # Two inputs may be the same file.
    require_apart([], [("scan", a), ("scan", a)])


def test_endings_are_compared_without_case() -> None:
    require_ending(Path("A.PNG"), ".png", "preview")
    with pytest.raises(InputError, match=r"The preview a\.gz must have a name that ends with \.png"):
        require_ending(Path("a.gz"), ".png", "preview")


# --- together or not at all ------------------------------------------------------------------------------------------------------------------


def test_files_appear_at_the_end_and_all_at_once(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    targets = [tmp_path / "a", tmp_path / "b", other / "a"]
    with FilesTogether() as files:
        for target in targets:
            waiting = files.place(target)
            assert waiting.name == target.name
            waiting.write_text(str(target), encoding="utf-8")
        assert not any(target.exists() for target in targets)
    assert [target.read_text(encoding="utf-8") for target in targets] == [str(target) for target in targets]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "a", "b", "other"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, OSError])
def test_nothing_appears_when_something_happens(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a").write_text("earlier", encoding="utf-8")
    with pytest.raises(error), FilesTogether() as files:  # noqa: PT012
        files.place(tmp_path / "a").write_text("later", encoding="utf-8")
        files.place(tmp_path / "b").write_text("later", encoding="utf-8")
        raise error
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text(encoding="utf-8") == "earlier"


def test_a_link_goes_on_pointing_where_it_did(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    with FilesTogether() as files:
        files.place(tmp_path / "link").write_text("content", encoding="utf-8")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text(encoding="utf-8") == "content"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Nothing can be written in .*absent"), FilesTogether() as files:
        files.place(tmp_path / "absent" / "a")


# --- lists of boxes --------------------------------------------------------------------------------------------------------------------------


def test_boxes_survive_the_file(tmp_path: Path) -> None:
    turned = Box((1.5, -2.25, 3.125), (90.0, 80.0, 70.5), "both", "user", (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "boxes.json").write_text(json.dumps(boxes_to_json([box("left"), turned], ["a warning"])), encoding=encoding)
        assert read_boxes(tmp_path / "boxes.json") == [box("left"), turned]
