"""Patients whose kidneys are few, many, joined, elsewhere, or hidden by a tumor."""

from __future__ import annotations

from pathlib import Path

from Testing.Corpus.nifti_files import write_nifti
from Testing.Corpus.patients import LEFT_KIDNEY, LEFT_TUMOR, RIGHT_KIDNEY, STANDARD, Ellipsoid, Patient, grid_of, scanned
from Testing.Corpus.registry import Family, Maker

ANATOMY = Family("Anatomy")
# From the domes of the diaphragm to the pelvis.
TRUNK = grid_of((68, 48, 72))
ISTHMUS = Ellipsoid((0.0, 15.0, -45.0), (70.0, 14.0, 18.0))
PELVIC = Ellipsoid((20.0, 10.0, -115.0), (32.0, 26.0, 40.0))
TRANSPLANT = Ellipsoid((-85.0, -45.0, -110.0), (28.0, 24.0, 48.0))
CROSSING = "one box holds both sides"

KIDNEY_FREE = Patient((), sides=())
LEFT_ONLY = Patient((LEFT_KIDNEY,), (LEFT_TUMOR,), sides=("left",))
RIGHT_ONLY = Patient((RIGHT_KIDNEY,), sides=("right",))
HORSESHOE = Patient((RIGHT_KIDNEY, LEFT_KIDNEY, ISTHMUS), sides=("both",))
PELVIC_KIDNEY = Patient((RIGHT_KIDNEY, PELVIC))
TRANSPLANTED = Patient((TRANSPLANT,), sides=("right",))
TRANSPLANTED_BESIDE = Patient((RIGHT_KIDNEY, LEFT_KIDNEY), unlabelled=(TRANSPLANT,))
FUSED = Patient((RIGHT_KIDNEY, Ellipsoid((-60.0, 30.0, -85.0), (34.0, 28.0, 40.0))), sides=("right",))
ACROSS = Patient((RIGHT_KIDNEY, LEFT_KIDNEY), (Ellipsoid((18.0, -15.0, 10.0), (95.0, 65.0, 80.0)),), sides=("both",))
BESIDE = Patient((RIGHT_KIDNEY.moved((-22, 20, -40)), LEFT_KIDNEY), (Ellipsoid((40.0, -10.0, 40.0), (90.0, 60.0, 70.0)),))
REPLACED = Patient((RIGHT_KIDNEY,), (Ellipsoid((72.0, 33.0, 12.0), (38.0, 34.0, 58.0)),))
POLYCYSTIC = Patient((Ellipsoid((-72.0, 20.0, -20.0), (55.0, 60.0, 105.0)), Ellipsoid((72.0, 20.0, -5.0), (55.0, 60.0, 105.0))))
ATROPHIC = Patient((Ellipsoid((-72.0, 35.0, -12.0), (16.0, 16.0, 28.0)), LEFT_KIDNEY))
LOW = Patient((RIGHT_KIDNEY.moved((0, 0, -90)), LEFT_KIDNEY.moved((0, 0, -30))))
SMALL = Patient(
    (Ellipsoid((-42.0, 22.0, -6.0), (14.0, 14.0, 28.0)), Ellipsoid((42.0, 20.0, 6.0), (15.0, 14.0, 30.0))),
    body=Ellipsoid((0.0, 0.0, 0.0), (85.0, 62.0, 1e9)),
)
OFF_CENTRE = STANDARD.moved((55.0, 0.0, 0.0))


def of(patient: Patient) -> Maker:
    """Scans the patient."""

    def make(folder: Path) -> Path:
        return write_nifti(folder, scanned(patient, TRUNK), TRUNK, name="ct.nii.gz")

    return make


ANATOMY.warned("no kidneys", "a chest, or both removed", "No kidney was found in this scan", patient=KIDNEY_FREE)(of(KIDNEY_FREE))
ANATOMY.warned("left kidney only", "the right one was removed", "No kidney was found on the right side", patient=LEFT_ONLY)(of(LEFT_ONLY))
ANATOMY.warned("right kidney only", "the left one was removed", "No kidney was found on the left side", patient=RIGHT_ONLY)(of(RIGHT_ONLY))
ANATOMY.warned("horseshoe kidney", "both joined in front of the spine", CROSSING, patient=HORSESHOE)(of(HORSESHOE))
ANATOMY.right("pelvic kidney", "the left one lies in the pelvis, near the midline", PELVIC_KIDNEY)(of(PELVIC_KIDNEY))
ANATOMY.warned(
    "transplanted kidney", "one in the right iliac fossa, the patient's own removed", "No kidney was found on the left side", patient=TRANSPLANTED
)(of(TRANSPLANTED))
ANATOMY.warned(
    "transplanted kidney beside one's own",
    "three kidneys: the two heaviest are labelled, the third is named",
    "resembles a kidney",
    patient=TRANSPLANTED_BESIDE,
)(of(TRANSPLANTED_BESIDE))
ANATOMY.warned("crossed fused kidneys", "both on the right side, grown together", "No kidney was found on the left side", patient=FUSED)(of(FUSED))
ANATOMY.warned("huge tumor across the midline", "2 l, touching both kidneys", CROSSING, patient=ACROSS)(of(ACROSS))
ANATOMY.right("huge tumor beside the other kidney", "1.5 l, from the left kidney across the midline, above the right kidney", BESIDE)(of(BESIDE))
ANATOMY.right("kidney replaced by tumor", "nothing is left of the left one", REPLACED)(of(REPLACED))
ANATOMY.right("polycystic kidneys", "of 1.4 l each", POLYCYSTIC)(of(POLYCYSTIC))
ANATOMY.right("atrophic kidney", "30 ml on the right", ATROPHIC)(of(ATROPHIC))
ANATOMY.right("low kidneys", "one 9 cm, one 3 cm lower than usual", LOW)(of(LOW))
ANATOMY.right("child", "a body half as wide, kidneys of 25 ml", SMALL)(of(SMALL))
ANATOMY.right("patient beside the middle", "5.5 cm off the centre of the field of view", OFF_CENTRE)(of(OFF_CENTRE))
