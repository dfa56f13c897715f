"""The command line: runs a command and turns whatever goes wrong into one sentence and an exit code."""

from __future__ import annotations

import argparse
import atexit
import io
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from KidneyTumorCascadeLib.allocator import keep_freed_memory
from KidneyTumorCascadeLib.arguments import PROGRAM, make_parser
from KidneyTumorCascadeLib.errors import Cancelled, CascadeError, SetupError
from KidneyTumorCascadeLib.json_fields import one_line, reason

READING_COMMANDS = ("segment", "boxes")
DEBUG_VARIABLE = "KIDNEY_TUMOR_CASCADE_DEBUG"


def program() -> NoReturn:
    """The command line as a program of its own: `main`, and an end at once.

    Python would take down PyTorch module by module, for a third of a second, after everything is done and written.
    """
    keep_freed_memory()
    code = main()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 2 input or arguments, 3 environment or bundle, 130 cancelled."""
    write_every_character()
    try:
        arguments = make_parser().parse_args(words)
    except SystemExit as end:
        # The parser has said what there is to say: help, version, or what is wrong with the words.
        return int(end.code or 0)
    with terminating_as_cancelling(), warnings.catch_warnings():
        if not os.environ.get(DEBUG_VARIABLE):
            # What libraries warn their programmers of is no news for users; what users should know is in the result's own warnings.
            warnings.simplefilter("ignore")
        error = run(arguments)
    return fail(error, getattr(arguments, "json", False)) if error else 0


def run(arguments: argparse.Namespace) -> CascadeError | None:
    """Run a command; returns what went wrong, in words for the user."""
    try:
        with reading_early(arguments):
            # Only here, as it brings PyTorch along.
            from KidneyTumorCascadeLib.commands import COMMANDS

            COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
    except CascadeError as error:
        return error
    except KeyboardInterrupt:
        return Cancelled()
    except ImportError as error:
        return SetupError(f"A part of the program is missing ({error}); install the package again with its dependencies.")
    except BrokenPipeError:
        # The reader of a pipe has seen enough; nothing more can be said, and nothing is wrong.
        discard_output()
    except OSError as error:
        discard_output()
        show_traceback()
        return SetupError(f"The system refused what is needed for this ({reason(error)}); check the disk, its free space and the permissions.")
    except Exception as error:
        show_traceback()
        if is_out_of_memory(error):
            return SetupError("There is not enough memory for this; close other programs and try again.")
        hint = f"please report it, with what {PROGRAM} says when {DEBUG_VARIABLE}=1 is set"
        return SetupError(f"Something went wrong that should not have ({type(error).__name__}: {error}); {hint}.")
    return None


@contextmanager
def reading_early(arguments: argparse.Namespace) -> Iterator[None]:
    """Where a command is about one scan, a thread begins to read it while PyTorch is imported."""
    if arguments.command not in READING_COMMANDS:
        yield
        return
    from KidneyTumorCascadeLib.scan_reading import EarlyReading

    with EarlyReading(arguments.input) as arguments.early:
        yield


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, in PyTorch's and ITK's words too; only where PyTorch is loaded could it be they who say it."""
    device = sys.modules.get("KidneyTumorCascadeLib.device")
    return isinstance(error, MemoryError) or (device is not None and bool(device.is_out_of_memory(error)))


def fail(error: CascadeError, as_json: bool) -> int:
    """The error as one line on standard error; returns its exit code."""
    text = one_line(str(error))
    sys.stderr.write((json.dumps({"error": text, "exit_code": error.exit_code}) if as_json else text) + "\n")
    return error.exit_code


def show_traceback() -> None:
    """Where the error being handled came from, for those who asked for it."""
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exc()


@contextmanager
def terminating_as_cancelling() -> Iterator[None]:
    """SIGTERM, by which schedulers and containers end a program, cancels a run as Ctrl-C does."""
    try:
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:
        yield  # Not the main thread, which alone may say what signals do.
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)


def write_every_character() -> None:
    """A file's name that standard output cannot encode is written with escapes: it must not cost a result."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Let what is still to be written to standard output go nowhere, so that the interpreter does not fail on it at its end."""
    with suppress(OSError, ValueError):
        stdout = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)


if __name__ == "__main__":
    sys.exit(main())
