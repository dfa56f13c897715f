"""Compressed slices are decoded by another process first: one that kills its decoder costs a sentence, not the program."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import RLELossless

from KidneyTumorCascadeLib import dicom_trial
from KidneyTumorCascadeLib.dicom_trial import decode_all, fatal_slice
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.volume import read_volume
from Testing.Corpus.dicom_files import write_dicom

# Stands for a decoder that a slice kills: dies at the third file.
DYING = f"import os; print('0\\n1\\n2', flush=True); os.kill(os.getpid(), {int(signal.SIGKILL)})"


def compressed_series(folder: Path) -> list[Path]:
    """The paths of a series compressed as run lengths."""
    paths = sorted(write_dicom(folder).iterdir())
    for path in paths:
        data = pydicom.dcmread(path)
        data.compress(RLELossless)
        data.save_as(path)
    return paths


def test_good_slices_survive(tmp_path: Path) -> None:
    assert fatal_slice(compressed_series(tmp_path / "ct")) is None


def test_the_slice_that_kills_its_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = compressed_series(tmp_path / "ct")
    monkeypatch.setattr(dicom_trial, "COMMAND", (sys.executable, "-c", DYING))
    assert fatal_slice(paths) == paths[2]
    with pytest.raises(InputError, match=r"is damaged or incomplete; copy or export the series again\.$") as caught:
        read_volume(tmp_path / "ct")
    assert any(path.name in str(caught.value) for path in paths)


def test_slices_that_are_not_compressed_cost_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(write_dicom(tmp_path / "ct").iterdir())
    monkeypatch.setattr(dicom_trial, "COMMAND", (sys.executable, "-c", DYING))
    assert fatal_slice(paths) is None


def test_where_no_process_can_be_started_the_reader_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_trial, "COMMAND", (str(tmp_path / "no-python"),))
    assert fatal_slice(compressed_series(tmp_path / "ct")) is None


def test_what_cannot_be_decoded_is_passed_over(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = compressed_series(tmp_path / "ct")[:3]
    paths[1].write_bytes(paths[1].read_bytes()[:-400])
    os.remove(paths[0])
    decode_all([str(path) for path in paths])
    assert capfd.readouterr().out.split() == ["0", "1", "2"]
