"""A bundle's zip file is hostile until proven otherwise, and an installed bundle is there whole or not at all."""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from KidneyTumorCascadeLib import bundle_store as module
from KidneyTumorCascadeLib.bundle import list_bundles, load_bundle, store_folder
from KidneyTumorCascadeLib.bundle_store import install_bundle, remove_bundle
from KidneyTumorCascadeLib.errors import BundleError, InputError, SetupError
from Testing.tiny_bundle import make_tiny_bundle, read_description, write_description


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KIDNEY_TUMOR_CASCADE_HOME", str(tmp_path / "home"))
    return store_folder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "tiny")


Entries = dict[str, bytes]


def entries_of(folder: Path) -> Entries:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def zipped(path: Path, entries: Entries, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def assert_nothing_installed(store: Path, outside: Path) -> None:
    assert not store.exists() or list(store.iterdir()) == []
    assert not (outside / "evil").exists()


@pytest.mark.parametrize("top", ["", "tiny-1.0/"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_good_bundle_is_installed_listed_loaded_and_removed(tmp_path: Path, folder: Path, store: Path, top: str, compression: int) -> None:
    entries = {top + name: data for name, data in entries_of(folder).items()}
    entries |= {top + "MODEL_CARD.md": b"# Card", top + "LICENSE.txt": b"CC0", "__MACOSX/._bundle.json": b"x", top + ".DS_Store": b"x"}
    bundle = install_bundle(zipped(tmp_path / "a.zip", entries, compression))
    assert bundle.folder == store / "tiny"
    assert load_bundle("tiny").digest == load_bundle(folder).digest
    assert {file.name for file in bundle.folder.iterdir()} == {*entries_of(folder), "MODEL_CARD.md", "LICENSE.txt"}
    assert [found.name for found in list_bundles()] == ["default", "tiny"]
    assert remove_bundle("tiny") == store / "tiny"
    assert list(store.iterdir()) == []


def test_a_zip_with_folder_entries_is_good(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("tiny") if hasattr(archive, "mkdir") else archive.writestr("tiny/", b"")
        for name, data in entries_of(folder).items():
            archive.writestr(f"tiny/{name}", data)
    assert install_bundle(tmp_path / "a.zip").name == "tiny"


def test_a_taken_name_is_refused_and_the_old_bundle_stays(tmp_path: Path, folder: Path, store: Path) -> None:
    install_bundle(zipped(tmp_path / "a.zip", entries_of(folder)))
    before = load_bundle("tiny").digest
    other = make_tiny_bundle(tmp_path / "other", seed=1)
    with pytest.raises(BundleError, match="A bundle named tiny is installed already; remove it first: kidney-tumor-cascade bundle remove tiny"):
        install_bundle(zipped(tmp_path / "b.zip", entries_of(other)))
    assert load_bundle("tiny").digest == before
    assert [path.name for path in store.iterdir()] == ["tiny"]


def test_even_an_empty_folder_of_that_name_is_not_replaced(tmp_path: Path, folder: Path, store: Path) -> None:
    (store / "tiny").mkdir(parents=True)
    with pytest.raises(BundleError, match="installed already"):
        install_bundle(zipped(tmp_path / "a.zip", entries_of(folder)))


def test_the_default_bundles_name_cannot_be_taken(tmp_path: Path, folder: Path, store: Path) -> None:
    write_description(folder, {**read_description(folder), "name": "default"})
    with pytest.raises(BundleError, match="built-in"):
        install_bundle(zipped(tmp_path / "a.zip", entries_of(folder)))
    assert_nothing_installed(store, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "../../evil",
        "/evil",
        "//server/evil",
        "C:evil",
        "C:/evil",
        "tiny/../../evil",
        "tiny/deep/evil",
        "..\\evil",
        "tiny\\evil",
        "./bundle.json",
        "tiny//bundle.json",
        "evil\n",
        "e\u0301vil",
        "..",
        "tiny/..",
        "~/evil",
    ],
)
def test_paths_that_could_lead_elsewhere_are_refused(tmp_path: Path, folder: Path, store: Path, name: str) -> None:
    with pytest.raises(BundleError, match="which a model bundle cannot have; do not trust this file"):
        install_bundle(zipped(tmp_path / "a.zip", entries_of(folder) | {name: b"evil"}))
    assert_nothing_installed(store, tmp_path)


def test_a_name_with_a_nul_byte_is_refused(tmp_path: Path, folder: Path, store: Path) -> None:
    """What follows the NUL is invisible in the shortened name."""
    path = zipped(tmp_path / "a.zip", entries_of(folder) | {"LICENSE0/../evil": b"evil"})
    path.write_bytes(path.read_bytes().replace(b"LICENSE0/../evil", b"LICENSE\0/../evil"))
    with pytest.raises(BundleError, match="do not trust"):
        install_bundle(path)
    assert_nothing_installed(store, tmp_path)


@pytest.mark.parametrize(
    "name", ["weights.pt", "weights.pth", "model.bin", "model.ckpt", "run.py", "README.txt", "roi.safetensors.exe", "x.safetensor"]
)
def test_files_that_are_no_part_of_a_bundle_are_refused(tmp_path: Path, folder: Path, store: Path, name: str) -> None:
    with pytest.raises(BundleError, match="is no part of a model bundle"):
        install_bundle(zipped(tmp_path / "a.zip", entries_of(folder) | {name: b"evil"}))
    assert_nothing_installed(store, tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path: Path, folder: Path, store: Path, kind: int) -> None:
    link = zipfile.ZipInfo("MODEL_CARD.md")
    link.create_system, link.external_attr = 3, (kind | 0o777) << 16
    with zipfile.ZipFile(zipped(tmp_path / "a.zip", entries_of(folder)), "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(BundleError, match="is a link or a device"):
        install_bundle(tmp_path / "a.zip")
    assert_nothing_installed(store, tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["bundle.json", "ROI.safetensors", "tiny/bundle.json"])
def test_names_that_are_there_twice_are_refused(tmp_path: Path, folder: Path, store: Path, name: str) -> None:
    with zipfile.ZipFile(zipped(tmp_path / "a.zip", entries_of(folder)), "a") as archive:
        archive.writestr(name, b"{}")
    with pytest.raises(BundleError, match="twice"):
        install_bundle(tmp_path / "a.zip")
    assert_nothing_installed(store, tmp_path)


def test_files_of_several_folders_are_refused(tmp_path: Path, folder: Path, store: Path) -> None:
    with pytest.raises(BundleError, match="at the top or in one folder"):
        install_bundle(zipped(tmp_path / "a.zip", entries_of(folder) | {"other/LICENSE": b"x"}))
    assert_nothing_installed(store, tmp_path)


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path, folder: Path, store: Path) -> None:
    bomb = zipped(tmp_path / "a.zip", entries_of(folder) | {"big.safetensors": bytes(8 * 1024**2)})
    assert bomb.stat().st_size < 100_000
    with pytest.raises(BundleError, match="more than 50 times its size"):
        install_bundle(bomb)
    assert_nothing_installed(store, tmp_path)


def test_what_is_too_large_in_all_is_refused(tmp_path: Path, folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOTAL_BYTES", 5000)
    monkeypatch.setattr(module, "MAX_TEXT_BYTES", 4000)
    with pytest.raises(BundleError, match="would unpack to more than"):
        install_bundle(zipped(tmp_path / "a.zip", {f"LICENSE{n}": os.urandom(2000) for n in range(3)}, zipfile.ZIP_STORED))
    with pytest.raises(BundleError, match="has 6000 bytes, more than the 5000"):
        install_bundle(zipped(tmp_path / "b.zip", {"a.safetensors": os.urandom(6000)}))
    with pytest.raises(BundleError, match="has 4500 bytes, more than the 4000"):
        install_bundle(zipped(tmp_path / "c.zip", {"LICENSE": os.urandom(4500)}))
    assert_nothing_installed(store, tmp_path)


def test_too_many_entries_are_refused(tmp_path: Path, store: Path) -> None:
    with pytest.raises(BundleError, match="has 65 entries"):
        install_bundle(zipped(tmp_path / "a.zip", {f"LICENSE{n}": b"x" for n in range(65)}))
    assert_nothing_installed(store, tmp_path)


def declared(path: Path, name: str, size: int) -> Path:
    """Lies about the unpacked size of one entry in the central directory, which is what a reader goes by."""
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()))
    data[at + 24 : at + 28] = struct.pack("<I", size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("size", [1, 10**6])
def test_a_lie_about_the_size_is_noticed(tmp_path: Path, folder: Path, store: Path, size: int) -> None:
    entries = entries_of(folder) | {"LICENSE": os.urandom(5000)}
    with pytest.raises(BundleError, match=r"do not trust this file|not a valid zip file"):
        install_bundle(declared(zipped(tmp_path / "a.zip", entries), "LICENSE", size))
    assert_nothing_installed(store, tmp_path)


@pytest.mark.parametrize(("size", "said"), [(3, "longer than the 3 bytes"), (8, "shorter than the 8 bytes")])
def test_copying_counts_what_it_copies(size: int, said: str) -> None:
    target = io.BytesIO()
    with pytest.raises(BundleError, match=said):
        module.copy_exactly(io.BytesIO(b"hello"), target, size, "a.zip: x")
    assert len(target.getvalue()) <= size


def corrupted(data: bytes) -> bytes:
    """One bit of the first file's content turned over."""
    at = data.index(b"PK\x01\x02") // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"no zip file",
        lambda data: data[: len(data) // 2],
        corrupted,
        lambda data: data.replace(b"PK\x03\x04", b"PK\x00\x00"),
    ],
    ids=["empty", "text", "cut", "bit", "headers"],
)
def test_a_damaged_zip_is_refused(tmp_path: Path, folder: Path, store: Path, damage: Callable[[bytes], bytes]) -> None:
    path = zipped(tmp_path / "a.zip", entries_of(folder), zipfile.ZIP_STORED)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BundleError, match=r"a\.zip is not a valid zip file"):
        install_bundle(path)
    assert_nothing_installed(store, tmp_path)


def test_an_encrypted_entry_is_refused(tmp_path: Path, folder: Path, store: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"bundle.json": (folder / "bundle.json").read_bytes()})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="is encrypted"):
        install_bundle(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_with_endless_ratios_are_refused(tmp_path: Path, folder: Path, store: Path, method: int) -> None:
    with pytest.raises(BundleError, match="other than deflate"):
        install_bundle(zipped(tmp_path / "a.zip", entries_of(folder), method))
    assert_nothing_installed(store, tmp_path)


def test_a_bundle_that_fails_verification_is_not_installed(tmp_path: Path, folder: Path, store: Path) -> None:
    entries = entries_of(folder)
    with pytest.raises(BundleError, match=r"roi\.safetensors is damaged or was exchanged"):
        install_bundle(zipped(tmp_path / "a.zip", entries | {"roi.safetensors": entries["kidney.safetensors"]}))
    del entries["roi.safetensors"]
    with pytest.raises(BundleError, match=r"There is no roi\.safetensors"):
        install_bundle(zipped(tmp_path / "b.zip", entries))
    with pytest.raises(BundleError, match=r"There is no bundle\.json"):
        install_bundle(zipped(tmp_path / "c.zip", {"LICENSE": b"x"}))
    assert_nothing_installed(store, tmp_path)


def test_a_full_disk_is_told_before_it_is_filled(tmp_path: Path, folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(SetupError, match="make room"):
        install_bundle(zipped(tmp_path / "a.zip", entries_of(folder)))
    assert_nothing_installed(store, tmp_path)


def test_a_store_that_cannot_be_made_is_an_error_for_the_user(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "home").write_text("a file in the way", encoding="utf-8")
    with pytest.raises(SetupError, match="cannot be installed in"):
        install_bundle(zipped(tmp_path / "a.zip", entries_of(folder)))


def test_what_is_no_file_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        install_bundle(tmp_path / "none.zip")
    with pytest.raises(InputError, match="is a folder; zip its content, or use it as it is with --bundle"):
        install_bundle(folder)


@pytest.mark.parametrize("name", ["default", "", ".", "..", "../tiny", "/", "nowhere", "tiny/", "TINY", "*", ".install-1"])
def test_only_installed_bundles_can_be_removed(tmp_path: Path, folder: Path, store: Path, name: str) -> None:
    make_tiny_bundle(store / "tiny")
    make_tiny_bundle(store / ".install-1")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError):
        remove_bundle(name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_the_store_is_not_followed(folder: Path, store: Path) -> None:
    store.mkdir(parents=True)
    (store / "tiny").symlink_to(folder)
    with pytest.raises(InputError, match="remove it by hand"):
        remove_bundle("tiny")
    assert (folder / "bundle.json").is_file()


def test_a_damaged_bundle_can_be_removed(store: Path) -> None:
    (store / "broken").mkdir(parents=True)
    remove_bundle("broken")
    assert not (store / "broken").exists()
