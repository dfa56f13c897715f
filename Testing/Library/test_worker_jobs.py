"""What the worker does: the library's results voxel for voxel, files whole or not at all, and nothing done twice that can be kept."""

from __future__ import annotations

import gc
import json
import os
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from KidneyTumorCascadeLib import cascade as cascade_module
from KidneyTumorCascadeLib import normalization, worker_jobs
from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.cascade import Cascade, assembled
from KidneyTumorCascadeLib.device import choose_device
from KidneyTumorCascadeLib.errors import BundleError, Cancelled, InputError, SetupError
from KidneyTumorCascadeLib.geometry import Box, Geometry, Matrix
from KidneyTumorCascadeLib.kidney_boxes import NOTHING_FOUND
from KidneyTumorCascadeLib.measurements import measure
from KidneyTumorCascadeLib.phantom import orientations
from KidneyTumorCascadeLib.volume import Volume
from KidneyTumorCascadeLib.worker_messages import Found, Options, ScanFile, Segmented
from KidneyTumorCascadeLib.worker_protocol import Call, InvalidParams
from KidneyTumorCascadeLib.worker_scans import MOST_SCANS
from KidneyTumorCascadeLib.worker_task import Task
from Testing.bright_blocks import LEVELS, Brightness, make_bright_bundle, make_coronal_scan, make_scan, use_brightness
from Testing.tiny_bundle import read_description, write_description

OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)


class Counted(Brightness):
    """A network that counts how often networks were made, and calls back at each patch."""

    made = 0
    on_patch: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, above: float) -> None:
        super().__init__(above)
        type(self).made += 1
        self.layer = nn.Identity()

    def forward(self, patches: Tensor) -> Tensor:
        type(self).on_patch()
        result: Tensor = super().forward(self.layer(patches))
        return result


