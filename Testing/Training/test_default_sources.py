"""The list of what the default bundle was made of: it can be read, and keeps every patient on one side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from Training import sources
from Training.sources import Sources, read_sources

LISTED = Path(sources.__file__).with_name("default_sources.json")
NOT_SEEN = {"totalsegmentator_example", "totalsegmentator_s0335"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """The list as it would be read beside the files that it names."""
    folder = tmp_path_factory.mktemp("data")
    content = json.loads(LISTED.read_text(encoding="utf-8"))
    for entry in (entry for kind in ("scans", "lesions", "anatomies") for entry in content[kind]):
        for name in (entry.get("ct"), entry["labels"]):
            if name:
                assert not Path(name).is_absolute()
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).touch()
    shutil.copy(LISTED, folder / "sources.json")
    return read_sources(folder / "sources.json")


def test_it_lists_the_scans_that_the_documents_name(found: Sources) -> None:
    assert {scan.name for scan in found.scans if scan.split == "validation"} == NOT_SEEN
    assert sum(scan.labels is not None and scan.split == "train" for scan in found.scans) == 8
    assert sum(scan.labels is None and scan.split == "train" for scan in found.scans) == 3


def test_a_patient_is_on_one_side_as_lesion_and_as_body(found: Sources) -> None:
    lesions = {lesion.labels: lesion.split for lesion in found.lesions}
    bodies = {anatomy.labels: anatomy.split for anatomy in found.anatomies if anatomy.kind == "kidneys"}
    assert lesions == bodies
    assert len(lesions) == len(found.lesions) == 399


def test_every_fifth_patient_is_kept(found: Sources) -> None:
    splits = [lesion.split for lesion in sorted(found.lesions, key=lambda lesion: lesion.labels)]
    assert [index for index, split in enumerate(splits) if split == "validation"] == list(range(4, 399, 5))
