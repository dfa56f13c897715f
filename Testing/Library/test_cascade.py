"""The cascade as a whole, with untrained networks: what it does to grids, boxes and memory does not depend on what networks know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from KidneyTumorCascadeLib import cascade as cascade_module
from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.cascade import Cascade, assembled, foreground_of, hu_on, rules_for, with_context
from KidneyTumorCascadeLib.component_rules import ComponentRules
from KidneyTumorCascadeLib.device import Engine
from KidneyTumorCascadeLib.errors import Cancelled, InputError, SetupError
from KidneyTumorCascadeLib.geometry import AxisOrder, Box, Geometry, box_of_slices
from KidneyTumorCascadeLib.labelled_box import LabelledBox
from KidneyTumorCascadeLib.memory_ladder import ladder
from KidneyTumorCascadeLib.normalization import for_scan
from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom, orientations
from KidneyTumorCascadeLib.sliding_window import sliding_window
from KidneyTumorCascadeLib.volume import Volume
from Testing.bright_blocks import Brightness
from Testing.tiny_bundle import make_tiny_bundle, read_description, write_description

CASCADE = "KidneyTumorCascadeLib.cascade"
CPU = Engine(torch.device("cpu"), torch.float32, "CPU, float32")
SETTINGS = PhantomSettings(seed=3, spacing=(6.0, 6.0, 8.0), noise_sd=8.0)


@pytest.fixture
def bundle_folder(tmp_path: Path) -> Path:
    """A bundle whose rules keep every component, so that nothing the networks say is tidied away."""
    folder = make_tiny_bundle(tmp_path / "tiny")
    content = read_description(folder)
    for preset in content["presets"].values():
        preset["rules"] = {"min_kidney_ml": 0, "min_tumor_ml": 0, "keep_tumor_ml": 0}
    for name in ("kidney", "tumor"):
        content["networks"][name] |= {"patch": [48, 48, 48], "spacing_mm": [3, 3, 3]}
    write_description(folder, content)
    return folder


@pytest.fixture
def cascade(bundle_folder: Path) -> Cascade:
    return Cascade(load_bundle(bundle_folder), CPU)


def with_networks(cascade: Cascade, roi: float, kidney: float, tumor: float) -> Cascade:
    """The cascade with networks that find what is brighter (in network units) than the given values."""
    cascade._networks = {(name, CPU.device): Brightness(above) for name, above in (("roi", roi), ("kidney", kidney), ("tumor", tumor))}
    return cascade


def two_blocks() -> Volume:
    """A scan of air and soft tissue with two bright blocks, right and left, and a brighter core in the left one."""
    voxels = np.full((60, 70, 90), -1000, dtype=np.int16)
    voxels[:, 5:65, 5:85] = 0
    voxels[20:40, 30:45, 12:27] = 200
    voxels[22:44, 28:44, 60:76] = 200
    voxels[28:36, 32:40, 64:72] = 390
    return Volume(voxels, Geometry((90, 70, 60), (3.0, 3.0, 3.0), (10.0, 20.0, 30.0)))


def half_box(volume: Volume) -> Box:
    """A box in the middle of the phantom's right half."""
    geometry = volume.geometry.in_lps_order()
    z, y, x = geometry.shape_zyx
    return box_of_slices((slice(z // 3, z - z // 3), slice(y // 3, y - y // 4), slice(x // 8, x // 2)), geometry, "right", "user")


def test_blocks_are_found_boxed_and_labelled(cascade: Cascade) -> None:
    scan = two_blocks()
    result = with_networks(cascade, 0.5, 0.5, 2.5).segment(scan)
    assert [box.part.box.side for box in result.boxes] == ["right", "left"]
    truth = np.zeros(scan.voxels.shape, dtype=np.uint8)
    truth[scan.voxels == 200] = 1
    truth[scan.voxels == 390] = 2
    for label in (1, 2):
        found, expected = result.labels.voxels == label, truth == label
        assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.9
    assert result.labels.voxels.dtype == np.uint8
    assert result.labels.geometry == scan.geometry
    assert result.warnings == []


def test_a_tumor_that_the_kidney_network_only_supports_is_one_where_the_preset_says_so(bundle_folder: Path) -> None:
    """The core is a little too dark for a Kidney-V-Net that gives it a probability of 0.23, and the rest of the blocks far too dark."""
    content, found = read_description(bundle_folder), {}
    normalization = for_scan(load_bundle(bundle_folder).stages["kidney"].normalization, two_blocks().voxels)
    core = float(normalization.apply(torch.tensor(390.0)))
    for support in (0.5, 0.1):
        content["presets"]["standard"]["tumor_support"] = support
        write_description(bundle_folder, content)
        found[support] = with_networks(Cascade(load_bundle(bundle_folder), CPU), 0.5, core + 0.03, 2.5).segment(two_blocks()).labels.voxels
    assert not found[0.5].any()
    assert set(np.unique(found[0.1])) == {0, 2}
    assert found[0.1][two_blocks().voxels == 390].mean() > 1.8


def test_a_faint_tumor_is_kidney_where_the_preset_says_so_and_is_told(bundle_folder: Path) -> None:
    content, results = read_description(bundle_folder), {}
    tumor = float(for_scan(load_bundle(bundle_folder).stages["tumor"].normalization, two_blocks().voxels).apply(torch.tensor(390.0)))
    for least in (0.0, 0.99):
        content["presets"]["standard"]["min_tumor_peak"] = least
        write_description(bundle_folder, content)
        results[least] = with_networks(Cascade(load_bundle(bundle_folder), CPU), 0.5, 0.5, tumor - 0.05).segment(two_blocks())
    core = two_blocks().voxels == 390
    assert [int(np.median(result.labels.voxels[core])) for result in results.values()] == [2, 1]
    assert not (results[0.99].labels.voxels == 2).any()
    told = [[entry.rule for box in result.boxes for entry in box.removals] for result in results.values()]
    assert told == [[], ["min_tumor_peak"]]


def test_boxes_that_are_given_are_not_looked_for(cascade: Cascade) -> None:
    scan = two_blocks()
    with_networks(cascade, 0.5, 0.5, 2.5)
    found = cascade.segment(scan)
    del cascade._networks["roi", CPU.device]
    cascade.bundle = replace(cascade.bundle, stages={name: stage for name, stage in cascade.bundle.stages.items() if name != "roi"})
    again = cascade.segment(scan, [box.part.box for box in found.boxes])
    assert np.array_equal(again.labels.voxels, found.labels.voxels)
    left = cascade.segment_box(scan, found.boxes[1].part.box)
    assert np.array_equal(left.part.labels, found.boxes[1].part.labels)


def test_nothing_found_is_an_empty_label_map_and_a_warning(cascade: Cascade) -> None:
    result = with_networks(cascade, 99.0, 99.0, 99.0).segment(two_blocks())
    assert not result.labels.voxels.any()
    assert result.boxes == []
    assert len(result.warnings) == 1
    assert "No kidney" in result.warnings[0]


def test_an_empty_box_is_named(cascade: Cascade) -> None:
    result = with_networks(cascade, 0.5, 99.0, 99.0).segment(two_blocks())
    assert result.warnings == ["No kidney was found in the right box.", "No kidney was found in the left box."]


def test_looking_within_the_body_only_finds_the_same_with_fewer_patches(bundle_folder: Path) -> None:
    scan = two_blocks()
    wide = Volume(np.pad(scan.voxels, ((0, 0), (60, 20), (90, 40)), constant_values=-1000), Geometry((220, 150, 60), (3.0, 3.0, 3.0)))
    content = read_description(bundle_folder)
    content["presets"]["standard"]["within_body"] = True
    found, patches = {}, {}
    for name in ("everywhere", "within the body"):
        steps: list[int] = []
        cascade = Cascade(load_bundle(bundle_folder), CPU, progress=lambda stage, done, total, steps=steps: steps.append(total))
        found[name] = with_networks(cascade, 1.0, 1.0, 3.0).find_kidneys(wide).boxes
        patches[name] = steps[-1]
        write_description(bundle_folder, content)
    assert [box.side for box in found["everywhere"]] == ["right", "left"]
    assert found["within the body"] == found["everywhere"]
    assert patches["within the body"] < patches["everywhere"]


def test_fewer_voxels_and_longer_patches_find_the_same(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = two_blocks()
    (x, y, z), (dx, dy, dz) = scan.geometry.size, scan.geometry.spacing
    fine = Volume(scan.voxels.repeat(3, axis=1).repeat(3, axis=2), Geometry((3 * x, 3 * y, z), (dx / 3, dy / 3, dz)))
    content = read_description(bundle_folder)
    boxes, patches, read = {}, {}, {}
    for name, change in {"plain": {}, "thinned": {"thinned": True}, "stretched": {"thinned": False, "stretch": {"roi": 2.0}}}.items():
        content["presets"]["standard"] |= change
        write_description(bundle_folder, content)
        steps: list[int] = []
        seen: list[int] = []
        monkeypatch.setattr(cascade_module, "hu_on", lambda grid, scan, rung, seen=seen: (seen.append(scan.voxels.size), hu_on(grid, scan, rung))[1])
        cascade = Cascade(load_bundle(bundle_folder), CPU, progress=lambda stage, done, total, steps=steps: steps.append(total))
        boxes[name] = with_networks(cascade, 1.0, 1.0, 3.0).find_kidneys(fine).boxes
        patches[name], read[name] = steps[-1], seen
    assert [box.side for box in boxes["plain"]] == ["right", "left"]
    assert boxes["thinned"] == boxes["stretched"] == boxes["plain"]
    assert patches["stretched"] < patches["plain"] == patches["thinned"]
    assert 2 * read["thinned"][0] <= read["plain"][0] == read["stretched"][0] == fine.voxels.size


class LeftOfCentre(nn.Module):
    """Sees foreground where the image brightens towards the left: what it says of a mirror image is not the mirror image of what it says."""

    def forward(self, patches: Tensor) -> Tensor:
        rising = torch.zeros_like(patches)
        rising[..., 1:] = patches.diff(dim=-1)
        return torch.cat((torch.zeros_like(rising), rising), dim=1)


def test_a_mirrored_preset_takes_the_mean_of_both_images(bundle_folder: Path) -> None:
    patch = torch.randn((2, 1, 4, 5, 6), generator=torch.Generator().manual_seed(7))
    predict = foreground_of(LeftOfCentre(), CPU)
    expected = (predict(patch) + predict(patch.flip(4)).flip(4)) / 2
    assert not torch.allclose(expected, predict(patch))
    content = read_description(bundle_folder)
    for mirrored in (False, True):
        content["presets"]["standard"]["mirrored"] = mirrored
        write_description(bundle_folder, content)
        cascade = Cascade(load_bundle(bundle_folder), CPU)
        cascade._network = lambda name, device: LeftOfCentre()  # type: ignore[method-assign]
        assert torch.allclose(cascade._predictor("roi", CPU)(patch), expected if mirrored else predict(patch))


def test_fixed_boxes_fall_back_to_whole_halves(bundle_folder: Path) -> None:
    cascade = with_networks(Cascade(load_bundle(bundle_folder), CPU, "paper"), 99.0, 0.5, 2.5)
    found = cascade.find_kidneys(two_blocks())
    assert [(box.side, box.source) for box in found.boxes] == [("right", "whole half"), ("left", "whole half")]
    assert found.warnings == [f"No kidney was found in the {side} half of the scan; all of it was searched." for side in ("right", "left")]


def test_every_orientation_gives_the_same_labels(cascade: Cascade) -> None:
    """The untrained networks' labels look like noise: the smallest difference in what they see would show."""
    straight = make_phantom(SETTINGS).volume
    reference = cascade.segment(straight, [half_box(straight)]).labels
    assert 0 < np.count_nonzero(reference.voxels) < reference.voxels.size
    for code in orientations():
        turned = make_phantom(replace(SETTINGS, orientation=code)).volume
        result = cascade.segment(turned, [half_box(turned)]).labels
        assert result.geometry == turned.geometry, code
        assert np.array_equal(result.in_lps_order().voxels, reference.voxels), code


def test_kidneys_are_found_on_the_same_sides_in_every_orientation(cascade: Cascade) -> None:
    scan = two_blocks()
    reference = with_networks(cascade, 0.5, 0.5, 2.5).segment(scan)
    for code in orientations():
        order = order_of(code)
        result = cascade.segment(Volume(order.apply(scan.voxels), scan.geometry.reordered(order)))
        assert np.array_equal(result.labels.in_lps_order().voxels, reference.labels.voxels), code
        for found, expected in zip(result.boxes, reference.boxes, strict=True):
            assert found.part.box.side == expected.part.box.side, code
            np.testing.assert_allclose(found.part.box.center, expected.part.box.center, atol=1e-6)
            np.testing.assert_allclose(found.part.box.size, expected.part.box.size, atol=1e-6)


def order_of(code: str) -> AxisOrder:
    """How to view an array in LPS order as one whose axes run towards these directions."""
    x, y, z = (next(index for index, pair in enumerate(("LR", "PA", "SI")) if letter in pair) for letter in code)
    flips = [letter in "RAI" for letter in code]
    return AxisOrder((x, y, z), (flips[0], flips[1], flips[2]))


def test_an_oblique_scan_gives_the_same_labels(cascade: Cascade) -> None:
    straight = make_phantom(SETTINGS).volume
    reference = cascade.segment(straight, [half_box(straight)]).labels
    oblique = make_phantom(replace(SETTINGS, oblique_degrees=20.0, orientation="RAS")).volume
    result = cascade.segment(oblique, [half_box(oblique)]).labels.in_lps_order()
    assert np.array_equal(result.voxels, reference.voxels)
    assert result.geometry == oblique.geometry.in_lps_order()


def test_a_box_around_both_kidneys_may_hold_twice_the_parts() -> None:
    rules = ComponentRules(max_kidney_parts=1)
    assert rules_for("both", rules).max_kidney_parts == 2
    assert rules_for("left", rules) == rules


def test_probabilities_are_kept_when_asked_for(cascade: Cascade) -> None:
    scan = two_blocks()
    with_networks(cascade, 0.5, 0.5, 2.5)
    assert cascade.segment(scan).boxes[0].probabilities is None
    cascade.keep_probabilities = True
    kept = cascade.segment(scan).boxes[1].probabilities
    assert kept is not None
    kidney, tumor = kept
    assert kidney.geometry == tumor.geometry
    assert kidney.voxels.min() >= 0.0
    assert kidney.voxels.max() <= 1.0
    assert kidney.geometry.spacing == pytest.approx((3.0, 3.0, 3.0), rel=0.05)


def test_progress_reaches_its_end_and_stopping_stops(cascade: Cascade) -> None:
    seen: list[tuple[str, int, int]] = []
    with_networks(cascade, 0.5, 0.5, 2.5)
    cascade.progress = lambda stage, done, total: seen.append((stage, done, total))
    cascade.segment(two_blocks())
    shares = [done / total for stage, done, total in seen if stage == "segmenting"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert {stage for stage, _, _ in seen} == {"finding kidneys", "segmenting"}
    cascade.should_stop = lambda: len(seen) > 0
    with pytest.raises(Cancelled):
        cascade.segment(two_blocks())


def test_an_empty_list_of_boxes_is_an_empty_label_map_and_a_warning(cascade: Cascade) -> None:
    result = cascade.segment(two_blocks(), [])
    assert not result.labels.voxels.any()
    assert "No kidney was found" in result.warnings[0]


def test_what_was_passed_over_is_counted(cascade: Cascade) -> None:
    scan = two_blocks()
    scan.voxels[50:53, 10:13, 40:43] = 200
    assert with_networks(cascade, 0.5, 0.5, 2.5).segment(scan).passed_over["small"] == 1


def test_values_that_are_no_numbers_are_not_taken_for_no_kidney(cascade: Cascade) -> None:
    with_networks(cascade, float("nan"), 0.5, 2.5)
    with pytest.raises(SetupError, match="no numbers"):
        cascade.segment(two_blocks())


def test_an_unknown_merge_rule_is_refused_at_once(bundle_folder: Path) -> None:
    with pytest.raises(InputError, match="overlay, compare"):
        Cascade(load_bundle(bundle_folder), CPU, merge="mix")


def test_a_box_beside_the_scan_is_refused(cascade: Cascade) -> None:
    box = Box((5000.0, 0.0, 0.0), (50.0, 50.0, 50.0), "left", "user")
    with pytest.raises(InputError, match="outside the scan"):
        cascade.segment(two_blocks(), [box])


class Forgetful:
    """Lets work run out of memory a number of times."""

    def __init__(self, times: int, real: Any) -> None:
        self.times, self.real = times, real

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        if self.times:
            self.times -= 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.real(*arguments, **settings)


def test_running_out_of_memory_is_survived_and_reported(cascade: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = two_blocks()
    expected = with_networks(cascade, 0.5, 0.5, 2.5).segment(scan).labels.voxels
    cpu_rungs = ladder(CPU)
    other = replace(CPU, description="another device")
    cascade.engine, cascade._rungs = other, [replace(cpu_rungs[0], engine=other, description="many patches at a time"), *cpu_rungs]
    monkeypatch.setattr(f"{CASCADE}.sliding_window", Forgetful(1, sliding_window))
    monkeypatch.setattr(Cascade, "_network", lambda self, name, device: Brightness({"tumor": 2.5}.get(name, 0.5)))
    result = cascade.segment(scan)
    assert np.array_equal(result.labels.voxels, expected)
    assert result.warnings == ["Memory ran out with many patches at a time; went on with one patch at a time on the CPU."]
    assert cascade.engine == CPU, "the manifest says what was used in the end"
    assert cascade.segment(scan).warnings == [], "what does not fit is not tried again"


def test_no_memory_at_all_is_a_sentence(cascade: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{CASCADE}.sliding_window", Forgetful(9, None))
    with pytest.raises(SetupError, match="not enough memory"):
        cascade.segment(two_blocks())


def test_other_errors_are_not_taken_for_memory(cascade: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(f"{CASCADE}.sliding_window", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        cascade.segment(two_blocks())


def test_small_boxes_see_their_surroundings() -> None:
    geometry = Geometry((200, 100, 80), (1.0, 1.0, 2.0))
    inside = with_context((slice(30, 40), slice(40, 50), slice(90, 110)), geometry, (2.0, 2.0, 2.0), (32, 16, 16))
    assert inside.shape_zyx == (32, 32, 32)
    at_border = with_context((slice(0, 10), slice(0, 10), slice(190, 200)), geometry, (2.0, 2.0, 2.0), (32, 16, 16))
    assert at_border.shape_zyx == (32, 32, 32)
    assert at_border.origin == (168.0, 0.0, 0.0)
    large = with_context((slice(0, 80), slice(0, 90), slice(0, 150)), geometry, (2.0, 2.0, 2.0), (32, 16, 16))
    assert large.shape_zyx == (80, 90, 150)


def test_overlapping_boxes_keep_the_tumor() -> None:
    geometry = Geometry((4, 1, 1), (1.0, 1.0, 1.0))
    scan = Volume(np.zeros((1, 1, 4), dtype=np.int16), geometry)

    def part(columns: slice, *labels: int) -> LabelledBox:
        slices = (slice(0, 1), slice(0, 1), columns)
        return LabelledBox(box_of_slices(slices, geometry, "right", "user"), slices, np.array([[labels]], dtype=np.uint8))

    result = assembled(scan, [part(slice(0, 3), 1, 2, 0), part(slice(1, 4), 1, 1, 0)])
    assert result.voxels.tolist() == [[[1, 2, 1, 0]]]
