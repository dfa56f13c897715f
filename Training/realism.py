"""How well synthetic tumors can be told from real ones: a two-sample test, statistics side by side, and a picture.

    python Training/realism.py --real TUMOR_SLICES --pool POOL --sources SOURCES.json --out REALISM.json --picture PICTURE.png
    python Training/realism.py --real TUMOR_SLICES --pool POOL --kind transplants --out REALISM.json
    python Training/realism.py --real TUMOR_SLICES --statistics

TUMOR_SLICES holds PATIENT_*_ct.png (8 bits) and PATIENT_*_label.png (2 tumor, 1 kidney where it was labelled).
With SOURCES.json, tumors are grown as the code stands, of the forms it lists, in the pool's real scans with contrast medium; each scan
gets forms of patients that no other scan gets. Without, the tumors are those that the pool has: of its changed copies of scans, of its
transplants, or of its rendered bodies.
A network that says which is which is trained on some patients and scans and tested on others: AUC 0.5 means that it cannot,
1 that it always can. `surroundings` sees everything but the tumor: what the scans themselves give away.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

if not __package__:  # run as a file: packages lie beside Training, not in it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.report import write_bytes_atomically
from Training.case_names import REAL, origin_of, rendered_body, scan_of_copy, scan_of_transplant
from Training.cases import KIDNEY, TUMOR, Case, load_case
from Training.command_line import natural, positive, run_command
from Training.lesion.lesion_shapes import Shape, shapes_of
from Training.lesion.lesion_tissue import UNENHANCED_HU
from Training.lesion.lesions import grow
from Training.resemblance.realism_picture import write_picture
from Training.resemblance.slice_statistics import table
from Training.resemblance.slice_window import muscle_grays
from Training.resemblance.tumor_slices import TumorSlice, case_slice, matched, real_slices
from Training.resemblance.two_sample import INPUTS, network_auc, statistics_auc
from Training.sources import read_sources

TRIES = 12
FORMS_PER_SCAN = 8
# More of what can be had: the network learns better what gives it away.
SYNTHETIC_PER_REAL = 2
# A tumor's slice near its middle is about as wide as a ball of its volume.
DIAMETER_SPREAD = (0.9, 1.25)
# For each kind of synthetic case, what has to lie on one side of the folds: the scan that it was made of, or the body.
GROUPS: dict[str, Callable[[str], str]] = {"copies": scan_of_copy, "transplants": scan_of_transplant, "bodies": rendered_body}


def enhanced_scans(pool: Path) -> list[Case]:
    """The pool's real scans, of either split, whose kidneys show contrast medium. Raises InputError when there are less than three."""
    paths = [path for path in sorted(pool.glob("*/fine/*.npz")) if origin_of(path.stem) == REAL]
    # A pool can have a scan on both sides of its split.
    once = {path.stem: path for path in paths}
    cases = [case for case in map(load_case, once.values()) if (case.labels == KIDNEY).any() and not (case.labels == TUMOR).any()]
    found = [case for case in cases if np.median(case.hu[case.labels == KIDNEY]) >= UNENHANCED_HU]
    if len(found) < 3:
        raise InputError(f"{pool} has {len(found)} real scans with contrast medium in the kidneys; at least 3 are needed to split them.")
    return found


def forms_for(sources: Path, scans: int, rng: np.random.Generator) -> list[list[Shape]]:
    """Forms of tumors for each scan, of patients of its own. Raises InputError when there are too few."""
    paths = [lesion.labels for lesion in read_sources(sources).lesions]
    order = rng.permutation(len(paths))[: scans * FORMS_PER_SCAN]
    forms = [[shape for index in order[scan::scans] for shape in shapes_of(paths[index], TUMOR)] for scan in range(scans)]
    if not all(forms):
        raise InputError(f"{sources} lists too few patients with tumors ({len(paths)}) for {scans} scans; add some.")
    return forms


