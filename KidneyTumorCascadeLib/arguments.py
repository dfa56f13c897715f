"""The command line's words: every command with its options. What they do is in commands.py."""

from __future__ import annotations

import argparse
from pathlib import Path

from KidneyTumorCascadeLib import __version__

PROGRAM = "kidney-tumor-cascade"
# Written out here so that help and mistakes in the words need not wait for PyTorch, or find it missing; a test compares them.
DEVICES = ("auto", "cuda", "mps", "cpu")
MERGES = ("overlay", "compare")
PHASES = ("arterial", "portal", "none")
EPILOG = (
    "Exit codes: 0 done, 1 some scans of a batch failed, 2 unusable input or arguments, 3 unusable environment or bundle, 130 cancelled. "
    "Not for clinical use."
)
BATCH = """\
Segment all CTs of a folder and of the folders below it. For each scan OUTPUT gets a label map and a manifest;
summary.csv and index.html there tell of all of them, also while the batch runs. A scan that cannot be segmented
is named with the reason, and the others go on. The same command again does what is missing and no more.

  kidney-tumor-cascade batch SCANS RESULTS --workers 2 --preview
  kidney-tumor-cascade batch SCANS RESULTS --scheduler tcp://192.168.1.10:8786"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Find and segment kidneys and kidney tumors in CT.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_segment(commands)
    add_batch(commands)
    add_boxes(commands)
    add_evaluate(commands)
    add_phantom(commands)
    add_bundle(commands)
    commands.add_parser("check", help="what is installed, which device works, free memory and disk; text to copy")
    demo = commands.add_parser("demo", help="make a phantom CT, segment it, and compare the result with the known truth")
    demo.add_argument("folder", type=path, metavar="FOLDER")
    add_cascade_options(demo)
    return parser


def path(text: str) -> Path:
    """A path; an empty one, as of an unset variable in a script, would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def add_cascade_options(parser: argparse.ArgumentParser) -> None:
    """What every command that runs networks takes."""
    parser.add_argument("--preset", default="standard", help="a preset of the bundle: standard (default), fast or paper")
    parser.add_argument("--bundle", metavar="NAME|FOLDER", help="the model bundle; the one that comes with the program by default")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--quiet", action="store_true", help="no progress and no summary; warnings and errors still appear")
    output.add_argument("--json", action="store_true", help="the result as JSON on standard output, all else as JSON lines on standard error")


def add_segment(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """segment INPUT OUTPUT ..."""
    parser = commands.add_parser("segment", help="segment kidney (1) and kidney tumor (2) in a CT", epilog=EPILOG)
    parser.add_argument("input", type=path, metavar="INPUT", help="image file or DICOM folder")
    parser.add_argument("output", type=path, metavar="OUTPUT", help="label map, such as labels.nii.gz; a manifest is written beside it")
    add_cascade_options(parser)
    parser.add_argument("--boxes", type=path, metavar="JSON", help="segment these boxes instead of finding the kidneys")
    parser.add_argument("--merge", choices=MERGES, help="how kidney and tumor become one label map; the preset's way by default")
    parser.add_argument("--probabilities", action="store_true", help="also write the probability maps of each box")
    parser.add_argument("--preview", type=path, metavar="PNG", help="also draw a picture of the result")


def add_batch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """batch INPUT OUTPUT ..."""
    parser = commands.add_parser(
        "batch",
        help="segment all CTs of a folder; started again, it goes on where it stopped",
        description=BATCH,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", type=path, metavar="INPUT", help="folder with image files, cases in KiTS's layout or DICOM series, at any depth")
    parser.add_argument("output", type=path, metavar="OUTPUT", help="folder for label maps and manifests; made when missing")
    add_cascade_options(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=count, default=1, metavar="N", help="scans at once on this computer, each in its own process (default 1)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="compute on the Dask cluster of this scheduler, tcp://HOST:PORT or tls://HOST:PORT")
    parser.add_argument("--pattern", default="*", metavar="GLOB", help="names of the files, or of the folders of DICOM slices, that are meant")
    parser.add_argument("--retries", type=whole, default=2, metavar="N", help="tries more for a scan whose process died (default 2)")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="seconds that a scan may take; any time by default")
    parser.add_argument("--merge", choices=MERGES, help="how kidney and tumor become one label map; the preset's way by default")
    parser.add_argument("--probabilities", action="store_true", help="also write the probability maps of each box")
    parser.add_argument("--preview", action="store_true", help="also draw a picture of each result, which index.html shows")
    parser.add_argument("--dicom-names", action="store_true", help="call DICOM series by their folders, which may hold names of patients")
    parser.add_argument("--list", action="store_true", help="only print what each scan is called and where it lies")


def whole(text: str) -> int:
    """A whole number from 0."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def count(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def seconds(text: str) -> float:
    """A time above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def add_boxes(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """boxes INPUT [OUTPUT.json]"""
    parser = commands.add_parser("boxes", help="find the boxes around the kidneys only (mm, LPS)", epilog=EPILOG)
    parser.add_argument("input", type=path, metavar="INPUT", help="image file or DICOM folder")
    parser.add_argument("output", type=path, nargs="?", metavar="OUTPUT.json", help="standard output by default")
    add_cascade_options(parser)


def add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """evaluate PREDICTION REFERENCE"""
    parser = commands.add_parser("evaluate", help="score label maps as KiTS19 does, with surface distances and volumes", epilog=EPILOG)
    parser.add_argument("prediction", type=path, metavar="PREDICTION", help="a label map or a folder of them")
    parser.add_argument("reference", type=path, metavar="REFERENCE", help="a label map or a folder of them (KiTS layout, or the same names)")
    parser.add_argument("--csv", type=path, metavar="FILE", help="also write the scores as CSV")
    parser.add_argument("--kidney-only", action="store_true", help="the reference has kidneys only, whatever its labels")


def add_phantom(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """phantom CT LABELS"""
    parser = commands.add_parser("phantom", help="make an abdominal phantom CT with known kidneys and tumors", epilog=EPILOG)
    parser.add_argument("ct", type=path, metavar="CT")
    parser.add_argument("labels", type=path, metavar="LABELS")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another patient")
    parser.add_argument("--tumors", type=int, default=1, metavar="N")
    parser.add_argument("--phase", choices=PHASES, default="arterial", help="of the contrast agent")
    parser.add_argument("--orientation", default="LPS", metavar="LPS|RAS|...", help="where the array's axes point; one of 48")
    parser.add_argument("--oblique", type=float, default=0.0, metavar="DEG", help="turn the scanner's axes against the patient's")


def add_bundle(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """bundle list|verify|install|remove"""
    parser = commands.add_parser("bundle", help="list, verify, install or remove model bundles", epilog=EPILOG)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="the bundles at hand")
    verify = actions.add_parser("verify", help="check every file of a bundle")
    verify.add_argument("name", nargs="?", metavar="NAME|FOLDER", help="the default bundle when left out")
    install = actions.add_parser("install", help="install a bundle from a zip file")
    install.add_argument("zip", type=path, metavar="ZIP")
    remove = actions.add_parser("remove", help="remove an installed bundle")
    remove.add_argument("name", metavar="NAME")
