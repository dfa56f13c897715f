"""Lines to the worker, and lines to its client."""

from __future__ import annotations

import json
import queue
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from KidneyTumorCascadeLib.bundle import Bundle, load_bundle
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.worker_jobs import Handler, Workbench
from KidneyTumorCascadeLib.worker_messages import Found, ScanFile, Segmented, Step, text_of
from KidneyTumorCascadeLib.worker_protocol import ENVIRONMENT, INTERNAL_ERROR, PROGRESS, VERIFY_BUNDLE, Answer, decode_message, encode, read_lines
from KidneyTumorCascadeLib.worker_server import Patience, Server
from KidneyTumorCascadeLib.worker_task import Task
from Testing.Fuzz.input_targets import BOXES
from Testing.Fuzz.judge import Target, problem_of
from Testing.Fuzz.mutations import mutated_bytes, mutated_json
from Testing.tiny_bundle import make_tiny_bundle

SCAN = Geometry((20, 20, 20), (5.0, 5.0, 5.0))


class IdleBench(Workbench):
    """Takes requests apart and looks at bundles and scans as the worker's bench does, but computes nothing."""

    def __init__(self) -> None:
        super().__init__()
        quick: dict[str, Handler] = {
            ENVIRONMENT: lambda task, folder: {"report": ""},
            VERIFY_BUNDLE: lambda task, folder: {"findings": [load_bundle(text_of(task.params, "name")).name]},
        }
        self._handlers = {**self._handlers, **quick}

    def _cascade_of(self, bundle: Bundle, device: str, task: Task) -> Cascade:
        raise InputError("Nothing is computed here.")


def worker_targets(folder: Path) -> list[Target]:
    """What a client may say to a worker, and a worker to a client."""
    results = folder / "results"
    results.mkdir()
    scan = ScanFile(results / "ct.npy", SCAN)
    voxels = np.random.default_rng(0).normal(0.0, 300.0, SCAN.shape_zyx).astype(np.int16)
    np.save(scan.path, voxels)
    bench = IdleBench()
    bench.scans.open(scan)
    bundle = make_tiny_bundle(folder / "worker-bundle")
    calls = [json.dumps(call).encode() for call in calls_of(results, scan, bundle)]
    answers = [json.dumps({"jsonrpc": "2.0", **answer}).encode() for answer in answers_of(results)]
    return [
        Target("message to the worker", partial(make_line, calls), partial(feed_worker, bench, results), 40),
        Target("message to the client", partial(make_line, answers), feed_client, 16),
        Target("stream of messages", partial(make_stream, calls), feed_stream, 6),
    ]


def calls_of(folder: Path, scan: ScanFile, bundle: Path) -> list[Mapping[str, Any]]:
    """A good request of every kind."""
    options = {"bundle": str(bundle), "preset": "fast", "device": "cpu", "merge": "overlay", "probabilities": False}
    requests: dict[str, Mapping[str, Any]] = {
        "hello": {"protocol": 1, "folder": str(folder)},
        "open_scan": scan.to_dict(),
        "find_kidneys": {"scan_id": "scan-1", "options": options},
        "segment_boxes": {"scan_id": "scan-1", "boxes": BOXES["boxes"], "options": options},
        "segment": {"scan_id": "scan-1", "options": {}},
        "close_scan": {"scan_id": "scan-9"},
        "verify_bundle": {"name": str(bundle)},
        "remove_bundle": {"name": "tiny"},
        "install_bundle": {"zip": "tiny.zip"},
        "list_bundles": {},
        "environment": {},
        "cancel": {"id": 3},
        "shutdown": {},
    }
    return [{"jsonrpc": "2.0", "id": 7, "method": method, "params": params} for method, params in requests.items()]


def answers_of(folder: Path) -> list[Mapping[str, Any]]:
    """An answer or notification of every kind."""
    box = BOXES["boxes"][0]  # type: ignore[index]
    part = {"side": "right", "box": box, "labels": str(folder / "0.npy"), "start_zyx": [1, 2, 3], "measurement": {"side": "right"}}
    maps = {"kidney": {"path": str(folder / "1.npy"), "geometry": SCAN.to_dict()}}
    found = {"boxes": BOXES["boxes"], "warnings": ["One."]}
    segmented = {"folder": str(folder), "parts": [{**part, "probabilities": maps}], "warnings": [], "manifest": {"schema": 1}}
    step = {"id": 7, "stage": "merging", "fraction": 0.5, "seconds_left": 2.5}
    return [
        {"id": 7, "result": found},
        {"id": 7, "result": segmented},
        {"id": 7, "error": {"code": -32001, "message": "No."}},
        {"method": PROGRESS, "params": step},
        {"method": "log", "params": {"message": "Hello."}},
    ]


def make_line(examples: list[bytes], random: Random) -> bytes:
    """One message, changed."""
    example = random.choice(examples)
    line = mutated_json(random, example) if random.random() < 0.85 else mutated_bytes(random, example)
    return line.replace(b"\n", b" ")


def feed_worker(bench: Workbench, folder: Path, line: bytes) -> None:
    """Give a worker the line; it must answer with one message each, none of them an internal error, and be alive afterwards."""
    said: list[bytes] = []
    inbox: queue.Queue[Task | None] = queue.Queue()
    server = Server(said.append, Patience(), lambda: bench, inbox=inbox)
    hello = {"method": "hello", "params": {"protocol": 1, "folder": str(folder)}}
    server.receive(encode({"id": "first", **hello}))
    server.receive(line)
    server.receive(encode({"id": "last", **hello}))
    inbox.put(None)
    server.serve()
    answers = [answer for answer in map(decode_message, said) if isinstance(answer, Answer)]
    problems = [problem_of(answer.message) for answer in answers if answer.code and problem_of(answer.message)]
    if problems or any(answer.code == INTERNAL_ERROR for answer in answers):
        raise AssertionError(f"{problems} {answers}")
    ids = [answer.id for answer in answers]
    # What need not wait is answered at once; after a shutdown nothing is.
    if "first" not in ids or ("last" not in ids and b"shutdown" not in line) or len(ids) > 3:
        raise AssertionError(f"not one answer each: {answers}")
    if any(answer.code for answer in answers):
        raise InputError("The worker refused it.")


def feed_client(line: bytes) -> None:
    """What the client makes of the line."""
    message = decode_message(line)
    if not isinstance(message, Answer):
        if message.method == PROGRESS:
            Step.from_dict(message.params)
    elif message.code == 0 and isinstance(message.result, dict):
        (Segmented if "parts" in message.result else Found).from_dict(message.result)


def make_stream(examples: list[bytes], random: Random) -> bytes:
    """Some lines, the last perhaps without an end."""
    lines = b"\n".join(make_line(examples, random) for _ in range(random.randint(1, 4)))
    return mutated_bytes(random, lines + b"\n" * random.getrandbits(1))


def feed_stream(data: bytes) -> None:
    """Take the stream apart in small pieces; the lines must be those of the whole."""
    most = 1_000
    pieces = [data[at : at + 7] for at in range(0, len(data), 7)]
    ends = iter([*pieces, b""])
    found = list(read_lines(lambda count: next(ends), most))
    expected = [line if len(line) <= most else None for line in data.split(b"\n")[:-1]]
    if found != expected:
        raise AssertionError(f"{found} instead of {expected}")
