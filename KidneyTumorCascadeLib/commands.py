"""What the command line's commands do: arguments in, text out. Errors are raised; `cli.py` turns them into sentences and exit codes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from KidneyTumorCascadeLib.batch_command import batch
from KidneyTumorCascadeLib.bundle import list_bundles, load_bundle, verify_bundle, verify_hashes
from KidneyTumorCascadeLib.bundle_store import install_bundle, remove_bundle
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.case_files import missing_predictions
from KidneyTumorCascadeLib.environment import environment_report
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.evaluation import evaluate_paths, scores_csv, scores_table
from KidneyTumorCascadeLib.output_files import FilesTogether, remove_leftovers, require_apart, require_ending
from KidneyTumorCascadeLib.phantom import PhantomSettings, make_phantom
from KidneyTumorCascadeLib.progress import Reporter, make_reporter
from KidneyTumorCascadeLib.report import require_place_for, summary_text, write_json, write_text_atomically
from KidneyTumorCascadeLib.scan_reading import EarlyReading
from KidneyTumorCascadeLib.segment_file import Request, boxes_to_json, check_request, open_cascade, read_boxes, read_checked, segment_file
from KidneyTumorCascadeLib.volume import require_writable, write_volume

# A patient whose tumor is large enough for the bundled networks to find.
DEMO = PhantomSettings(seed=6, tumors=2)
DEMO_CT, DEMO_TRUTH = "ct.nii.gz", "truth.nii.gz"


def say(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(text.rstrip("\n") + "\n")


def warn(arguments: argparse.Namespace, warnings: Sequence[str]) -> None:
    """A line on standard error for each warning; one of JSON where programs read it."""
    for text in warnings:
        sys.stderr.write((json.dumps({"warning": text}) if getattr(arguments, "json", False) else f"Warning: {text}") + "\n")


def reporter_of(arguments: argparse.Namespace) -> Reporter:
    """Progress as the arguments and the terminal ask for."""
    return make_reporter(sys.stderr, quiet=arguments.quiet, as_json=arguments.json)


def request_of(arguments: argparse.Namespace, source: Path, output: Path, **more: Any) -> Request:
    """The request that a command's common options describe."""
    return Request(source, output, bundle=arguments.bundle, preset=arguments.preset, device=arguments.device, **more)


def segment(arguments: argparse.Namespace) -> None:
    """segment INPUT OUTPUT."""
    boxes = read_boxes(arguments.boxes) if arguments.boxes else None
    request = request_of(
        arguments,
        arguments.input,
        arguments.output,
        merge=arguments.merge,
        boxes=boxes,
        boxes_file=arguments.boxes,
        preview=arguments.preview,
        probabilities=arguments.probabilities,
    )
    if remove_leftovers(request.output.parent):
        warn(arguments, [f"Unfinished files of a run that was killed lay in {request.output.parent} and were removed."])
    manifest = run(arguments, request)
    show_result(arguments, manifest)


def run(arguments: argparse.Namespace, request: Request) -> dict[str, Any]:
    """Segment one scan with progress on standard error; returns the manifest."""
    with reporter_of(arguments) as progress:
        return segment_file(request, progress=progress, read=lambda cascade: read_checked(request.source, cascade, early_of(arguments)))


def early_of(arguments: argparse.Namespace) -> EarlyReading | None:
    """The thread that reads the scan since the program began, if there is one."""
    return getattr(arguments, "early", None)


def show_result(arguments: argparse.Namespace, manifest: Mapping[str, Any]) -> None:
    """The manifest as text or JSON on standard output, the warnings on standard error."""
    warn(arguments, manifest["warnings"])
    if arguments.json:
        say(json.dumps(manifest, indent=2))
    elif not arguments.quiet:
        say(summary_text({**manifest, "warnings": []}))


def boxes(arguments: argparse.Namespace) -> None:
    """boxes INPUT [OUTPUT.json]."""
    if arguments.output:
        require_ending(arguments.output, ".json", "list of boxes")
        require_place_for(arguments.output)
    with reporter_of(arguments) as progress:
        cascade: Cascade = open_cascade(request_of(arguments, arguments.input, Path()), progress)
        scan, warnings = read_checked(arguments.input, cascade, early_of(arguments))
        found = cascade.find_kidneys(scan)
    warnings += [*cascade.engine.warnings, *found.warnings, *cascade.warnings]
    content = boxes_to_json(found.boxes, warnings)
    warn(arguments, warnings)
    if arguments.output:
        write_json(arguments.output, content)
    if arguments.json or not arguments.output:
        say(json.dumps(content, indent=2))


