"""The worker as a process, with its reference client: a whole visit, and every way in which it can end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from KidneyTumorCascadeLib import worker_client
from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.device import choose_device
from KidneyTumorCascadeLib.errors import BundleError, Cancelled, CascadeError, InputError, SetupError
from KidneyTumorCascadeLib.worker_client import OnStep, WorkerClient, WorkerGone
from KidneyTumorCascadeLib.worker_messages import Options, Step
from KidneyTumorCascadeLib.worker_protocol import CANCEL, PROTOCOL, Call, encode_call
from Testing.bright_blocks import make_bright_bundle, make_coronal_scan, make_scan, use_brightness
from Testing.tiny_bundle import read_description, write_description

BRIGHT = (sys.executable, "-m", "Testing.bright_worker")
# Without PyTorch, as 3D Slicer is before its extension has installed it.
BARE = (sys.executable, "-c", "import sys; sys.modules['torch'] = None; from KidneyTumorCascadeLib.worker import main; sys.exit(main())")
# Works without end, and without PyTorch's seconds of starting.
BUSY = (
    sys.executable,
    "-c",
    """
import sys
from KidneyTumorCascadeLib import worker
class Bench:
    def run(self, task, folder):
        while True:
            task.check()
            task.notify("progress", {"id": task.id, "stage": "preparing", "fraction": 0, "seconds_left": None})
    def release(self): pass
worker.make_bench = Bench
sys.exit(worker.main())
""",
)


@dataclass(frozen=True)
class Visit:
    """A worker, the options that its bundle is used with, those for a run that takes minutes, and the client's folder."""

    worker: WorkerClient
    quick: Options
    endless: Options
    folder: Path

    def results(self) -> list[str]:
        """What lies in the client's folder besides scans."""
        return [path.name for path in self.folder.iterdir() if not path.name.startswith("scan-")]


def make_endless(folder: Path) -> Path:
    """A bundle whose patches overlap so much that there are tens of thousands of them."""
    make_bright_bundle(folder)
    content = read_description(folder)
    for network in content["networks"].values():
        network |= {"patch": [8, 8, 8], "spacing_mm": [3, 3, 3]}
    content["presets"]["standard"]["overlap"] = {"roi": 0.9, "kidney": 0.9}
    write_description(folder, content)
    return folder


def visit_to(folder: Path) -> Visit:
    """A new worker."""
    quick, endless = (
        Options(bundle=str(bundle), device="cpu") for bundle in (make_bright_bundle(folder / "quick"), make_endless(folder / "endless"))
    )
    client_folder = folder / "client's folder"
    client_folder.mkdir()
    return Visit(WorkerClient(client_folder, BRIGHT, stderr=subprocess.DEVNULL), quick, endless, client_folder)


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    """One worker for all tests that leave it as it was."""
    visit = visit_to(tmp_path_factory.mktemp("visit"))
    yield visit
    assert visit.worker.close() == 0


