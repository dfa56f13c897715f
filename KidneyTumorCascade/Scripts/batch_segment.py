"""Segments kidneys and kidney tumors in all scans of a folder.

    Slicer --no-splash --no-main-window --python-script batch_segment.py -- --input FOLDER --output FOLDER

Reads whatever Slicer reads, DICOM folders included. Writes a segmentation and a manifest for each scan, and summary.csv. Started again it
goes on where it stopped. Exit codes: 0 all is done, 1 some scans failed, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import slicer

HERE = Path(__file__).resolve().parent
# The module's packages lie above this folder; the library lies there, too, when installed, and one folder higher in the repository.
for folder in (HERE.parents[1], HERE.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from KidneyTumorCascadeBatch.batch import SUMMARY, Job, runJob  # noqa: E402
from KidneyTumorCascadeBatch.results import FORMATS, SEGMENTATION  # noqa: E402
from KidneyTumorCascadeBatch.summary import DONE, FAILED, SKIPPED  # noqa: E402
from KidneyTumorCascadeLib.errors import BundleError, CascadeError, InputError  # noqa: E402
from KidneyTumorCascadeLib.worker_messages import Options  # noqa: E402

ALL_DONE, SOME_FAILED, WRONG_ARGUMENTS = 0, 1, 2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    words = argparse.ArgumentParser(prog="batch_segment.py", description="Segments kidneys and kidney tumors in all scans of a folder.")
    words.add_argument("--input", required=True, type=Path, metavar="FOLDER", help="scans, also in folders below it")
    words.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="where results go; made when missing")
    words.add_argument("--pattern", default="*", help="names of the files that are meant, such as 'imaging.nii.gz'")
    words.add_argument("--preset", default="standard", help="one of the bundle's: standard, fast, paper")
    words.add_argument("--bundle", help="name or folder of a model bundle; the one that comes with the extension by default")
    words.add_argument("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"))
    words.add_argument("--merge", choices=("overlay", "compare"), help="how kidney and tumor are merged; the preset's way by default")
    words.add_argument("--format", default=SEGMENTATION, choices=FORMATS, help="of the segmentations")
    words.add_argument("--scene", action="store_true", help="write a scene (.mrb) with scan and segmentation for each scan, too")
    return words


def jobOf(words: Sequence[str]) -> Job:
    """The job that the words after the script's name describe. Raises SystemExit when they are wrong."""
    words = words[words.index("--") + 1 :] if "--" in words else words
    chosen = parser().parse_args(words)
    options = Options(chosen.bundle, chosen.preset, chosen.device, chosen.merge)
    return Job(chosen.input, chosen.output, options, chosen.format, chosen.scene, chosen.pattern)


def complain(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{text}\n")


def run(job: Job) -> int:
    """Do a job and say how it ended; returns the exit code."""
    try:
        outcomes = runJob(job)
    except CascadeError as error:
        complain(f"Error: {error}")
        return WRONG_ARGUMENTS if isinstance(error, (InputError, BundleError)) else SOME_FAILED
    count = {status: sum(outcome.status == status for outcome in outcomes) for status in (DONE, SKIPPED, FAILED)}
    print(f"{count[DONE]} done, {count[SKIPPED]} skipped, {count[FAILED]} failed; see {job.output / SUMMARY}")
    failed = [outcome for outcome in outcomes if outcome.status == FAILED]
    for outcome in failed:
        complain(f"Failed: {outcome.case}: {outcome.error}")
    return SOME_FAILED if failed else ALL_DONE


def main(words: Sequence[str]) -> int:
    """Run the command line; returns the exit code whatever happens, as without it Slicer would not end."""
    try:
        return run(jobOf(words))
    except SystemExit as end:
        return int(end.code or ALL_DONE)
    except BaseException:
        traceback.print_exc()
        return SOME_FAILED


if __name__ == "__main__":
    slicer.util.exit(main(sys.argv[1:]))
