"""What contrast medium does to the HU of blood, organs and kidneys, minute by minute.

Ranges are those of textbooks and measurements in abdominal CT at 100 to 120 kV (Fleischmann 2003 for blood, Foley et al. 1993 for the liver,
Yuh and Cohan 1999 for the phases of the kidney); patients, doses and tube voltages spread them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class Phase:
    """HU of tissues at one time after the injection, each with the range that patients have.

    Attributes:
        blood: of the large vessels.
        organ: of liver and other parenchyma.
        muscle: of muscle and bowel wall.
        cortex: of the kidney's rim and columns.
        medulla: of the pyramids, as a fraction of the cortex.
        urine: in calyces and pelvis.
    """

    blood: Range
    organ: Range
    muscle: Range
    cortex: Range
    medulla: Range
    urine: Range


PHASES = {
    "none": Phase((35.0, 48.0), (48.0, 64.0), (45.0, 58.0), (26.0, 42.0), (0.95, 1.05), (0.0, 12.0)),
    "corticomedullary": Phase((200.0, 360.0), (62.0, 85.0), (50.0, 65.0), (140.0, 240.0), (0.3, 0.6), (0.0, 15.0)),
    "portal": Phase((130.0, 190.0), (92.0, 128.0), (58.0, 75.0), (140.0, 220.0), (0.65, 1.0), (0.0, 15.0)),
    "nephrographic": Phase((110.0, 155.0), (85.0, 115.0), (58.0, 75.0), (110.0, 190.0), (0.92, 1.1), (0.0, 25.0)),
    "excretory": Phase((75.0, 115.0), (70.0, 95.0), (55.0, 70.0), (85.0, 140.0), (0.95, 1.15), (180.0, 1100.0)),
}
WEIGHTS = {"none": 0.25, "corticomedullary": 0.25, "portal": 0.2, "nephrographic": 0.2, "excretory": 0.1}


@dataclass(frozen=True)
class Uptake:
    """HU of one patient's tissues, drawn from a phase; `phase` is its name, `medulla` is in HU here."""

    phase: str
    blood: float
    organ: float
    muscle: float
    cortex: float
    medulla: float
    urine: float

    @property
    def enhanced(self) -> bool:
        """Whether there is contrast medium at all."""
        return self.phase != "none"


def draw_uptake(rng: np.random.Generator, phase: str | None = None) -> Uptake:
    """A patient in that phase, or in one drawn as often as it is seen. Raises KeyError for a phase that there is not."""
    name = phase or str(rng.choice(list(WEIGHTS), p=list(WEIGHTS.values())))
    ranges = PHASES[name]
    blood, organ, muscle, cortex, fraction, urine = (
        float(rng.uniform(*bounds)) for bounds in (ranges.blood, ranges.organ, ranges.muscle, ranges.cortex, ranges.medulla, ranges.urine)
    )
    return Uptake(name, blood, organ, muscle, cortex, cortex * fraction, urine)
