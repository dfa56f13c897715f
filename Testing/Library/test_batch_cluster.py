"""On a Dask cluster a batch ends as on one computer: every scan done or named, whatever becomes of workers and scheduler."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from KidneyTumorCascadeLib import __version__, batch_cluster, batch_pool
from KidneyTumorCascadeLib.batch_cluster import ClusterPool
from KidneyTumorCascadeLib.batch_cluster_worker import DEAD_AFTER_SECONDS, OVER, Pulse, Service, do_case, packed, require_here
from KidneyTumorCascadeLib.batch_folder import LOCK, OutputFolder
from KidneyTumorCascadeLib.batch_pool import Attempt
from KidneyTumorCascadeLib.batch_records import DONE, FAILED, IMAGE, SKIPPED, BatchOptions, Case, CaseOptions
from KidneyTumorCascadeLib.errors import InputError, SetupError
from Testing.bright_blocks import Desk, make_scan, write_dicom
from Testing.faulty_batch_preload import VERSION_VARIABLE
from Testing.Library.test_batch import WORKER, BatchDesk, statuses

pytest.importorskip("distributed")

import dask.config
import psutil

from Testing.Batch.cluster import Cluster, end

PRELOAD = "Testing.faulty_batch_preload"


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> BatchDesk:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(batch_pool, "COMMAND", WORKER)
    return BatchDesk(Desk(tmp_path, capsys))


@pytest.fixture
def cluster(desk: BatchDesk, tmp_path: Path) -> Iterator[Cluster]:
    """Without any worker at first."""
    with Cluster(tmp_path / "dask", workers=0, preload=PRELOAD) as cluster:
        yield cluster


def pool_of(desk: BatchDesk, address: str, **options: Any) -> ClusterPool:
    """For the scans of a desk."""
    case = CaseOptions(str(desk.desk.bundle), device="cpu")
    return ClusterPool(address, BatchOptions(case, **options), desk.input, desk.output, lambda line: None)


def cases_of(desk: BatchDesk) -> list[Case]:
    return [Case(path.name.partition(".")[0], path, IMAGE, (path,)) for path in sorted(desk.input.iterdir())]


def test_every_scan_is_done_or_named_though_processes_and_a_computer_are_lost(desk: BatchDesk, cluster: Cluster) -> None:
    desk.add("a", "b-kill-once", "c-node-once", "d-kill", "e-hang")
    (desk.input / "m.nii.gz").write_bytes(b"no scan")
    write_dicom(make_scan(), desk.input / "DOE^JANE")
    (desk.input / "DOE^JANE" / "005.dcm").unlink()
    workers = [cluster.add_worker(), cluster.add_worker()]
    outcomes = desk.outcomes("--scheduler", cluster.address, "--retries", "1", "--timeout", "10")
    dicom = outcomes.pop(next(name for name in outcomes if name.startswith("dicom-")))
    assert statuses(outcomes) == {
        "a": (DONE, 1),
        "b-kill-once": (DONE, 2),
        "c-node-once": (DONE, 1),
        "d-kill": (FAILED, 2),
        "e-hang": (FAILED, 1),
        "m": (FAILED, 1),
    }
    assert "killed" in outcomes["d-kill"]["reason"]
    assert "limit of 10 s" in outcomes["e-hang"]["reason"]
    assert "missing or unevenly spaced" in dicom["reason"]
    assert "DOE" not in dicom["reason"]
    assert [worker.poll() is None for worker in workers].count(False) == 1
    assert desk.written() == sorted(f"{name}.{ending}" for name in ("a", "b-kill-once", "c-node-once") for ending in ("json", "nii.gz"))
    assert len(set(desk.hashes().values())) == 1

    before = desk.hashes()
    for name in ("d-kill", "e-hang"):
        (desk.input / f"{name}.nii.gz").unlink()
    assert statuses(desk.outcomes("--workers", "1"))["c-node-once"] == (SKIPPED, 1)
    assert desk.hashes() == before


def test_a_worker_that_cannot_compute_gets_no_scans(desk: BatchDesk, cluster: Cluster) -> None:
    desk.add("a", "b", "c", "d")
    cluster.add_worker(environment={VERSION_VARIABLE: "9.9.9"})
    outcome = desk.run("--scheduler", cluster.address)
    assert outcome.code == 3
    assert outcome.err.splitlines()[-1].startswith(f"No worker of {cluster.address} can segment. It has version 9.9.9")
    assert desk.written() == []

    pool = pool_of(desk, cluster.address)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)

    cluster.add_worker()
    pool = ClusterPool(cluster.address, pool.options, desk.input, desk.output, say)
    with OutputFolder(desk.output), batch_cluster.connected(cluster.address) as client:
        client.wait_for_workers(2)
        assert {outcome.status for outcome in pool.outcomes(cases_of(desk))} == {DONE}
    assert f"Workers at {cluster.address}: 2" in said
    assert sum("gets no scans: It has version 9.9.9" in line for line in said) == 1


def test_the_batch_talks_to_its_scheduler_alone_and_ends_with_a_sentence_when_that_is_gone(desk: BatchDesk, cluster: Cluster) -> None:
    desk.add("a", "b-hang")
    cluster.add_worker(threads=1)  # So that the second scan comes second.
    mine = psutil.Process()
    before = {(link.laddr, link.status) for link in mine.net_connections("inet")}
    with OutputFolder(desk.output):
        outcomes = pool_of(desk, cluster.address).outcomes(cases_of(desk))
        assert next(outcomes).status == DONE
        new = [link for link in mine.net_connections("inet") if (link.laddr, link.status) not in before]
        assert new
        assert {(link.status, f"tcp://{link.raddr.ip}:{link.raddr.port}") for link in new} == {("ESTABLISHED", cluster.address)}
        end(cluster.scheduler)
        with pytest.raises(SetupError, match="is gone or dropped the batch"):
            next(outcomes)


@pytest.mark.parametrize("address", ["192.168.1.10:8786", "http://host:8786", "tcp://host", "tcp://host:8786/x", "file:///etc/passwd", ""])
def test_what_is_no_address_is_refused(desk: BatchDesk, address: str) -> None:
    desk.add("a")
    outcome = desk.run("--scheduler", address)
    assert outcome.code == 2
    assert "is no address of a scheduler" in outcome.err
    assert not desk.output.exists()


def test_a_scheduler_that_is_not_there_is_said(desk: BatchDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.add("a")
    monkeypatch.setattr(batch_cluster, "CONNECT_SECONDS", 0.2)
    outcome = desk.run("--scheduler", "tcp://127.0.0.1:1")
    assert outcome.code == 3
    assert "cannot be reached" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install 'kidney-tumor-cascade[cluster]'" in desk.run("--scheduler", "tcp://127.0.0.1:1").err


@pytest.mark.parametrize(("address", "encryption"), [("tls://127.0.0.1:1", False), ("tcp://127.0.0.1:1", True)])
def test_missing_certificates_are_said(desk: BatchDesk, address: str, encryption: bool) -> None:
    desk.add("a")
    with dask.config.set({"distributed.comm.require-encryption": encryption}):
        outcome = desk.run("--scheduler", address)
    assert outcome.code == 3
    assert "certificates" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_one_cannot_ask_for_workers_of_both_kinds(desk: BatchDesk) -> None:
    assert desk.run("--scheduler", "tcp://127.0.0.1:1", "--workers", "3").code == 2


def job_of(tmp_path: Path, token: str = "1") -> dict[str, Any]:
    """As a worker is told of a batch, whose lock lies there."""
    output = tmp_path / "results"
    output.mkdir(exist_ok=True)
    (output / LOCK).write_text(json.dumps({"token": "1"}))
    return {"version": __version__, "token": token, "input": str(tmp_path), "output": str(output), "options": {}, "timeout": None}


def test_a_worker_takes_part_where_it_sees_the_batch(tmp_path: Path) -> None:
    waited: list[float] = []
    require_here(job_of(tmp_path), waited.append)
    assert waited == []
    for wrong in ({"token": "2"}, {"input": str(tmp_path / "none")}, {"output": str(tmp_path / "none")}):
        with pytest.raises(SetupError, match="does not see"):
            require_here({**job_of(tmp_path), **wrong}, waited.append)
    assert sum(waited) > 0


def test_the_pulse_of_a_batch_is_its_lock(tmp_path: Path) -> None:
    job_of(tmp_path)
    output, now = tmp_path / "results", [0.0]
    pulse = Pulse(output, "1", lambda: now[0])
    assert not pulse.has_stopped()
    now[0] = DEAD_AFTER_SECONDS
    (output / LOCK).touch()
    assert not pulse.has_stopped()
    now[0] += DEAD_AFTER_SECONDS
    assert not pulse.has_stopped()
    now[0] += 1.0
    assert pulse.has_stopped()
    assert Pulse(output, "of a later run").has_stopped()


def test_a_service_ends_with_its_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_pool, "COMMAND", (sys.executable, "-c", "input(); input(); input()"))
    service = Service(job_of(tmp_path))
    service.close()
    outcome = service.do(Attempt(Case("a", tmp_path / "a", IMAGE, (tmp_path / "a",))))
    assert outcome.reason == OVER
    # Another run has the lock: the process, which is waited for in vain, is ended and its case given back.
    outcome = Service(job_of(tmp_path, "2")).do(Attempt(Case("a", tmp_path / "a", IMAGE, (tmp_path / "a",))))
    assert outcome.reason == OVER


def test_a_task_raises_nothing_that_dask_would_write_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = Case("dicom-1", tmp_path / "DOE^JANE", IMAGE, (tmp_path / "DOE^JANE",), "DOE", private=True)
    task = packed(job_of(tmp_path), Attempt(private))
    assert b"DOE" not in task
    monkeypatch.setattr("KidneyTumorCascadeLib.batch_cluster_worker.require_here", lambda job: (tmp_path / "DOE^JANE").stat())
    message = do_case(task)
    assert "FileNotFoundError" in message["reason"]
    assert "DOE" not in json.dumps(message)


def test_thousands_of_slices_make_a_small_task(tmp_path: Path) -> None:
    files = tuple(tmp_path / f"1.2.840.113619.2.55.3.{number}.dcm" for number in range(2000))
    assert len(packed(job_of(tmp_path), Attempt(Case("dicom-1", tmp_path, "dicom", files)))) < 20_000


def test_an_address_is_checked_before_anything_else(desk: BatchDesk) -> None:
    with pytest.raises(InputError):
        pool_of(desk, "nowhere")
