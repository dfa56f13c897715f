"""A bundle is believed only when every field, every hash and every tensor is right."""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from KidneyTumorCascadeLib import bundle as module
from KidneyTumorCascadeLib.bundle import list_bundles, load_bundle, load_network, save_weights, store_folder, verify_bundle
from KidneyTumorCascadeLib.bundle_format import read_bundle, read_limited
from KidneyTumorCascadeLib.errors import BundleError, InputError
from KidneyTumorCascadeLib.vnet import VNet
from Testing.tiny_bundle import SHAPE, make_tiny_bundle, read_description, write_description

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KIDNEY_TUMOR_CASCADE_HOME", str(tmp_path / "home"))
    return store_folder()


def setter(path: str, value: object) -> Change:
    """Sets a field given as "networks.roi.patch"."""

    def change(content: dict[str, Any]) -> None:
        *places, name = path.split(".")
        for place in places:
            content = content[place]
        content[name] = value

    return change


def remover(path: str) -> Change:
    """Removes a field."""

    def change(content: dict[str, Any]) -> None:
        *places, name = path.split(".")
        for place in places:
            content = content[place]
        del content[name]

    return change


def test_a_bundle_says_what_it_holds(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert (bundle.name, bundle.version, bundle.licence) == ("tiny", "1.0.0", "CC0-1.0")
    assert list(bundle.stages) == ["roi", "kidney", "tumor"]
    roi = bundle.stages["roi"]
    assert (roi.spacing, roi.patch, roi.foreground, roi.shape) == ((4.0, 4.0, 4.0), (16, 16, 16), (1, 2), SHAPE)
    assert bundle.spacing("kidney", bundle.preset("standard")) == (2.0, 2.0, 2.0)
    assert bundle.spacing("kidney", bundle.preset("fast")) == (3.0, 3.0, 3.0)
    assert bundle.preset().boxes.margin_mm == (10.0, 10.0, 10.0)
    assert bundle.preset("paper").boxes.kind == "fixed"
    assert bundle.preset().rules.min_tumor_ml == 0.1
    assert bundle.digest == hashlib.sha256((folder / "bundle.json").read_bytes()).hexdigest()
    assert bundle.summary()["sha256"] == bundle.digest


def test_an_unknown_preset_names_the_known_ones(folder: Path) -> None:
    with pytest.raises(InputError, match=r"'best'; choose one of standard, fast, paper"):
        load_bundle(folder).preset("best")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (setter("name", "../evil"), "name must be 1 to 64 small letters"),
        (setter("name", "Default"), "name must be"),
        (setter("name", "a" * 65), "name must be"),
        (setter("name", "tiny\n"), "name must be"),
        (setter("version", 1), "version must be a version"),
        (setter("licence", " "), "licence must be"),
        (remover("licence"), "licence is missing"),
        (setter("description", None), "description must be text, not None"),
        (setter("training_data", {}), "training_data must be a list"),
        (setter("accuracy", []), "accuracy must be an object"),
        (setter("extra", 1), "extra is not known"),
        (setter("networks", []), "networks must be an object"),
        (remover("networks.tumor"), "networks.tumor is missing"),
        (setter("networks.liver", {}), "networks.liver is not known"),
        (setter("networks.roi.spacing", 1), "networks.roi.spacing is not known"),
        (setter("networks.roi.spacing_mm", [4, 4]), "networks.roi.spacing_mm must be three numbers"),
        (setter("networks.roi.spacing_mm", [4, 4, 0]), "networks.roi.spacing_mm must be three numbers from 0.1 to 20"),
        (setter("networks.roi.spacing_mm", [4, 4, True]), "networks.roi.spacing_mm"),
        (setter("networks.roi.spacing_mm", [4, 4, 10**400]), "networks.roi.spacing_mm"),
        (setter("networks.roi.normalization.sd_hu", 10**400), "networks.roi.normalization is unusable"),
        (setter("presets.fast.rules.min_tumor_ml", 10**400), "presets.fast.rules is unusable"),
        (setter("presets.fast.boxes.min_kidney_ml", 10**400), "presets.fast.boxes is unusable"),
        (setter("presets.fast.boxes.threshold", {}), "presets.fast.boxes is unusable"),
        (setter("networks.roi.patch", [16, 16, 16.0]), "networks.roi.patch must be three whole numbers"),
        (setter("networks.roi.patch", [16, 16, 1024]), "networks.roi.patch"),
        (setter("networks.roi.patch", [16, 16, 17]), "networks.roi.patch must be three multiples of 2"),
        (setter("networks.roi.foreground", [2]), "networks.roi.foreground must be"),
        (setter("networks.tumor.foreground", [1, 2]), "networks.tumor.foreground"),
        (setter("networks.kidney.foreground", [True]), "networks.kidney.foreground"),
        (setter("networks.kidney.foreground", [[1]]), "networks.kidney.foreground"),
        (setter("networks.roi.weights", "../roi.safetensors"), "networks.roi.weights must be the name of a .safetensors file"),
        (setter("networks.roi.weights", "/etc/roi.safetensors"), "networks.roi.weights"),
        (setter("networks.roi.weights", "roi.pt"), "pickles are refused"),
        (setter("networks.roi.weights", "roi.bin"), "pickles are refused"),
        (setter("networks.roi.sha256", "A" * 64), "networks.roi.sha256 must be 64 hexadecimal digits"),
        (setter("networks.roi.sha256", "a" * 64 + "\n"), "networks.roi.sha256"),
        (setter("networks.roi.network.kernel", 4), "networks.roi.network is unusable"),
        (setter("networks.roi.network.kernel", "3"), "networks.roi.network.kernel must be made of whole numbers"),
        (setter("networks.roi.network.kernel", 3.0), "networks.roi.network.kernel"),
        (setter("networks.roi.network.kernel", 99), "networks.roi.network must be a network of 1 input"),
        (setter("networks.roi.network.base_channels", 10**9), "networks.roi.network must be"),
        (setter("networks.roi.network.bottom_convolutions", 10**9), "networks.roi.network must be"),
        (setter("networks.roi.network.out_channels", 3), "networks.roi.network must be"),
        (setter("networks.roi.network.encoder_convolutions", 3), "networks.roi.network is unusable"),
        (setter("networks.roi.network.depth", 3), "unknown network settings: depth"),
        (setter("networks.roi.network.norm", ["batch"]), "networks.roi.network is unusable"),
        (setter("networks.roi.normalization.kind", "magic"), "networks.roi.normalization is unusable"),
        (setter("networks.roi.normalization.sd_hu", 0), "networks.roi.normalization is unusable"),
        (setter("networks.tumor.patch", [32, 16, 16]), "networks.tumor.patch differs from networks.kidney.patch"),
        (setter("networks.tumor.spacing_mm", [1, 1, 1]), "networks.tumor.spacing_mm differs"),
        (setter("networks.tumor.normalization", {"kind": "statistical", "sigma": 2.5}), "networks.tumor.normalization differs"),
        (remover("presets.standard"), "presets.standard is missing"),
        (setter("presets.fast.overlap", {"roi": 0.5}), "presets.fast.overlap.kidney is missing"),
        (setter("presets.fast.overlap.roi", 1.0), "presets.fast.overlap.roi must be a number from 0 to 0.9"),
        (setter("presets.fast.overlap.tumor", 0.5), "presets.fast.overlap.tumor is not known"),
        (setter("presets.fast.within_body", 1), "presets.fast.within_body must be true or false"),
        (setter("presets.fast.mirrored", "yes"), "presets.fast.mirrored must be true or false"),
        (setter("presets.fast.thinned", 0), "presets.fast.thinned must be true or false"),
        (setter("presets.fast.stretch", {"roi": 0.5}), "presets.fast.stretch.roi must be a number from 1 to 2"),
        (setter("presets.fast.stretch", {"tumor": 1.5}), "presets.fast.stretch.tumor is not known"),
        (setter("presets.fast.min_tumor_peak", 1.5), "presets.fast.min_tumor_peak must be a number from 0 to 1"),
        (setter("presets.fast.tumor_support", 0.6), "presets.fast.tumor_support must be a number from 0 to 0.5"),
        (setter("presets.fast.stretch", 1.5), "presets.fast.stretch must be an object"),
        (setter("presets.fast.spacing_mm.tumor", [1, 1, 1]), "presets.fast.spacing_mm.tumor is not known"),
        (setter("presets.fast.spacing_mm.kidney", [1, 1]), "presets.fast.spacing_mm.kidney must be three numbers"),
        (setter("presets.fast.merge", "guess"), "presets.fast.merge must be one of overlay, compare"),
        (setter("presets.fast.merge", ["overlay"]), "presets.fast.merge"),
        (setter("presets.fast.boxes.kind", "round"), "presets.fast.boxes is unusable"),
        (setter("presets.fast.boxes.colour", 1), "presets.fast.boxes is unusable"),
        (setter("presets.fast.rules.min_tumor_ml", -1), "presets.fast.rules is unusable"),
        (setter("presets.fast.rules", None), "presets.fast.rules must be an object"),
        (setter("presets.fast.speed", 1), "presets.fast.speed is not known"),
    ],
)
def test_a_wrong_field_is_refused_with_file_field_and_value(folder: Path, change: Change, said: str) -> None:
    content = read_description(folder)
    change(content)
    write_description(folder, content)
    with pytest.raises(BundleError) as caught:
        read_bundle(folder)
    assert said in str(caught.value)
    assert str(folder / "bundle.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "said"),
    [(2, "version 2, this program reads version 1; update the extension"), (0, "newer copy"), ("1", "schema must be"), (True, "schema")],
)
def test_another_schema_is_refused_with_both_versions(folder: Path, schema: object, said: str) -> None:
    write_description(folder, {"schema": schema, "networks": "of a kind that nobody knows yet"})
    with pytest.raises(BundleError, match=said):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must be an object"),
        (b'{"schema": 1', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b'{"schema": NaN}', "NaN is no number"),
        (b'{"schema": 1, "schema": 1}', "'schema' is there twice"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "bundle.json"),
        (b" " * (1024 * 1024 + 1), "is larger than"),
    ],
    ids=["empty", "list", "cut", "binary", "nan", "twice", "deep", "long number", "large"],
)
def test_what_is_no_description_is_refused(folder: Path, text: bytes, said: str) -> None:
    (folder / "bundle.json").write_bytes(text)
    with pytest.raises(BundleError, match=said):
        read_bundle(folder)


