"""What `batch` on the command line does: arguments in, a line for each scan out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from KidneyTumorCascadeLib.batch import Batch, Engine, printable, totals
from KidneyTumorCascadeLib.batch_cluster import ClusterPool
from KidneyTumorCascadeLib.batch_records import FAILED, BatchOptions, CaseOptions, CaseOutcome
from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.errors import CasesFailed


def batch(arguments: argparse.Namespace) -> None:
    """batch INPUT OUTPUT. Raises CasesFailed when some scans have no result, and what `Batch.run` raises."""
    load_bundle(arguments.bundle).preset(arguments.preset)
    job = Batch(arguments.input, arguments.output, options_of(arguments), arguments.pattern, arguments.dicom_names)
    engine = engine_of(arguments, job)
    left_out = job.look()
    if arguments.list:
        print_list(job)
        return
    for item in left_out:
        tell(arguments, f"Left out: {printable(item.name)}: {item.reason}", left_out=item.name, reason=item.reason)
    job.run(lambda outcome, line: tell_outcome(arguments, outcome, line), engine)
    print_end(arguments, job)
    failed = job.count(FAILED)
    if failed:
        raise CasesFailed(f"{failed} of {len(job.found.cases)} scans failed, as said above; the same command tries these again and no others.")


def options_of(arguments: argparse.Namespace) -> BatchOptions:
    """How the arguments want it."""
    case = CaseOptions(
        arguments.bundle, arguments.preset, arguments.merge, arguments.device, preview=arguments.preview, probabilities=arguments.probabilities
    )
    return BatchOptions(case, arguments.workers, arguments.retries, arguments.timeout)


def engine_of(arguments: argparse.Namespace, job: Batch) -> Engine | None:
    """What does the cases, unless it is this computer alone. Raises InputError for an address that is none."""
    if arguments.scheduler is None:
        return None
    return ClusterPool(arguments.scheduler, job.options, job.input, job.output, lambda line: tell(arguments, line, cluster=line)).outcomes


def print_list(job: Batch) -> None:
    """Names and places of the scans, with a tab between."""
    for case in job.found.cases:
        sys.stdout.write(f"{printable(case.name)}\t{printable(str(case.path))}\n")


def tell_outcome(arguments: argparse.Namespace, outcome: CaseOutcome, line: str) -> None:
    """How a case ended; a failure is told of even to those who want to hear nothing."""
    if arguments.json:
        sys.stderr.write(json.dumps(outcome.to_dict()) + "\n")
    elif not arguments.quiet or outcome.status == FAILED:
        sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def tell(arguments: argparse.Namespace, line: str, **content: str) -> None:
    """Something to know, on standard error; as JSON where programs read it."""
    if not arguments.quiet:
        sys.stderr.write((json.dumps(content) if arguments.json else line) + "\n")


def print_end(arguments: argparse.Namespace, job: Batch) -> None:
    """The result on standard output."""
    if arguments.json:
        content = {"output": str(job.output), "outcomes": [job.outcomes[case.name].to_dict() for case in job.found.cases]}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    elif not arguments.quiet:
        sys.stdout.write(f"{totals(job)}; results are in {Path(job.output)}\n")
