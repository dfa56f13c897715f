"""What the commands of this folder share: how they fail, the folders they make, and how they read numbers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from KidneyTumorCascadeLib.allocator import keep_freed_memory
from KidneyTumorCascadeLib.errors import Cancelled, CascadeError, InputError


def run_command(work: Callable[[], None]) -> int:
    """Do the work and return the exit code. What the user can put right is one sentence on standard error, without a traceback."""
    keep_freed_memory()
    try:
        work()
    except CascadeError as error:
        return fail(error)
    except KeyboardInterrupt:
        return fail(Cancelled())
    return 0


def fail(error: CascadeError) -> int:
    """The error as one line on standard error; returns its exit code."""
    sys.stderr.write(" ".join(str(error).split()) + "\n")
    return error.exit_code


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing. Raises InputError when that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be made ({error.strerror}); choose another place.") from error


def positive(text: str) -> int:
    """A whole number of at least 1, as an argument's type."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def natural(text: str) -> int:
    """A whole number of at least 0, as an argument's type."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is below 0")
    return number
