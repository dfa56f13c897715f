"""Real processes that are stopped at random moments leave whole files of one run (a small part of `python -m Testing.Faults.interrupts`)."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and forks")


def test_what_is_stopped_leaves_whole_files_of_one_run() -> None:
    command = [sys.executable, "-m", "Testing.Faults.interrupts", "--tries", "9", "--seed", "3", "--only", "segment"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[2])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith("9 tries, 0 with something wrong\n")


@pytest.mark.parametrize(
    ("files", "kind", "wrong"),
    [
        ({"a.nii.gz": "new", "a.json": "{}"}, signal.SIGTERM, False),
        ({"a.nii.gz": "old", "a.json": "[]"}, signal.SIGTERM, False),
        ({"a.nii.gz": "new"}, signal.SIGKILL, False),
        ({}, signal.SIGKILL, False),
        ({"a.nii.gz": "new"}, signal.SIGTERM, True),
        ({"a.nii.gz": "new", "a.json": "[]"}, signal.SIGKILL, True),
        ({"a.nii.gz": "half"}, signal.SIGKILL, True),
        ({"a.nii.gz": "new", "a.json": "{}", ".unfinished-1": None}, signal.SIGTERM, True),
        ({"a.nii.gz": "new", "a.json": "{}", ".unfinished-1": None}, signal.SIGKILL, False),
    ],
)
def test_files_of_two_runs_would_be_noticed(tmp_path: Path, files: dict[str, str | None], kind: signal.Signals, wrong: bool) -> None:
    from Testing.Faults.interrupts import Scene, content_of, problems_of_folder

    def written(name: str, content: dict[str, str | None]) -> Path:
        (tmp_path / name).mkdir()
        for file, text in content.items():
            path = tmp_path / name / file
            path.mkdir() if text is None else path.write_text(text, encoding="utf-8")
        return tmp_path / name

    manifest = {"[]": '{"run": 1}', "{}": '{"run": 2}'}
    output = written("out", {name: manifest.get(text, text) if text else text for name, text in files.items()})
    earlier = content_of(written("old", {"a.nii.gz": "old", "a.json": manifest["[]"]}))
    new = content_of(written("new", {"a.nii.gz": "new", "a.json": manifest["{}"]}))
    scene = Scene("segment", [], output, [], tmp_path / "old", new)
    assert bool(problems_of_folder(scene, earlier, kind)) == wrong
