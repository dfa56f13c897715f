"""The parts of the benchmarks that can be wrong without anyone noticing: statistics, turns, patch counts, tables, computed times."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom
from KidneyTumorCascadeLib.volume import Volume, write_volume
from Testing.Benchmarks import peers, scans
from Testing.Benchmarks.clock import Timing, digits, in_turns, ratio, timed
from Testing.Benchmarks.nnunet_plan import PATCH, STEP, patch_count, resampled_shape
from Testing.Benchmarks.own_process import ContenderFailed, in_own_process
from Testing.Benchmarks.settings import Settings
from Testing.Benchmarks.table import Section, load_section, markdown_table
from Testing.Benchmarks.whole_scan import OUTSIDE, segmented, stages_of


def test_a_timing_is_its_median_with_the_least_and_the_greatest() -> None:
    timing = Timing((3.0, 1.0, 9.0, 2.0))
    assert (timing.median, timing.low, timing.high) == (2.5, 1.0, 9.0)
    assert timing.text() == "2.50 s (1.00 to 9.00, n = 4)"
    assert Timing((0.01234,)).text("ms") == "0.0123 ms (n = 1)"
    assert timing.times(2).values == (6.0, 2.0, 18.0, 4.0)
    with pytest.raises(ValueError, match="at least one"):
        Timing(())


def test_a_ratio_spreads_as_far_as_its_parts_allow() -> None:
    assert ratio(Timing((10.0, 20.0, 40.0)), Timing((1.0, 2.0, 4.0))) == (10.0, 2.5, 40.0)


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (0.01234, "0.0123"), (1.236, "1.24"), (12.36, "12.4"), (123.6, "124"), (12345.6, "12346")])
def test_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_contenders_take_turns_and_warm_ups_are_thrown_away() -> None:
    order: list[str] = []

    def contender(name: str) -> int:
        order.append(name)
        return len(order)

    results = in_turns({"a": lambda: contender("a"), "b": lambda: contender("b")}, repeats=2, warmups=1)
    assert "".join(order) == "baabba"
    assert results == {"a": [3, 6], "b": [4, 5]}
    with pytest.raises(ValueError, match="at least one"):
        in_turns({"a": lambda: 1}, repeats=0)


def test_a_measurement_ends_only_when_the_device_is_done() -> None:
    """The clock moves by one while working and by ten while the device settles: what was begun before is no part of the measurement."""
    now, waiting = 0.0, 0.0

    def work() -> None:
        nonlocal now, waiting
        now, waiting = now + 1.0, waiting + 10.0

    def settle() -> None:
        nonlocal now, waiting
        now, waiting = now + waiting, 0.0

    work()
    assert timed({"a": work}, repeats=3, warmups=0, settle=settle, clock=lambda: now)["a"].values == (11.0, 11.0, 11.0)


def test_patches_of_known_sizes() -> None:
    """576 voxels at steps of 64: 0, 64, ... 448, which is eight."""
    assert resampled_shape((300, 512, 512), (1.5, 0.78125, 0.78125)) == (576, 512, 512)
    assert patch_count((576, 512, 512)) == 8 * 7 * 7
    assert patch_count((577, 512, 512)) == 9 * 7 * 7
    assert patch_count((128, 100, 129)) == 2


def test_patches_are_as_many_as_those_of_nnunet() -> None:
    steps = pytest.importorskip("nnunetv2.inference.sliding_window_prediction").compute_steps_for_sliding_window
    shapes = random.Random(0)
    for _ in range(200):
        shape = tuple(shapes.randint(128, 700) for _ in range(3))
        assert patch_count(shape) == np.prod([len(along) for along in steps(shape, PATCH, STEP)])


def test_a_table_is_markdown_whatever_its_cells_hold(tmp_path: Path) -> None:
    text = markdown_table(["name", "b"], [["a|b", "two\nlines"], ["x", ""]])
    assert text.splitlines() == ["| name | b         |", "|------|-----------|", "| a\\|b | two lines |", "| x    |           |"]
    with pytest.raises(ValueError, match="as many cells"):
        markdown_table(["a", "b"], [["1"]])
    section = Section("name", "Title", ["a"], [["1"]], ["A note."], {"x": 1.0}, {"line": [[1.0, 2.0]]})
    assert load_section(section.save(tmp_path)) == section
    assert section.text() == "## Title\n\n| a   |\n|-----|\n| 1   |\n\nA note.\n"


def test_the_rest_of_a_process_is_what_no_stage_counts() -> None:
    runs = [
        {"seconds": {"reading": 1.0, "writing": 2.0}, "process_seconds": 5.0},
        {"seconds": {"reading": 3.0, "writing": 2.0}, "process_seconds": 8.0},
    ]
    assert {name: timing.median for name, timing in stages_of(runs).items()} == {"reading": 2.0, "writing": 2.0, OUTSIDE: 2.5}


def test_the_command_line_is_called_as_it_can_be(tmp_path: Path) -> None:
    scan = make_phantom(PhantomSettings(seed=6, spacing=(4, 4, 4), size_mm=(240, 200, 160))).volume
    write_volume(scan, tmp_path / "scan.nii")
    run = segmented(tmp_path / "scan.nii", "fast", Settings(threads=1, folder=tmp_path))
    assert run["preset"] == "fast"
    assert 0 < sum(run["seconds"].values()) < run["process_seconds"]
    assert "1 threads" in run["device"]["description"]


def nnunet_run(seconds: float, patches: int, patch_seconds: list[float]) -> dict[str, Any]:
    stages = {"preprocessing": 1.0, "back to labels": 2.0}
    numbers = {"parameters": 31_000_000, "operations_a_patch": 9e11, "peak_memory_mb": 8000.0}
    return {"seconds": seconds, "patches": patches, "patch_seconds": patch_seconds, "stages": stages, **numbers}


def monai_run(seconds: float, patches: int, patch_seconds: list[float]) -> dict[str, Any]:
    numbers = {"operations_a_patch": 2e11, "peak_memory_mb": 2000.0}
    return {"seconds": seconds, "patches": patches, "patch_seconds": patch_seconds, **numbers}


def our_run(seconds: float) -> dict[str, Any]:
    return {"process_seconds": seconds, "peak_memory_mb": 1000.0, "device": {"description": "a machine"}}


def test_a_computed_time_is_the_rest_as_measured_and_every_patch_at_the_median() -> None:
    runs = {
        "nnU-Net small": [nnunet_run(33.0, 8, [4.0] * 8)],
        "standard small": [our_run(2.0)],
        "nnU-Net large": [nnunet_run(110.0, 392, [4.0, 6.0])],
        "standard large": [our_run(10.0)],
        "fast large": [our_run(5.0)],
    }
    section = peers.section_of(runs, computed=True, expected=392)
    assert section.figures["nnunet_seconds"] == 100.0 + 392 * 4.0
    assert section.figures["times_nnunet"] == pytest.approx(166.8)
    assert section.figures["memory_times_nnunet"] == 8.0
    assert [row[4] for row in section.rows] == ["measured", "measured", "computed", "measured", "measured"]
    runs["MONAI V-Net, float32 large"] = [monai_run(70.0, 180, [1.0, 3.0, 2.0])]
    with_monai = peers.section_of(runs, computed=True, expected=392)
    assert with_monai.rows[-1][1:4] == ["MONAI V-Net, float32", "180", "424 s (n = 1)"]
    assert with_monai.figures["MONAI V-Net, float32 large seconds"] == 424.0
    assert peers.section_of(runs, computed=False, expected=392).figures["nnunet_seconds"] == 110.0
    with pytest.raises(ValueError, match="391 were expected"):
        peers.section_of(runs, computed=True, expected=391)


def test_a_contender_that_fails_is_named_with_its_last_words() -> None:
    with pytest.raises(ContenderFailed, match=r"json.tool ended with exit code \d: .*no-such-file"):
        in_own_process("json.tool", ["no-such-file"], 1)


def test_shorter_scans_keep_the_kidneys_and_longer_ones_are_the_same_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    def phantom_of(slices: int) -> SimpleNamespace:
        voxels = np.arange(slices, dtype=np.int16)[:, None, None] + np.zeros((1, 1, 1), np.int16)
        kidneys = Volume((np.abs(voxels - slices // 2) < 20).astype(np.uint8), Geometry((1, 1, slices), (1.5625, 1.5625, 1.5)))
        return SimpleNamespace(volume=replace(kidneys, voxels=voxels), labels=kidneys)

    scans.large_scan.cache_clear()
    monkeypatch.setattr(scans, "LARGE_SIZE", (2, 2, 300))
    monkeypatch.setattr(scans, "phantom_of", phantom_of)
    for count in (40, 300, 301, 700):
        scan = scans.with_slices(count)
        assert scan.voxels.shape == (count, 2, 2)
        assert scan.geometry.spacing == scans.LARGE_SPACING
        middle = max(count, 300) // 2
        assert {middle - 19, middle, middle + 19} <= set(scan.voxels[:, 0, 0].tolist())
    scans.large_scan.cache_clear()
