"""One run at a time in a folder, locks of dead runs are taken over, and what they left is swept away, but nothing else."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from KidneyTumorCascadeLib import batch_folder
from KidneyTumorCascadeLib.batch_folder import LOCK, OutputFolder, require_room_for
from KidneyTumorCascadeLib.errors import InputError, SetupError
from KidneyTumorCascadeLib.processes import host_name


def no_wait(_: float) -> None:
    """Time passes, and nothing happens."""


def dead_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def write_lock(folder: Path, host: str, process: int) -> None:
    (folder / LOCK).write_text(json.dumps({"host": host, "process": process, "token": "0"}))


def test_the_folder_is_made_and_empty_in_the_end(tmp_path: Path) -> None:
    with OutputFolder(tmp_path / "new" / "results") as folder:
        assert folder.lock.exists()
    assert list((tmp_path / "new" / "results").iterdir()) == []


def test_a_second_run_is_refused_while_the_first_touches_its_lock(tmp_path: Path) -> None:
    with OutputFolder(tmp_path) as first:

        def touch_meanwhile(_: float) -> None:
            os.utime(first.lock, ns=(1, 1))

        with pytest.raises(InputError, match=f"process {os.getpid()}"), OutputFolder(tmp_path, touch_meanwhile):
            pass
        assert first.lock.exists()


def test_the_lock_of_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    write_lock(tmp_path, host_name(), dead_process())

    def never(_: float) -> None:
        raise AssertionError

    with OutputFolder(tmp_path, never):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["[" * 100_000, None, "", "[]", "{"])
def test_a_lock_that_nobody_touches_is_taken_over(tmp_path: Path, content: str | None) -> None:
    write_lock(tmp_path, "node7", 1)
    if content is not None:
        (tmp_path / LOCK).write_text(content)
    waited: list[float] = []
    with OutputFolder(tmp_path, waited.append):
        assert waited == [batch_folder.DEAD_AFTER_SECONDS]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_another_host_that_is_touched_is_respected(tmp_path: Path) -> None:
    write_lock(tmp_path, "node7", 1)
    with pytest.raises(InputError, match="node7"), OutputFolder(tmp_path, lambda _: os.utime(tmp_path / LOCK, ns=(1, 1))):
        pass
    assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("process", ["a\0\x1b[2J\nb", "9" * 400, {"a": [1]}, -1])
def test_a_strange_lock_is_told_of_in_one_short_line(process: object, tmp_path: Path) -> None:
    lock = tmp_path / LOCK
    lock.write_text(json.dumps({"host": f"{process} x", "process": process}))
    with pytest.raises(InputError) as caught, OutputFolder(tmp_path, lambda _: os.utime(lock, ns=(1, 1))):
        pass
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_of_two_that_take_over_one_is_refused_its_place(tmp_path: Path) -> None:
    """While the first waits for a sign of life, another run takes the lock."""
    write_lock(tmp_path, "node7", 1)
    second = OutputFolder(tmp_path, no_wait)

    def overtaken(_: float) -> None:
        if not (tmp_path / LOCK).exists() or "node7" in (tmp_path / LOCK).read_text():
            second.__enter__()
        else:
            os.utime(second.lock, ns=(1, 1))

    with pytest.raises(InputError, match="Another run"), OutputFolder(tmp_path, overtaken):
        pass
    second.require_own()
    second.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_lost_its_folder_stops_and_leaves_the_other_in_peace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_folder, "HEARTBEAT_SECONDS", 0.001)
    with OutputFolder(tmp_path) as folder:
        write_lock(tmp_path, "node7", 1)
        assert folder.lost.wait(60)
        with pytest.raises(InputError, match="taken over"):
            folder.require_own()
    assert (tmp_path / LOCK).exists()


def test_a_run_touches_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_folder, "HEARTBEAT_SECONDS", 0.001)
    with OutputFolder(tmp_path) as folder:
        os.utime(folder.lock, ns=(1, 1))
        while folder.lock.stat().st_mtime_ns == 1:
            pass


def test_what_killed_runs_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    left = [f".{'0a' * 8}.part", "sub/.0123456789ab.nii.gz", "sub/.unfinished-x1/a.nii.gz", ".unfinished-x2/deep/a"]
    kept = ["a.nii.gz", "sub/b.json", ".hidden", "sub/.0123456789ab.txt", "unfinished-x/a", ".0a.part"]
    for name in left + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with OutputFolder(tmp_path):
        pass
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert not list(tmp_path.rglob(".unfinished*"))


def test_a_link_is_not_followed_when_sweeping(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".unfinished-1").symlink_to(tmp_path / "elsewhere")
    with OutputFolder(tmp_path / "out"):
        pass
    assert (tmp_path / "elsewhere" / "precious").exists()
    assert not (tmp_path / "out" / ".unfinished-1").is_symlink()


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another one"), OutputFolder(tmp_path / "file" / "out"):
        pass
    monkeypatch.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(SetupError, match="full"), OutputFolder(tmp_path):
        pass


def test_room_is_asked_for_all_cases_together(tmp_path: Path) -> None:
    require_room_for(tmp_path, 0, 10**18)
    require_room_for(tmp_path, 3, 1)
    with pytest.raises(SetupError, match="1000000 scans"):
        require_room_for(tmp_path, 1_000_000, 10**12)
