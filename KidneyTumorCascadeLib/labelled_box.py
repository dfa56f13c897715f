"""What the cascade finds in one box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.geometry import Box, Slices


@dataclass(frozen=True)
class LabelledBox:
    """The label map of one box, on the scan's own voxels.

    Attributes:
        box: where it is in the patient, and on which side.
        slices: the part (z, y, x) of the scan in LPS order that `labels` covers.
        labels: 0 background, 1 kidney, 2 tumor.
    """

    box: Box
    slices: Slices
    labels: NDArray[np.uint8]
