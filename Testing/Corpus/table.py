"""docs/INPUT.md's table of what becomes of each kind of input: `python -m Testing.Corpus.table` writes it from the corpus."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from Testing.Corpus.corpus import FAMILIES, KINDS
from Testing.Corpus.registry import REFUSED, RIGHT, WARNED, Family, Kind

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "INPUT.md"
# The table stands between these lines; what is around it was written by hand.
BEGIN, END = "<!-- begin: python -m Testing.Corpus.table -->", "<!-- end -->"
OUTCOMES = {RIGHT: "right", WARNED: "right, with a warning", REFUSED: "refused"}


def table(families: Sequence[Family] = FAMILIES) -> str:
    """All kinds, family by family, as Markdown."""
    kinds = [kind for family in families for kind in family.kinds]
    count = Counter(kind.outcome for kind in kinds)
    summary = f"{len(kinds)} kinds: {count[RIGHT]} right, {count[WARNED]} right with a warning, {count[REFUSED]} refused."
    return "\n".join((BEGIN, "", summary, "", *(line for family in families for line in section(family)), END))


def section(family: Family) -> Iterator[str]:
    """A heading and a row for each kind."""
    yield from (f"### {family.title}", "", "| input | what it is | outcome | in these words |", "|---|---|---|---|")
    for kind in family.kinds:
        yield row(kind)
    yield ""


def row(kind: Kind) -> str:
    """One kind."""
    cells = (kind.name, kind.description, OUTCOMES[kind.outcome], "; ".join(f"... {words} ..." for words in kind.says))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def with_table(document: str, written: str) -> str:
    """The document with this table instead of the one that it has."""
    before, _, rest = document.partition(BEGIN)
    return before + written + rest.partition(END)[2]


def main() -> int:
    """Bring docs/INPUT.md up to date."""
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8"), table()), encoding="utf-8")
    print(f"{DOCUMENT.name}: {len(KINDS)} kinds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
