"""Several processes train one network: they agree, resume, and end together."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from KidneyTumorCascadeLib.device import Engine
from KidneyTumorCascadeLib.errors import CascadeError, InputError, SetupError
from Testing.Training import train_and_tell
from Training import train
from Training.fitting import distributed
from Training.fitting.distributed import Processes, connected, joined_processes, take_gpu
from Training.fitting.trainer import patch_seed

SMOKE = Path(train.__file__).parent / "configs" / "smoke.json"
ROOT = SMOKE.parents[2]
CPU = Engine(torch.device("cpu"), torch.float32, "CPU, float32")
NAN_SENTENCE = "The loss became nan at step 11; lower the learning rate and resume from the last checkpoint."


def torchrun(pool: Path, out: Path, config: Path = SMOKE, processes: int = 2, **environment: str) -> subprocess.CompletedProcess[str]:
    """Train the kidney stage for 16 steps in several processes, as a user does."""
    words = ["--config", str(config), "--stage", "kidney", "--data", str(pool), "--out", str(out), "--device", "cpu", "--steps", "16"]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", train_and_tell.__file__]
    return subprocess.run(
        [*start, *words, "--no-tensorboard"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
    )


def told(out: Path) -> list[dict[str, str]]:
    return [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(2)]


def log_of(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def together(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nothing disturbed."""
    out = tmp_path_factory.mktemp("together")
    ended = torchrun(pool, out)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("kidney     16") == 1
    return out


def test_two_processes_end_with_the_same_weights_from_different_patches(together: Path) -> None:
    first, second = told(together)
    assert first["network"] == second["network"]
    assert first["average"] == second["average"]
    assert first["patches"] != second["patches"]


def test_the_loss_of_two_processes_falls(together: Path) -> None:
    log = log_of(together)
    assert [row["step"] for row in log] == ["8", "16"]
    assert float(log[-1]["loss"]) < 0.9 * float(log[0]["loss"])


def test_norms_that_keep_statistics_agree_too(pool: Path, tmp_path: Path) -> None:
    """The publication's networks have batch norms, whose running means and variances are of each process's own patches."""
    (tmp_path / "batch.json").write_text(json.dumps({"extends": str(SMOKE), "network": {"norm": "batch"}}))
    ended = torchrun(pool, tmp_path / "out", tmp_path / "batch.json")
    assert ended.returncode == 0, ended.stderr
    first, second = told(tmp_path / "out")
    assert any("running_var" in name for name in load_file(tmp_path / "out" / "weights.safetensors"))
    assert first["network"] == second["network"]
    assert first["average"] == second["average"]
    assert first["patches"] != second["patches"]


def test_trouble_in_one_process_ends_both_with_one_sentence_and_training_goes_on_exactly(together: Path, pool: Path, tmp_path: Path) -> None:
    ended = torchrun(pool, tmp_path, TROUBLE_AT="11")
    assert ended.returncode != 0
    assert ended.stderr.count(NAN_SENTENCE) == 1
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 8
    assert not (tmp_path / "rank0.json").exists()
    resumed = torchrun(pool, tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count("resumed at step 8 of 16") == 1
    assert told(tmp_path) == told(together)
    assert [row["loss"] for row in log_of(tmp_path)] == [row["loss"] for row in log_of(together)]


def test_another_number_of_processes_goes_on_with_other_patches_and_a_warning(
    together: Path, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("checkpoint.pt", "log.csv"):
        (tmp_path / name).write_bytes((together / name).read_bytes())
    words = ["--config", str(SMOKE), "--stage", "kidney", "--data", str(pool), "--out", str(tmp_path), "--device", "cpu", "--steps", "18"]
    assert train.main(words) == 0
    said = capsys.readouterr()
    assert "the checkpoint is of 2 processes, now there are 1" in said.err
    assert "resumed at step 16 of 18" in said.out


def test_each_process_draws_its_own_patches_and_the_first_those_of_one_alone() -> None:
    assert patch_seed(7, 0) == 7
    seeds = {patch_seed(seed, rank, step) for seed in range(3) for rank in range(8) for step in (0, 250, 500)}
    assert len(seeds) == 3 * 8 * 3
    assert all(seed < 2**32 for seed in seeds)


def test_one_process_of_torchrun_is_like_none() -> None:
    for environment in ({}, {"WORLD_SIZE": "1", "RANK": "0"}):
        with joined_processes(environment) as processes:
            assert processes == Processes()
            network = torch.nn.Linear(1, 1)
            assert processes.wrapped(network) is network
            assert processes.with_shared_norms(network) is network
            assert processes.total([2.0, 3.0]) == [2.0, 3.0]
            assert processes.mean(2.5) == 2.5
            assert processes.gathered(torch.tensor([1, 2])).tolist() == [[1, 2]]
            assert connected(processes, CPU) == (processes, CPU)
            processes.require_same(3, "never said")


class Store:
    """Notes in a dictionary."""

    def __init__(self, notes: Mapping[str, Any] | None = None) -> None:
        self.notes = dict(notes or {})

    def add(self, key: str, amount: int, /) -> int:
        self.notes[key] = self.notes.get(key, 0) + amount
        return int(self.notes[key])

    def set(self, key: str, value: str, /) -> None:
        self.notes[key] = value.encode()

    def get(self, key: str, /) -> bytes:
        return bytes(self.notes[key])


def test_the_first_process_to_fail_says_so_and_the_others_end_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    monkeypatch.setattr(distributed, "meet", lambda environment: (Processes(0, 2, store=store), store))
    with pytest.raises(InputError, match="no pool"), joined_processes({"WORLD_SIZE": "2"}):
        raise InputError("no pool")
    for error, code in ((InputError("no pool"), 2), (RuntimeError("Connection closed by peer"), 1), (KeyboardInterrupt(), 1)):
        with pytest.raises(SystemExit) as ended, joined_processes({"WORLD_SIZE": "2"}):
            raise error
        assert ended.value.code == code


def test_incomplete_variables_are_a_sentence() -> None:
    with (
        pytest.raises(SetupError, match="WORLD_SIZE but not LOCAL_RANK; start several processes with torchrun"),
        joined_processes({"WORLD_SIZE": "2", "RANK": "0"}),
    ):
        pass


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    take_gpu(Processes(3, 4, local_rank=1), "auto")
    take_gpu(Processes(3, 4, local_rank=1), "cpu")
    take_gpu(Processes(), "cuda")
    assert taken == [1]
    with pytest.raises(InputError, match="There are 2 GPUs"):
        take_gpu(Processes(2, 4, local_rank=2), "cuda")


@pytest.mark.parametrize(("kind", "others"), [("cpu", "cuda"), ("mps", "mps")])
def test_devices_that_cannot_train_together_are_a_sentence(kind: str, others: str) -> None:
    processes = Processes(1, 2, store=Store({"device 0": others.encode()}))
    with pytest.raises(SetupError, match=f"cannot train together on {kind} and {others}"):
        connected(processes, Engine(torch.device(kind), torch.float32, kind))


def test_processes_that_find_different_checkpoints_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "gathered", lambda self, values: torch.stack((values, values + 8)))
    with pytest.raises(CascadeError, match="different checkpoints"):
        Processes(0, 2).require_same(8, "The processes find different checkpoints.")
