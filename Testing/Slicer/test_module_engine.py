"""The engine with a worker that is slow, deaf, dying or not there at all."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import qt
import slicer

from KidneyTumorCascadeLib.errors import Cancelled, CascadeError, InputError, SetupError
from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.worker_client import WorkerGone
from KidneyTumorCascadeLib.worker_protocol import ENVIRONMENT, FIND_KIDNEYS, VERIFY_BUNDLE
from KidneyTumorCascadeScene import open_scans, worker_process
from KidneyTumorCascadeScene.engine import Engine
from KidneyTumorCascadeScene.open_scans import Handover, OpenScans
from KidneyTumorCascadeScene.volumes import addVolume

if TYPE_CHECKING:
    from Testing.Slicer.desk.desk import Desk

MOODY = (sys.executable, "-m", "Testing.Slicer.moody_worker")


class Caller:
    """Asks, and keeps what comes back."""

    def __init__(self, desk: Desk, engine: Engine) -> None:
        self._desk, self._engine = desk, engine
        self.results: list[Any] = []
        self.errors: list[CascadeError] = []
        self.steps: list[Any] = []

    def ask(self, method: str, params: Any = None) -> int:
        return self._engine.call(method, params or {}, self.results.append, self.errors.append, self.steps.append)

    def ask_for(self, mood: str) -> int:
        return self.ask(FIND_KIDNEYS, {"scan_id": "scan-1", "options": {"preset": mood}})

    def wait(self, answers: int = 1) -> None:
        self._desk.wait_until(lambda: len(self.results) + len(self.errors) >= answers, 60.0)

    def wait_for_step(self) -> None:
        self._desk.wait_until(lambda: bool(self.steps), 60.0)


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(MOODY)
    yield made
    made.stop()


@pytest.fixture
def caller(desk: Desk, engine: Engine) -> Caller:
    return Caller(desk, engine)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class TestEngine:
    def test_it_answers_and_stays_warm(self, caller: Caller, engine: Engine) -> None:
        assert not engine.alive
        caller.ask(ENVIRONMENT)
        caller.wait()
        pid = engine.pid
        caller.ask(ENVIRONMENT)
        caller.wait(2)
        assert caller.results == [{"report": "moody"}] * 2
        assert pid is not None
        assert engine.pid == pid

    def test_an_error_arrives_as_its_kind(self, caller: Caller) -> None:
        caller.ask_for("wilful")
        caller.wait()
        assert isinstance(caller.errors[0], InputError)
        assert str(caller.errors[0]) == "This scan is not to be worked on."

    def test_progress_is_told(self, caller: Caller) -> None:
        caller.ask_for("wilful")
        caller.wait()
        assert [(step.stage, step.fraction, step.seconds_left) for step in caller.steps] == [("finding kidneys", 0.5, 7.0)]

    def test_a_cancelled_request_ends_and_the_worker_stays(self, caller: Caller, engine: Engine) -> None:
        request = caller.ask_for("halfway")
        caller.wait_for_step()
        pid = engine.pid
        engine.cancel(request)
        caller.wait()
        assert isinstance(caller.errors[0], Cancelled)
        assert engine.pid == pid

    def test_a_deaf_worker_is_ended_when_cancelled(self, caller: Caller, engine: Engine) -> None:
        request = caller.ask_for("deaf")
        caller.wait_for_step()
        pid = engine.pid
        engine.cancel(request)
        clock = qt.QElapsedTimer()
        clock.start()
        caller.wait()
        assert clock.elapsed() < 5000
        assert isinstance(caller.errors[0], Cancelled)
        assert pid is not None
        assert not is_alive(pid)
        caller.ask(ENVIRONMENT)
        caller.wait(2)
        assert caller.results == [{"report": "moody"}]

    def test_a_crash_is_told_and_the_next_request_starts_a_new_worker(self, caller: Caller, engine: Engine) -> None:
        caller.ask_for("crash")
        caller.ask(ENVIRONMENT)
        caller.wait(2)
        assert [type(error) for error in caller.errors] == [WorkerGone, WorkerGone]
        assert "ended unexpectedly" in str(caller.errors[0])
        caller.ask(ENVIRONMENT)
        caller.wait(3)
        assert caller.results == [{"report": "moody"}]
        assert engine.generation == 2

    def test_so_is_a_kill(self, caller: Caller, engine: Engine) -> None:
        caller.ask_for("halfway")
        caller.wait_for_step()
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        caller.wait()
        assert isinstance(caller.errors[0], WorkerGone)

    def test_a_worker_that_cannot_be_started(self, desk: Desk) -> None:
        engine = Engine(("/nowhere/python",))
        caller = Caller(desk, engine)
        caller.ask(ENVIRONMENT)
        caller.wait()
        assert isinstance(caller.errors[0], WorkerGone)
        engine.stop()

    def test_what_is_no_message_is_passed_over(self, desk: Desk) -> None:
        code = "import json, os\nprint('hello world')\nfor i in range(2):\n r = json.loads(input())\n"
        code += " print(json.dumps({'jsonrpc': '2.0', 'id': r['id'], 'result': {'pid': os.getpid(), 'x': 1}}), flush=True)\ninput()"
        engine = Engine((sys.executable, "-c", code))
        caller = Caller(desk, engine)
        caller.ask(ENVIRONMENT)
        caller.wait()
        assert caller.results[0]["x"] == 1
        engine.stop()

    def test_a_worker_that_has_idled_is_replaced(self, desk: Desk) -> None:
        engine = Engine((*MOODY, "--idle-seconds", "0.5"))
        caller = Caller(desk, engine)
        caller.ask(ENVIRONMENT)
        caller.wait()
        desk.wait_until(lambda: not engine.alive, 60.0)
        caller.ask(ENVIRONMENT)
        caller.wait(2)
        assert len(caller.results) == 2
        engine.stop()

    def test_long_silence_is_told(self, caller: Caller, engine: Engine, desk: Desk) -> None:
        told: list[bool] = []
        engine.onSilence = lambda: told.append(True)
        caller.ask_for("halfway")
        caller.wait_for_step()
        assert engine._silence.active
        engine._silence.start(0)
        desk.wait_until(lambda: bool(told))

    def test_it_leaves_nothing(self, caller: Caller, engine: Engine) -> None:
        caller.ask_for("deaf")
        caller.wait_for_step()
        pid, folder = engine.pid, engine.folder
        assert folder.is_dir()
        slicer.app.aboutToQuit.emit()
        assert pid is not None
        assert not is_alive(pid)
        assert not folder.exists()
        assert caller.errors == []

    def test_it_runs_in_slicers_python(self) -> None:
        command = worker_process.workerCommand()
        assert Path(command[0]).name == "PythonSlicer"
        assert command[1:] == ["-m", "KidneyTumorCascadeLib.worker"]

    def test_a_bundle_is_asked_for_by_its_name(self, caller: Caller) -> None:
        """Any other method reaches the bench; nothing is lost on the way."""
        caller.ask(VERIFY_BUNDLE, {"name": "mine", "options": {"preset": "wilful"}})
        caller.wait()
        assert len(caller.errors) == 1


def make_volume() -> Any:
    return addVolume(np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7), Geometry((7, 6, 5), (1.0, 1.0, 1.0)), "CT")


class TestHandover:
    def test_the_file_holds_the_voxels(self, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(open_scans, "AT_ONCE", 200)  # two slices in a turn, and one in the last
        voxels, done = slicer.util.arrayFromVolume(make_volume()), []
        handover = Handover(voxels, tmp_path / "ct.npy", lambda: done.append(True), lambda error: pytest.fail(str(error)))
        assert done == []
        desk.wait_until(lambda: bool(done))
        assert np.array_equal(np.load(tmp_path / "ct.npy", mmap_mode="r"), voxels)
        del handover

    def test_a_full_disk_is_told(self, desk: Desk) -> None:
        errors: list[OSError] = []
        full = Path("/dev/full")
        if not full.exists():
            pytest.skip("no device that is always full")
        handover = Handover(np.zeros((64, 64, 64)), full, lambda: pytest.fail("written"), errors.append)
        desk.wait_until(lambda: bool(errors))
        assert errors[0].strerror == "No space left on device"
        del handover


class TestOpenScans:
    def open(self, scans: OpenScans, volume: Any, caller: Caller) -> None:
        before = len(caller.results)
        scans.open(volume, caller.results.append, caller.errors.append)
        caller.wait(before + 1)

    def test_a_volume_is_handed_over_once(self, caller: Caller, engine: Engine) -> None:
        scans, volume = OpenScans(engine), make_volume()
        self.open(scans, volume, caller)
        files = sorted(engine.folder.glob("*.npy"))
        self.open(scans, volume, caller)
        assert caller.results == ["scan-1"] * 2
        assert sorted(engine.folder.glob("*.npy")) == files
        assert len(files) == 1

    def test_it_is_handed_over_again_when_it_changed(self, caller: Caller, engine: Engine, desk: Desk) -> None:
        scans, volume = OpenScans(engine), make_volume()
        self.open(scans, volume, caller)
        first = next(engine.folder.glob("*.npy"))
        slicer.util.arrayFromVolume(volume)[0] = 9
        slicer.util.arrayFromVolumeModified(volume)
        self.open(scans, volume, caller)
        desk.wait_until(lambda: not first.exists())
        assert np.load(next(engine.folder.glob("*.npy")))[0, 0, 0] == 9

    def test_a_new_worker_gets_the_same_file(self, caller: Caller, engine: Engine, desk: Desk) -> None:
        scans, volume = OpenScans(engine), make_volume()
        self.open(scans, volume, caller)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        desk.wait_until(lambda: not engine.alive)
        self.open(scans, volume, caller)
        assert caller.results == ["scan-1"] * 2
        assert engine.generation == 2

    def test_cancelled_while_it_is_written(self, caller: Caller, engine: Engine) -> None:
        scans = OpenScans(engine)
        scans.open(make_volume(), caller.results.append, caller.errors.append)
        scans.cancel()
        assert [type(error) for error in caller.errors] == [Cancelled]
        assert not engine.alive

    def test_no_place_for_it(self, caller: Caller, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Engine, "folder", Path("/nowhere"))
        OpenScans(engine).open(make_volume(), caller.results.append, caller.errors.append)
        assert isinstance(caller.errors[0], SetupError)
        assert "free some disk space" in str(caller.errors[0])