class Desk:
    """A workbench, a bundle whose networks find bright voxels, and a client's folder."""

    def __init__(self, folder: Path) -> None:
        self.bundle = make_bright_bundle(folder / "bundle")
        self.out = folder / "out"
        self.out.mkdir()
        self.scans = folder / "scans"
        self.scans.mkdir()
        self.bench = worker_jobs.Workbench()
        self.said: list[dict[str, Any]] = []
        self.task: Task | None = None

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.task = Task(Call(method, params, 1), lambda line: self.said.append(json.loads(line)))
        result: dict[str, Any] = json.loads(json.dumps(self.bench.run(self.task, self.out)))
        return result

    def open(self, scan: Volume, name: str = "CT") -> str:
        path = self.scans / f"{len(list(self.scans.iterdir()))}.npy"
        np.save(path, scan.voxels)
        scan_id: str = self.ask("open_scan", **ScanFile(path, scan.geometry, name).to_dict())["scan_id"]
        return scan_id

    def options(self, **changes: Any) -> dict[str, Any]:
        return replace(Options(bundle=str(self.bundle), device="cpu"), **changes).to_dict()

    def find(self, scan_id: str, **changes: Any) -> Found:
        return Found.from_dict(self.ask("find_kidneys", scan_id=scan_id, options=self.options(**changes)))

    def segment_boxes(self, scan_id: str, boxes: list[Box], **changes: Any) -> Segmented:
        answer = self.ask("segment_boxes", scan_id=scan_id, boxes=[box.to_dict() for box in boxes], options=self.options(**changes))
        return Segmented.from_dict(answer)

    def cascade(self, preset: str = "standard") -> Cascade:
        return Cascade(load_bundle(self.bundle), choose_device("cpu"), preset)

    def written(self) -> list[str]:
        return sorted(str(path.relative_to(self.out)) for path in self.out.rglob("*"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    use_brightness(monkeypatch)
    return Desk(tmp_path)


@pytest.fixture
def counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    monkeypatch.setattr(Counted, "made", 0)
    monkeypatch.setattr(Counted, "on_patch", staticmethod(lambda: None))
    monkeypatch.setattr(cascade_module, "load_network", lambda stage, device: Counted(LEVELS[stage.name]))
    return Counted


def as_stored(scan: Volume, direction: Matrix) -> Volume:
    """The scan's voxels under other axes: another patient, who must come out alike in worker and library."""
    return Volume(scan.voxels, replace(scan.geometry, direction=direction))


# --- the library's results -------------------------------------------------------------------------------------------------------------------


STORED = [make_scan(), make_coronal_scan(), *(as_stored(make_scan(), direction) for direction in (OBLIQUE, (-1, 0, 0, 0, 0, 1, 0, -1, 0)))]


@pytest.mark.parametrize("scan", STORED, ids=["axial", "coronal", "oblique", "mirrored"])
def test_segment_gives_the_librarys_labels_in_the_scans_own_order(desk: Desk, scan: Volume) -> None:
    expected = desk.cascade().segment(scan)
    result = Segmented.from_dict(desk.ask("segment", scan_id=desk.open(scan), options=desk.options()))
    assert np.array_equal(result.label_map(scan.geometry.shape_zyx), expected.labels.voxels)
    assert [part.box for part in result.parts] == [box.part.box for box in expected.boxes]
    assert [dict(part.measurement) for part in result.parts] == [
        side.to_dict() for side in measure([box.part for box in expected.boxes], scan.in_lps_order())
    ]


def test_every_orientation_comes_back_in_its_own_order(desk: Desk) -> None:
    box = None
    for flips in list(orientations())[::5]:
        scan = make_scan()
        order = Geometry(scan.geometry.size, scan.geometry.spacing, scan.geometry.origin, flips_to_direction(flips)).lps_order()
        geometry = scan.geometry.reordered(order)
        stored = Volume(np.ascontiguousarray(order.apply(scan.voxels)), geometry)
        box = box or desk.cascade().find_kidneys(scan).boxes[1]
        expected = desk.cascade().segment_box(stored, box)
        result = desk.segment_boxes(desk.open(stored), [box])
        assert np.array_equal(result.label_map(geometry.shape_zyx), assembled(stored, [expected.part]).voxels)
        for scan_id in list(desk.bench.scans._open):
            desk.ask("close_scan", scan_id=scan_id)


def flips_to_direction(orientation: str) -> Any:
    """The direction of a grid whose axes run towards these letters."""
    axes = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    return tuple(float(value) for value in np.array([axes[letter] for letter in orientation]).T.ravel())


def test_one_side_is_segmented_alone_and_moved_boxes_are_taken_as_they_are(desk: Desk) -> None:
    scan = make_scan()
    scan_id = desk.open(scan)
    left = desk.find(scan_id).boxes[1]
    moved = replace(left, center=(left.center[0] - 13.0, *left.center[1:]), size=(70.0, 60.0, 61.0), source="user", direction=OBLIQUE)
    result = desk.segment_boxes(scan_id, [moved])
    (part,) = result.parts
    expected = desk.cascade().segment_box(scan, moved)
    labels = result.label_map(scan.geometry.shape_zyx)
    assert part.box == moved
    assert np.array_equal(labels, assembled(scan, [expected.part]).voxels)
    assert np.load(part.labels).shape == expected.part.labels.shape
    assert labels.any()
    assert not labels[:, :, :24].any()
    assert result.manifest["boxes"] == [moved.to_dict()]


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<i4", "<i8", "<f8", "<f4"])
def test_every_type_of_number_gives_the_same_labels(desk: Desk, dtype: str) -> None:
    scan = make_scan()
    box = desk.cascade().find_kidneys(scan).boxes[0]
    expected = desk.segment_boxes(desk.open(scan), [box]).label_map(scan.geometry.shape_zyx)
    same = Volume(scan.voxels.astype(dtype), scan.geometry)
    assert np.array_equal(desk.segment_boxes(desk.open(same), [box]).label_map(scan.geometry.shape_zyx), expected)


def test_probabilities_come_with_their_grid(desk: Desk) -> None:
    scan = make_scan()
    cascade = desk.cascade()
    cascade.keep_probabilities = True
    box = cascade.find_kidneys(scan).boxes[1]
    expected = cascade.segment_box(scan, box).probabilities
    (part,) = desk.segment_boxes(desk.open(scan), [box], probabilities=True).parts
    assert expected is not None
    for name, volume in zip(("kidney", "tumor"), expected, strict=True):
        assert np.array_equal(np.load(part.probabilities[name].path), volume.voxels)
        assert part.probabilities[name].geometry == volume.geometry


def test_preset_and_merge_are_those_of_each_request(desk: Desk) -> None:
    scan = make_scan()
    scan_id = desk.open(scan)
    box = desk.find(scan_id).boxes[1]
    compared = desk.segment_boxes(scan_id, [box], merge="compare", preset="fast").manifest
    assert (compared["merge"], compared["preset"]) == ("compare", "fast")
    overlaid = desk.segment_boxes(scan_id, [box])
    assert (overlaid.manifest["merge"], overlaid.manifest["preset"]) == ("overlay", "standard")
    assert overlaid.parts[0].probabilities == {}


def test_no_boxes_give_an_empty_result_with_a_warning(desk: Desk) -> None:
    result = desk.segment_boxes(desk.open(make_scan()), [])
    assert result.parts == []
    assert NOTHING_FOUND in result.warnings


def test_the_manifest_tells_the_run_and_no_name(desk: Desk) -> None:
    scan_id = desk.open(make_scan())
    result = desk.segment_boxes(scan_id, desk.find(scan_id).boxes)
    text = json.dumps(result.manifest)
    assert result.manifest["input"]["name"] == "CT"
    assert result.manifest["bundle"]["name"] == "tiny"
    assert result.manifest["warnings"] == result.warnings
    assert "The CT has slices of 6 mm; with more than 5 mm small tumors may be missed." in result.warnings
    assert set(result.manifest["seconds"]) == {"segmenting right", "segmenting left", "merging"}
    assert str(desk.scans.parent) not in text


# --- warm ------------------------------------------------------------------------------------------------------------------------------------


def test_networks_are_read_once_until_memory_is_given_back(desk: Desk, counted: type[Counted]) -> None:
    scan_id = desk.open(make_scan())
    boxes = desk.find(scan_id).boxes
    for preset in ("standard", "fast"):
        desk.segment_boxes(scan_id, boxes, preset=preset)
    assert counted.made == 3
    cascade = desk.bench._cascade
    assert cascade is not None
    network = weakref.ref(next(iter(cascade._networks.values())))
    del cascade
    desk.bench.release()
    gc.collect()
    assert network() is None
    desk.segment_boxes(scan_id, boxes)
    assert counted.made == 5


def test_another_version_of_a_bundle_is_noticed(desk: Desk, counted: type[Counted]) -> None:
    scan_id = desk.open(make_scan())
    boxes = desk.find(scan_id).boxes
    desk.segment_boxes(scan_id, boxes[:1])
    content = read_description(desk.bundle)
    content["version"] = "2.0.0"
    write_description(desk.bundle, content)
    assert desk.segment_boxes(scan_id, boxes[:1]).manifest["bundle"]["version"] == "2.0.0"
    assert counted.made == 5
    (desk.bundle / "tumor.safetensors").write_bytes(b"")
    desk.bench.release()
    with pytest.raises(BundleError):
        desk.segment_boxes(scan_id, boxes[:1])


def test_statistics_of_a_scan_are_taken_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    content = read_description(desk.bundle)
    for network in content["networks"].values():
        network["normalization"] = {"kind": "statistical", "sigma": 2.5}
    write_description(desk.bundle, content)
    monkeypatch.setattr(cascade_module, "load_network", lambda stage, device: Brightness({"roi": 150, "kidney": 150, "tumor": 240}[stage.name]))
    scan = make_coronal_scan()
    expected = desk.cascade().segment(scan)
    assert expected.labels.voxels.any()
    taken: list[int] = []
    mean_and_sd = normalization.mean_and_sd

    def counted_mean_and_sd(voxels: Any) -> tuple[float, float]:
        taken.append(1)
        return mean_and_sd(voxels)

    monkeypatch.setattr(normalization, "mean_and_sd", counted_mean_and_sd)
    scan_id = desk.open(scan)
    result = desk.segment_boxes(scan_id, desk.find(scan_id).boxes)
    assert np.array_equal(result.label_map(scan.geometry.shape_zyx), expected.labels.voxels)
    assert taken == [1]


# --- cancelling and failing ------------------------------------------------------------------------------------------------------------------


def test_cancelling_in_the_middle_of_a_patch_leaves_no_files_and_the_next_request_works(desk: Desk, counted: type[Counted]) -> None:
    scan_id = desk.open(make_scan())
    boxes = desk.find(scan_id).boxes
    patches: list[int] = []

    def cancel() -> None:
        patches.append(1)
        assert desk.task is not None
        assert desk.task.cancel()

    counted.on_patch = staticmethod(cancel)
    with pytest.raises(Cancelled):
        desk.segment_boxes(scan_id, boxes)
    # The layer behind the call is never reached, let alone the second network.
    assert patches == [1]
    assert desk.written() == []
    counted.on_patch = staticmethod(lambda: None)
    assert desk.segment_boxes(scan_id, boxes).parts


def test_nothing_checks_for_a_task_that_is_over(desk: Desk) -> None:
    scan_id = desk.open(make_scan())
    desk.find(scan_id)
    assert desk.task is not None
    desk.task._stopped = True
    Brightness(0.5)(torch.zeros(1, 1, 2, 2, 2))
    cascade = desk.bench._cascade
    assert cascade is not None
    assert cascade.should_stop is None


def test_cancelling_while_files_are_written_leaves_none(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    scan_id = desk.open(make_scan())
    boxes = desk.find(scan_id).boxes
    save = np.save

    def cancel_and_save(*arguments: Any, **options: Any) -> None:
        save(*arguments, **options)
        assert desk.task is not None
        desk.task.cancel()

    monkeypatch.setattr(np, "save", cancel_and_save)
    with pytest.raises(Cancelled):
        desk.ask("segment_boxes", scan_id=scan_id, boxes=[boxes[0].to_dict()], options=desk.options())
    assert desk.written() == []


@pytest.mark.parametrize("what", ["save", "rename"])
def test_a_full_disk_is_said_and_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    scan_id = desk.open(make_scan())
    boxes = desk.find(scan_id).boxes

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr({"save": np, "rename": os}[what], what, full)
    with pytest.raises(SetupError, match="No space left"):
        desk.ask("segment_boxes", scan_id=scan_id, boxes=[boxes[0].to_dict()], options=desk.options())
    assert desk.written() == []


def test_until_all_is_written_nothing_looks_whole(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    scan_id = desk.open(make_scan())
    boxes = desk.find(scan_id).boxes
    seen: list[str] = []
    save = np.save

    def look_and_save(*arguments: Any, **options: Any) -> None:
        save(*arguments, **options)
        seen.extend(path.name for path in desk.out.iterdir())

    monkeypatch.setattr(np, "save", look_and_save)
    answer = desk.ask("segment_boxes", scan_id=scan_id, boxes=[box.to_dict() for box in boxes], options=desk.options())
    assert len(seen) == 2
    assert all(name.startswith(".unfinished-") for name in seen)
    result = Segmented.from_dict(answer)
    assert desk.written() == sorted(
        [result.folder.name, *(str(part.labels.relative_to(desk.out)) for part in result.parts)],
    )


def test_a_box_beside_the_scan_is_refused_before_anything_is_computed(desk: Desk, counted: type[Counted]) -> None:
    scan_id = desk.open(make_scan())
    far = Box((5000.0, 0.0, 0.0), (50.0, 50.0, 50.0), "left", "user")
    near = Box((0.0, 0.0, 100.0), (50.0, 50.0, 50.0), "right", "user")
    with pytest.raises(InputError, match="outside the scan"):
        desk.segment_boxes(scan_id, [near, far])
    assert counted.made == 0
    assert desk.written() == []


def test_memory_that_runs_out_is_a_sentence(desk: Desk, counted: type[Counted]) -> None:
    def too_much() -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    scan_id = desk.open(make_scan())
    counted.on_patch = staticmethod(too_much)
    with pytest.raises(SetupError, match="memory"):
        desk.find(scan_id)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"preset": "nonsense"}, InputError),
        ({"merge": "nonsense"}, InputError),
        ({"device": "nonsense"}, InputError),
        ({"bundle": "nonsense"}, BundleError),
    ],
)
def test_impossible_options_are_refused(desk: Desk, changes: dict[str, Any], kind: type[Exception]) -> None:
    scan_id = desk.open(make_scan())
    with pytest.raises(kind, match="nonsense"):
        desk.find(scan_id, **changes)
    assert desk.find(scan_id).boxes


