"""From labelled scans to a bundle: the four commands of Training/README.md, as a newcomer runs them, with training killed on the way.

The data are phantoms in KiTS's layout, and the configuration is a shorter smoke.json; everything else is as the README says.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from KidneyTumorCascadeLib.bundle import load_bundle, verify_hashes
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.device import choose_device
from KidneyTumorCascadeLib.volume import read_volume
from Testing.Training.kits_phantoms import write_kits

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("roi", "kidney", "tumor")
PREPARE = "python Training/prepare_kits19.py DATA POOL --split 190/20"
TRAIN = "python Training/train.py --config Training/configs/standard.json --stage all --data POOL --out RUNS"
EVALUATE = "python Training/evaluate.py EVALUATION.json --runs RUNS --config Training/configs/standard.json --data DATA --index POOL/index.json"
EXPORT = (
    "python Training/export_bundle.py --config Training/configs/standard.json --runs RUNS --out BUNDLE --version 1.0.0 --evaluation EVALUATION.json"
)
# The stage that is killed is long enough to be caught in the middle.
STEPS = {"roi": 6, "kidney": 40, "tumor": 6}


class Newcomer:
    """A folder with data, and the README's commands with its own names in them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.resumed = folder, ""
        config = json.loads((ROOT / "Training" / "configs" / "smoke.json").read_text())
        config["validate_every"] = 4
        for stage, steps in STEPS.items():
            config["stages"][stage]["steps"] = steps
        (folder / "config.json").write_text(json.dumps(config))

    def words(self, command: str, runs: str = "RUNS") -> list[str]:
        """The command with this Python, this configuration, two cases, and another folder of runs."""
        changed = command.replace("Training/configs/standard.json", "config.json").replace("190/20", "2/1").replace("RUNS", runs)
        python, script, *words = shlex.split(changed)
        assert python == "python"
        return [sys.executable, str(ROOT / script), *words]

    def run(self, command: str, runs: str = "RUNS") -> str:
        """Run a command to its end; returns what it printed."""
        done = subprocess.run(self.words(command, runs), cwd=self.folder, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def train_until_killed(self) -> None:
        """End training without notice after its second validation in the middle stage: the first one's checkpoint is there by then."""
        with subprocess.Popen(self.words(TRAIN), cwd=self.folder, env=environment(), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            validations = (line for line in process.stdout if re.match(r"kidney +\d+ +loss", line))
            assert next(validations)
            assert next(validations)
            process.kill()
        assert process.returncode != 0


def environment() -> dict[str, str]:
    """One thread, and no GPU: the same sums in the same order, on every machine that runs the tests."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    """Everything done once, in the README's order."""
    folder = tmp_path_factory.mktemp("newcomer")
    write_kits(folder / "DATA" / "data", range(3))
    newcomer = Newcomer(folder)
    newcomer.run(PREPARE)
    newcomer.train_until_killed()
    newcomer.resumed = newcomer.run(TRAIN)
    newcomer.run(TRAIN, runs="WHOLE")
    newcomer.run(EVALUATE)
    newcomer.run(EXPORT)
    return newcomer


def test_training_went_on_where_it_was_killed(newcomer: Newcomer) -> None:
    assert f"roi: resumed at step {STEPS['roi']} of {STEPS['roi']}" in newcomer.resumed
    found = re.search(r"kidney: resumed at step (\d+) of 40", newcomer.resumed)
    assert found
    assert 4 <= int(found[1]) < 40
    assert "tumor: resumed" not in newcomer.resumed


@pytest.mark.parametrize("stage", STAGES)
def test_the_weights_are_those_of_an_uninterrupted_training(newcomer: Newcomer, stage: str) -> None:
    killed, whole = ((newcomer.folder / runs / stage / "weights.safetensors").read_bytes() for runs in ("RUNS", "WHOLE"))
    assert killed == whole


def test_the_evaluation_is_of_the_case_that_was_kept(newcomer: Newcomer) -> None:
    index = json.loads((newcomer.folder / "POOL" / "index.json").read_text())
    kept = [case["name"] for case in index["cases"] if case["split"] == "validation"]
    rows = json.loads((newcomer.folder / "EVALUATION.json").read_text())["cases"]
    assert [row["name"] for row in rows] == kept
    assert not rows[0]["trained_on"]


def test_the_bundle_loads_and_segments_and_its_card_names_what_was_measured(newcomer: Newcomer) -> None:
    folder = newcomer.folder / "BUNDLE"
    bundle = load_bundle(str(folder))
    verify_hashes(bundle)
    scan = read_volume(newcomer.folder / "DATA" / "data" / "case_00000" / "imaging.nii.gz")
    result = Cascade(bundle, choose_device("cpu")).segment(scan)
    assert result.labels.geometry == scan.geometry
    assert set(np.unique(result.labels.voxels)) <= {0, 1, 2}
    assert bundle.summary()["version"] == "1.0.0"
    (name,) = (row["name"] for row in json.loads((newcomer.folder / "EVALUATION.json").read_text())["cases"])
    assert name in (folder / "MODEL_CARD.md").read_text()


def test_the_readme_has_these_very_commands() -> None:
    readme = (ROOT / "Training" / "README.md").read_text(encoding="utf-8")
    assert "\n".join((PREPARE, TRAIN, EVALUATE, EXPORT)) in readme
