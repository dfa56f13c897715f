"""MODEL_CARD.md: what a bundle is, what it was trained on, and how right it is. Its numbers come from evaluations alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from Training.case_names import ANATOMY, IMPLANTED, PHANTOM, REAL, SLAB
from Training.measuring.evaluation_files import Case, Evaluation, Evidence
from Training.measuring.evaluation_tables import cell
from Training.measuring.figures import (
    UNENHANCED_HU,
    Aim,
    aims,
    by_contrast,
    dices,
    known,
    large_tumors,
    mean_of,
    median_of,
    of_origin,
    reliability_of,
    shows_kidneys_without_tumor,
)
from Training.measuring.lesion_detection import SEEN_HU, Share, found_by_contrast, found_by_size

ORIGINS = {
    REAL: "real CT",
    IMPLANTED: "tumors grown or transplanted into real CT",
    ANATOMY: "rendered label maps",
    SLAB: "single real slices as slabs",
    PHANTOM: "phantoms",
}
# A slab says nothing of a tumor's volume.
WHOLE_TUMORS = {origin: title for origin, title in ORIGINS.items() if origin != SLAB}
INTENDED_USE = (
    "For research on kidneys and kidney tumors in abdominal CT of adults: volumes, first contours to be corrected, cohorts. "
    "Not for clinical use, and no medical device: nothing that it finds or does not find may decide on a patient."
)
GENERAL_LIMITS = (
    "Every contour has to be looked at by someone who knows kidneys in CT.",
    "Kidney is KiTS19's kidney: parenchyma, cysts and tumors, without renal pelvis, ureter and vessels beyond the hilum. Cysts are no tumors.",
    "Synthetic cases say how right the networks are on images like those that they were trained on; they are no substitute for patients.",
)


def card(content: Mapping[str, Any], about: Mapping[str, Any], evidence: Evidence, weights: Mapping[str, str]) -> str:
    """The whole card.

    Args:
        content: of bundle.json.
        about: "bundle" of the training configuration, whose optional lists `limits` and `reproduce` go into those sections.
        evidence: what was measured.
        weights: SHA-256 by stage.
    """
    parts = [
        f"# {content['name']} {content['version']}",
        content["description"],
        "## Intended use",
        INTENDED_USE,
        "## Training data",
        bullets(content["training_data"]),
        "## Networks",
        networks_table(content["networks"]),
        *measured_parts(evidence),
        "## Limits",
        bullets([*GENERAL_LIMITS, *about.get("limits", ())]),
        "## Licence",
        f"Weights: {content['licence']}. The code that applies them has its own licence.",
        "## How to reproduce",
        reproduction(about, evidence, weights),
    ]
    return "\n\n".join(parts) + "\n"


def measured_parts(evidence: Evidence) -> list[str]:
    """Everything that was measured; one sentence when nothing was."""
    if not evidence.cases:
        return ["## Measured", "Not measured."]
    unseen = evidence.unseen
    parts = ["## Measured", measured_text(evidence), "### Against the aims", aims_table(aims(unseen))]
    parts += [
        "### By kind of case",
        groups_text(unseen),
        "### With and without contrast",
        contrast_table(unseen),
        "### Tumors found, by size",
        detection_table(unseen),
        "### Tumors found, by contrast with the kidney",
        visibility_table(unseen),
    ]
    parts += ["### Calibration of the probabilities", calibration_text(unseen)]
    if evidence.left_out:
        parts += ["### Left-out patients", left_out_text(evidence.left_out)]
    return [*parts, "### Every case", cases_table(evidence.cases)]


def measured_text(evidence: Evidence) -> str:
    """What the tables mean."""
    left_out = len(evidence.left_out_cases)
    text = (
        f"By `Training/evaluate.py` with the preset {evidence.preset}, on {len(evidence.unseen)} cases that the measured weights were not trained on"
    )
    text += f" ({left_out} of them measured with other weights, see Left-out patients)." if left_out else "."
    return (
        f"{text} Kidney is kidney and tumor together, as in KiTS19. A dash means that the reference has none, or marks no tumors: what is found "
        "there is invented. No HD95 beside a Dice means that nothing was found."
    )


def aims_table(rows: Sequence[Aim]) -> str:
    """One row an aim."""
    header = ("", "figure", "n", "measured", "aim", "")
    return markdown(header, (aim_cells(aim) for aim in rows))


def aim_cells(aim: Aim) -> list[str]:
    """The cells of one aim."""
    measured = cell(aim.value, aim.digits)
    if aim.values and aim.others:
        measured += f" ({', '.join(f'{name} {statistic(aim.values):.{aim.digits}f}' for name, statistic in aim.others)})"
    sign = "at least" if aim.at_least else "at most"
    return [aim.criterion, aim.figure, str(len(aim.values)), measured, f"{sign} {aim.target:g}", aim.verdict]


def groups_text(cases: Sequence[Case]) -> str:
    """The table, and what has to be known of single slices."""
    table = groups_table(cases)
    if not of_origin(cases, SLAB):
        return table
    return (
        "Single real slices are repeated to slabs of a few centimetres, and segmented in a box around what is labelled in them: "
        f"the kidneys are not labelled in all.\n\n{table}"
    )


def groups_table(cases: Sequence[Case]) -> str:
    """One row a kind of case: Dice as mean, median and lowest."""
    header = ("cases", "n", "kidney Dice", "kidney HD95 (mm), median", "tumor Dice", "tumor invented (ml), median and most", "false tumors a scan")
    return markdown(header, (group_cells(title, of_origin(cases, origin)) for origin, title in ORIGINS.items() if of_origin(cases, origin)))


def group_cells(title: str, cases: Sequence[Case]) -> list[str]:
    """The cells of one kind of case."""
    invented = [case["tumor_ml"] for case in cases if shows_kidneys_without_tumor(case)]
    return [
        title,
        str(len(cases)),
        spread(known(dices(cases, "kidney"))),
        cell(median_of(case["kidney_hd95_mm"] for case in cases), 1),
        spread(known(dices(cases, "tumor"))),
        f"{statistics.median(invented):.2f}, {max(invented):.2f} (n = {len(invented)})" if invented else "-",
        cell(mean_of(case["false_tumors"] for case in cases), 2),
    ]


def spread(values: Sequence[float]) -> str:
    """Mean, median and lowest."""
    if not values:
        return "-"
    return f"{statistics.fmean(values):.3f}, median {statistics.median(values):.3f}, lowest {min(values):.3f} (n = {len(values)})"


def contrast_table(cases: Sequence[Case]) -> str:
    """One row a kind of case and contrast: what unenhanced scans cost."""
    groups = [
        [f"{title}, {contrast}", str(len(group)), *contrast_cells(group)]
        for origin, title in WHOLE_TUMORS.items()
        for contrast, group in by_contrast(of_origin(cases, origin)).items()
        if group
    ]
    if not groups:
        return "No case shows kidneys."
    header = ("cases", "n", "kidney Dice", "tumor Dice", "tumors of 2 cm and more found")
    note = f"Without contrast are scans whose kidneys have less than {UNENHANCED_HU:.0f} HU (median of the reference's kidney without tumor)."
    return f"{note}\n\n{markdown(header, groups)}"


def contrast_cells(cases: Sequence[Case]) -> list[str]:
    """Mean Dice of kidney and tumor, and how many tumors were found of how many."""
    large = large_tumors(cases)
    return [cell(mean_of(dices(cases, "kidney")), 3), cell(mean_of(dices(cases, "tumor")), 3), f"{sum(large):.0f} of {len(large)}"]


def detection_table(cases: Sequence[Case]) -> str:
    """Found of all, by kind of case and diameter of the sphere of the same volume."""
    table = found_table(cases, found_by_size)
    if table is None:
        return "No case has tumors."
    return f"A tumor is found when its intersection over union with the predicted tumors that touch it is 0.1 or more.\n\n{table}"


def visibility_table(cases: Sequence[Case]) -> str:
    """Found of the large ones, by kind of case and by whether brightness tells them from their kidney."""
    table = found_table(cases, found_by_contrast)
    if table is None:
        return "No case has tumors."
    return (
        "Tumors of 2 cm and more, by how much their median differs from that of the scan's kidneys without tumor. "
        f"What differs by less than {SEEN_HU:.0f} HU is known from its form alone, if at all.\n\n{table}"
    )


def found_table(cases: Sequence[Case], classes: Callable[[Sequence[Mapping[str, Any]]], dict[str, Share]]) -> str | None:
    """How many tumors of each class were found, one row a kind of case; None where none has any."""
    lesions = {title: [lesion for case in of_origin(cases, origin) for lesion in case["lesions"]] for origin, title in WHOLE_TUMORS.items()}
    rows = [(title, classes(of_kind)) for title, of_kind in lesions.items() if of_kind]
    if not rows:
        return None
    header = ("cases", *rows[0][1])
    return markdown(header, ([title, *(f"{share.found} of {share.lesions}" for share in shares.values())] for title, shares in rows))


def calibration_text(cases: Sequence[Case]) -> str:
    """Both errors of both networks, by kind of case."""
    rows = []
    for origin, title in ORIGINS.items():
        tables = [reliability_of(of_origin(cases, origin), region) for region in ("kidney", "tumor")]
        if any(table.used.any() for table in tables):
            rows.append([title, *(cell(error, 4) for table in tables for error in (table.expected_error, table.average_error))])
    header = ("cases", "kidney ECE", "kidney mean gap", "tumor ECE", "tumor mean gap")
    note = "Inside the boxes, ten bins: the expected calibration error weights each bin by its voxels, the mean gap takes all bins alike."
    return f"{note}\n\n{markdown(header, rows)}" if rows else "No probabilities were measured."


def left_out_text(evaluations: Sequence[Evaluation]) -> str:
    """Whose weights measured which cases."""
    note = (
        "These cases were measured with other weights than those of this bundle: trained by a recipe of the same kind, without that patient. "
        "They stand for what the recipe does with patients it has not seen; this bundle's own weights were trained on them or not measured there. "
        "Nothing is said of tumors where this bundle's own Tumor-V-Net was used, which knew those patients. "
        "Where fewer steps or fewer scans than the recipe's were used, the limits say so."
    )
    blocks = [f"Weights {short(evaluation['weights'])}:\n\n{cases_table(evaluation['cases'])}" for evaluation in evaluations]
    return "\n\n".join([note, *blocks])


def short(weights: Mapping[str, str]) -> str:
    """The beginnings of SHA-256 hashes, which tell weights apart."""
    return ", ".join(f"{stage} {digest[:12]}" for stage, digest in weights.items())


def cases_table(cases: Iterable[Case]) -> str:
    """One row a case; cases that were trained on say so."""
    header = ("case", "in training", "kidney Dice", "kidney HD95 (mm)", "tumor Dice", "tumor found (ml)", "tumor there (ml)", "false tumors")
    return markdown(header, (case_cells(case) for case in cases))


def case_cells(case: Case) -> list[str]:
    """The cells of one case."""
    numbers = (("kidney_dice", 3), ("kidney_hd95_mm", 1), ("tumor_dice", 3), ("tumor_ml", 1), ("reference_tumor_ml", 1), ("false_tumors", 0))
    return [case["name"], "yes" if case["trained_on"] else "no", *(cell(case[key], digits) for key, digits in numbers)]


def networks_table(networks: Mapping[str, Any]) -> str:
    """One row a stage."""
    rows = []
    for stage, entry in networks.items():
        shape = entry["network"]
        cells = [stage, entry["foreground"], entry["spacing_mm"][0], entry["patch"], shape["base_channels"], shape["kernel"]]
        rows.append([str(value) for value in cells])
    return markdown(("stage", "finds labels", "spacing (mm)", "patch (z, y, x)", "channels", "kernel"), rows)


def reproduction(about: Mapping[str, Any], evidence: Evidence, weights: Mapping[str, str]) -> str:
    """What has to be run, and which weights it is about."""
    steps = about.get("reproduce", ["See Training/README.md: prepare or synthesize a pool, train, evaluate, export."])
    hashes = (f"{stage}: `{digest}`" for stage, digest in weights.items())
    lines = [bullets(steps), "SHA-256 of the weights:", bullets(hashes)]
    if evidence.cases:
        command = f"python Training/evaluate.py EVALUATION.json --bundle BUNDLE --preset {evidence.preset}"
        commands = ", ".join(f"`{command} {options}`" for options in evidence.measured_on)
        lines.append(f"The numbers can be measured again with {commands}.")
    return "\n\n".join(lines)


def bullets(lines: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {line}" for line in lines)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines).replace("| --- ", "|---").replace("|--- |", "|---|")
