"""Turn three trained networks into a bundle, and its measurements into a model card.

    python -m Training.export_bundle --config Training/configs/standard.json --runs RUNS --out FOLDER --version 0.1.0 [--evaluation EVAL.json]

RUNS/roi, RUNS/kidney and RUNS/tumor are `Training.train`'s output folders. The card's numbers come from `Training.evaluate` alone: export
once without them, evaluate the bundle, export again with them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from KidneyTumorCascadeLib.bundle import save_weights, verify_bundle
from KidneyTumorCascadeLib.bundle_format import BUNDLE_FILE, STAGES
from KidneyTumorCascadeLib.errors import CascadeError
from KidneyTumorCascadeLib.report import write_json, write_text_atomically
from KidneyTumorCascadeLib.vnet import VNet
from Training.settings import StageSettings, read_settings

CARD_FILE = "MODEL_CARD.md"


def network_entry(settings: StageSettings, run: Path, folder: Path) -> dict[str, Any]:
    """Write one stage's weights; returns what bundle.json says of them."""
    network = VNet(settings.shape)
    network.load_state_dict({name: value.float() for name, value in load_file(run / "weights.safetensors").items()})
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
    """Write the bundle and its card, and verify it."""
    folder.mkdir(parents=True, exist_ok=True)
    about = json.loads(config.read_text())["bundle"]
    measured = json.loads(evaluation.read_text()) if evaluation else {"cases": []}
    content = {
        "schema": 1,
        "name": about["name"],
        "version": version,
        "licence": about["licence"],
        "description": about["description"],
        "training_data": about["training_data"],
        "accuracy": accuracy_of(measured["cases"]),
        "networks": {stage: network_entry(read_settings(config, stage), runs / stage, folder) for stage in STAGES},
        "presets": about["presets"],
    }
    write_json(folder / BUNDLE_FILE, content)
    write_text_atomically(folder / CARD_FILE, card(content, measured))
    verify_bundle(folder)


def accuracy_of(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures that a bundle carries, each of cases that were not trained on."""
    unseen = [case for case in cases if not case["trained_on"]]
    real = [case for case in unseen if not case["synthetic"]]
    figures = {
        "real_kidney_dice": mean_of(case["kidney_dice"] for case in real),
        "real_invented_tumor_ml_median": median_of(case["tumor_ml"] for case in real if case["kidney_dice"] is not None),
        "synthetic_kidney_dice": mean_of(case["kidney_dice"] for case in unseen if case["synthetic"]),
        "synthetic_tumor_dice": mean_of(case["tumor_dice"] for case in unseen if case["synthetic"]),
    }
    return {name: round(value, 4) for name, value in figures.items() if value is not None}


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
        f"By `python -m Training.evaluate` with the preset {measured['preset']}. Kidney is kidney and tumor together, as in KiTS19; a dash means",
        "that the case has none.",
        "",
        "| case | in training | kidney Dice | kidney HD95 (mm) | tumor Dice | tumor found (ml) | tumor there (ml) |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in measured["cases"]:
        known = case["reference_tumor_ml"] if case["reference_tumor_ml"] is not None else 0.0
        cells = [
            case["name"],
            "yes" if case["trained_on"] else "no",
            number(case["kidney_dice"], 3),
            number(case["kidney_hd95_mm"], 1),
            number(case["tumor_dice"], 3),
            number(case["tumor_ml"], 1),
            number(known, 1),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def number(value: float | None, digits: int) -> str:
    """A number, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--evaluation", type=Path)
    arguments = parser.parse_args()
    try:
        export(arguments.config, arguments.runs, arguments.out, arguments.version, arguments.evaluation)
    except CascadeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
