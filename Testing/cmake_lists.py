"""The lists of files in the CMake files: an extension holds what they list and nothing else. `make cmake-lists` rewrites them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The folders whose content Slicer's users get.
SHIPPED = ("KidneyTumorCascade", "KidneyTumorCascadeLib")
CMAKE_FILE = "CMakeLists.txt"
SCRIPTS, RESOURCES = "MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"

Lists = dict[str, list[str]]


def shipped_files(folder: Path) -> Lists:
    """What both lists must name: every file in the folder, by its path there, but what Python or a desktop left behind."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    names = sorted(path.as_posix() for path in paths if not is_litter(path) and path.name != CMAKE_FILE)
    return {SCRIPTS: [name for name in names if name.endswith(".py")], RESOURCES: [name for name in names if not name.endswith(".py")]}


def is_litter(path: Path) -> bool:
    """Hidden files, and what Python compiled."""
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def listed_files(cmake: str) -> Lists:
    """What the text of a CMake file lists."""
    return {name: list_in(cmake, name)[2].split() for name in (SCRIPTS, RESOURCES)}


def with_lists(cmake: str, lists: Lists) -> str:
    """The text of a CMake file with other lists."""
    for name, files in lists.items():
        before, start, _, end = list_in(cmake, name)
        cmake = before + start + "".join(f"  {file}\n" for file in files) + end
    return cmake


def list_in(cmake: str, name: str) -> tuple[str, str, str, str]:
    """The text before `set(NAME`, that line, the list, and the rest. Raises ValueError when there is not exactly one such list."""
    parts = re.split(rf"(^set\({name}\n)((?:  \S+\n)*?)(?=  \)$)", cmake, flags=re.MULTILINE)
    if len(parts) != 4:
        raise ValueError(f"no list {name} in the form that this script writes")
    before, start, files, end = parts
    return before, start, files, end


def main() -> None:
    """Rewrite the lists of all CMake files."""
    for name in SHIPPED:
        file = ROOT / name / CMAKE_FILE
        file.write_text(with_lists(file.read_text(encoding="utf-8"), shipped_files(file.parent)), encoding="utf-8")


if __name__ == "__main__":
    main()
