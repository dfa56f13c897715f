"""Turn three trained networks into a bundle, and its measurements into a model card.

    python Training/export_bundle.py --config Training/configs/standard.json --runs RUNS --out FOLDER --version 0.1.0 [--evaluation EVAL.json]

RUNS/roi, RUNS/kidney and RUNS/tumor are the output folders of `Training/train.py`. The card's numbers come from `Training/evaluate.py` alone:
export once without them, evaluate the bundle, export again with them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.bundle import save_weights, verify_bundle
from KidneyTumorCascadeLib.bundle_format import BUNDLE_FILE, SCHEMA, STAGES
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.report import write_json, write_text_atomically
from KidneyTumorCascadeLib.vnet import VNet
from Training.checkpoint import load_weights
from Training.command_line import make_folder, run_command
from Training.settings import StageSettings, read_config, read_settings
from Training.trainer import WEIGHTS_FILE

CARD_FILE = "MODEL_CARD.md"
ABOUT_FIELDS = ("name", "licence", "description", "training_data", "presets")
CASE_FIELDS = ("name", "trained_on", "synthetic", "kidney_dice", "kidney_hd95_mm", "tumor_dice", "tumor_ml", "reference_tumor_ml")


def trained_network(settings: StageSettings, runs: Path) -> VNet:
    """The network that a stage's training has come to. Raises InputError when it has not been trained as configured."""
    network = VNet(settings.shape)
    load_weights(network, runs / settings.stage / WEIGHTS_FILE)
    return network


def network_entry(settings: StageSettings, network: VNet, folder: Path) -> dict[str, Any]:
    """Write one stage's weights; returns what bundle.json says of them."""
    name = f"{settings.stage}.safetensors"
    digest = save_weights(network, folder / name)
    return {
        "network": settings.shape.to_dict(),
        "foreground": list(settings.sampling.foreground),
        "spacing_mm": [settings.sampling.spacing_mm] * 3,
        "patch": list(settings.sampling.patch),
        "normalization": settings.normalization.to_dict(),
        "weights": name,
        "sha256": digest,
    }


def export(config: Path, runs: Path, folder: Path, version: str, evaluation: Path | None) -> None:
    """Write the bundle and its card. What is in the folder already stays as it was until the new bundle is complete and verified."""
    about = read_about(config)
    measured = read_evaluation(evaluation) if evaluation else {"cases": []}
    settings = {stage: read_settings(config, stage) for stage in STAGES}
    networks = {stage: trained_network(settings[stage], runs) for stage in STAGES}
    make_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as name:
        entries = {stage: network_entry(settings[stage], networks[stage], Path(name)) for stage in STAGES}
        if evaluation:
            require_same_weights(evaluation, measured, entries)
        write_description(Path(name), content_of(about, version, entries, measured), measured)
        verify_bundle(Path(name))
        move_files(Path(name), folder)


