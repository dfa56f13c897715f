"""Makes a virtual environment with the project and its pinned dependencies in it; needs Python and nothing else.

    python3 .ci/setup_venv.py FOLDER [--extras train,test,slicer] [--torch-index auto|none|URL] [--pip-options="..."]

Debian and Ubuntu split `venv` from Python, so that a bare system cannot put pip into an environment. Then pip's own wheel, checked against
the hash below, installs itself there.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

SUPPORTED = ((3, 10), (3, 13))
PIP_WHEEL = "https://files.pythonhosted.org/packages/44/3c/d717024885424591d5376220b5e836c2d5293ce2011523c9de23ff7bf068/pip-25.3-py3-none-any.whl"
PIP_SHA256 = "9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
ROOT = Path(__file__).resolve().parent.parent


class SetupFailed(Exception):
    """One sentence: what is wrong and what to do."""


def check_python(version: tuple[int, int]) -> None:
    """Raises SetupFailed for a Python that the pinned packages do not support."""
    low, high = SUPPORTED
    if not low <= version <= high:
        raise SetupFailed(
            f"Python {version[0]}.{version[1]} is not supported; name one from {low[0]}.{low[1]} to {high[0]}.{high[1]}, "
            f"for example: make setup PYTHON=python3.{high[1]}"
        )


def works(python: Path) -> bool:
    """True when that interpreter runs, is of a supported version, and has pip."""
    code = f"import sys, pip; sys.exit(not {SUPPORTED[0]} <= sys.version_info[:2] <= {SUPPORTED[1]})"
    try:
        return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_venv(folder: Path) -> Path:
    """The environment's interpreter; an environment that works is kept as it is."""
    python = folder / "bin" / "python"
    if works(python):
        return python
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", folder], capture_output=True, text=True, check=False)
    if made.returncode == 0 and works(python):
        return python
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        last = (made.stderr or made.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise SetupFailed(f"{sys.executable} cannot make a virtual environment ({last[0]}); install its venv module: sudo apt install python3-venv")
    install_pip(python)
    return python


def install_pip(python: Path) -> None:
    """Puts pip into an environment that has none. A wheel is a zip file that Python can run."""
    wheel = download_pip()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PIP_WHEEL.rsplit("/", 1)[1]
        path.write_bytes(wheel)
        subprocess.run([python, f"{path}/pip", "install", "-qq", "--no-index", path], check=True)


def download_pip() -> bytes:
    """pip's wheel. Raises SetupFailed when it cannot be had or is not the known one."""
    try:
        with urllib.request.urlopen(PIP_WHEEL, timeout=60) as answer:
            wheel: bytes = answer.read()
    except (OSError, ssl.SSLError) as error:
        raise SetupFailed(
            f"This Python has no venv module with pip, and pip could not be downloaded ({error}); install the module: sudo apt install python3-venv"
        ) from error
    if hashlib.sha256(wheel).hexdigest() != PIP_SHA256:
        raise SetupFailed(f"The file at {PIP_WHEEL} is not the pip that was expected; install the venv module: sudo apt install python3-venv")
    return wheel


def torch_index(wish: str) -> list[str]:
    """pip options for where PyTorch comes from: its CPU build (0.2 GB) on Linux without an NVIDIA GPU, else the usual index (CUDA: 3 GB)."""
    if wish == "none":
        return []
    if wish != "auto":
        return ["--extra-index-url", wish]
    has_nvidia = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    if not sys.platform.startswith("linux") or has_nvidia or not answers(f"{TORCH_CPU_INDEX}/torch/"):
        return []
    return ["--extra-index-url", TORCH_CPU_INDEX]


def answers(url: str) -> bool:
    """True when something can be read there."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def install(python: Path, extras: str, index: list[str], options: list[str]) -> None:
    """PyTorch first, so that no other package decides which build of it comes; then the project in place with its extras."""
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt"), *options]
    project = f"{ROOT}[{extras}]" if extras else str(ROOT)
    print("Installing PyTorch (the largest part; some minutes on a slow line) ...", flush=True)
    subprocess.run([*pip, *index, "torch", "setuptools"], check=True)
    print(f"Installing kidney-tumor-cascade{f' with its extras {extras}' if extras else ''} ...", flush=True)
    subprocess.run([*pip, *index, "--no-build-isolation", "-e", project], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a virtual environment with kidney-tumor-cascade in it.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--extras", default="", help="comma-separated: train, cluster, dicom, slicer, bench, test")
    parser.add_argument("--torch-index", default="auto", help="auto, none, or the URL of a package index that has PyTorch")
    parser.add_argument("--pip-options", default="", type=shlex.split, help="passed on to pip install, as one word")
    arguments = parser.parse_args()
    try:
        check_python((sys.version_info[0], sys.version_info[1]))
        python = make_venv(arguments.folder.absolute())
        install(python, arguments.extras, torch_index(arguments.torch_index), arguments.pip_options)
    except SetupFailed as error:
        print(error, file=sys.stderr)
        return 3
    except subprocess.CalledProcessError as error:
        print("pip could not install everything; its own message is above. Run the same command again when the cause is gone.", file=sys.stderr)
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
