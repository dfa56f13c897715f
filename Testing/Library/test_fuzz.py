"""Every parser takes or refuses what nobody meant (a small part of `python -m Testing.Fuzz.run`), and the fuzzer sees what it is there to see."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from KidneyTumorCascadeLib.errors import InputError
from Testing.Fuzz import judge as module
from Testing.Fuzz.judge import ACCEPTED, REFUSED, Finding, Target, judge, limits, problem_of
from Testing.Fuzz.mutations import mutated_bytes, mutated_json
from Testing.Fuzz.run import fuzz, main, make_parser, plan, shares
from Testing.Fuzz.targets import all_targets

NAMES = (
    *("bundle.json", "bundle archive", "weights", "boxes.json", "manifest", "NIfTI header", "NRRD, MetaImage, NIfTI"),
    *("DICOM series", "manifest on resume", "lock of a batch"),
    *("message to the worker", "message to the client", "stream of messages"),
    *("KiTS index", "record of a pool", "SOURCES.json", "list of runs", "evaluation"),
    *("training configuration", "training log", "training case"),
)
INPUTS = 100
EXAMPLE = json.dumps({"a": [1, 2, {"b": "text"}], "c": None}).encode()


def test_every_parser_is_in_the_list() -> None:
    with all_targets() as targets:
        assert [target.name for target in targets] == list(NAMES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_meant_is_taken_or_refused_in_a_sentence(name: str) -> None:
    with all_targets() as targets:
        target = next(target for target in targets if target.name == name)
        counts, findings = fuzz(target, INPUTS, seed=7)
    assert [finding.what for finding in findings] == []
    assert counts[ACCEPTED] + counts[REFUSED] == INPUTS
    assert counts[ACCEPTED], "examples that are always refused test nothing behind the first check"


def raising(error: BaseException) -> Callable[[bytes], None]:
    def feed(data: bytes) -> None:
        raise error

    return feed


def outcome_of(feed: Callable[[bytes], object]) -> str | Finding:
    with limits():
        return judge(Target("x", lambda random: b"", feed), b"data")


def endless(data: bytes) -> None:
    while True:
        try:
            time.monotonic()
        except Exception:
            continue


@pytest.mark.parametrize(
    ("feed", "what"),
    [
        (raising(KeyError("a")), "KeyError"),
        (raising(RecursionError()), "RecursionError"),
        (raising(OSError(36, "File name too long")), "OSError"),
        (raising(SystemExit(2)), "SystemExit"),
        (raising(InputError("two\nlines")), "line ends"),
        (raising(InputError("\x1b[2J")), "control characters"),
        (raising(InputError("x" * 2000)), "2000 characters"),
        (raising(InputError("[Errno 2] No such file")), "Errno"),
        (raising(InputError("")), "empty"),
        (lambda data: np.zeros(2**40, dtype=np.uint8), "MemoryError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_anything_else_is_a_finding(feed: Callable[[bytes], object], what: str) -> None:
    outcome = outcome_of(feed)
    assert isinstance(outcome, Finding)
    assert what in outcome.what
    assert outcome.data == b"data"


def test_what_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.05)
    outcome = outcome_of(endless)
    assert isinstance(outcome, Finding)
    assert "took more than" in outcome.what


def test_a_sentence_is_none() -> None:
    assert outcome_of(raising(InputError("The file a b.nii is empty; copy it again."))) == REFUSED
    assert outcome_of(lambda data: None) == ACCEPTED
    assert problem_of("The scan was cancelled.") == ""


@pytest.mark.parametrize("mutate", [mutated_json, mutated_bytes])
def test_the_same_seed_gives_the_same_inputs(mutate: Callable[[Random, bytes], bytes]) -> None:
    first, again, other = ([mutate(random, EXAMPLE) for _ in range(200)] for random in (Random(1), Random(1), Random(2)))
    assert first == again != other
    assert len(set(first)) > 150


def test_the_command_counts_and_reports(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--inputs", "30", "--only", "boxes.json", "--findings", str(tmp_path / "found")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1][:2] == ["boxes.json", "30"]
    assert rows[-1][0] == "all"
    assert int(rows[-1][2]) + int(rows[-1][3]) == int(rows[-1][1]) == 30
    assert not (tmp_path / "found").exists()


def test_a_run_that_stopped_is_gone_on_with() -> None:
    targets = [Target(name, lambda random: b"", len, share) for name, share in (("a", 1), ("b", 2), ("c", 5))]
    rest = plan(targets, make_parser().parse_args(["--inputs", "80", "--after", "a"]))
    assert [(target.name, inputs) for target, inputs in rest] == [("b", 20), ("c", 50)]


def test_shares_add_up() -> None:
    targets = [Target(str(share), lambda random: b"", len, share) for share in (1, 2, 5)]
    assert shares(targets, 80) == [10, 20, 50]
    assert sum(shares(targets, 1001)) >= 1001
