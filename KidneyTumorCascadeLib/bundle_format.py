"""What a model bundle says about itself: `bundle.json`, schema 1, read and checked field by field.

    {"schema": 1, "name": ..., "version": ..., "licence": ..., "description": ..., "training_data": [...], "accuracy": {...},
     "networks": {"roi": {...}, "kidney": {...}, "tumor": {...}},
     "presets": {"standard": {...}, "fast": {...}, "paper": {...}}}

A network: network (`VNetShape`), foreground (the labels that it finds), spacing_mm (x, y, z), patch (z, y, x), normalization, weights (file
name), sha256.
A preset: description, boxes (`BoxRules`), overlap and spacing_mm (per pass "roi" and "kidney"; the latter also for tumor), merge, rules
(`ComponentRules`), within_body (look for kidneys in the body's extent only), thinned (look for them in fewer of the scan's voxels), mirrored
(see every patch in a mirror, too), stretch (per pass: how many times as long as the network's a patch may be where that saves work),
tumor_support (how probable kidney must be where a tumor is believed), min_tumor_peak (how probable a tumor must be somewhere). Spacings are
optional: without one, the network's own holds; so are within_body, thinned and mirrored, false by default, stretch, by default 1,
tumor_support, by default 0.5, and min_tumor_peak, by default 0.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from KidneyTumorCascadeLib.box_rules import BoxRules
from KidneyTumorCascadeLib.component_rules import ComponentRules
from KidneyTumorCascadeLib.errors import BundleError, InputError
from KidneyTumorCascadeLib.geometry import Size, Vector
from KidneyTumorCascadeLib.json_fields import MAX_BYTES, Fields, parse_json, quote, reason
from KidneyTumorCascadeLib.normalization import Normalization, normalization_from_dict
from KidneyTumorCascadeLib.vnet import VNetShape

SCHEMA = 1
BUNDLE_FILE = "bundle.json"
STAGES = ("roi", "kidney", "tumor")
# Kidney and tumor networks see the same patches, so that there are two passes and not three.
PASSES = ("roi", "kidney")
FOREGROUNDS = {"roi": ((1, 2),), "kidney": ((1,), (1, 2)), "tumor": ((2,),)}
MERGES = ("overlay", "compare")
DEFAULT_PRESET = "standard"

NAME_PATTERN = r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?"
NAME_RULE = "1 to 64 small letters, digits, dots, hyphens and underscores, with a letter or digit first and last"
PRESET_PATTERN = r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}"
WEIGHTS_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.safetensors"
SPACING_LIMITS = (0.1, 20.0)
STRETCH_LIMITS = (1.0, 2.0)
SUPPORT_LIMITS = (0.0, 0.5)
PATCH_LIMITS = (8, 512)
MOST_LEVELS, MOST_CONVOLUTIONS, MOST_CHANNELS, LARGEST_KERNEL = 7, 16, 256, 15
Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Stage:
    """One of the three networks and how it is applied.

    Attributes:
        name: "roi", "kidney" or "tumor".
        shape: the network.
        foreground: the label values that its second channel stands for; a kidney network may leave the tumors out or take them in.
        spacing: mm (x, y, z) of the voxels that it sees.
        patch: voxels (z, y, x) that it sees at once.
        normalization: from HU to its input.
        weights: the file.
        sha256: of that file.
    """

    name: str
    shape: VNetShape
    foreground: tuple[int, ...]
    spacing: Vector
    patch: Size
    normalization: Normalization
    weights: Path
    sha256: str


@dataclass(frozen=True)
class Preset:
    """One way to apply a bundle's networks.

    Attributes:
        boxes: how kidneys become boxes.
        overlap: of neighbouring patches, 0 to 0.9, per pass ("roi", "kidney").
        spacing: mm (x, y, z) per pass where it differs from the network's own.
        merge: "overlay" or "compare".
        rules: which components are believed.
        within_body: kidneys are looked for in the body's extent only, not in the air around it.
        thinned: kidneys are looked for in every second row and column of the scan, or fewer, where these are much finer than the network's voxels.
        stretch: how many times as long as the network's patch one may be along each axis, where fewer voxels then cover the image; 1 to 2, per
            pass where it is not 1.
        mirrored: every patch is seen twice, once with left and right exchanged, and the mean of both answers counts: in twice the time.
        tumor_support: where the Kidney-V-Net takes tumors in, a tumor is believed only where it finds kidney more probable than this; 0 to 0.5.
        min_tumor_peak: a tumor that is nowhere more probable than this is none.
    """

    name: str
    description: str
    boxes: BoxRules
    overlap: Mapping[str, float]
    spacing: Mapping[str, Vector]
    merge: str
    rules: ComponentRules
    within_body: bool = False
    thinned: bool = False
    mirrored: bool = False
    stretch: Mapping[str, float] = field(default_factory=dict)
    tumor_support: float = 0.5
    min_tumor_peak: float = 0.0


@dataclass(frozen=True)
class Bundle:
    """A model bundle as its `bundle.json` describes it; the weights are checked when they are loaded.

    Attributes:
        digest: SHA-256 of bundle.json. As that file holds the hashes of the weights, it stands for the whole bundle.
    """

    folder: Path
    name: str
    version: str
    licence: str
    description: str
    stages: Mapping[str, Stage]
    presets: Mapping[str, Preset]
    digest: str
    training_data: tuple[Any, ...] = ()
    accuracy: Mapping[str, Any] = field(default_factory=dict)

    def preset(self, name: str = DEFAULT_PRESET) -> Preset:
        """The preset of that name. Raises InputError with the names that there are."""
        if name not in self.presets:
            raise InputError(f"The bundle {self.name} has no preset {name!r}; choose one of {', '.join(self.presets)}.")
        return self.presets[name]

    def spacing(self, pass_name: str, preset: Preset) -> Vector:
        """mm (x, y, z) of a pass ("roi" or "kidney") with that preset."""
        return preset.spacing.get(pass_name, self.stages[pass_name].spacing)

    def summary(self) -> dict[str, str]:
        """What a manifest says about the bundle."""
        return {"name": self.name, "version": self.version, "sha256": self.digest, "licence": self.licence}


def read_bundle(folder: Path) -> Bundle:
    """The bundle in that folder, every field checked. Raises BundleError naming file, field and value."""
    file = folder / BUNDLE_FILE
    data = read_limited(file, MAX_BYTES)
    top = Fields(parse_json(data, file), file)
    check_schema(top)
    networks, presets = top.inner("networks"), top.inner("presets")
    stages = {name: read_stage(name, networks.inner(name), folder) for name in STAGES}
    networks.done()
    check_shared_patches(file, stages)
    bundle = Bundle(
        folder=folder,
        name=top.text("name", NAME_PATTERN, NAME_RULE),
        version=top.text("version", r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,39}", "a version such as 1.0.0"),
        licence=top.text("licence", r"[^\n]*\S[^\n]*", "the licence of the weights, such as CC-BY-NC-SA-4.0"),
        description=top.text("description"),
        stages=stages,
        presets={name: read_preset(name, presets.inner(name)) for name in preset_names(presets)},
        digest=hashlib.sha256(data).hexdigest(),
        training_data=tuple(top.items("training_data")),
        accuracy=top.inner("accuracy").values,
    )
    top.done()
    if DEFAULT_PRESET not in bundle.presets:
        raise presets.problem(DEFAULT_PRESET, "there, as every bundle has this preset")
    return bundle


def read_limited(file: Path, most: int) -> bytes:
    """A file's bytes. Raises BundleError when it is missing, unreadable or larger than that."""
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            # Not simply `most`: Python makes room for all that it is asked to read.
            data = stream.read(size + 1) if size <= most else b""
    except FileNotFoundError as error:
        raise BundleError(f"There is no {file.name} in {file.parent}; give the folder of a model bundle, or get a new copy of it.") from error
    except OSError as error:
        raise BundleError(f"{file} cannot be read ({error.strerror or error}); check that it is a file and that you may read it.") from error
    if max(size, len(data)) > most:
        raise BundleError(f"{file} is larger than the {most} bytes that it may have; get a new copy of the bundle.")
    return data


