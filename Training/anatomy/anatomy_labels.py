"""The tissues that a synthetic body is made of, by number."""

from __future__ import annotations

from enum import IntEnum


class Tissue(IntEnum):
    """What a voxel of an anatomy is. 0 is outside the body; organs of label maps have the numbers from 20 on."""

    AIR = 0
    LUNG = 1
    SKIN = 2
    FAT = 3
    VISCERAL_FAT = 4
    MUSCLE = 5
    BACK_MUSCLE = 6
    CORTICAL = 7
    MARROW = 8
    DISC = 9
    CORD = 10
    CARTILAGE = 11
    AORTA = 12
    CAVA = 13
    PORTAL = 14
    RENAL_VEIN = 15
    HEART = 16
    COUCH = 17
    HEPATIC_VEIN = 18
    PELVIS_URINE = 19
    LIVER = 20
    SPLEEN = 21
    STOMACH = 22
    GALLBLADDER = 23
    ESOPHAGUS = 24
    PANCREAS = 25
    DUODENUM = 26
    COLON = 27
    SMALL_BOWEL = 28
    ADRENAL = 29
    RECTUM = 30
    BLADDER = 31
    FEMUR = 32
    GAS = 33
    FLUID = 34
    STOOL = 35
    KIDNEY = 36
    TUMOR = 37
    CYST = 38
    FOAM = 39
    RIB = 40
    UNLABELLED = 41