def test_a_whole_visit_gives_the_librarys_results(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    use_brightness(monkeypatch)
    scan, steps = make_coronal_scan(), list[Step]()
    library = Cascade(load_bundle(visit.quick.bundle), choose_device("cpu"))
    expected = library.segment(scan)
    scan_id = visit.worker.open_scan(scan.voxels, scan.geometry)
    assert visit.worker.find_kidneys(scan_id, visit.quick).boxes == [box.part.box for box in expected.boxes]
    result = visit.worker.segment(scan_id, visit.quick, steps.append)
    assert np.array_equal(result.label_map(scan.geometry.shape_zyx), expected.labels.voxels)
    assert result.folder.parent == visit.folder
    assert list(dict.fromkeys(step.stage for step in steps)) == ["preparing", "finding kidneys", "right kidney", "left kidney", "merging"]
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    (left,) = visit.worker.segment_boxes(scan_id, [result.parts[1].box], visit.quick).parts
    assert np.array_equal(np.load(left.labels), np.load(result.parts[1].labels))
    visit.worker.close_scan(scan_id)
    assert not [path for path in visit.folder.iterdir() if path.name.startswith("scan-")]


def test_cancelling_leaves_no_files_and_a_worker_that_works(visit: Visit) -> None:
    scan, before = make_scan(), visit.results()
    scan_id = visit.worker.open_scan(scan.voxels, scan.geometry)
    boxes = visit.worker.find_kidneys(scan_id, visit.quick).boxes

    def cancel(step: Step) -> None:
        if step.stage == "left kidney":
            visit.worker.cancel(step.id)

    with pytest.raises(Cancelled):
        visit.worker.segment_boxes(scan_id, [boxes[1]], visit.endless, cancel)
    assert visit.results() == before
    assert visit.worker.segment_boxes(scan_id, boxes, visit.quick).parts


def test_errors_arrive_as_the_librarys(visit: Visit) -> None:
    scan = make_scan()
    scan_id = visit.worker.open_scan(scan.voxels, scan.geometry)
    with pytest.raises(BundleError, match="nonsense"):
        visit.worker.segment(scan_id, Options(bundle="nonsense"))
    with pytest.raises(InputError, match="nonsense"):
        visit.worker.segment(scan_id, Options(bundle=visit.quick.bundle, device="nonsense"))
    with pytest.raises(InputError, match="is empty"):
        visit.worker.open_scan(np.zeros_like(scan.voxels), scan.geometry)
    with pytest.raises(CascadeError, match="no method 'nonsense'"):
        visit.worker.call("nonsense")


def test_garbage_does_not_disturb_it(visit: Visit) -> None:
    stream = visit.worker.process.stdin
    assert stream is not None
    for line in (b"\x00\xff\n", b"{}\n", b"\n", b"[[[[\n", b'{"id": 1}\n', encode_call(Call(CANCEL, {"id": [1]})), b"x" * 2_000_000 + b"\n"):
        stream.write(line)
    assert visit.worker.call("list_bundles")["bundles"][0]["name"] == "default"


def busy(folder: Path) -> tuple[WorkerClient, Callable[[OnStep], Any]]:
    """A worker that never finishes, and what asks it to work."""
    worker = WorkerClient(folder, BUSY, stderr=subprocess.DEVNULL)
    return worker, lambda on_step: worker.call("segment", on_step=on_step)


def test_a_killed_worker_is_noticed_and_another_one_works(tmp_path: Path) -> None:
    worker, work = busy(tmp_path)
    with pytest.raises(WorkerGone):
        work(lambda step: worker.process.kill())
    with pytest.raises(WorkerGone):
        worker.call("environment")
    assert worker.close() == -9
    again, work = busy(tmp_path)
    with again, pytest.raises(Cancelled):
        work(lambda step: again.cancel(step.id))


def test_a_worker_at_work_ends_with_its_client(tmp_path: Path) -> None:
    worker, work = busy(tmp_path)
    streams = worker.process.stdin, worker.process.stdout
    with pytest.raises(KeyboardInterrupt):
        work(interrupt)
    for stream in streams:
        assert stream is not None
        stream.close()
    assert worker.process.wait(60) == 0


def interrupt(step: Step) -> None:
    """What a user's Ctrl-C does to a script."""
    raise KeyboardInterrupt


def test_without_pytorch_it_says_so_and_goes_on(tmp_path: Path) -> None:
    with WorkerClient(tmp_path, BARE, stderr=subprocess.DEVNULL) as worker:
        for _ in range(2):
            with pytest.raises(SetupError, match="PyTorch"):
                worker.call("list_bundles")


def bare(words: list[str], lines: bytes) -> subprocess.CompletedProcess[bytes]:
    """A worker without PyTorch that gets these lines and then the end of its input, as from a client that died."""
    return subprocess.run([*BARE, *words], input=lines, capture_output=True, check=False, timeout=60)


def test_it_ends_with_its_client(tmp_path: Path) -> None:
    ended = bare([], encode_call(Call("hello", {"protocol": PROTOCOL, "folder": str(tmp_path)}, "first")))
    assert ended.returncode == 0
    assert json.loads(ended.stdout.splitlines()[0])["id"] == "first"


def test_it_ends_by_itself_when_nobody_asks() -> None:
    worker = subprocess.Popen([*BARE, "--idle-seconds", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None
    assert worker.stdout is not None
    with worker.stdin, worker.stdout:
        assert json.loads(worker.stdout.read())["method"] == "ending"
        assert worker.wait(60) == 0


def test_it_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with WorkerClient(tmp_path, BARE) as worker:
        assert worker.call("shutdown") == {}
        assert worker.process.wait(60) == 0


def test_wrong_options_of_the_command_line_are_refused() -> None:
    ended = bare(["--idle-seconds", "soon"], b"")
    assert ended.returncode == 2
    assert b"invalid float value" in ended.stderr


def test_a_client_that_is_refused_leaves_no_worker_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = worker_client.start

    def kept(*words: Any) -> subprocess.Popen[bytes]:
        started.append(start(*words))
        return started[0]

    monkeypatch.setattr(worker_client, "start", kept)
    with pytest.raises(InputError, match="no folder"):
        WorkerClient(tmp_path / "missing", BARE)
    assert started[0].returncode == 0


def test_what_cannot_be_started_is_said(tmp_path: Path) -> None:
    with pytest.raises(WorkerGone, match="cannot be started"):
        WorkerClient(tmp_path, ("/does/not/exist",))
