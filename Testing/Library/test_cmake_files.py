"""What Slicer's users get is what the CMake files list, and the entry of the ExtensionsIndex says the same as they do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.cmake_lists import CMAKE_FILE, RESOURCES, ROOT, SCRIPTS, SHIPPED, listed_files, shipped_files, with_lists

TOP = (ROOT / CMAKE_FILE).read_text(encoding="utf-8")
ENTRY = json.loads((ROOT / "docs" / "ExtensionsIndex" / "KidneyTumorCascade.json").read_text(encoding="utf-8"))
# slicer-extension-catalog-entry-schema-v1.0.1.json: what an entry may say, and of what type.
FIELDS = {
    "$schema": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "category": str,
    "enabled": bool,
    "scm_revision": str,
    "scm_type": str,
    "scm_url": str,
    "tier": int,
}
RAW = "https://raw.githubusercontent.com/"
# Slicer's macros as far as they decide what is installed where: scripts and resources keep their paths, WITH_SUBDIR adds the folder's name.
SLICER_CONFIG = r"""
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS;WITH_SUBDIR" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  set(place qt-scripted-modules)
  if(MY_WITH_SUBDIR)
    get_filename_component(folder ${CMAKE_CURRENT_SOURCE_DIR} NAME)
    set(place qt-scripted-modules/${folder})
  endif()
  foreach(file IN LISTS MY_SCRIPTS MY_RESOURCES)
    get_filename_component(folder ${file} DIRECTORY)
    install(FILES ${file} DESTINATION ${place}/${folder})
  endforeach()
endfunction()
"""


def cmake_of(name: str) -> str:
    """The text of a shipped folder's CMake file."""
    return (ROOT / name / CMAKE_FILE).read_text(encoding="utf-8")


def top_value(name: str) -> str:
    """What the top CMake file sets this to."""
    found = re.findall(rf'^set\({name} "([^"]+)"\)$', TOP, flags=re.MULTILINE)
    assert len(found) == 1, name
    return str(found[0])


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_is_listed_once_and_every_listed_file_exists(name: str) -> None:
    assert listed_files(cmake_of(name)) == shipped_files(ROOT / name), "run `make cmake-lists`"


@pytest.mark.parametrize("name", SHIPPED)
def test_each_folder_is_part_of_the_extension(name: str) -> None:
    assert f"add_subdirectory({name})\n" in TOP


def test_files_that_are_added_or_taken_away_are_noticed(tmp_path: Path) -> None:
    for name in ("module.py", "inner/part.py", "Resources/UI/panel.ui", "__pycache__/module.pyc", ".DS_Store", CMAKE_FILE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    cmake = with_lists(cmake_of(SHIPPED[0]), shipped_files(tmp_path))
    assert listed_files(cmake) == {SCRIPTS: ["inner/part.py", "module.py"], RESOURCES: ["Resources/UI/panel.ui"]}
    (tmp_path / "inner/part.py").rename(tmp_path / "inner/renamed.py")
    assert listed_files(cmake) != shipped_files(tmp_path)


def test_a_file_without_its_lists_is_refused() -> None:
    with pytest.raises(ValueError, match=SCRIPTS):
        listed_files(cmake_of(SHIPPED[0]).replace(SCRIPTS, "SCRIPTS"))


def test_weights_are_shipped() -> None:
    assert "Models/default/tumor.safetensors" in listed_files(cmake_of("KidneyTumorCascadeLib"))[RESOURCES]


def test_module_has_its_tests() -> None:
    assert "  WITH_GENERIC_TESTS\n" in cmake_of("KidneyTumorCascade")
    assert "slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)" in cmake_of("KidneyTumorCascade")


def test_the_index_and_cmake_agree() -> None:
    assert "project(KidneyTumorCascade)\n" in TOP
    assert ENTRY["scm_url"] == top_value("EXTENSION_HOMEPAGE") + ".git"
    assert ENTRY["category"] == top_value("EXTENSION_CATEGORY")
    assert ENTRY["build_dependencies"] == top_value("EXTENSION_DEPENDS").split()


def test_the_entry_is_as_its_schema_says() -> None:
    assert {"$schema", "category", "scm_url"} <= ENTRY.keys() <= FIELDS.keys()
    assert all(type(value) is FIELDS[name] for name, value in ENTRY.items())
    assert ENTRY["tier"] in range(1, 6)


def test_pictures_that_the_catalog_shows_are_in_the_repository() -> None:
    repository = top_value("EXTENSION_HOMEPAGE").removeprefix("https://github.com/")
    start = f"{RAW}{repository}/{ENTRY['scm_revision']}/"
    for url in [top_value("EXTENSION_ICONURL"), *top_value("EXTENSION_SCREENSHOTURLS").split()]:
        assert url.startswith(start)
        assert (ROOT / url.removeprefix(start)).is_file(), url


@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("cc")), reason="CMake or a compiler, which it looks for, is not installed")
def test_what_is_installed_can_be_imported(tmp_path: Path) -> None:
    slicer = tmp_path / "slicer"
    slicer.mkdir()
    (slicer / "SlicerConfig.cmake").write_text(SLICER_CONFIG, encoding="utf-8")
    (slicer / "Nothing.cmake").touch()
    build, installed = tmp_path / "build", tmp_path / "installed"
    configure = ["cmake", "-S", str(ROOT), "-B", str(build), f"-DSlicer_DIR={slicer}", f"-DCMAKE_INSTALL_PREFIX={installed}"]
    for command in ([*configure, "-Wno-dev", "-DBUILD_TESTING=OFF"], ["cmake", "--install", str(build)]):
        subprocess.run(command, check=True, capture_output=True)
    modules = installed / "qt-scripted-modules"
    assert (modules / "KidneyTumorCascadeLib" / "Models" / "default" / "bundle.json").is_file()
    code = "import sys; sys.path[:0] = [sys.argv[1]]; import KidneyTumorCascadeLib.worker_client as it; print(it.__file__)"
    imported = subprocess.run([sys.executable, "-c", code, modules], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert imported.stdout.startswith(str(modules))
    assert (modules / "Resources" / "Icons" / "KidneyTumorCascade.png").is_file()
