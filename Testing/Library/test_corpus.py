"""Every kind of input in the corpus comes out as its table says: right, right with a warning, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from KidneyTumorCascadeLib import cli
from Testing.bright_blocks import make_bright_bundle, use_brightness
from Testing.Corpus.corpus import KINDS
from Testing.Corpus.registry import REFUSED, Kind
from Testing.Corpus.table import BEGIN, DOCUMENT, END, table, with_table
from Testing.Corpus.verdict import Ended, check_refusal, check_result

# That of the corpus's scans, so that most need no resampling.
SPACING_MM = 5.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bright_bundle(tmp_path_factory.mktemp("bundles") / "bright", SPACING_MM)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_an_input_comes_out_as_the_table_says(
    kind: Kind, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_brightness(monkeypatch)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    source = kind.make(tmp_path / "in")
    capfd.readouterr()
    code = cli.main(["segment", str(source), str(tmp_path / "out" / "labels.nii.gz"), "--bundle", str(bundle), "--device", "cpu", "--quiet"])
    ended = Ended(code, *capfd.readouterr(), tmp_path / "out")
    (check_refusal if kind.outcome == REFUSED else check_result)(kind, ended)


def test_names_are_unique() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_the_document_has_the_corpus_in_its_table() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert with_table(document, table()) == document, "run python -m Testing.Corpus.table"
    assert (document.count(BEGIN), document.count(END)) == (1, 1)
