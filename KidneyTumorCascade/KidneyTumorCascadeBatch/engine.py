"""The worker that all cases share, and a new one when it dies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from KidneyTumorCascadeLib.errors import BundleError, InputError
from KidneyTumorCascadeLib.volume import Volume
from KidneyTumorCascadeLib.worker_client import WorkerClient, WorkerGone
from KidneyTumorCascadeLib.worker_messages import Options, Segmented
from KidneyTumorCascadeLib.worker_protocol import LIST_BUNDLES

DEFAULT_BUNDLE = "default"
MAX_NAME = 100


class Engine:
    """A worker that stays warm from case to case. What it writes goes to the folder."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._folder = folder
        self._command = command
        self._client: WorkerClient | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    @property
    def client(self) -> WorkerClient:
        """The worker, started when there is none. Raises WorkerGone when it cannot be."""
        if self._client is None:
            self._client = WorkerClient(self._folder, self._command)
        return self._client

    def segment(self, scan: Volume, name: str, options: Options) -> Segmented:
        """Find the kidneys of a scan and segment them. The caller deletes the result's folder. Raises CascadeError."""
        try:
            scanId = self.client.open_scan(scan.voxels, scan.geometry, name[:MAX_NAME])
            try:
                return self.client.segment(scanId, options)
            finally:
                with suppress(WorkerGone):
                    self.client.close_scan(scanId)
        except WorkerGone:
            self._end()
            raise

    def request(self, options: Options) -> dict[str, Any]:
        """What the worker would segment with, so that a result can be told from one made otherwise.

        Raises InputError when the bundle has no such preset, BundleError when there is no such bundle or it is damaged.
        """
        folder, content = self._bundle(options.bundle)
        presets = json.loads(content).get("presets", {})
        if options.preset not in presets:
            raise InputError(f"The bundle in {folder} has no preset {options.preset!r}; choose one of {', '.join(presets)}.")
        digest = hashlib.sha256(content).hexdigest()
        return {"version": self.client.hello["library"], "bundle_sha256": digest, "preset": options.preset, "merge": options.merge}

    def _bundle(self, name: str | None) -> tuple[Path, bytes]:
        """The folder of a bundle and what its bundle.json holds, which the weights' hashes are part of."""
        bundles: list[Mapping[str, Any]] = self.client.call(LIST_BUNDLES)["bundles"]
        entry = next((entry for entry in bundles if entry["name"] == (name or DEFAULT_BUNDLE)), None)
        if entry and entry["problem"]:
            raise BundleError(entry["problem"])
        folder = Path(entry["folder"] if entry else str(name)).expanduser()
        try:
            return folder, (folder / "bundle.json").read_bytes()
        except OSError as error:
            names = ", ".join(entry["name"] for entry in bundles)
            raise BundleError(f"There is no model bundle {name!r}; give the folder of one or one of these names: {names}.") from error

    def _end(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