def test_missing_bundles_are_errors_that_help(tmp_path: Path, store: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"There is no bundle\.json in"):
        load_bundle(tmp_path / "empty")
    with pytest.raises(BundleError, match=r"There is no model bundle 'nowhere'.*default"):
        load_bundle("nowhere")
    (tmp_path / "odd" / "bundle.json").mkdir(parents=True)
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(tmp_path / "odd")


def test_weights_come_back_as_they_were_saved(tmp_path: Path) -> None:
    folder = make_tiny_bundle(tmp_path / "tiny", seed=3)
    torch.manual_seed(3)
    original = VNet(SHAPE).eval()
    network = load_network(load_bundle(folder).stages["roi"], "cpu")
    image = torch.randn(1, 1, 16, 16, 16)
    assert torch.allclose(network(image), original(image), atol=5e-3)
    assert not network.training
    assert all(not parameter.requires_grad and parameter.dtype == torch.float32 for parameter in network.parameters())
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


def test_the_same_weights_give_the_same_file_in_float16(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = VNet(SHAPE)
    assert save_weights(network, tmp_path / "a.safetensors") == save_weights(network, tmp_path / "b.safetensors")
    tensors = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert {tensor.dtype for tensor in tensors.values() if tensor.ndim > 1} == {torch.float16}
    assert tensors["encoders.0.norms.0.running_var"].dtype == torch.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_weights_that_float16_cannot_hold_are_not_saved(tmp_path: Path, value: float) -> None:
    network = VNet(SHAPE)
    network.head.weight.data[0] = value
    with pytest.raises(ValueError, match=r"head\.weight"):
        save_weights(network, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def replace_weights(folder: Path, data: bytes, file: str = "roi.safetensors") -> None:
    """Puts other bytes in the place of the ROI network's weights, with the hash that they have."""
    (folder / file).write_bytes(data)
    content = read_description(folder)
    content["networks"]["roi"]["sha256"] = hashlib.sha256(data).hexdigest()
    write_description(folder, content)


def test_a_flipped_bit_is_noticed(folder: Path) -> None:
    file = folder / "kidney.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    bundle = load_bundle(folder)
    load_network(bundle.stages["roi"], "cpu")
    with pytest.raises(BundleError, match=r"kidney\.safetensors is damaged or was exchanged: its SHA-256 is"):
        load_network(bundle.stages["kidney"], "cpu")
    with pytest.raises(BundleError, match=r"kidney\.safetensors"):
        verify_bundle(folder)


def test_missing_weights_are_noticed(folder: Path) -> None:
    (folder / "tumor.safetensors").unlink()
    with pytest.raises(BundleError, match=r"There is no tumor\.safetensors in"):
        verify_bundle(folder)


def test_what_is_hashed_is_what_is_parsed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file exchanged after it was hashed must not be believed: it is read once."""
    reads: list[Path] = []

    def counted(file: Path, most: int) -> bytes:
        data = read_limited(file, most)
        reads.append(file)
        file.write_bytes(b"exchanged")
        return data

    bundle = load_bundle(folder)
    monkeypatch.setattr(module, "read_limited", counted)
    load_network(bundle.stages["roi"], "cpu")
    assert reads == [folder / "roi.safetensors"]


@pytest.mark.parametrize(
    "data", [b"", b"not a safetensors file", b"\xff" * 64, (2**62).to_bytes(8, "little") + b"{}", pickle.dumps({"head.weight": 1})]
)
def test_what_is_no_safetensors_file_is_refused(folder: Path, data: bytes) -> None:
    replace_weights(folder, data)
    with pytest.raises(BundleError, match="not a valid safetensors file"):
        verify_bundle(folder)


class Exploding:
    """A pickle that would do something when opened."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return pytest.fail, ("a pickle was opened",)


def test_a_pickle_under_a_safetensors_name_is_never_opened(folder: Path) -> None:
    replace_weights(folder, pickle.dumps(Exploding()))
    with pytest.raises(BundleError):
        verify_bundle(folder)


def changed_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = safetensors.torch.load_file(folder / "roi.safetensors")
    change(tensors)
    replace_weights(folder, safetensors.torch.save(tensors))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("head.bias"), r"has no tensor 'head\.bias'"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), r"has an unknown tensor 'extra'"),
        (lambda tensors: tensors.update({"head.bias": torch.zeros(3)}), r"'head\.bias' is 3 float32, .* needs 2 float32"),
        (lambda tensors: tensors.update({"head.bias": torch.zeros(2, dtype=torch.int32)}), r"'head\.bias' is 2 int32"),
        (
            lambda tensors: tensors.update({"head.bias": torch.zeros([1] * 1_000)}),
            r"'head\.bias' is 1 x 1 x 1 x 1 x 1 x 1 x 1 x 1 x \.\.\. float32, ",
        ),
        (lambda tensors: tensors.update({"extra" * 1_000: torch.zeros(1)}), r"has an unknown tensor 'extra[extra]{1,100}\.\.\. \("),
        (lambda tensors: tensors.update({"head.bias": torch.tensor([0.0, float("nan")])}), r"'head\.bias' holds values that are no finite"),
    ],
)
def test_tensors_must_be_those_of_the_network(folder: Path, change: Callable[[dict[str, torch.Tensor]], object], said: str) -> None:
    changed_tensors(folder, change)
    with pytest.raises(BundleError, match=said):
        verify_bundle(folder)


