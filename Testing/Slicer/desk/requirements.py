"""What the desk needs of the machine, and one sentence about what of it is missing. Run as a program, prints the Debian packages to install."""

from __future__ import annotations

import ctypes.util
import importlib.util
import sys

PACKAGES = {"slicer_core": "slicer-core", "vtk": "vtk", "PySide6": "PySide6-Essentials", "shiboken6": "shiboken6"}
# Debian's package of each shared library that Qt and VTK load at run time.
LIBRARIES = {
    "EGL": "libegl1",
    "GL": "libgl1",
    "xkbcommon": "libxkbcommon0",
    "fontconfig": "libfontconfig1",
    "dbus-1": "libdbus-1-3",
    "glib-2.0": "libglib2.0-0",
}


def missing() -> str:
    """Why the desk cannot be set up here, with what to do about it; empty when it can."""
    packages = [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if packages:
        return f"the Slicer desk needs {', '.join(packages)}: pip install -c constraints.txt -e .[slicer]"
    libraries = missing_libraries()
    return f"the Slicer desk needs system libraries: apt-get install {' '.join(libraries)}" if libraries else ""


def missing_libraries() -> list[str]:
    """Debian packages to install; other systems bring these libraries with them."""
    if not sys.platform.startswith("linux"):
        return []
    return [package for library, package in LIBRARIES.items() if not loads(library)]


def loads(library: str) -> bool:
    """True when the dynamic linker finds that library."""
    return ctypes.util.find_library(library) is not None


if __name__ == "__main__":
    print(*missing_libraries())