def evaluate(arguments: argparse.Namespace) -> None:
    """evaluate PREDICTION REFERENCE."""
    if arguments.csv:
        require_place_for(arguments.csv)
        require_apart([("table", arguments.csv)], [("prediction", arguments.prediction), ("reference", arguments.reference)])
    missing = missing_predictions(arguments.prediction, arguments.reference)
    rows = evaluate_paths(arguments.prediction, arguments.reference, arguments.kidney_only)
    if missing:
        warn(arguments, [f"{arguments.prediction} has no prediction for {', '.join(missing)}; the mean is that of the others."])
    if arguments.csv:
        write_text_atomically(arguments.csv, scores_csv(rows))
    say(scores_table(rows))


def phantom(arguments: argparse.Namespace) -> None:
    """phantom CT LABELS."""
    for path in (arguments.ct, arguments.labels):
        require_writable(path)
    require_apart([("scan", arguments.ct), ("label map", arguments.labels)])
    settings = PhantomSettings(
        seed=arguments.seed,
        tumors=arguments.tumors,
        phase=arguments.phase,
        orientation=arguments.orientation,
        oblique_degrees=arguments.oblique,
    )
    write_phantom(settings, arguments.ct, arguments.labels)


def write_phantom(settings: PhantomSettings, ct: Path, labels: Path) -> None:
    """Make a phantom; write its scan and its true label map, both or none."""
    made = make_phantom(settings)
    with FilesTogether() as files:
        write_volume(made.volume, files.place(ct))
        write_volume(made.labels, files.place(labels))


def bundle(arguments: argparse.Namespace) -> None:
    """bundle list|verify|install|remove."""
    if arguments.action == "list":
        say("\n".join(f"{found.name:<24}{described(found)}" for found in list_bundles()))
    elif arguments.action == "verify":
        say("\n".join(verify_bundle(load_bundle(arguments.name).folder)))
    elif arguments.action == "install":
        installed = install_bundle(arguments.zip)
        say(f"Installed {installed.name} {installed.version} (licence of the weights: {installed.licence}).")
    else:
        say(f"Removed {remove_bundle(arguments.name)}.")


def described(found: Any) -> str:
    """A listed bundle in a few words."""
    if found.bundle is None:
        return f"unusable: {found.problem}"
    return f"{found.bundle.version:<10}{found.bundle.licence:<20}{', '.join(found.bundle.presets)}"


def check(_: argparse.Namespace) -> None:
    """check. Raises BundleError, after the report, when the default bundle is not as it was made."""
    say(environment_report())
    verify_hashes(load_bundle())


def demo(arguments: argparse.Namespace) -> None:
    """demo FOLDER: a phantom, its segmentation, and how far that is from the truth."""
    folder: Path = arguments.folder
    require_demo_folder(folder)
    ct, truth, labels = folder / DEMO_CT, folder / DEMO_TRUTH, folder / "segmentation.nii.gz"
    request = request_of(arguments, ct, labels, preview=folder / "preview.png")
    check_request(request)
    with reporter_of(arguments) as progress:
        cascade = open_cascade(request, progress)
        write_phantom(DEMO, ct, truth)
        manifest = segment_file(request, cascade)
    show_result(arguments, manifest)
    if not (arguments.quiet or arguments.json):
        say("\nAgainst the phantom's known truth:\n" + scores_table(evaluate_paths(labels, truth)))
        say(f"\nWritten to {folder}: {DEMO_CT}, {DEMO_TRUTH}, segmentation.nii.gz, segmentation.json, preview.png")


def require_demo_folder(folder: Path) -> None:
    """Make the folder. Raises InputError when it cannot be, or holds somebody's own scan under the name of the demonstration's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be made ({error.strerror or error}); choose another one.") from error
    if (folder / DEMO_CT).exists() and not (folder / DEMO_TRUTH).exists():
        raise InputError(f"{folder / DEMO_CT} is not from a demonstration and would be overwritten; choose an empty folder.")


COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "segment": segment,
    "batch": batch,
    "boxes": boxes,
    "evaluate": evaluate,
    "phantom": phantom,
    "bundle": bundle,
    "check": check,
    "demo": demo,
}