def grown_slices(pool: Path, sources: Path, real: Sequence[TumorSlice], count: int, rng: np.random.Generator) -> Iterator[TumorSlice]:
    """Slices of tumors of the real ones' sizes, grown one at a time."""
    scans = enhanced_scans(pool)
    forms = forms_for(sources, len(scans), rng)
    for index in range(count):
        case, shapes = scans[index % len(scans)], forms[index % len(scans)]
        diameter = real[int(rng.integers(len(real)))].diameter_mm * float(rng.uniform(*DIAMETER_SPREAD))
        for _ in range(TRIES):
            grown = grow(case, shapes[int(rng.integers(len(shapes)))], diameter, TUMOR, rng)
            one = None if grown is None else case_slice(grown, case.name, rng)
            if one is not None:
                yield one
                break


def pool_slices(pool: Path, rng: np.random.Generator, kind: str = "copies") -> Iterator[TumorSlice]:
    """Slices of the tumors that the pool's cases of that kind have, where kidneys show contrast medium."""
    for path in sorted(pool.glob("*/fine/*.npz")):
        group = GROUPS[kind](path.stem)
        if group:
            case = load_case(path)
            kidney = case.labels == KIDNEY
            one = case_slice(case, group, rng) if kidney.any() and np.median(case.hu[kidney]) >= UNENHANCED_HU else None
            yield from () if one is None else (one,)


def compared(real: Sequence[TumorSlice], synthetic: Sequence[TumorSlice], repeats: int, seed: int) -> dict[str, object]:
    """AUC of the network for each input, and of the statistics: mean and spread over the splits."""
    values = {part: network_auc(real, synthetic, part, repeats, seed) for part in INPUTS}
    values["statistics"] = statistics_auc(real, synthetic, repeats, seed)
    return {name: {"mean": round(float(np.mean(found)), 3), "sd": round(float(np.std(found)), 3)} for name, found in values.items()}


def measure(arguments: argparse.Namespace) -> None:
    """Compare, print and write."""
    rng = np.random.default_rng(arguments.seed)
    real = real_slices(arguments.real, rng)
    if arguments.statistics:
        sys.stdout.write(json.dumps({**table(real), "muscle_gray": muscle_grays(arguments.real)}, indent=1) + "\n")
        return
    if arguments.pool is None or arguments.out is None:
        raise InputError("Without --statistics, give --pool with the synthetic tumors and --out for the result.")
    pool, sources, kind = arguments.pool, arguments.sources, arguments.kind
    candidates = list(grown_slices(pool, sources, real, arguments.count, rng) if sources else pool_slices(pool, rng, kind))
    if len({one.group for one in candidates}) < 3:
        raise InputError(f"{pool} has tumors in less than 3 scans or bodies with contrast medium among its {kind}; give a larger pool.")
    synthetic = matched(real, candidates, SYNTHETIC_PER_REAL)
    result = {
        "real": {"slices": len(real), "patients": len({one.group for one in real}), "statistics": table(real)},
        "synthetic": {"slices": len(synthetic), "scans": sorted({one.group for one in synthetic}), "statistics": table(synthetic)},
        "auc": compared(real, synthetic, arguments.repeats, arguments.seed),
    }
    write_bytes_atomically(arguments.out, (json.dumps(result, indent=1) + "\n").encode())
    sys.stdout.write(json.dumps(result["auc"], indent=1) + "\n")
    if arguments.picture:
        write_picture(real, synthetic, arguments.picture, "copies" if sources else kind)


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder of real tumor slices")
    parser.add_argument("--pool", type=Path, help="pool that Training/synthesis.py wrote")
    parser.add_argument("--sources", type=Path, help="grow tumors of these forms now instead of taking the pool's")
    parser.add_argument("--kind", choices=tuple(GROUPS), default="copies", help="whose tumors the pool's are (default %(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--picture", type=Path, help="PNG file to write: real slices above, synthetic ones below")
    parser.add_argument("--statistics", action="store_true", help="only print the real slices' statistics")
    parser.add_argument("--count", type=positive, default=160, help="tumors to grow")
    parser.add_argument("--repeats", type=positive, default=2, help="how often to deal patients into three folds")
    parser.add_argument("--seed", type=natural, default=1)
    return parser


def main(words: list[str] | None = None) -> int:
    """Command line."""
    arguments = make_parser().parse_args(words)
    return run_command(lambda: measure(arguments))


if __name__ == "__main__":
    sys.exit(main())
