"""A scan that is read by a thread while the program gets ready."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from KidneyTumorCascadeLib import cli, scan_reading
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.scan_reading import EarlyReading, Scan
from KidneyTumorCascadeLib.volume import Volume

SCAN: Scan = (Volume(np.zeros((2, 3, 4), np.int16), Geometry((4, 3, 2), (1.0, 1.0, 1.0))), ["odd"])


def test_the_scan_is_read_by_another_thread_and_handed_over_once() -> None:
    threads = []

    def read(source: Path) -> Scan:
        threads.append(threading.current_thread())
        assert source == Path("ct.nii")
        return SCAN

    with EarlyReading(Path("ct.nii"), read) as early:
        assert early.scan() is SCAN
        with pytest.raises(ValueError, match="before"):
            early.scan()
    assert threads != [threading.main_thread()]


def test_an_error_waits_for_whoever_wants_the_scan() -> None:
    def read(_: Path) -> Scan:
        raise InputError("cut short")

    with EarlyReading(Path("ct.nii"), read) as early, pytest.raises(InputError, match="cut short"):
        early.scan()


def test_the_block_lasts_until_the_reading_has_ended() -> None:
    begun, may_end, events = threading.Event(), threading.Event(), []

    def read(_: Path) -> Scan:
        begun.set()
        may_end.wait(30)
        events.append("read")
        return SCAN

    def fail_while_it_reads() -> None:
        with EarlyReading(Path("ct.nii"), read):
            begun.wait(30)
            may_end.set()
            raise InputError("the bundle is damaged")

    with pytest.raises(InputError):
        fail_while_it_reads()
    assert events == ["read"]


def test_what_is_wrong_with_the_output_is_said_before_what_is_wrong_with_the_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["segment", str(tmp_path / "missing.nii"), str(tmp_path / "labels.txt")]) == 2
    assert "labels.txt" in capsys.readouterr().err
    assert cli.main(["segment", str(tmp_path / "missing.nii"), str(tmp_path / "labels.nii.gz")]) == 2
    assert "missing.nii" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "early"), [("segment", True), ("boxes", True), ("check", False)])
def test_commands_about_one_scan_read_it_early(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, early: bool) -> None:
    import KidneyTumorCascadeLib.commands as commands

    found = []
    monkeypatch.setattr(commands, "COMMANDS", {command: lambda arguments: found.append(getattr(arguments, "early", None))})
    words = {"segment": ["ct.nii", "labels.nii"], "boxes": ["ct.nii"], "check": []}[command]
    assert cli.main([command, *words]) == 0
    assert [isinstance(item, EarlyReading) for item in found] == [early]


def test_reading_a_scan_needs_no_pytorch() -> None:
    import subprocess

    code = f"import sys, {scan_reading.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
