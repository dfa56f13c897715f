"""Every parser of the project as something to feed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from KidneyTumorCascadeLib.bundle import HOME_VARIABLE
from Testing.Fuzz.batch_targets import batch_targets
from Testing.Fuzz.bundle_targets import bundle_targets
from Testing.Fuzz.dicom_targets import dicom_targets
from Testing.Fuzz.input_targets import input_targets
from Testing.Fuzz.judge import Target
from Testing.Fuzz.training_targets import training_targets
from Testing.Fuzz.worker_targets import worker_targets

# In memory where that exists: a million files are written.
MEMORY = Path("/dev/shm")


@contextmanager
def all_targets() -> Iterator[list[Target]]:
    """The targets, with files in a folder that is removed in the end; installed bundles are looked for there, too."""
    place = str(MEMORY) if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as name, mock.patch.dict(os.environ, {HOME_VARIABLE: str(Path(name) / "home")}):
        folder = Path(name)
        families = (bundle_targets, input_targets, dicom_targets, batch_targets, worker_targets, training_targets)
        yield [target for family in families for target in family(folder)]