@pytest.mark.parametrize("method", ["find_kidneys", "segment_boxes", "segment"])
def test_what_is_not_known_is_refused(desk: Desk, method: str) -> None:
    boxes: dict[str, Any] = {"boxes": []} if method == "segment_boxes" else {}
    with pytest.raises(InvalidParams, match="scan_id"):
        desk.ask(method, scan_id="scan-9", **boxes)
    with pytest.raises(InvalidParams, match="scans"):
        desk.ask(method, scans=1, **boxes)


# --- scans -----------------------------------------------------------------------------------------------------------------------------------


def broken_files(folder: Path) -> dict[str, Path]:
    """Files that are no scan's voxels."""
    voxels = make_scan().voxels
    files = {name: folder / f"{name}.npy" for name in ("cut", "pickle", "text", "flags", "flat", "garbage", "empty", "zip", "swapped", "huge")}
    np.save(files["cut"], voxels)
    files["cut"].write_bytes(files["cut"].read_bytes()[:-1])
    np.save(files["pickle"], np.array([{"a": 1}], dtype=object))
    np.save(files["text"], np.full(voxels.shape, "x"))
    np.save(files["flags"], voxels > 0)
    np.save(files["flat"], voxels.ravel())
    np.save(files["swapped"], voxels.T)
    files["garbage"].write_bytes(b"\x93NUMPY\x01\x00\xff\xff{'descr': nonsense((")
    files["empty"].write_bytes(b"")
    np.savez(folder / "zip.npz", voxels)
    (folder / "zip.npz").rename(files["zip"])
    header = b"{'descr': '<i2', 'fortran_order': False, 'shape': (99999, 99999, 99999999999)}"
    files["huge"].write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    return {**files, "missing": folder / "missing.npy", "folder": folder}


