"""A batch whose workers and runs are killed gives what an undisturbed one gives; `python -m Testing.Batch.endurance` does it with 200 scans."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from KidneyTumorCascadeLib.volume import Volume
from Testing.bright_blocks import KIDNEY_HU, TUMOR_HU, make_bright_bundle, make_scan

pytest.importorskip("distributed")

from Testing.Batch.disturbed import Disturbance, Record
from Testing.Batch.endurance import WORKERS, Trial
from Testing.Batch.scans import make_scans
from Testing.Batch.verdict import Sides, problems

CASES, DAMAGED = 12, 2


def make_bright_scan(number: int) -> Volume:
    """Patients whose kidneys differ."""
    scan = make_scan()
    scan.voxels[10 : 14 + number % 4, 12:22, 6:14] = KIDNEY_HU
    scan.voxels[12 : 13 + number % 3, 14:18, 31 : 33 + number // 3] = TUMOR_HU
    return Volume(np.ascontiguousarray(scan.voxels), scan.geometry)


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    bundle = make_bright_bundle(tmp_path / "bundle")
    return Trial(tmp_path, CASES, DAMAGED, make_bright_scan, ("--bundle", str(bundle)), bright=True)


def test_killed_workers_and_runs_cost_nothing(trial: Trial) -> None:
    damaged = make_scans(trial.scans, CASES, DAMAGED, make_bright_scan, processes=1)
    assert len(damaged) == DAMAGED
    calm = trial.calm()
    local = trial.local(Disturbance(run_kills=1, after_scans=3, bright=True))
    cluster = trial.cluster(Disturbance(run_kills=1, after_scans=4, parents=True, bright=True))
    for name, record in (("local", local), ("cluster", cluster)):
        sides = Sides(trial.folder / "calm", trial.folder / name, calm, record, damaged, WORKERS)
        assert problems(sides) == []
        assert record.run_kills == 1
        assert record.worker_kills
    planted = shutil.copytree(trial.folder / "calm", trial.folder / "planted")
    assert_planted_faults_are_seen(replace(sides, record=calm, rough=planted))


def assert_planted_faults_are_seen(sides: Sides) -> None:
    """Each thing that the verdict looks for, done to a batch for which all holds."""
    assert problems(sides) == []
    one, other = sorted(sides.rough.glob("*.nii.gz"))[:2]
    kept, name = one.read_bytes(), one.name.removesuffix(".nii.gz")
    one.write_bytes(other.read_bytes())
    assert problems(sides) == [f"The label map of {name} differs."]
    one.write_bytes(kept)
    (one.parent / ".0123456789abcdef.part").write_bytes(b"")
    assert len(problems(sides)) == 2
    (one.parent / ".0123456789abcdef.part").unlink()
    calm = sides.calm_record
    assert "begun again" in problems(replace(sides, record=Record(calm.outcomes, begun=[*calm.begun, name])))[0]
    failed = {**calm.outcomes, name: {"status": "failed", "reason": "No."}}
    assert any("no result" in text for text in problems(replace(sides, record=Record(failed, begun=calm.begun))))