def check_schema(top: Fields) -> None:
    """Raises BundleError when the bundle was made for another version of this format."""
    schema = top.take("schema")
    if type(schema) is not int:
        raise top.problem("schema", f"the whole number {SCHEMA}")
    if schema != SCHEMA:
        remedy = "update the extension (or the package kidney-tumor-cascade)" if schema > SCHEMA else "get a newer copy of the bundle"
        raise BundleError(f"{top.file}: the bundle has schema version {quote(schema)}, this program reads version {SCHEMA}; {remedy}.")


def read_stage(name: str, values: Fields, folder: Path) -> Stage:
    """One network's entry."""
    shape = read_shape(values)
    patch = values.three_wholes("patch", *PATCH_LIMITS)
    if any(edge % shape.divisor for edge in patch):
        raise values.problem("patch", f"three multiples of {shape.divisor}, as the network halves its input {shape.levels} times")
    stage = Stage(
        name=name,
        shape=shape,
        foreground=read_foreground(name, values),
        spacing=values.three_numbers("spacing_mm", *SPACING_LIMITS),
        patch=patch,
        normalization=parsed(values, "normalization", normalization_from_dict),
        weights=folder / values.text("weights", WEIGHTS_PATTERN, "the name of a .safetensors file beside it (pickles are refused)"),
        sha256=values.text("sha256", r"[0-9a-f]{64}", "64 hexadecimal digits in small letters"),
    )
    values.done()
    return stage


