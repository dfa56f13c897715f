"""Training: it learns, survives being killed without a trace in the result, and says what is wrong."""

from __future__ import annotations

import csv
import io
import json
import runpy
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from KidneyTumorCascadeLib.device import Engine
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.normalization import StatisticalNormalization
from KidneyTumorCascadeLib.vnet import VNet
from Testing.Training.train_and_tell import digest
from Training import export_bundle, train
from Training.cases import Case
from Training.curves import can_draw
from Training.fitting import board, optimization, trainer, validation
from Training.fitting.made_with import differences
from Training.fitting.optimization import MovingAverage
from Training.fitting.settings import StageSettings, read_settings
from Training.fitting.trainer import Trainer
from Training.fitting.training_log import Interval, append_to_log
from Training.fitting.watch import Watch

SMOKE = Path(train.__file__).parent / "configs" / "smoke.json"
ROOT = SMOKE.parent.parent.parent
CPU = Engine(torch.device("cpu"), torch.float32, "CPU, float32")
KILLED_AT = 11
COMMANDS = sorted(path.stem for path in (ROOT / "Training").glob("*.py") if '__name__ == "__main__"' in path.read_text(encoding="utf-8"))


class KilledError(Exception):
    """Stands for whatever ends a process."""


def words_for(stage: str, pool: Path, out: Path, config: Path = SMOKE) -> list[str]:
    return ["--config", str(config), "--stage", stage, "--data", str(pool), "--out", str(out), "--device", "cpu"]


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def train_killed(settings: StageSettings, pool: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that ends without notice after its checkpoint, between two others."""
    killed = Trainer(settings, pool, out, CPU, seed=1)
    step = killed.train_step

    def dying_step() -> float:
        if killed.step == KILLED_AT:
            raise KilledError
        return step()

    monkeypatch.setattr(killed, "train_step", dying_step)
    with pytest.raises(KilledError):
        killed.run()


def test_loss_falls_and_dice_rises(runs: Path) -> None:
    for stage in ("roi", "kidney"):
        log = log_of(runs / stage)
        assert [int(row["step"]) for row in log] == [8, 16, 24]
        assert float(log[-1]["loss"]) < 0.8 * float(log[0]["loss"])
        assert float(log[-1]["validation_dice"]) > 0.05


def test_a_run_leaves_weights_checkpoint_and_log_and_nothing_else(runs: Path) -> None:
    files = {"checkpoint.pt", "log.csv", "weights.safetensors"} | ({"curves.png"} if can_draw() else set())
    for stage in ("roi", "kidney", "tumor"):
        assert sorted(path.name for path in (runs / stage).iterdir()) == sorted(files)
        network = VNet(read_settings(SMOKE, stage).shape)
        network.load_state_dict(load_file(runs / stage / "weights.safetensors"))


def test_a_killed_and_resumed_training_ends_with_the_same_weights(
    short: StageSettings, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    expected = Trainer(short, pool, whole, CPU, seed=1)
    expected.run()
    train_killed(short, pool, broken, monkeypatch)
    # The seed differs, as everything must come from the checkpoint.
    resumed = Trainer(short, pool, broken, CPU, seed=77)
    assert resumed.resume()
    assert resumed.step == 8
    resumed.run()
    for name, value in expected.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
        assert torch.equal(expected.average.state[name], resumed.average.state[name]), name
    assert (whole / "weights.safetensors").read_bytes() == (broken / "weights.safetensors").read_bytes()
    assert [(row["step"], row["loss"], row["validation_dice"]) for row in log_of(whole)] == [
        (row["step"], row["loss"], row["validation_dice"]) for row in log_of(broken)
    ]


def test_a_log_beyond_the_checkpoint_is_cut_off_when_training_goes_on(short: StageSettings, pool: Path, tmp_path: Path) -> None:
    """As when a process is killed between its log and its checkpoint."""
    Trainer(replace(short, steps=8), pool, tmp_path, CPU, seed=1).run()
    append_to_log(tmp_path / "log.csv", Interval(16, 9.0, 0.0, 0.0, 1.0, 0.0, 0.0))
    resumed = Trainer(short, pool, tmp_path, CPU, seed=1)
    assert resumed.resume()
    resumed.run()
    assert [row["step"] for row in log_of(tmp_path)] == ["8", "16"]
    assert float(log_of(tmp_path)[-1]["loss"]) < 9.0


def test_an_older_checkpoint_with_one_generator_goes_on(short: StageSettings, pool: Path, tmp_path: Path) -> None:
    begun = Trainer(replace(short, steps=8), pool, tmp_path, CPU, seed=1)
    begun.run()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["patches"].shape[0] == 1
    torch.save({**state, "patches": state["patches"][0].clone()}, tmp_path / "checkpoint.pt")
    resumed = Trainer(short, pool, tmp_path, CPU, seed=9)
    assert resumed.resume()
    assert torch.equal(resumed.patches.state, begun.patches.state)


def resumed_err(settings: StageSettings, pool: Path, out: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said on standard error when a training goes on with these."""
    capsys.readouterr()
    assert Trainer(settings, pool, out, CPU, seed=seed).resume()
    return capsys.readouterr().err


def test_a_training_that_goes_on_with_other_settings_says_what_differs(
    short: StageSettings, pool: Path, tmp_path: Path, phantom_cases: tuple[Case, Case], capsys: pytest.CaptureFixture[str]
) -> None:
    out, other_pool = tmp_path / "out", tmp_path / "moved"
    out.mkdir()
    Trainer(replace(short, steps=8), pool, out, CPU, seed=1).run()
    shutil.copytree(pool, other_pool)
    assert resumed_err(replace(short, steps=8), other_pool, out, 1, capsys) == ""
    changed = replace(short, steps=8, loss="balanced_dice_ce", optimizer=replace(short.optimizer, learning_rate=0.5))
    assert resumed_err(changed, pool, out, 7, capsys) == (
        f'warning: {out / "checkpoint.pt"} was made with loss "dice_ce" (now "balanced_dice_ce"), optimizer.learning_rate 0.02 (now 0.5), '
        "seed 1 (now 7); training goes on with what is given now.\n"
    )
    replace(phantom_cases[0], name="another").save(other_pool / "train" / "fine")
    assert "pool.cases 1 (now 2), pool.digest" in resumed_err(replace(short, steps=8), other_pool, out, 1, capsys)


def test_an_older_checkpoint_that_tells_no_settings_goes_on(
    short: StageSettings, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Trainer(replace(short, steps=8), pool, tmp_path, CPU, seed=1).run()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["made_with"]["optimizer.kind"] == "adamw"
    torch.save({name: value for name, value in state.items() if name != "made_with"}, tmp_path / "checkpoint.pt")
    assert resumed_err(short, pool, tmp_path, 9, capsys) == ""


def test_many_differences_are_counted() -> None:
    now = {f"setting{number}": number for number in range(8)}
    assert differences({**now, "setting1": [2]}, now) == "setting1 [2] (now 1)"
    assert differences({}, now).endswith("setting4 null (now 4), 3 more")


def test_weights_and_checkpoints_do_not_depend_on_the_order_in_memory(short: StageSettings, pool: Path, tmp_path: Path) -> None:
    """Training keeps channels beside each other; a network in the usual order takes the same state and gives the same answers."""
    trained = Trainer(replace(short, steps=8), pool, tmp_path, CPU, seed=1)
    trained.run()
    kernel = trained.network.state_dict()["encoders.0.convolutions.0.weight"]
    assert kernel.is_contiguous(memory_format=torch.channels_last_3d)
    usual = VNet(short.shape).eval()
    usual.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["network"])
    assert all(value.is_contiguous() for value in usual.state_dict().values())
    image = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(usual(image), trained.network.eval()(image), atol=1e-5, rtol=1e-4)
    assert load_file(tmp_path / "weights.safetensors").keys() == usual.state_dict().keys()


def test_as_published_there_is_no_average_no_schedule_and_no_clipping(short: StageSettings, pool: Path, tmp_path: Path) -> None:
    published = replace(short, schedule="constant", warmup_steps=0, ema_decay=0.0, clip_norm=None, normalization=StatisticalNormalization())
    trained = Trainer(replace(published, steps=8), pool, tmp_path, CPU, seed=1)
    trained.run()
    assert all(torch.equal(value, trained.average.state[name]) for name, value in trained.network.state_dict().items())
    assert float(log_of(tmp_path)[0]["learning_rate"]) == published.optimizer.learning_rate
    image, _ = trained.patches.source.batch(1)
    assert 0.0 <= float(image.min()) <= float(image.max()) <= 255.0
    assert float(image.max()) > 50.0


def test_gradients_are_clipped_only_where_a_norm_is_given() -> None:
    for most, expected in ((None, 5.0), (2.0, 2.0), (50.0, 5.0)):
        network = torch.nn.Linear(2, 1, bias=False)
        network.weight.grad = torch.tensor([[3.0, 4.0]])
        assert optimization.gradient_norm(network, most) == pytest.approx(5.0)
        assert float(network.weight.grad.norm()) == pytest.approx(expected, rel=1e-5)


def test_the_log_tells_training_dice_and_waiting(runs: Path) -> None:
    for row in log_of(runs / "kidney"):
        assert 0.0 < float(row["training_dice"]) < 1.0
        assert 0.0 <= float(row["data_share"]) <= 1.0


def test_a_terminal_gets_a_bar_and_whole_lines(
    short: StageSettings, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    Trainer(replace(short, steps=8), pool, tmp_path, CPU, seed=1).run()
    shown = terminal.getvalue().split("\r")
    assert any("%  kidney" in line for line in shown)
    assert shown[-1] == ""
    assert capsys.readouterr().out.splitlines()[0].startswith("kidney      8  loss ")


def test_warnings_reach_the_user(
    short: StageSettings, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Watch, "loss", lambda self, step, value: f"Loss of step {step} is odd." if step == 3 else "")
    monkeypatch.setattr(Watch, "dice", lambda self, step, value: f"Dice of step {step} is odd.")
    Trainer(replace(short, steps=8), pool, tmp_path, CPU, seed=1).run()
    assert capsys.readouterr().err == "warning: Loss of step 3 is odd.\nwarning: Dice of step 8 is odd.\n"


def test_tensorboard_that_is_asked_for_and_missing_is_a_sentence(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "can_write", lambda: False)
    assert train.main([*words_for("roi", pool, tmp_path / "out"), "--tensorboard"]) == 3
    assert not (tmp_path / "out").exists()


def test_a_mistake_in_the_last_stage_shows_before_the_first_begins(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(SMOKE.read_text())
    content["stages"]["tumor"]["steps"] = 0
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert train.main(words_for("all", pool, tmp_path / "out", tmp_path / "config.json")) == 2
    assert "'tumor' (steps is 1 or more, not 0)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_training_can_begin_with_a_bundle(pool: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    monkeypatch.setattr(Trainer, "run", lambda self: begun.append(digest(self.network.state_dict())))
    exported = tmp_path / "bundle"
    words = ["--config", str(SMOKE), "--runs", str(runs), "--out", str(exported), "--version", "1.0.0"]
    assert export_bundle.main(words) == 0
    assert train.main([*words_for("all", pool, tmp_path / "out"), "--init", str(exported)]) == 0
    for stage, found in zip(("roi", "kidney", "tumor"), begun, strict=True):
        assert found == digest({name: value.float() for name, value in load_file(runs / stage / "weights.safetensors").items()})
    assert train.main([*words_for("roi", pool, tmp_path / "other"), "--init", "no-such-bundle"]) == 3


def test_a_finished_training_is_left_as_it_is(runs: Path, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "kidney", tmp_path / "run")
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    assert train.main(words_for("kidney", pool, tmp_path / "run")) == 0
    assert "resumed at step 24 of 24" in capsys.readouterr().out
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before


def test_a_stage_can_start_from_anothers_weights(short: StageSettings, runs: Path, pool: Path, tmp_path: Path) -> None:
    begun = Trainer(short, pool, tmp_path, CPU, seed=1)
    weights = load_file(runs / "roi" / "weights.safetensors")
    begun.start_from(runs / "roi" / "weights.safetensors")
    for state in (begun.network.state_dict(), begun.average.state):
        assert all(torch.equal(state[name], value.float()) for name, value in weights.items())
    begun.train_step()
    assert any(not torch.equal(begun.network.state_dict()[name], value.float()) for name, value in weights.items())


def test_what_the_checkpoint_has_reached_lies_in_the_weights(
    short: StageSettings, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the two files must not leave a finished training with the weights of an earlier step, or with none."""
    killed = Trainer(replace(short, steps=2, validate_every=2), pool, tmp_path, CPU, seed=1)

    def kill(state: dict[str, Any], path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "write_checkpoint", kill)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    assert (tmp_path / "weights.safetensors").exists()
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_weights_of_one_stage_are_not_taken_for_all(runs: Path, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", str(SMOKE), "--stage", "all", "--data", str(pool), "--out", str(tmp_path), "--init", "weights.safetensors"]
    assert train.main(words) == 2
    assert "has the weights of one stage" in capsys.readouterr().err


def test_counts_of_batches_survive_averaging(short: StageSettings, pool: Path, tmp_path: Path) -> None:
    """Batch normalization keeps whole numbers, which are neither averaged nor rounded to float16."""
    batch_norm = replace(short, shape=replace(short.shape, norm="batch"), steps=3, validate_every=3)
    trained = Trainer(batch_norm, pool, tmp_path, CPU, seed=1)
    trained.run()
    weights = load_file(tmp_path / "weights.safetensors")
    counts = {name: value for name, value in weights.items() if name.endswith("num_batches_tracked")}
    assert counts
    assert all(value.dtype == torch.int64 and int(value) == 3 for value in counts.values())
    assert weights["ups.0.norm.running_var"].dtype == torch.float32
    assert weights["head.weight"].dtype == torch.float16


def test_the_moving_average_lags_behind() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    average = MovingAverage(network, decay=0.9)
    network.weight.data.fill_(1.0)
    average.update(network, step=1)
    assert float(average.state["weight"]) == pytest.approx(1.0 - 2.0 / 11.0)
    average.update(network, step=10_000)
    assert float(average.state["weight"]) == pytest.approx(1.0 - 0.9 * 2.0 / 11.0)
    assert float(network.weight.detach()) == 1.0


def test_another_stages_checkpoint_is_refused(runs: Path, pool: Path, short: StageSettings) -> None:
    with pytest.raises(InputError, match=r"checkpoint of the stage 'roi', not of 'kidney'"):
        Trainer(short, pool, runs / "roi", CPU, seed=1).resume()


def test_a_checkpoint_of_another_network_is_refused(runs: Path, pool: Path, short: StageSettings) -> None:
    wider = replace(short, shape=replace(short.shape, base_channels=4))
    with pytest.raises(InputError, match="made with another configuration"):
        Trainer(wider, pool, runs / "kidney", CPU, seed=1).resume()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_refused(short: StageSettings, pool: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint.pt is damaged"):
        Trainer(short, pool, tmp_path, CPU, seed=1).resume()


def test_weights_that_do_not_fit_are_refused(short: StageSettings, runs: Path, pool: Path, tmp_path: Path) -> None:
    wider = Trainer(replace(short, shape=replace(short.shape, base_channels=4)), pool, tmp_path, CPU, seed=1)
    with pytest.raises(InputError, match=r"damaged or another network's"):
        wider.start_from(runs / "roi" / "weights.safetensors")
    with pytest.raises(InputError, match="no weights"):
        wider.start_from(tmp_path / "missing.safetensors")


def test_a_broken_configuration_is_a_sentence_and_exit_code_2(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.json").write_text("{")
    assert train.main(words_for("roi", pool, tmp_path / "out", tmp_path / "broken.json")) == 2
    message = capsys.readouterr().err
    assert "broken.json is not valid JSON" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_pool_is_a_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(words_for("roi", tmp_path / "nowhere", tmp_path / "out")) == 2
    assert "There are no cases" in capsys.readouterr().err


def picky_config(folder: Path, least_contrast_hu: float) -> Path:
    """The tiny configuration, whose tumor stage passes over tumors of less contrast."""
    content = json.loads(SMOKE.read_text())
    content["stages"]["tumor"]["choice"] = {"least_contrast_hu": least_contrast_hu}
    (folder / "picky.json").write_text(json.dumps(content))
    return folder / "picky.json"


def test_a_choice_that_leaves_no_case_is_a_sentence_and_exit_code_2(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(words_for("tumor", pool, tmp_path / "out", picky_config(tmp_path, 3000.0))) == 2
    message = capsys.readouterr().err
    assert f"stage 'tumor' leaves none of the 1 in {pool / 'train' / 'fine'}" in message
    assert "lower least_contrast_hu" in message
    assert message.count("\n") == 1


def test_a_validation_split_with_faint_tumors_alone_still_validates(
    pool: Path, tmp_path: Path, phantom_cases: tuple[Case, Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "VALIDATION_PATCHES", 2)
    shutil.copytree(pool, tmp_path / "pool")
    case = phantom_cases[1]
    faint = replace(case, hu=np.where(case.labels > 0, 120, case.hu).astype(np.int16))
    faint.save(tmp_path / "pool" / "validation" / "fine")
    words = words_for("tumor", tmp_path / "pool", tmp_path / "out", picky_config(tmp_path, 1.0))
    assert train.main([*words, "--steps", "1"]) == 0
    assert [row["step"] for row in log_of(tmp_path / "out")] == ["1"]


def test_an_interrupted_training_ends_with_130(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Trainer) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "train_step", interrupt)
    assert train.main(words_for("roi", pool, tmp_path)) == 130


@pytest.mark.parametrize("words", [["--steps", "0"], ["--seed", "-1"], ["--stage", "liver"]])
def test_impossible_arguments_end_with_2(words: list[str], pool: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        train.main([*words_for("roi", pool, tmp_path), *words])
    assert ended.value.code == 2


def test_the_device_is_chosen_by_name(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def choose(name: str) -> Engine:
        asked.append(name)
        return CPU

    monkeypatch.setattr(train, "choose_device", choose)
    monkeypatch.setattr(Trainer, "run", lambda self: None)
    assert train.main([*words_for("roi", pool, tmp_path), "--steps", "3"]) == 0
    assert asked == ["cpu"]


@pytest.fixture
def fresh_imports() -> Iterator[None]:
    """As in a new process, started elsewhere: the repository is not on the path and nothing of Training is loaded."""
    path, modules = sys.path, dict(sys.modules)
    sys.path = [entry for entry in path if Path(entry).resolve() != ROOT and entry]
    for name in [name for name in modules if name.split(".")[0] == "Training"]:
        del sys.modules[name]
    yield
    sys.path = path
    sys.modules.clear()
    sys.modules.update(modules)


@pytest.mark.usefixtures("fresh_imports")
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_run_as_files_from_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python Training/train.py` has Training on the path, not the folder it lies in."""
    monkeypatch.chdir(tmp_path)
    sys.path.insert(0, str(ROOT / "Training"))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "Training" / f"{name}.py"), run_name="__main__")
    assert ended.value.code == 0
    assert f"usage: {name}.py" in capsys.readouterr().out


def test_commands_are_recognized() -> None:
    assert {"synthesis", "train", "evaluate", "export_bundle"} <= set(COMMANDS)
