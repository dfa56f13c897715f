"""Configurations: those that come with the project work, and any mistake in one is a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from KidneyTumorCascadeLib.bundle_format import FOREGROUNDS, PATCH_LIMITS, STAGES
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.normalization import StatisticalNormalization
from KidneyTumorCascadeLib.vnet import VNet, VNetShape, count_parameters
from Training import train
from Training.fitting.augmentation import PLAIN_INTENSITY, PLAIN_SPATIAL
from Training.fitting.optimization import learning_rate, make_optimizer
from Training.fitting.settings import OptimizerSettings, read_config, read_settings
from Training.measuring.trained_bundle import network_entry

FOLDER = Path(train.__file__).parent / "configs"
# Beside the configurations of trainings lie lists of trials.
CONFIGS = sorted(path for path in FOLDER.glob("*.json") if isinstance(json.loads(path.read_text(encoding="utf-8")), dict))
SMOKE = next(path for path in CONFIGS if path.stem == "smoke")


def changed(tmp_path: Path, change: dict[str, Any]) -> Path:
    """The smoke configuration with some common settings changed; None removes one."""
    content = {**json.loads(SMOKE.read_text()), **change}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("stage", STAGES)
def test_configurations_can_be_trained_and_make_bundles(path: Path, stage: str) -> None:
    found = read_settings(path, stage)
    assert found.stage == stage
    assert found.sampling.foreground in FOREGROUNDS[stage]
    assert all(PATCH_LIMITS[0] <= edge <= PATCH_LIMITS[1] and edge % found.shape.divisor == 0 for edge in found.used_patch)
    # The two networks of a box see the same patches in use, whatever they were trained with.
    assert stage == "roi" or found.used_patch == read_settings(path, "kidney").used_patch


def test_a_network_can_be_used_with_other_patches_than_it_is_trained_with(tmp_path: Path) -> None:
    assert read_settings(SMOKE, "tumor").used_patch == read_settings(SMOKE, "tumor").sampling.patch == (16, 16, 16)
    settings = read_settings(changed(tmp_path, {"patch_in_use": [32, 16, 24]}), "tumor")
    assert (settings.sampling.patch, settings.used_patch) == ((16, 16, 16), (32, 16, 24))
    assert network_entry(settings, VNet(settings.shape), tmp_path)["patch"] == [32, 16, 24]
    for wrong in ([32, 16], [32, 16, 23], [32, 16, 0]):
        with pytest.raises(InputError, match="edges of a patch must be a multiple of 4"):
            read_settings(changed(tmp_path, {"patch_in_use": wrong}), "tumor")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_only_the_default_bundle_is_described_as_such(path: Path) -> None:
    """Whoever trains by a configuration gets a card of their own weights, not the facts and limits of those that ship."""
    about = read_config(path).get("bundle", {})
    assert ("limits" in about) == ("reproduce" in about) == (about.get("name") == "default") == (path.stem == "default_bundle")
    assert ("TCIA" in json.dumps(about)) == (path.stem == "default_bundle")


def test_a_stages_own_settings_come_before_the_common_ones() -> None:
    assert read_settings(SMOKE, "kidney").sampling.foreground == (1, 2)
    assert read_settings(SMOKE, "tumor").sampling.foreground == (2,)
    assert read_settings(SMOKE, "tumor").sampling.spacing_mm == 6.0


def test_augmentation_can_be_set(tmp_path: Path) -> None:
    path = changed(tmp_path, {"spatial": {"mirror": False, "elastic_mm": 2.0}, "intensity": {"noise_hu": 5.0}})
    sampling = read_settings(path, "roi").sampling
    assert not sampling.spatial.mirror
    assert sampling.spatial.elastic_mm == 2.0
    assert sampling.intensity.noise_hu == 5.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loss": "focal"}, "loss is one of dice, dice_ce, patch_dice_ce, balanced_dice_ce, not 'focal'"),
        ({"cases": "../fine", "stages": {"roi": {}}}, "cases is the name of a folder"),
        ({"cases": 3, "stages": {"roi": {}}}, "cases is the name of a folder"),
        ({"schedule": "steps"}, "schedule is one of cosine, constant"),
        ({"clip_norm": 0}, "clip_norm above 0 or null"),
        ({"steps": 0}, "steps is 1 or more"),
        ({"steps": 10.5}, "steps is a whole number"),
        ({"batch": True}, "batch is a whole number"),
        ({"patch": [16, 18, 16]}, "multiple of 4"),
        ({"patch": 16}, "not iterable"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"optimizer": {"kind": "lion", "learning_rate": 1, "weight_decay": 0}}, "one of adamw, sgd"),
        ({"optimizer": {"kind": "sgd", "learning_rate": -1, "weight_decay": 0}}, "impossible"),
        ({"optimizer": {"kind": "sgd", "rate": 1}}, "optimizer.rate is not a setting"),
        ({"spatial": {"rotate": 3}}, "spatial.rotate is not a setting"),
        ({"intensity": [1]}, "is not a setting"),
        ({"network": {"channels": 3}}, "unknown network settings: channels"),
        ({"normalization": {"kind": "statistical", "sigma": -1}}, "impossible normalization"),
        ({"leaning_rate": 0.1}, "leaning_rate is not a setting"),
        ({"patch": None}, "lacks 'patch' for the stage 'roi'"),
        ({"stages": {"kidney": {}}}, "lacks 'roi'"),
        ({"stages": None}, "lacks 'stages'"),
        ({"stages": {"roi": [1]}}, "cannot be used"),
    ],
    ids=str,
)
def test_a_broken_setting_is_a_sentence(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_settings(changed(tmp_path, change), "roi")
    assert said in str(caught.value)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '"text"', "\xff"], ids=["cut", "list", "text", "no UTF-8"])
def test_a_file_that_is_no_configuration_is_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"config.json"):
        read_settings(path, "roi")
    with pytest.raises(InputError, match="cannot be read"):
        read_settings(tmp_path / "missing.json", "roi")


@pytest.mark.parametrize(("stage", "steps"), [("roi", 8500), ("kidney", 8500), ("tumor", 10000)])
def test_the_paper_configuration_is_what_was_published(stage: str, steps: int) -> None:
    found = read_settings(FOLDER / "paper.json", stage)
    assert round(count_parameters(VNet(found.shape)) / 1e6, 1) == 43.9
    assert found.shape == VNetShape()
    assert (found.loss, found.batch, found.steps) == ("dice", 1, steps)
    assert found.optimizer == OptimizerSettings("sgd", learning_rate=1e-3, weight_decay=1e-2, momentum=0.9)
    assert found.normalization == StatisticalNormalization(sigma=2.5)
    assert (found.sampling.patch, found.sampling.spacing_mm) == ((128, 128, 128), 0.45)
    assert (found.sampling.focus_probability, found.sampling.ignore_beyond_mm) == (0.0, None)
    assert found.sampling.spatial == PLAIN_SPATIAL
    assert found.sampling.intensity == replace(PLAIN_INTENSITY, noise_hu=found.sampling.intensity.noise_hu)
    assert found.sampling.intensity.noise_hu > 0
    assert {learning_rate(step, found) for step in (0, 1, steps // 2, steps - 1)} == {1e-3}
    assert (found.ema_decay, found.clip_norm) == (0.0, None)


def test_a_configuration_can_extend_another(tmp_path: Path) -> None:
    changes = {"extends": "base.json", "steps": 7, "stages": {"roi": {"batch": 3}}, "optimizer": {"learning_rate": 0.5}}
    (tmp_path / "base.json").write_text(SMOKE.read_text())
    (tmp_path / "config.json").write_text(json.dumps(changes))
    base, found = read_settings(SMOKE, "roi"), read_settings(tmp_path / "config.json", "roi")
    assert found == replace(base, steps=7, batch=3, optimizer=replace(base.optimizer, learning_rate=0.5))
    assert read_settings(tmp_path / "config.json", "tumor").batch == base.batch
    assert read_config(tmp_path / "config.json")["bundle"] == read_config(SMOKE)["bundle"]


def test_what_cannot_be_extended_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"extends": "other.json"}')
    with pytest.raises(InputError, match=r"other.json cannot be read"):
        read_settings(tmp_path / "config.json", "roi")
    (tmp_path / "other.json").write_text('{"extends": "config.json"}')
    with pytest.raises(InputError, match=r"config.json extends other.json, which extends another"):
        read_settings(tmp_path / "config.json", "roi")


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    found = read_settings(SMOKE, "roi")
    rates = [learning_rate(step, found) for step in range(found.steps + 1)]
    assert rates[:4] == pytest.approx([0.005, 0.01, 0.015, 0.02])
    assert max(rates) == rates[4] == pytest.approx(0.02)
    assert all(later < earlier for earlier, later in pairwise(rates[4:]))
    assert rates[14] == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)


def test_the_published_optimizer_can_be_chosen(tmp_path: Path) -> None:
    published = {"kind": "sgd", "learning_rate": 0.001, "weight_decay": 0.01, "momentum": 0.9}
    found = read_settings(changed(tmp_path, {"optimizer": published}), "roi")
    (group,) = make_optimizer(VNet(found.shape), found.optimizer).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.001, 0.9, 0.01)