BROKEN = ("cut", "pickle", "text", "flags", "flat", "garbage", "empty", "zip", "swapped", "huge", "missing", "folder")


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_scan_are_refused(desk: Desk, name: str) -> None:
    with pytest.raises(InputError):
        desk.ask("open_scan", **ScanFile(broken_files(desk.scans)[name], make_scan().geometry).to_dict())


def test_what_is_no_ct_is_refused_by_the_name_it_was_given(desk: Desk) -> None:
    scan = make_scan()
    with pytest.raises(InputError, match=r"^Abdomen is empty"):
        desk.open(Volume(np.zeros_like(scan.voxels), scan.geometry), "Abdomen")


def test_a_scan_is_mapped_and_let_go_when_it_is_closed(desk: Desk) -> None:
    scan_id = desk.open(make_scan())
    voxels = desk.bench.scans.get(scan_id).volume.voxels
    assert isinstance(voxels, np.memmap)
    held = weakref.ref(voxels)
    del voxels
    desk.find(scan_id)
    desk.ask("close_scan", scan_id=scan_id)
    gc.collect()
    assert held() is None
    with pytest.raises(InvalidParams):
        desk.ask("close_scan", scan_id=scan_id)


def test_too_many_scans_are_refused(desk: Desk) -> None:
    for _ in range(MOST_SCANS):
        desk.open(make_scan())
    with pytest.raises(InputError, match="close one"):
        desk.open(make_scan())


# --- bundles and environment -----------------------------------------------------------------------------------------------------------------


def test_bundles_are_listed_installed_verified_and_removed(desk: Desk, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "tiny"), "zip", desk.bundle)
    installed = desk.ask("install_bundle", zip=archive)["bundle"]
    assert installed["name"] == "tiny"
    assert [preset["name"] for preset in installed["presets"]] == ["standard", "fast", "paper"]
    assert [found["name"] for found in desk.ask("list_bundles")["bundles"]] == ["default", "tiny"]
    assert any("roi" in line for line in desk.ask("verify_bundle", name="tiny")["findings"])
    (Path(installed["folder"]) / "bundle.json").write_text("nonsense", encoding="utf-8")
    assert desk.ask("list_bundles")["bundles"][1]["problem"]
    desk.ask("remove_bundle", name="tiny")
    with pytest.raises(InputError):
        desk.ask("remove_bundle", name="tiny")


def test_the_environment_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_jobs, "environment_report", lambda: "torch 2")
    assert desk.ask("environment") == {"report": "torch 2"}
