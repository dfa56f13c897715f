"""A pool made by several processes: the same files as by one, whole cases alone, and one sentence when a worker or the command is ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from KidneyTumorCascadeLib.device import Engine
from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.volume import Volume, write_volume
from Training import synthesis
from Training.cases import Case, load_cases
from Training.preparation.worker_processes import worker_processes
from Training.sources import Sources, read_sources
from Training.synthesis import Rendered, Rendering, build_split

ROOT = Path(__file__).resolve().parents[2]
MM = 3.0


def write_balls(path: Path, shape: tuple[int, int, int], balls: list[tuple[int, tuple[int, int, int], int]]) -> None:
    """A label map (z, y, x) on voxels of 3 mm: balls of a label, a middle and a radius, in voxels."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    labels = np.zeros(shape, dtype=np.uint8)
    for label, (mz, my, mx), radius in balls:
        labels[(z - mz) ** 2 + (y - my) ** 2 + (x - mx) ** 2 <= radius**2] = label
    write_volume(Volume(labels, Geometry((shape[2], shape[1], shape[0]), (MM,) * 3)), path)


@pytest.fixture
def sources_file(tmp_path: Path, body: Case) -> Path:
    """On either side a scan, an abdomen of liver, spleen and kidneys, and a patient with a tumor; forms of lesions to train on."""
    entries: dict[str, list[dict[str, object]]] = {"scans": [], "lesions": [], "anatomies": []}
    for split in ("train", "validation"):
        name = f"scan_{split}"
        write_volume(Volume(body.hu, body.geometry), tmp_path / f"{name}.nii.gz")
        write_volume(Volume(body.labels, body.geometry), tmp_path / f"{name}_labels.nii.gz")
        entries["scans"].append({"name": name, "ct": f"{name}.nii.gz", "labels": f"{name}_labels.nii.gz", "split": split})
        organs = [(1, (48, 30, 22), 15), (2, (50, 40, 84), 9), (3, (32, 50, 28), 9), (4, (34, 50, 72), 9)]
        write_balls(tmp_path / f"organs_{split}.nii.gz", (64, 70, 100), organs)
        entries["anatomies"].append({"labels": f"organs_{split}.nii.gz", "kind": "organs", "organs": "word", "split": split})
        kidneys = [(1, (20, 20, 14), 10), (1, (20, 20, 54), 10), (2, (26, 20, 60), 6)]
        write_balls(tmp_path / f"patient_{split}.nii.gz", (40, 40, 70), kidneys)
        entries["anatomies"].append({"labels": f"patient_{split}.nii.gz", "kind": "kidneys", "organs": "kits", "split": split})
    write_balls(tmp_path / "lesion.nii.gz", (14, 14, 14), [(2, (7, 7, 7), 3)])
    entries["lesions"].append({"labels": "lesion.nii.gz", "split": "train"})
    (tmp_path / "SOURCES.json").write_text(json.dumps({**entries, "phantoms": 0}))
    return tmp_path / "SOURCES.json"


@pytest.fixture
def sources(sources_file: Path) -> Sources:
    return read_sources(sources_file)


def content_of(pool: Path) -> dict[str, bytes]:
    """All files of a pool, by name."""
    return {str(path.relative_to(pool)): path.read_bytes() for path in pool.rglob("*") if path.is_file()}


def test_workers_make_no_difference(sources: Sources, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for workers in (1, 2):
        build_split(sources, "train", tmp_path / str(workers), 1, 5, Rendered(1, 4), workers)
        said.append(capsys.readouterr().out.splitlines())
    one, two = content_of(tmp_path / "1"), content_of(tmp_path / "2")
    assert {"train/fine/scan_train_v000.npz", "train/fine/anatomy_00000.npz", "train/coarse/scan_train_k003.npz"} <= set(one)
    assert one == two
    assert [line.split()[0] for line in said[0]] == [f"[{number}/7]" for number in range(1, 8)]
    assert sorted(line.split()[2] for line in said[0]) == sorted(line.split()[2] for line in said[1])


def end_at_once(job: Rendering) -> None:
    """As when the system ends a worker for lack of memory."""
    os._exit(9)


def test_a_worker_that_is_ended_is_a_sentence_and_leaves_whole_cases(
    sources_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(synthesis, "render_given", end_at_once)
    monkeypatch.setattr(synthesis, "VALIDATION_PHANTOMS", 0)
    words = [str(sources_file), str(tmp_path / "pool"), "--validation-count", "1", "--validation-transplants", "3", "--workers", "2"]
    assert synthesis.main(words) == 3
    message = capsys.readouterr().err
    assert f"A worker was ended, most likely for lack of memory; empty {tmp_path / 'pool'} and give the same command again with fewer" in message
    assert message.count("\n") == 1
    assert {case.name for case in load_cases(tmp_path / "pool" / "validation" / "fine")} >= {"scan_validation"}


@pytest.fixture
def usual_interrupts() -> Iterator[None]:
    """Control-C as in a terminal: a command that is started where it is ignored ignores it, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_interrupts")
def test_an_interrupted_command_ends_with_130_and_leaves_whole_cases(sources_file: Path, tmp_path: Path) -> None:
    """By control-C at a terminal, which reaches all processes at once: after a worker's only case, as copies go on."""
    words = [str(sources_file), str(tmp_path / "pool"), "--validation-count", "500", "--validation-transplants", "1", "--workers", "2"]
    command = [sys.executable, str(ROOT / "Training" / "synthesis.py"), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stderr
        assert next(line for line in process.stdout if "_k0" in line)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr.read() == "Cancelled.\n"
    assert process.returncode == 130
    assert load_cases(tmp_path / "pool" / "validation" / "coarse")


@pytest.mark.usefixtures("usual_interrupts")
@pytest.mark.parametrize(("command", "worker"), [(signal.SIG_IGN, signal.SIG_IGN), (signal.default_int_handler, signal.SIG_DFL)])
def test_workers_ignore_control_c_where_their_command_does(command: Any, worker: Any) -> None:
    signal.signal(signal.SIGINT, command)
    with worker_processes(1, "try again") as executor:
        assert executor.submit(signal.getsignal, signal.SIGINT).result() == worker


def test_what_a_worker_cannot_read_is_a_sentence(sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "patient_train.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"patient_train.nii.gz"):
        build_split(sources, "train", tmp_path / "pool", 0, 5, Rendered(transplants=2), workers=2)


@pytest.mark.parametrize(
    ("rendered", "said"), [(Rendered(anatomies=1), "is an abdomen"), (Rendered(transplants=1), "no anatomy of the kind kidneys")]
)
def test_what_workers_lack_is_said_before_anything_is_made(sources: Sources, tmp_path: Path, rendered: Rendered, said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_split(replace(sources, anatomies=()), "train", tmp_path / "pool", 1, 5, rendered, workers=2)
    assert not content_of(tmp_path / "pool")


def test_memory_that_runs_out_is_a_sentence() -> None:
    def run_out() -> None:
        with worker_processes(1, "try again"):
            raise MemoryError

    with pytest.raises(SetupError, match="try again with fewer --workers"):
        run_out()


@pytest.mark.parametrize(("asked", "best", "used"), [("auto", "mps", "cpu"), ("auto", "cuda", "cuda"), ("auto", "cpu", "cpu"), ("mps", "mps", "mps")])
def test_bodies_are_rendered_where_that_is_possible(asked: str, best: str, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "choose_device", lambda name: Engine(torch.device(best), torch.float32, best))
    assert synthesis.rendering_device(asked).type == used
