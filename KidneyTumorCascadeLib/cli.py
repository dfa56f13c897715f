"""The command line: runs a command and turns whatever goes wrong into one sentence and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from KidneyTumorCascadeLib.arguments import PROGRAM, make_parser
from KidneyTumorCascadeLib.errors import Cancelled, CascadeError, SetupError

DEBUG_VARIABLE = "KIDNEY_TUMOR_CASCADE_DEBUG"


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 2 input or arguments, 3 environment or bundle, 130 cancelled."""
    arguments = make_parser().parse_args(words)
    try:
        from KidneyTumorCascadeLib.commands import COMMANDS

        COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
    except CascadeError as error:
        return fail(error)
    except KeyboardInterrupt:
        return fail(Cancelled())
    except MemoryError:
        return fail(SetupError("There is not enough memory for this; close other programs and try again."))
    except ImportError as error:
        return fail(SetupError(f"A part of the program is missing ({error}); install the package again with its dependencies."))
    except BrokenPipeError:
        # The reader of a pipe has seen enough; nothing more can be said, and nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        kind = type(error).__name__
        hint = f"please report it, with what {PROGRAM} says when {DEBUG_VARIABLE}=1 is set"
        return fail(SetupError(f"Something went wrong that should not have ({kind}: {error}); {hint}."))
    return 0


def fail(error: CascadeError) -> int:
    """The error as one line on standard error; returns its exit code."""
    sys.stderr.write(" ".join(str(error).split()) + "\n")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
