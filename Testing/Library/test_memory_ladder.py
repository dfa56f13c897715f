"""At whichever operation memory runs out, and however often, a run ends with the right labels and each step named, or with one sentence."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from KidneyTumorCascadeLib.device import Engine, choose_device
from KidneyTumorCascadeLib.memory_ladder import ladder
from KidneyTumorCascadeLib.volume import read_label_map
from Testing.bright_blocks import Desk, Outcome, use_brightness
from Testing.Faults.memory import as_on_gpu, out_of_memory

NEVER = 10**9
# Operations at which memory runs out: the first ones one by one, then with gaps, as there are many of a kind.
GROWTH = 1.8


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    use_brightness(monkeypatch)
    engine = choose_device("cpu", "float32")
    monkeypatch.setattr("KidneyTumorCascadeLib.segment_file.choose_device", lambda _: engine)
    return Desk(tmp_path, capsys)


def moments(operations: int) -> list[int]:
    found = {1}
    while max(found) < operations:
        found.add(max(max(found) + 1, int(max(found) * GROWTH)))
    return sorted(moment for moment in found if moment <= operations)


def labels_and_warnings(desk: Desk, outcome: Outcome) -> tuple[np.ndarray, list[str]]:
    assert outcome.code == 0, outcome.err
    warnings = json.loads((desk.out / "labels.json").read_text(encoding="utf-8"))["warnings"]
    return read_label_map(desk.out / "labels.nii.gz").voxels, [text for text in warnings if text.startswith("Memory ran out")]


def check_refusal(desk: Desk, outcome: Outcome) -> None:
    assert outcome.code == 3
    assert outcome.err.count("\n") == 1, outcome.err
    assert "There is not enough memory" in outcome.err
    assert desk.written() == []


@pytest.mark.parametrize("failures", [1, 3])
def test_on_a_gpu_each_step_down_is_named_and_the_labels_stay_right(desk: Desk, failures: int) -> None:
    with as_on_gpu() as rungs:
        with out_of_memory(NEVER, 0) as memory:
            expected, none = labels_and_warnings(desk, desk.segment("--quiet"))
        assert none == []
        steps = [f"Memory ran out with {above.description}; went on with {below.description}." for above, below in pairwise(rungs)]
        survived = 0
        for moment in moments(memory.operations):
            for path in desk.out.iterdir():
                path.unlink()
            with out_of_memory(moment, failures) as memory:
                outcome = desk.segment("--quiet")
            # What is not the networks' work, such as labelling, has no other way to be done.
            if outcome.code:
                check_refusal(desk, outcome)
                continue
            labels, named = labels_and_warnings(desk, outcome)
            assert named == steps[: memory.failures]
            assert np.array_equal(labels, expected)
            survived += memory.failures == failures
        assert survived > 5


def test_when_the_last_step_does_not_suffice_the_scan_is_refused(desk: Desk) -> None:
    with as_on_gpu(), out_of_memory(2, 4) as memory:
        outcome = desk.segment("--quiet")
    assert memory.failures == 4
    check_refusal(desk, outcome)


def test_on_the_cpu_memory_that_runs_out_at_any_operation_is_a_refusal(desk: Desk) -> None:
    with out_of_memory(NEVER, 0) as memory:
        labels_and_warnings(desk, desk.segment("--quiet"))
    for moment in moments(memory.operations):
        for path in desk.out.iterdir():
            path.unlink()
        with out_of_memory(moment, 1) as memory:
            check_refusal(desk, desk.segment("--quiet"))
        assert memory.failures == 1


def test_the_steps_are_those_of_the_ladder() -> None:
    gpu = Engine(torch.device("cuda"), torch.float16, "a GPU")
    rungs = ladder(gpu)
    assert [(rung.engine.device.type, rung.batch, rung.sums_on.type) for rung in rungs] == [
        ("cuda", 4, "cuda"),
        ("cuda", 1, "cuda"),
        ("cuda", 1, "cpu"),
        ("cpu", 1, "cpu"),
    ]