def content_of(about: dict[str, Any], version: str, entries: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """What bundle.json says."""
    return {
        "schema": SCHEMA,
        "name": about["name"],
        "version": version,
        "licence": about["licence"],
        "description": about["description"],
        "training_data": about["training_data"],
        "accuracy": accuracy_of(measured["cases"]),
        "networks": entries,
        "presets": about["presets"],
    }


def write_description(folder: Path, content: dict[str, Any], measured: dict[str, Any]) -> None:
    """Write bundle.json and the card."""
    write_json(folder / BUNDLE_FILE, content)
    write_text_atomically(folder / CARD_FILE, card(content, measured))


def move_files(source: Path, target: Path) -> None:
    """Move all files of a bundle, bundle.json last: until then the old one refuses the new weights."""
    for file in sorted(source.iterdir(), key=lambda file: file.name == BUNDLE_FILE):
        os.replace(file, target / file.name)


def read_about(config: Path) -> dict[str, Any]:
    """What a configuration says of the bundle. Raises InputError when it does not."""
    about = read_config(config).get("bundle")
    missing = [name for name in ABOUT_FIELDS if not isinstance(about, dict) or name not in about]
    if missing:
        raise InputError(f"The training configuration {config} has no bundle.{missing[0]}, without which no bundle can be made; add it.")
    return dict(about or {})


def read_evaluation(path: Path) -> dict[str, Any]:
    """What `Training/evaluate.py` wrote. Raises InputError for anything else."""
    try:
        measured: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        complete = {"preset", "weights"} <= measured.keys() and all(set(CASE_FIELDS) <= case.keys() for case in measured["cases"])
    except OSError as error:
        raise InputError(f"The evaluation {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise InputError(f"{path} is not what Training/evaluate.py writes; evaluate the bundle again.")
    return measured


def require_same_weights(path: Path, measured: dict[str, Any], entries: dict[str, Any]) -> None:
    """Raises InputError when the numbers were measured with other weights than those that they would be published with."""
    if measured["weights"] != {stage: entry["sha256"] for stage, entry in entries.items()}:
        raise InputError(f"The evaluation {path} is of other weights; export without --evaluation, evaluate that bundle, and export again.")


def accuracy_of(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures that a bundle carries, each of cases that were not trained on."""
    unseen = [case for case in cases if not case["trained_on"]]
    real = [case for case in unseen if not case["synthetic"]]
    figures = {
        "real_kidney_dice": mean_of(case["kidney_dice"] for case in real),
        "real_tumor_dice": mean_of(case["tumor_dice"] for case in real),
        "real_invented_tumor_ml_median": median_of(case["tumor_ml"] for case in real if shows_kidneys_without_tumor(case)),
        "synthetic_kidney_dice": mean_of(case["kidney_dice"] for case in unseen if case["synthetic"]),
        "synthetic_tumor_dice": mean_of(case["tumor_dice"] for case in unseen if case["synthetic"]),
    }
    return {name: round(value, 4) for name, value in figures.items() if value is not None}


def shows_kidneys_without_tumor(case: dict[str, Any]) -> bool:
    """Whether every tumor voxel found in a case is an invented one, in kidneys that were there to be found."""
    return case["kidney_dice"] is not None and not case["reference_tumor_ml"]


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of what is there."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def median_of(values: Iterable[float | None]) -> float | None:
    """The median of what is there."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def card(content: dict[str, Any], measured: dict[str, Any]) -> str:
    """MODEL_CARD.md."""
    parts = [
        f"# {content['name']} {content['version']}",
        content["description"],
        f"Licence of the weights: {content['licence']}. For research; not for clinical use.",
        "## Training data",
        "\n".join(f"- {source}" for source in content["training_data"]),
        "## Networks",
        networks_table(content["networks"]),
        "## Measured",
        measured_table(measured) if measured["cases"] else "Not measured.",
    ]
    return "\n\n".join(parts) + "\n"


def networks_table(networks: dict[str, Any]) -> str:
    """One row a stage."""
    rows = ["| stage | finds labels | spacing (mm) | patch (z, y, x) | channels | kernel |", "|---|---|---|---|---|---|"]
    for stage, entry in networks.items():
        shape = entry["network"]
        cells = [stage, entry["foreground"], entry["spacing_mm"][0], entry["patch"], shape["base_channels"], shape["kernel"]]
        rows.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(rows)


def measured_table(measured: dict[str, Any]) -> str:
    """One row a case; cases that were trained on say so."""
    rows = [
        f"By `Training/evaluate.py` with the preset {measured['preset']}. Kidney is kidney and tumor together, as in KiTS19. A dash means that",
        "the reference has none, or marks no tumors: what is found there is invented. No HD95 beside a Dice means that nothing was found.",
        "",
        "| case | in training | kidney Dice | kidney HD95 (mm) | tumor Dice | tumor found (ml) | tumor there (ml) |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*rows, *(measured_row(case) for case in measured["cases"])])


def measured_row(case: dict[str, Any]) -> str:
    """A case's row."""
    cells = [
        case["name"],
        "yes" if case["trained_on"] else "no",
        number(case["kidney_dice"], 3),
        number(case["kidney_hd95_mm"], 1),
        number(case["tumor_dice"], 3),
        number(case["tumor_ml"], 1),
        number(case["reference_tumor_ml"], 1),
    ]
    return "| " + " | ".join(cells) + " |"


def number(value: float | None, digits: int) -> str:
    """A number, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--evaluation", type=Path)
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: export(arguments.config, arguments.runs, arguments.out, arguments.version, arguments.evaluation))


if __name__ == "__main__":
    sys.exit(main())
