"""Files of one run appear together; what killed runs left is found by whose it is; signals wait for what must not be left half-done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from KidneyTumorCascadeLib import output_files, processes
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.output_files import FilesTogether, host_mark, new_folder_in, remove_leftovers
from KidneyTumorCascadeLib.processes import uninterrupted
from Testing.bright_blocks import Desk, use_brightness

NAMES = ("picture.png", "labels.nii.gz", "labels.json")


def write_run(folder: Path, text: str) -> None:
    """Three files of one run, the manifest last."""
    with FilesTogether() as files:
        for name in NAMES:
            files.place(folder / name).write_text(text, encoding="utf-8")


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.is_file()}


def test_at_no_moment_are_files_of_two_runs_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, "old")
    seen: list[dict[str, str]] = []
    real = os.replace

    def watched(source: Any, target: Any) -> None:
        real(source, target)
        seen.append(texts(tmp_path))

    monkeypatch.setattr(os, "replace", watched)
    write_run(tmp_path, "new")
    assert len(seen) == 6
    assert all(len(set(files.values())) <= 1 for files in seen)
    assert all("labels.json" not in files for files in seen[:-1]), "the manifest goes first and comes last"
    assert texts(tmp_path) == dict.fromkeys(NAMES, "new")


@pytest.mark.parametrize("number", range(6))
def test_a_move_that_fails_is_taken_back(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, "old")
    real, calls = os.replace, iter(range(1000))

    def failing(source: Any, target: Any) -> None:
        if next(calls) == number:
            raise PermissionError(13, "Permission denied")
        real(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(InputError, match="Permission denied"):
        write_run(tmp_path, "new")
    assert texts(tmp_path) == dict.fromkeys(NAMES, "old")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_signal_waits_until_all_files_are_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, "old")
    real = os.replace

    def signalled(source: Any, target: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        real(source, target)

    monkeypatch.setattr(os, "replace", signalled)
    with pytest.raises(KeyboardInterrupt):
        write_run(tmp_path, "new")
    assert texts(tmp_path) == dict.fromkeys(NAMES, "new")
    assert len(list(tmp_path.iterdir())) == 3


def test_signals_mean_afterwards_what_they_meant_before() -> None:
    before = [signal.getsignal(number) for number in processes.POLITE_SIGNALS]
    with uninterrupted():
        assert [signal.getsignal(number) for number in processes.POLITE_SIGNALS] != before
    assert [signal.getsignal(number) for number in processes.POLITE_SIGNALS] == before


def test_other_threads_have_no_signals_to_wait_for() -> None:
    def work() -> None:
        with uninterrupted():
            done.append(1)

    done: list[int] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


def dead_process() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_dead_runs_are_removed_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = new_folder_in(tmp_path)
    monkeypatch.setattr(os, "getpid", dead_process)
    dead = new_folder_in(tmp_path)
    (dead / "labels.nii.gz").write_bytes(b"half")
    monkeypatch.setattr(output_files, "host_mark", lambda: "0" * 8)
    elsewhere = new_folder_in(tmp_path)
    monkeypatch.undo()
    stranger = tmp_path / ".unfinished-by-somebody-else"
    stranger.mkdir()
    assert remove_leftovers(tmp_path) == 1
    assert sorted(tmp_path.iterdir()) == sorted([mine, elsewhere, stranger])
    assert remove_leftovers(tmp_path / "missing") == 0


def test_segment_says_what_it_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    use_brightness(monkeypatch)
    desk = Desk(tmp_path, capsys)
    left = desk.out / f".unfinished-{host_mark()}-{dead_process()}-abcd1234"
    left.mkdir()
    outcome = desk.segment("--quiet")
    assert outcome.code == 0
    assert outcome.err.splitlines()[0] == f"Warning: Unfinished files of a run that was killed lay in {desk.out} and were removed."
    assert desk.written() == ["labels.json", "labels.nii.gz"]
