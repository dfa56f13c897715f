"""What can go wrong, sorted by who can put it right.

Every message is one sentence (or two) that says what is wrong with which file or value, and what to do about it; the command line prints it
as it stands and ends with the exit code of its kind.
"""

from __future__ import annotations


class CascadeError(Exception):
    """Base of all errors that are meant for the user."""

    exit_code = 1


class CasesFailed(CascadeError):
    """A batch came to its end, but some of its scans have no result."""


class InputError(CascadeError):
    """A file, folder or argument cannot be used."""

    exit_code = 2


class SetupError(CascadeError):
    """This machine cannot do what was asked: a missing package, a device that does not work, no disk or memory left."""

    exit_code = 3


class MemoryShortage(SetupError):
    """A scan needs more memory than there was just now."""


class BundleError(SetupError):
    """A model bundle is missing, damaged, or made for another version."""


class Cancelled(CascadeError):
    """The user or the caller stopped the run."""

    exit_code = 130

    def __init__(self, message: str = "Cancelled.") -> None:
        super().__init__(message)