def test_weights_of_another_shape_of_network_are_refused(folder: Path) -> None:
    content = read_description(folder)
    content["networks"]["roi"]["network"]["base_channels"] = 256
    write_description(folder, content)
    with pytest.raises(BundleError, match="get a new copy of the bundle"):
        verify_bundle(folder)


def test_verifying_lists_every_file(folder: Path) -> None:
    findings = verify_bundle(folder)
    assert [finding.split(":")[0] for finding in findings] == ["bundle.json", "roi.safetensors", "kidney.safetensors", "tumor.safetensors"]


def test_the_list_has_the_default_the_installed_and_the_damaged(store: Path, tmp_path: Path) -> None:
    make_tiny_bundle(store / "tiny")
    make_tiny_bundle(store / ".install-1234")
    (store / "broken").mkdir()
    found = {entry.name: entry for entry in list_bundles()}
    assert list(found) == ["default", "broken", "tiny"]
    assert found["tiny"].bundle is not None
    assert found["broken"].bundle is None
    assert "bundle.json" in found["broken"].problem


def test_names_mean_installed_bundles_and_separators_mean_folders(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny_bundle(store / "tiny")
    make_tiny_bundle(tmp_path / "here" / "tiny")
    monkeypatch.chdir(tmp_path / "here")
    assert load_bundle("tiny").folder == store / "tiny"
    assert load_bundle("./tiny").folder.resolve() == tmp_path / "here" / "tiny"
    assert load_bundle(Path("tiny")).folder.resolve() == tmp_path / "here" / "tiny"


@pytest.mark.parametrize(
    ("platform", "variables", "end"),
    [
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/kidney-tumor-cascade/bundles"),
        ("linux", {"HOME": "/home/u"}, "/home/u/.local/share/kidney-tumor-cascade/bundles"),
        ("darwin", {"HOME": "/Users/u"}, "/Users/u/Library/Application Support/kidney-tumor-cascade/bundles"),
        ("win32", {"LOCALAPPDATA": "/AppData"}, "/AppData/kidney-tumor-cascade/bundles"),
    ],
)
def test_the_store_is_where_the_system_keeps_a_users_data(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], end: str
) -> None:
    for name in ("KIDNEY_TUMOR_CASCADE_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert store_folder().as_posix() == end
