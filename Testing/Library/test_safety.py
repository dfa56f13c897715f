"""What SECURITY.md promises and no other test holds: no shell, no pickles, no network, no ports; odd names; whose scan it is stays out."""

from __future__ import annotations

import ast
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from KidneyTumorCascadeLib import batch_pool
from KidneyTumorCascadeLib.worker_client import WorkerClient
from Testing.bright_blocks import Desk, make_scan, use_brightness
from Testing.Corpus.dicom_files import write_dicom

ROOT = Path(__file__).resolve().parents[2]
WINGS = ("KidneyTumorCascadeLib", "KidneyTumorCascade", "Training")
# What runs text, or what a file holds, as a program.
RUNNING = {"eval", "exec", "compile", "system", "popen", "getoutput", "getstatusoutput", "execl", "execlp", "spawnl"}
UNPICKLING = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
NETWORK = {"http.client", "http.server", "urllib.request", "ftplib", "smtplib", "requests", "httpx", "socketserver"}
# For the name of this computer, and for nothing else.
NAMES_HOST = {"processes.py"}
# For the error that PyTorch raises when it refuses one.
NAMES_PICKLE = {"checkpoint.py"}
NAME = "Roe^Richard"


def trees() -> Iterator[tuple[Path, ast.AST]]:
    """All Python of the three wings."""
    for wing in WINGS:
        for path in sorted((ROOT / wing).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def called(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Calls with the last part of what is called; `re.compile` and its like are no builtins."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr not in ("compile", "eval"):
            yield node.func.attr, node


def imported(tree: ast.AST) -> set[str]:
    """Modules that a module imports, also within functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_no_shell_is_started_and_no_text_is_run() -> None:
    for path, tree in trees():
        for name, call in called(tree):
            assert name not in RUNNING, f"{path}:{call.lineno}"
            assert not any(keyword.arg == "shell" for keyword in call.keywords), f"{path}:{call.lineno}"


def test_nothing_is_unpickled() -> None:
    for path, tree in trees():
        assert not imported(tree) & UNPICKLING or path.name in NAMES_PICKLE, path
        for name, call in called(tree):
            text = ast.unparse(call)
            if name == "load" and text.startswith(("np.load", "numpy.load")):
                assert "allow_pickle=True" not in text, f"{path}:{call.lineno}"
            assert not text.startswith(("pickle.load", "pickle.Unpickler")), f"{path}:{call.lineno}"
            if text.startswith("torch.load"):
                assert "weights_only=True" in text, f"{path}:{call.lineno}"


def test_the_library_asks_no_network() -> None:
    for path, tree in trees():
        if path.is_relative_to(ROOT / "KidneyTumorCascadeLib"):
            assert not imported(tree) & NETWORK, path
            assert "socket" not in imported(tree) or path.name in NAMES_HOST, path


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    use_brightness(monkeypatch)
    return Desk(tmp_path, capsys)


def test_a_scan_is_segmented_without_a_socket(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("a socket"))
    assert desk.segment("--quiet").code == 0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux which sockets a process has")
def test_the_worker_has_no_port(tmp_path: Path) -> None:
    with WorkerClient(tmp_path, command=(sys.executable, "-m", "Testing.bright_worker")) as client:
        client.open_scan(make_scan().voxels, make_scan().geometry)
        number = client.process.pid
        opened = [os.readlink(path) for path in Path(f"/proc/{number}/fd").iterdir()]
    assert opened
    assert not [place for place in opened if place.startswith("socket:")]


# --- names -----------------------------------------------------------------------------------------------------------------------------------

ODD_NAMES = (
    *("with spaces.nii.gz", "ümläut 漢字 😀.nii.gz", "e\u0301.nii.gz", "-rf.nii.gz", "--help.nii.gz", "$(touch planted).nii.gz"),
    *("; touch planted;.nii.gz", "`touch planted`.nii.gz", "'quoted\".nii.gz", "%s%n{0}.nii.gz", "*?[a].nii.gz", "<b>&amp;.nii.gz", "a\nb.nii.gz"),
)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_is_a_name_and_nothing_else(desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.out)
    folder = desk.out / "-a folder\u00a0"
    folder.mkdir()
    (folder / name).write_bytes(desk.ct.read_bytes())
    monkeypatch.chdir(folder)
    outcome = desk.run("segment", "--bundle", desk.bundle, "--device", "cpu", "--quiet", "--", name, f"-labels {name}")
    assert outcome.code == 0, outcome.err
    stem = f"-labels {name.removesuffix('.nii.gz')}"
    assert sorted(os.listdir(folder)) == sorted([name, f"{stem}.nii.gz", f"{stem}.json"])
    assert json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))["input"]["name"] == name
    assert os.listdir(desk.out) == [folder.name]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_batch_takes_odd_names_for_names(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(batch_pool, "COMMAND", (sys.executable, "-m", "Testing.faulty_batch_worker"))
    scans, output = desk.folder / "-in $(x)", desk.folder / "-out `y`"
    scans.mkdir()
    for name in ODD_NAMES:
        (scans / name).write_bytes(desk.ct.read_bytes())
    monkeypatch.chdir(desk.folder)
    words = ("batch", "--bundle", desk.bundle, "--device", "cpu", "--json", "--", scans.name, output.name)
    outcome = desk.run(*words)
    assert outcome.code == 0, outcome.err
    stems = [name.removesuffix(".nii.gz") for name in ODD_NAMES]
    expected = [f"{stem}{ending}" for stem in stems for ending in (".nii.gz", ".json")]
    assert sorted(os.listdir(output)) == sorted([*expected, "index.html", "summary.csv"])
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "<b>&amp;" not in page


# --- whose scan it is ------------------------------------------------------------------------------------------------------------------------


def identified(_: int, data: Dataset) -> None:
    """All that a scanner writes of a patient."""
    data.PatientName, data.PatientID, data.PatientBirthDate = NAME, "ROE-4711", "19700131"
    data.InstitutionName, data.AccessionNumber, data.ReferringPhysicianName = "Roe Clinic", "ROE-1", "Roe^Doctor"
    data.SeriesDescription, data.StudyDescription = "Roe Abdomen", "Roe Study"


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".seg.nrrd", ".mha"])
def test_no_result_tells_whose_scan_it_is(desk: Desk, ending: str) -> None:
    series = write_dicom(desk.folder / "ROE RICHARD", identified)
    for number, path in enumerate(sorted(series.iterdir())):
        path.rename(series / f"ROE{number:04d}.dcm")
    outcome = desk.segment("--preview", desk.out / "picture.png", "--probabilities", source=series, output=f"labels{ending}")
    assert outcome.code == 0, outcome.err
    for text in (outcome.out, outcome.err, *desk.written()):
        assert "roe" not in text.lower()
    for path in desk.out.iterdir():
        content = path.read_bytes().lower()
        for word in (b"roe", b"richard", b"4711", b"19700131"):
            assert word not in content, path
