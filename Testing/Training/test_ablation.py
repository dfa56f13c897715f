"""The ablation: which cases a run sees, what it changes, and what its line of the table says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from KidneyTumorCascadeLib.errors import InputError
from Training import ablation
from Training.cases import Case
from Training.fitting.settings import read_config, read_settings

CONFIGS = Path(__file__).parents[2] / "Training" / "configs"
SMOKE = CONFIGS / "smoke.json"


def write_pool(pool: Path) -> None:
    for split, names in (("train", ("real", "real_v001", "phantom_1")), ("validation", ("other",))):
        for kind in ("fine", "coarse"):
            (pool / split / kind).mkdir(parents=True)
            for index, name in enumerate(names):
                case_of(name, index).save(pool / split / kind)


def case_of(name: str, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    labels = np.zeros((40, 40, 40), dtype=np.uint8)
    labels[10:25, 10:25, 10:25] = 1
    labels[12:18, 12:18, 12:18] = 2
    hu = (rng.normal(0, 20, labels.shape) + labels * 80.0).astype(np.int16)
    return Case(name, hu, labels, 3.0)


def run_file(folder: Path, *entries: Mapping[str, object]) -> Path:
    path = folder / "runs.json"
    path.write_text(json.dumps(entries))
    return path


def test_a_run_sees_only_the_training_cases_that_fit_and_all_validation_cases(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool")
    (tmp_path / "pool/train/slices").mkdir()
    case_of("slice_1", 0).save(tmp_path / "pool/train/slices")
    assert ablation.link_pool(tmp_path / "pool", ["*_v*", "phantom_*"], tmp_path / "linked") == 2
    # Training refuses a folder of further cases that has none.
    assert not (tmp_path / "linked/train/slices").exists()
    assert sorted(path.name for path in (tmp_path / "linked/train/fine").iterdir()) == ["phantom_1.npz", "real_v001.npz"]
    assert [path.name for path in (tmp_path / "linked/validation/coarse").iterdir()] == ["other.npz"]


def test_patterns_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool")
    with pytest.raises(InputError, match="No training case"):
        ablation.link_pool(tmp_path / "pool", ["nothing*"], tmp_path / "linked")


@pytest.mark.parametrize("runs", ["ablation.json", "ablation_tumor.json"])
def test_the_shipped_runs_begin_with_networks_of_their_own_shape(runs: str, tmp_path: Path) -> None:
    """A run cannot begin with weights of another shape; what a configuration extends may change that behind its back."""
    config = read_config(CONFIGS / "coarse.json")
    listed = ablation.read_runs(CONFIGS / runs)
    shapes = {}
    for run in listed:
        changed = tmp_path / f"{run.name}.json"
        changed.write_text(json.dumps(ablation.changed_config(config, run)))
        shapes[run.name] = read_settings(changed, run.stage).shape
        assert not run.init or shapes[run.name].base_channels == shapes[run.init].base_channels
    assert len(shapes) == len(listed)


def test_settings_change_one_stage_only() -> None:
    config = json.loads(SMOKE.read_text())
    changed = ablation.changed_config(config, ablation.Run("a", "kidney", ("*",), {"batch": 3}))
    assert changed["stages"]["kidney"]["batch"] == 3
    assert changed["stages"]["tumor"] == config["stages"]["tumor"]
    assert config == json.loads(SMOKE.read_text())


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "a", "stage": "liver", "cases": ["*"]},
        {"name": "../a", "stage": "kidney", "cases": ["*"]},
        {"name": "a", "cases": ["*"]},
    ],
)
def test_a_wrong_run_is_refused_with_a_sentence(tmp_path: Path, entry: dict[str, object]) -> None:
    with pytest.raises(InputError):
        ablation.read_runs(run_file(tmp_path, entry))


def test_two_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    entry: dict[str, object] = {"name": "a", "stage": "kidney", "cases": ["*"]}
    with pytest.raises(InputError, match="twice"):
        ablation.read_runs(run_file(tmp_path, entry, entry))


@pytest.mark.parametrize("begins_with", ["b", "a", "c"])
def test_a_run_can_begin_with_an_earlier_one_only(tmp_path: Path, begins_with: str) -> None:
    entry: dict[str, object] = {"stage": "kidney", "cases": ["*"]}
    entries = [{**entry, "name": "a", "init": begins_with}, {**entry, "name": "b"}]
    with pytest.raises(InputError, match="no run before it"):
        ablation.read_runs(run_file(tmp_path, *entries))


def test_the_line_tells_the_mean_of_the_last_validations_and_the_best(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    rows = [(10, 0.9), (20, 0.2), (30, 0.4), (40, 0.6)]
    log.write_text("step,loss,validation_dice,seconds_per_step\n" + "".join(f"{step},1.0,{dice},0.5\n" for step, dice in rows))
    line = ablation.table_line(ablation.Run("a", "kidney", ("*",), {}), 7, log, [0.25, None])
    assert line == "| kidney | a | 7 | 40 | 0.400 | 0.900 | 0.250 | - | 0.50 |"


def test_all_runs_are_trained_tabled_and_not_repeated(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_pool(tmp_path / "pool")
    runs = run_file(
        tmp_path,
        {"name": "real only", "stage": "kidney", "cases": ["real*"]},
        {"name": "two patches", "stage": "kidney", "cases": ["*"], "settings": {"batch": 2}, "init": "real only"},
    )
    words = [str(runs), "--config", str(SMOKE), "--data", str(tmp_path / "pool"), "--out", str(tmp_path / "out"), "--steps", "2", "--threads", "1"]
    assert ablation.main(words) == 0
    table = (tmp_path / "out" / ablation.TABLE_FILE).read_text().splitlines()
    assert [line.split(" | ")[1:4] for line in table[2:]] == [["real only", "2", "2"], ["two patches", "3", "2"]]
    # The only validation case is a real one, and no body is rendered.
    assert all(float(line.split(" | ")[6]) >= 0 and line.split(" | ")[7] == "-" for line in table[2:])
    capfd.readouterr()
    assert ablation.main(words) == 0
    assert "validation Dice 0" not in capfd.readouterr().out
