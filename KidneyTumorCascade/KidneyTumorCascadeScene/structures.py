"""The segments that the module makes: their names, codes and colors."""

from __future__ import annotations

from dataclasses import dataclass

from slicer.i18n import tr as _

from KidneyTumorCascadeScene.parameters import BY_SIDE

KIDNEY, TUMOR = 1, 2
# Slicer's standard colors of these codes.
COLORS = {KIDNEY: (185 / 255, 102 / 255, 83 / 255), TUMOR: (144 / 255, 238 / 255, 144 / 255)}

CONTEXT, REGIONS = "Segmentation category and type - 3D Slicer General Anatomy list", "Anatomic codes - DICOM master list"
NOTHING = "^^"
ANATOMY, CHANGE = "SCT^123037004^Anatomical Structure", "SCT^49755003^Morphologically Altered Structure"
KIDNEY_CODE, NEOPLASM_CODE = "SCT^64033007^Kidney", "SCT^108369006^Neoplasm"
SIDE_CODES = {"right": "SCT^24028007^Right", "left": "SCT^7771000^Left"}


@dataclass(frozen=True)
class Structure:
    """One segment. `side` is "right", "left", "both", or None when it holds all sides; `label` is 1 for kidney, 2 for tumor."""

    side: str | None
    label: int

    @property
    def identifier(self) -> str:
        """The segment's ID in the segmentation."""
        kind = "kidney" if self.label == KIDNEY else "tumor"
        return kind if self.side is None else f"{self.side}_{kind}"

    @property
    def name(self) -> str:
        """What the user reads."""
        names = {
            "right": (_("Right kidney"), _("Right tumor")),
            "left": (_("Left kidney"), _("Left tumor")),
            "both": (_("Both kidneys"), _("Tumor of both kidneys")),
            None: (_("Kidney"), _("Tumor")),
        }
        return names[self.side][self.label - 1]

    @property
    def color(self) -> tuple[float, float, float]:
        """RGB, 0 to 1."""
        return COLORS[self.label]

    @property
    def terminology(self) -> str:
        """Slicer's terminology entry: category, type, its modifier; for a tumor the kidney is the region."""
        side = SIDE_CODES.get(self.side or "", NOTHING)
        if self.label == KIDNEY:
            return "~".join((CONTEXT, ANATOMY, KIDNEY_CODE, side, REGIONS, NOTHING, NOTHING))
        return "~".join((CONTEXT, CHANGE, NEOPLASM_CODE, NOTHING, REGIONS, KIDNEY_CODE, side))


ALL = tuple(Structure(side, label) for label in (KIDNEY, TUMOR) for side in ("right", "left", "both", None))


def structuresOf(side: str, scheme: str) -> tuple[Structure, Structure]:
    """Kidney and tumor of a side."""
    own = side if scheme == BY_SIDE else None
    return Structure(own, KIDNEY), Structure(own, TUMOR)
