"""Few real scans made to stand for many patients and scanners: changes of the patient, then of the scanner, drawn at random.

They come in the order in which they arise, so that what is grown into the patient between the two has the scanner's noise and sharpness.
"""

from __future__ import annotations

import numpy as np

from Training.cases import Case
from Training.variation.abdomen_changes import with_ascites, with_bowel_contents
from Training.variation.contrast_phases import draw_uptake
from Training.variation.field_of_view import with_kidneys_cut, with_narrow_view, with_other_couch
from Training.variation.kidney_changes import with_kidney_phase, with_stones, without_kidneys
from Training.variation.phase_changes import with_phase
from Training.variation.scanner_changes import with_beam_hardening, with_kernel, with_thick_slices
from Training.variation.scanner_noise import Spectrum, with_noise

OTHER_PHASE, BOWEL_CONTENTS, ASCITES, STONES, NO_KIDNEYS = 0.6, 0.3, 0.06, 0.06, 0.04
COUCH, BEAM_HARDENING, KERNEL, THICK_SLICES, NOISE, NARROW_VIEW, KIDNEYS_CUT = 0.4, 0.5, 0.5, 0.4, 0.5, 0.2, 0.07


def changed_patient(case: Case, rng: np.random.Generator) -> Case:
    """The same anatomy in another state: contrast phase, contents of the bowel, free fluid, stones. Labels stay, unless both kidneys go."""
    if rng.random() < OTHER_PHASE:
        uptake = draw_uptake(rng)
        # The body's phase is told by the kidneys, so it is changed first.
        case = with_kidney_phase(with_phase(case, uptake, rng), uptake, rng)
    if rng.random() < BOWEL_CONTENTS:
        case = with_bowel_contents(case, rng)
    if rng.random() < ASCITES:
        case = with_ascites(case, rng)
    if rng.random() < STONES:
        case = with_stones(case, rng)
    return without_kidneys(case, rng) if rng.random() < NO_KIDNEYS else case


def changed_scanner(case: Case, rng: np.random.Generator) -> Case:
    """The same patient in another scanner. Labels change only where its field of view cuts them."""
    if rng.random() < COUCH:
        case = with_other_couch(case, rng)
    if rng.random() < BEAM_HARDENING:
        case = with_beam_hardening(case, float(rng.uniform(0.2, 2.0)))
    if rng.random() < NOISE:
        case = with_other_noise(case, rng)
    if rng.random() < KERNEL:
        case = with_kernel(case, float(rng.uniform(-1.2, 0.8)))
    if rng.random() < THICK_SLICES:
        case = with_other_slices(case, rng)
    return with_other_view(case, rng)


def with_other_noise(case: Case, rng: np.random.Generator) -> Case:
    """Noise of another dose and another kernel: most scans of the abdomen have an sd of 8 to 30 HU."""
    spectrum = Spectrum(float(rng.uniform(0.15, 0.5)), float(rng.uniform(0.05, 0.4)), float(rng.uniform(0.3, 1.2)))
    return with_noise(case, float(np.exp(rng.uniform(np.log(4.0), np.log(30.0)))), rng, spectrum, float(rng.uniform(0.2, 1.0)))


def with_other_slices(case: Case, rng: np.random.Generator) -> Case:
    """Slices of 2 to 6 mm, in half of the scans overlapping by up to half."""
    thickness = float(rng.uniform(2.0, 6.0))
    increment = thickness * float(rng.uniform(0.5, 1.0) if rng.random() < 0.5 else 1.0)
    return with_thick_slices(case, thickness, increment, float(rng.uniform(0.0, increment)))


def with_other_view(case: Case, rng: np.random.Generator) -> Case:
    """A narrower field of view, or one that ends within the kidneys, in some scans."""
    if rng.random() < NARROW_VIEW:
        case = with_narrow_view(case, rng)
    return with_kidneys_cut(case, rng) if rng.random() < KIDNEYS_CUT else case
