"""Writes api_names.json: what PythonQt exposes of the adapted classes in every supported Slicer, from lists of each whole Slicer.

    python Testing/Slicer/desk/derive_api_names.py slicer-5.10.json slicer-5.12.json

Each list maps a class to its base, properties (type, writable), signals, slots and invokable methods, as read from Slicer's and CTK's headers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("api_names.json")
ADAPTED = (
    "ctkCheckBox",
    "ctkCollapsibleButton",
    "ctkCollapsibleGroupBox",
    "ctkComboBox",
    "ctkDirectoryButton",
    "ctkDoubleSpinBox",
    "ctkFittedTextBrowser",
    "ctkMenuButton",
    "ctkMessageBox",
    "ctkPathLineEdit",
    "ctkPushButton",
    "ctkSliderWidget",
    "qMRMLLayoutManager",
    "qMRMLNodeComboBox",
    "qMRMLSegmentSelectorWidget",
    "qMRMLSegmentationShow3DButton",
    "qMRMLSegmentsTableView",
    "qMRMLSliceView",
    "qMRMLSliceWidget",
    "qMRMLSliderWidget",
    "qMRMLTableView",
    "qMRMLThreeDView",
    "qMRMLThreeDWidget",
    "qMRMLWidget",
    "qSlicerApplication",
    "qSlicerIOManager",
    "qSlicerLayoutManager",
    "qSlicerModuleManager",
    "qSlicerScriptedLoadableModule",
    "qSlicerScriptedLoadableModuleWidget",
    "qSlicerWidget",
)
Names = dict[str, dict[str, Any]]


def derive(lists: list[Names]) -> Names:
    """The adapted classes and their bases, each with the names that all lists agree on."""
    return {name: common(name, lists) for name in with_bases(ADAPTED, lists[-1])}


def with_bases(classes: tuple[str, ...], names: Names) -> list[str]:
    """These classes and all that they inherit from, as far as the list knows them."""
    found: set[str] = set()
    for name in classes:
        while name in names:
            found.add(name)
            name = names[name]["base"]
    return sorted(found)


def common(name: str, lists: list[Names]) -> dict[str, Any]:
    """One class as every list has it."""
    entries = [names[name] for names in lists]
    shared: dict[str, Any] = {"base": entries[-1]["base"]}
    shared["properties"] = {
        key: [value["type"], value["writable"]]
        for key, value in sorted(entries[-1]["properties"].items())
        if all(entry["properties"].get(key) == value for entry in entries)
    }
    for kind in ("signals", "slots", "invokable"):
        shared[kind] = [item for item in dict.fromkeys(entries[-1][kind]) if all(item in entry[kind] for entry in entries)]
    return shared


def to_json(names: Names) -> str:
    """One line a class: small, and readable in a difference."""
    lines = [f"{json.dumps(name)}: {json.dumps(entry, sort_keys=True)}" for name, entry in names.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Renew api_names.json.")
    parser.add_argument("lists", nargs="+", type=Path, help="one list for each supported Slicer, the newest last")
    lists = [json.loads(path.read_text(encoding="utf-8")) for path in parser.parse_args().lists]
    TARGET.write_text(to_json(derive(lists)), encoding="utf-8")


if __name__ == "__main__":
    main()
