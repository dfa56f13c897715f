"""Aims, plot and report: a figure that falls short must show, and what was not measured must not be claimed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from Testing.Benchmarks import again, in_memory, run, scaling
from Testing.Benchmarks.aims import aims
from Testing.Benchmarks.clock import Timing
from Testing.Benchmarks.plot import draw
from Testing.Benchmarks.quiet import Usage, others_share, remark
from Testing.Benchmarks.settings import Settings
from Testing.Benchmarks.table import Section


def section(name: str, figures: dict[str, float]) -> Section:
    return Section(name, name, ["a"], [["1"]], figures=figures)


def reached(found: Section) -> dict[str, str]:
    return {row[0]: row[2] for row in found.rows}


def test_an_aim_is_reached_or_not() -> None:
    peers = section("peers", {"times_nnunet": 59.9, "memory_times_nnunet": 4.0})
    assert list(reached(aims([peers])).values()) == ["no", "yes"]
    whole = section("whole_scan", {"standard_seconds": 9.0, "fast_seconds": 3.0, "standard_peak_mb": 3000.0})
    assert list(reached(aims([whole])).values()) == ["yes", "no", "yes"]


def test_an_aim_about_which_nothing_was_measured_is_not_there() -> None:
    assert aims([]).rows == []
    cpu = section("in_memory", {"fast_times": 2.0})
    assert len(aims([cpu]).rows) == 1
    gpu = {"fast_times": 3.0, "gpu_mb": 900.0, "standard whole cascade": 1.0, "standard left box again": 0.6, "fast left box again": 0.1}
    assert list(reached(aims([section("in_memory", gpu)])).values()) == ["yes", "yes", "no", "yes"]


def test_every_precision_has_its_ceilings() -> None:
    figures: dict[str, float] = {}
    for precision, speed in (("float32", 60.0), ("bfloat16", 59.0)):
        figures |= {f"{precision}_{name}": 100.0 for name in ("matrix", "convolution", "kidney_own_convolutions", "published")}
        figures[f"{precision}_kidney"] = speed
    assert list(reached(aims([section("ceilings", figures)])).values()) == ["yes", "yes", "yes", "no", "no", "yes"]


def slices_run(seconds: float, peak: float) -> dict[str, Any]:
    stages = {"reading": 0.5, "finding kidneys": seconds - 2.0, "segmenting right": 0.25, "segmenting left": 0.25, "measuring": 0.1, "writing": 0.4}
    return {"seconds": stages, "process_seconds": seconds, "peak_memory_mb": peak}


def growing() -> Section:
    return scaling.slices_section({100: [slices_run(3.0, 578.6432)], 300: [slices_run(4.0, 735.9296)], 1200: [slices_run(7.0, 1443.7184)]})


def test_growth_is_that_of_time_and_of_memory_beyond_the_scan() -> None:
    found = growing()
    assert found.figures["times_time"] == pytest.approx(1.75)
    assert found.figures["seconds_a_slice_short"] == pytest.approx(1 / 200)
    assert found.figures["seconds_a_slice_long"] == pytest.approx(3 / 900)
    assert found.figures["times_beyond"] == pytest.approx(1.0)
    assert found.figures["boxes_long"] == found.figures["boxes_large"] == 0.5
    # All that is measured is in one of the parts.
    for index in range(3):
        assert sum(found.series[name][index][1] for name in scaling.HEADER[2:6]) == pytest.approx(found.series["whole"][index][1])
    assert list(reached(aims([found])).values()) == ["yes", "yes", "yes"]


def test_one_box_again_is_a_share_of_three_kinds_of_whole_run() -> None:
    seconds = {again.COLD_WHOLE: [4.0], again.WARM_WHOLE: [1.0, 3.0, 2.0], again.COLD_BOX: [3.0], again.WARM_BOX: [0.2, 0.4, 0.3]}
    found = again.section_of(seconds, Timing((3.0,)))
    assert found.figures["share_of_warm"] == pytest.approx(0.15)
    assert found.figures["share_of_command"] == pytest.approx(0.1)
    assert found.figures["share_of_cold"] == pytest.approx(0.075)
    assert [row[2] for row in found.rows] == ["200 %", "100 %", "150 %", "15 %", "150 %"]


def test_in_memory_compares_the_presets() -> None:
    found = in_memory.section_of({"standard|whole cascade": Timing((3.0,)), "fast|whole cascade": Timing((1.5,))}, None)
    assert found.figures["fast_times"] == 2.0
    assert "gpu_mb" not in found.figures


def peers_section() -> Section:
    figures = {"nnunet_seconds": 4000.0, "standard_seconds": 4.0, "fast_seconds": 3.0, "MONAI V-Net, float32 large seconds": 200.0}
    return section("peers", {**figures, "times_nnunet": 1000.0, "memory_times_nnunet": 8.0})


def test_the_plot_shows_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert not draw([section("ceilings", {})], tmp_path / "none.png")
    boxes = scaling.boxes_section({60.0: Timing((0.1,)), 100.0: Timing((0.3,))}, {60.0: 1, 100.0: 4})
    assert draw([peers_section(), growing(), boxes], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_is_written_from_what_lies_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peers_section().save(tmp_path)
    assert run.main(["--report", "--folder", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "1000 times" in text
    assert "## Aims" in text
    assert "## peers" in text
    assert "--report" in text


def test_every_benchmark_says_how_quiet_the_machine_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(run.BENCHMARKS, "peers", lambda settings: peers_section())
    assert run.measured("peers", Settings(folder=tmp_path)).notes[-1].startswith("Measured in 0 s.")
    with pytest.raises(SystemExit, match="There is no benchmark nonsense"):
        run.chosen("peers,nonsense")


def test_others_share_is_what_this_process_did_not_use() -> None:
    before, after = Usage(0.0, 100.0, 10.0), Usage(10.0, 118.0, 26.0)
    assert others_share(before, after, 2) == pytest.approx(0.1)
    assert "too much" in remark(0.1)
    assert "quiet enough" in remark(0.05)
    assert others_share(None, after, 2) is None