def read_shape(values: Fields) -> VNetShape:
    """The network's shape, within limits that keep a wrong number from exhausting the memory."""
    inner = values.inner("network")
    for name, value in inner.values.items():
        numbers = value if isinstance(value, list) else [value]
        if name != "norm" and not all(type(number) is int for number in numbers):
            raise inner.problem(name, "made of whole numbers")
    shape = parsed(values, "network", VNetShape.from_dict)
    counts = (*shape.encoder_convolutions, shape.bottom_convolutions, *shape.decoder_convolutions)
    too_large = shape.levels > MOST_LEVELS or max(counts) > MOST_CONVOLUTIONS or shape.base_channels > MOST_CHANNELS or shape.kernel > LARGEST_KERNEL
    if too_large or shape.in_channels != 1 or shape.out_channels != 2:
        raise values.problem(
            "network",
            f"a network of 1 input and 2 output channels with at most {MOST_LEVELS} levels, {MOST_CONVOLUTIONS} convolutions a level, "
            f"{MOST_CHANNELS} channels and kernels of {LARGEST_KERNEL}",
        )
    return shape


def read_foreground(stage: str, values: Fields) -> tuple[int, ...]:
    """The labels (1 kidney, 2 tumor) that a network finds."""
    labels = tuple(label for label in values.items("foreground") if type(label) is int)
    if labels not in FOREGROUNDS[stage] or len(labels) != len(values.items("foreground")):
        raise values.problem("foreground", " or ".join(str(list(choice)) for choice in FOREGROUNDS[stage]))
    return labels


def preset_names(presets: Fields) -> list[str]:
    """The names of the presets, which users give and are shown. Raises BundleError for one that is none."""
    for name in presets.values:
        if not re.fullmatch(PRESET_PATTERN, name):
            expected = "up to 64 letters, digits, spaces, dots, hyphens and underscores, with a letter or digit first"
            raise BundleError(f"{presets.file}: {quote(name)} cannot be the name of a preset; it must be {expected}.")
    return list(presets.values)


def read_preset(name: str, values: Fields) -> Preset:
    """One preset's entry."""
    overlap = values.inner("overlap")
    spacing, stretch = (values.inner(name) if values.has(name) else None for name in ("spacing_mm", "stretch"))
    preset = Preset(
        name=name,
        description=values.text("description"),
        boxes=parsed(values, "boxes", BoxRules.from_dict),
        overlap={key: overlap.number(key, 0.0, 0.9) for key in PASSES},
        spacing={key: spacing.three_numbers(key, *SPACING_LIMITS) for key in PASSES if spacing.has(key)} if spacing else {},
        merge=values.choice("merge", MERGES),
        rules=parsed(values, "rules", ComponentRules.from_dict),
        within_body=optional_flag(values, "within_body"),
        thinned=optional_flag(values, "thinned"),
        mirrored=optional_flag(values, "mirrored"),
        stretch={key: stretch.number(key, *STRETCH_LIMITS) for key in PASSES if stretch.has(key)} if stretch else {},
        tumor_support=values.number("tumor_support", *SUPPORT_LIMITS) if values.has("tumor_support") else Preset.tumor_support,
        min_tumor_peak=values.number("min_tumor_peak", 0.0, 1.0) if values.has("min_tumor_peak") else Preset.min_tumor_peak,
    )
    for fields in (values, overlap, *([spacing] if spacing else []), *([stretch] if stretch else [])):
        fields.done()
    return preset


def optional_flag(values: Fields, name: str) -> bool:
    """True or false, false where nothing is said."""
    return values.flag(name) if values.has(name) else False


def parsed(values: Fields, name: str, parse: Callable[[dict[str, Any]], Parsed]) -> Parsed:
    """An object that another module parses, with its ValueError turned into a sentence that names file and field."""
    inner = values.inner(name)
    try:
        return parse(inner.values)
    except (ValueError, TypeError, OverflowError) as error:
        raise BundleError(f"{values.file}: {inner.place} is unusable ({reason(error)}); correct it or get a new copy of the bundle.") from error


def check_shared_patches(file: Path, stages: Mapping[str, Stage]) -> None:
    """Raises BundleError when kidney and tumor networks could not see the same patches."""
    kidney, tumor = stages["kidney"], stages["tumor"]
    for name, key in (("spacing", "spacing_mm"), ("patch", "patch"), ("normalization", "normalization")):
        if getattr(kidney, name) != getattr(tumor, name):
            raise BundleError(
                f"{file}: networks.tumor.{key} differs from networks.kidney.{key}, but both networks see the same patches; make them equal."
            )
