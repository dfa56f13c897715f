"""Weights to begin with: a bundle's, when its network saw what this one will see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from KidneyTumorCascadeLib import bundle as bundle_module
from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.errors import BundleError, InputError
from KidneyTumorCascadeLib.normalization import FixedNormalization, StatisticalNormalization
from KidneyTumorCascadeLib.vnet import VNet
from Testing.tiny_bundle import SHAPE, make_tiny_bundle
from Training import train
from Training.fitting.settings import StageSettings, read_settings
from Training.fitting.starting_weights import start_network

CONFIGS = Path(train.__file__).parent / "configs"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "bundle")


def settings_like(stage: str) -> StageSettings:
    """Settings of that stage for the network of the tiny bundle."""
    smoke = read_settings(CONFIGS / "smoke.json", stage)
    sampling = replace(smoke.sampling, spacing_mm=4.0 if stage == "roi" else 2.0)
    return replace(smoke, shape=SHAPE, sampling=sampling, normalization=FixedNormalization())


@pytest.mark.parametrize("stage", ["roi", "kidney", "tumor"])
def test_a_bundles_network_of_the_same_stage_is_taken(stage: str, bundle: Path) -> None:
    network = VNet(SHAPE)
    start_network(network, settings_like(stage), str(bundle))
    for name, value in load_file(bundle / f"{stage}.safetensors").items():
        assert torch.equal(network.state_dict()[name], value.to(network.state_dict()[name].dtype)), name


def test_an_installed_bundle_is_found_by_its_name(bundle: Path) -> None:
    store = bundle_module.store_folder()
    make_tiny_bundle(store / "tiny-for-init")
    network = VNet(SHAPE)
    start_network(network, settings_like("roi"), "tiny-for-init")
    assert torch.equal(network.state_dict()["head.bias"], load_file(bundle / "roi.safetensors")["head.bias"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": replace(SHAPE, kernel=5)}, "has network kernel 3, the configuration 5"),
        ({"normalization": FixedNormalization(mean_hu=90.0)}, "has normalization mean_hu 80.0, the configuration 90.0"),
        ({"normalization": StatisticalNormalization()}, "has normalization {'kind': 'fixed'"),
    ],
    ids=["kernel", "mean", "kind"],
)
def test_a_bundle_for_another_network_or_normalization_is_refused(change: dict[str, object], said: str, bundle: Path) -> None:
    settings = replace(settings_like("kidney"), **change)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        start_network(VNet(settings.shape), settings, str(bundle))
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"The kidney network of the bundle {bundle}")


def test_a_bundle_for_other_voxels_is_refused(bundle: Path) -> None:
    settings = settings_like("kidney")
    settings = replace(settings, sampling=replace(settings.sampling, spacing_mm=1.5))
    with pytest.raises(InputError, match=r"spacing_mm \[2.0, 2.0, 2.0\], the configuration \[1.5, 1.5, 1.5\]"):
        start_network(VNet(SHAPE), settings, str(bundle))


def test_no_bundle_and_a_damaged_one_are_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match="There is no model bundle"):
        start_network(VNet(SHAPE), settings_like("roi"), "no-such-bundle")
    (bundle / "roi.safetensors").write_bytes(b"other")
    with pytest.raises(BundleError, match="damaged or was exchanged"):
        start_network(VNet(SHAPE), settings_like("roi"), str(bundle))


def test_fine_tuning_settings_fit_the_bundle_that_comes_with_the_project() -> None:
    """While the configuration of the bundle's own training does; both change together."""
    stages = load_bundle("default").stages
    for stage in ("roi", "kidney", "tumor"):
        standard, tuning = (read_settings(CONFIGS / f"{name}.json", stage) for name in ("standard", "finetune"))
        # Somebody's own tumors are all wanted, faint ones too.
        wanted = replace(standard.sampling, choice=replace(standard.sampling.choice, least_contrast_hu=0))
        assert (tuning.shape, tuning.normalization, tuning.sampling) == (standard.shape, standard.normalization, wanted)
        assert tuning.optimizer.learning_rate < 0.2 * standard.optimizer.learning_rate
        assert tuning.steps < 0.2 * standard.steps
        if stages[stage].shape == standard.shape and stages[stage].spacing == (standard.sampling.spacing_mm,) * 3:
            start_network(VNet(tuning.shape), tuning, "default")
