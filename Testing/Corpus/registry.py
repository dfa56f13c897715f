"""The list of kinds of input: what each is called, how it is made, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from Testing.Corpus.patients import STANDARD, Patient

RIGHT, WARNED, REFUSED = "right", "right with warning", "refused"
# Makes the input in an empty folder and returns what is given to the program: a file or a folder.
Maker = Callable[[Path], Path]


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        family: the heading that it is listed under.
        name: short, unique.
        description: one line.
        make: see there.
        outcome: one of the three above.
        says: for each warning, or for the refusal, words that it must have.
        patient: who is seen in it, and so what a right result is; None where the input is refused.
    """

    family: str
    name: str
    description: str
    make: Maker
    outcome: str
    says: tuple[str, ...] = ()
    patient: Patient | None = None


class Family:
    """Kinds of one subject; a module of the corpus has one and adds its makers to it."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.kinds: list[Kind] = []

    def right(self, name: str, description: str, patient: Patient = STANDARD) -> Callable[[Maker], Maker]:
        """Enter a maker of input that gives the right result without a warning."""
        return self._entering(name, description, RIGHT, (), patient)

    def warned(self, name: str, description: str, *says: str, patient: Patient = STANDARD) -> Callable[[Maker], Maker]:
        """Enter a maker of input that gives the right result and these warnings, no others."""
        return self._entering(name, description, WARNED, says, patient)

    def refused(self, name: str, description: str, says: str) -> Callable[[Maker], Maker]:
        """Enter a maker of input that is refused in one sentence with these words."""
        return self._entering(name, description, REFUSED, (says,), None)

    def _entering(self, name: str, description: str, outcome: str, says: tuple[str, ...], patient: Patient | None) -> Callable[[Maker], Maker]:
        def enter(make: Maker) -> Maker:
            self.kinds.append(Kind(self.title, name, description, make, outcome, says, patient))
            return make

        return enter
